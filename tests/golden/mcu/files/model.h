/* small *-/ network: a neural network as C, made by boardfit 0.1.0 for ST NUCLEO-L4R5ZI.
 *
 * Usage:
 *
 *     #include "model.h"
 *
 *     static uint8_t arena[MODEL_ARENA_BYTES] MODEL_ALIGNED;
 *     model_context context;
 *
 *     model_init(&context, arena);
 *     uint8_t *input = model_input(&context);   // input[i] = model_input_quantize(real_value), i < 108
 *     model_run(&context);
 *     const int8_t *output_dense_3_dense_out = model_output_dense_3_dense_out(&context);   // 5 values
 *     const int32_t *output_argmax_4_argmax_out = model_output_argmax_4_argmax_out(&context);   // 1 values
 *
 * The inputs and outputs lie in the arena. model_run() may overwrite the inputs; the outputs stay valid until the
 * next input is written. Every context with an arena of its own is independent: the code keeps no state of its own.
 * To let the code own one static arena, compile model.c with MODEL_STATIC_ARENA defined and pass NULL.
 *
 * Every integer is equal to boardfit's integer interpreter; real value = (integer - zero point) * scale.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MODEL_ARENA_BYTES 151
#if defined(__GNUC__)
#define MODEL_ALIGNED __attribute__((aligned(4)))
#else
#define MODEL_ALIGNED /* align the arena to 4 bytes by other means */
#endif

/* Input 'camera image': uint8_t, 1x6x6x3. */
#define MODEL_INPUT_ELEMENTS 108
#define MODEL_INPUT_RANK 4
#define MODEL_INPUT_SHAPE {1, 6, 6, 3}
#define MODEL_INPUT_SCALE 0.019999999552965164f
#define MODEL_INPUT_ZERO_POINT (10)

/* Output '/dense_3/Dense_out': int8_t, 1x5. */
#define MODEL_OUTPUT_DENSE_3_DENSE_OUT_ELEMENTS 5
#define MODEL_OUTPUT_DENSE_3_DENSE_OUT_RANK 2
#define MODEL_OUTPUT_DENSE_3_DENSE_OUT_SHAPE {1, 5}
#define MODEL_OUTPUT_DENSE_3_DENSE_OUT_SCALE 0.10000000149011612f
#define MODEL_OUTPUT_DENSE_3_DENSE_OUT_ZERO_POINT (4)

/* Output '/argmax_4/ArgMax_out': int32_t, 1. */
#define MODEL_OUTPUT_ARGMAX_4_ARGMAX_OUT_ELEMENTS 1
#define MODEL_OUTPUT_ARGMAX_4_ARGMAX_OUT_RANK 1
#define MODEL_OUTPUT_ARGMAX_4_ARGMAX_OUT_SHAPE {1}
#define MODEL_OUTPUT_ARGMAX_4_ARGMAX_OUT_SCALE 1.0f
#define MODEL_OUTPUT_ARGMAX_4_ARGMAX_OUT_ZERO_POINT (0)

typedef struct {
    uint8_t *arena; /* MODEL_ARENA_BYTES bytes, aligned to 4 */
} model_context;

/* Binds a context to its arena. */
void model_init(model_context *context, uint8_t *arena);

/* One inference: reads the inputs, writes the outputs. */
void model_run(const model_context *context);

/* Input 'camera image'. */
uint8_t *model_input(const model_context *context);

/* Output '/dense_3/Dense_out'. */
const int8_t *model_output_dense_3_dense_out(const model_context *context);

/* Output '/argmax_4/ArgMax_out'. */
const int32_t *model_output_argmax_4_argmax_out(const model_context *context);

/* Real value to the integer of input 'camera image': nearest (ties to even), clamped. NaN gives the zero point. */
static inline uint8_t model_input_quantize(float value)
{
    const float low = -10.0f;
    const float high = 245.0f;
    const float scaled = value / MODEL_INPUT_SCALE;
    if (!(scaled > low)) {
        return (uint8_t)(scaled <= low ? 0 : MODEL_INPUT_ZERO_POINT);
    }
    if (scaled > high) {
        return 255;
    }
    {
        int32_t nearest = (int32_t)scaled; /* towards zero */
        const float rest = scaled - (float)nearest;
        if (rest > 0.5f || (rest >= 0.5f && nearest % 2 != 0)) {
            nearest++;
        } else if (rest < -0.5f || (rest <= -0.5f && nearest % 2 != 0)) {
            nearest--;
        }
        return (uint8_t)(nearest + MODEL_INPUT_ZERO_POINT);
    }
}

/* Integer of output '/dense_3/Dense_out' to its real value. */
static inline float model_output_dense_3_dense_out_dequantize(int8_t value)
{
    return (float)((int32_t)value - MODEL_OUTPUT_DENSE_3_DENSE_OUT_ZERO_POINT) * MODEL_OUTPUT_DENSE_3_DENSE_OUT_SCALE;
}

#ifdef __cplusplus
}
#endif

#endif
