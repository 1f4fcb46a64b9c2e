/* small *-/ network: the run function. See model.h for the interface. */
#include "model.h"

#include <stddef.h>

#include "model_kernels.h"
#include "model_weights.h"

static const convolution_u8_s8_s8_shape conv2d_1_shape = {
    .height = 6,
    .width = 6,
    .channels = 3,
    .groups = 1,
    .kernel_height = 3,
    .kernel_width = 3,
    .stride_y = 2,
    .stride_x = 2,
    .dilation_y = 1,
    .dilation_x = 1,
    .top = 1,
    .left = 1,
    .output_height = 3,
    .output_width = 3,
    .row_stride = 24,
    .pixel_stride = 8,
    .zero = 10,
    .row = {1, 27, 8, 8, 1, {0, -128, 127, 8}},
};

static const linear_s8_shape dense_3_shape = {
    .rows = 1,
    .depth = 72,
    .outputs = 5,
    .row_stride = 5,
    .multiplier_step = 1,
    .to = {4, -128, 127, 8},
};

#ifdef MODEL_STATIC_ARENA
static uint8_t static_arena[MODEL_ARENA_BYTES] MODEL_ALIGNED;
#endif

void model_init(model_context *context, uint8_t *arena)
{
#ifdef MODEL_STATIC_ARENA
    context->arena = arena != NULL ? arena : static_arena;
#else
    context->arena = arena;
#endif
}

uint8_t *model_input(const model_context *context)
{
    return (uint8_t *)(context->arena + 16);
}

const int8_t *model_output_dense_3_dense_out(const model_context *context)
{
    return (const int8_t *)(context->arena + 72);
}

const int32_t *model_output_argmax_4_argmax_out(const model_context *context)
{
    return (const int32_t *)(void *)(context->arena + 0);
}

void model_run(const model_context *context)
{

    /* Conv2D '/conv2d_1/Conv2D': 1x6x6x3, 8x3x3x3, 8 -> 1x3x3x8; conv2d/patch_linear */
    convolution_u8_s8_s8((const uint8_t *)(context->arena + 16), (int8_t *)(context->arena + 0),
        model_conv2d_1_weights, model_conv2d_1_bias, model_conv2d_1_multiplier, &conv2d_1_shape, (uint8_t
        *)(context->arena + 124));

    /* Reshape '/reshape_2/Reshape': 1x3x3x8 -> 1x72; reshape/alias */

    /* Dense '/dense_3/Dense': 1x72, 5x72, 5 -> 1x5; dense/linear */
    linear_s8((const int8_t *)(context->arena + 0), (int8_t *)(context->arena + 72), model_dense_3_weights,
        model_dense_3_bias, model_dense_3_multiplier, &dense_3_shape);

    /* ArgMax '/argmax_4/ArgMax': 1x5 -> 1; arg_max/portable */
    arg_max_s8((const int8_t *)(context->arena + 72), (int32_t *)(void *)(context->arena + 0), 1, 5, 1);
}
