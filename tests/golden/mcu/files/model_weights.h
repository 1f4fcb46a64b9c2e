/* Constants of small *-/ network: 820 bytes in flash. */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include <stdint.h>

extern const int8_t model_conv2d_1_weights[216];
extern const int32_t model_conv2d_1_bias[8];
extern const int32_t model_conv2d_1_multiplier[8];
extern const int8_t model_dense_3_weights[360];
extern const int32_t model_dense_3_bias[5];
extern const int32_t model_dense_3_multiplier[5];

#endif
