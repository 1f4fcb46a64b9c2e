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
 * To let the code own one static arena, compile the implementation with MODEL_STATIC_ARENA defined and pass NULL.
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

/* ---- Implementation: define MODEL_IMPLEMENTATION in exactly one source file before including this one. ---- */
#ifdef MODEL_IMPLEMENTATION

#include <stddef.h>

#include <stdint.h>

#if (-1 >> 1) != -1
#error "right shifts of negative numbers must be arithmetic"
#endif

/* Kernels are compiled as written: inlining them into one large function would cost stack and code. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 8
#define KERNEL static __attribute__((noipa))
#elif defined(__GNUC__)
#define KERNEL static __attribute__((noinline))
#else
#define KERNEL static
#endif

/* From an accumulator to an output integer, rounded once, half towards plus infinity:
 *     zero + floor((accumulator * multiplier + 2^(shift - 1)) / 2^shift), clamped to [low, high].
 * `shift` counts from bit 32: only the high word of the product is needed, as 2^(shift - 1) is a multiple of 2^32. */
typedef struct {
    int32_t zero;
    int32_t low;
    int32_t high;
    int32_t shift; /* 1 to 22, beyond bit 32 */
} requantize_type;

static inline int32_t requantize(int32_t accumulator, int32_t multiplier, const requantize_type *to)
{
    const int32_t word = (int32_t)(((int64_t)accumulator * multiplier) >> 32);
    const int32_t value = ((word + (1 << (to->shift - 1))) >> to->shift) + to->zero;
    return value < to->low ? to->low : value > to->high ? to->high : value;
}

/* Rows of a matrix product: y[r][o] = requantize(bias[o] + sum over k of x[r][k] * weights[o][k]).
 * The zero point of x is folded into the bias. `multiplier` has one entry for each output, or one for all. */
typedef struct {
    int32_t rows;
    int32_t depth;            /* inputs of a row */
    int32_t outputs;          /* outputs of a row */
    int32_t row_stride;       /* from one row of y to the next */
    int32_t multiplier_step;  /* 1: per output, 0: one for all */
    requantize_type to;
} linear_u8_s8_s8_shape;

KERNEL void linear_u8_s8_s8(const uint8_t *x, int8_t *y, const int8_t *weights, const int32_t *bias,
    const int32_t *multiplier, const linear_u8_s8_s8_shape *shape)
{
    const int32_t depth = shape->depth;
    for (int32_t row = 0; row < shape->rows; row++, x += depth, y += shape->row_stride) {
        const int8_t *w = weights;
        const int32_t *scale = multiplier;
        int32_t output = 0;
        for (; output + 4 <= shape->outputs; output += 4, w += 4 * depth) { /* each x is read once for four outputs */
            const int8_t *w1 = w + depth;
            const int8_t *w2 = w1 + depth;
            const int8_t *w3 = w2 + depth;
            int32_t sum[4];
            int32_t sum0 = bias[output];
            int32_t sum1 = bias[output + 1];
            int32_t sum2 = bias[output + 2];
            int32_t sum3 = bias[output + 3];
            for (int32_t k = 0; k < depth; k++) {
                const int32_t value = x[k];
                sum0 += value * w[k];
                sum1 += value * w1[k];
                sum2 += value * w2[k];
                sum3 += value * w3[k];
            }
            sum[0] = sum0;
            sum[1] = sum1;
            sum[2] = sum2;
            sum[3] = sum3;
            for (int32_t i = 0; i < 4; i++, scale += shape->multiplier_step) {
                y[output + i] = (int8_t)requantize(sum[i], *scale, &shape->to);
            }
        }
        for (; output < shape->outputs; output++, w += depth, scale += shape->multiplier_step) {
            int32_t sum = bias[output];
            for (int32_t k = 0; k < depth; k++) {
                sum += (int32_t)x[k] * w[k];
            }
            y[output] = (int8_t)requantize(sum, *scale, &shape->to);
        }
    }
}

/* Convolution: the inputs under each window are gathered into `patch`, which is then one row of a matrix product.
 * Pixels outside the image count as the zero point. Groups are gathered and multiplied one after the other. */
typedef struct {
    int32_t height;           /* of the input */
    int32_t width;
    int32_t channels;
    int32_t groups;
    int32_t kernel_height;
    int32_t kernel_width;
    int32_t stride_y;
    int32_t stride_x;
    int32_t dilation_y;
    int32_t dilation_x;
    int32_t top;              /* padding; negative crops */
    int32_t left;
    int32_t output_height;
    int32_t output_width;
    int32_t row_stride;       /* from one output row to the next, in elements */
    int32_t pixel_stride;     /* from one output pixel to the next */
    int32_t zero;             /* zero point of the input */
    linear_u8_s8_s8_shape row;   /* one group */
} convolution_u8_s8_s8_shape;

KERNEL void convolution_u8_s8_s8(const uint8_t *x, int8_t *y, const int8_t *weights, const int32_t *bias,
    const int32_t *multiplier, const convolution_u8_s8_s8_shape *shape, uint8_t *patch)
{
    const int32_t depth = shape->channels / shape->groups;
    for (int32_t row = 0; row < shape->output_height; row++) {
        for (int32_t column = 0; column < shape->output_width; column++) {
            int8_t *pixel = y + row * shape->row_stride + column * shape->pixel_stride;
            for (int32_t group = 0; group < shape->groups; group++) {
                uint8_t *to = patch;
                int32_t input_y = row * shape->stride_y - shape->top;
                for (int32_t i = 0; i < shape->kernel_height; i++, input_y += shape->dilation_y) {
                    int32_t input_x = column * shape->stride_x - shape->left;
                    for (int32_t j = 0; j < shape->kernel_width; j++, input_x += shape->dilation_x, to += depth) {
                        if (input_y < 0 || input_y >= shape->height || input_x < 0 || input_x >= shape->width) {
                            for (int32_t k = 0; k < depth; k++) {
                                to[k] = (uint8_t)shape->zero;
                            }
                        } else {
                            const uint8_t *from =
                                x + (input_y * shape->width + input_x) * shape->channels + group * depth;
                            for (int32_t k = 0; k < depth; k++) {
                                to[k] = from[k];
                            }
                        }
                    }
                }
                linear_u8_s8_s8(patch, pixel + group * shape->row.outputs,
                    weights + group * shape->row.outputs * shape->row.depth, bias + group * shape->row.outputs,
                    multiplier + group * shape->row.outputs * shape->row.multiplier_step, &shape->row);
            }
        }
    }
}

/* Rows of a matrix product: y[r][o] = requantize(bias[o] + sum over k of x[r][k] * weights[o][k]).
 * The zero point of x is folded into the bias. `multiplier` has one entry for each output, or one for all. */
typedef struct {
    int32_t rows;
    int32_t depth;            /* inputs of a row */
    int32_t outputs;          /* outputs of a row */
    int32_t row_stride;       /* from one row of y to the next */
    int32_t multiplier_step;  /* 1: per output, 0: one for all */
    requantize_type to;
} linear_s8_shape;

KERNEL void linear_s8(const int8_t *x, int8_t *y, const int8_t *weights, const int32_t *bias,
    const int32_t *multiplier, const linear_s8_shape *shape)
{
    const int32_t depth = shape->depth;
    for (int32_t row = 0; row < shape->rows; row++, x += depth, y += shape->row_stride) {
        const int8_t *w = weights;
        const int32_t *scale = multiplier;
        int32_t output = 0;
        for (; output + 4 <= shape->outputs; output += 4, w += 4 * depth) { /* each x is read once for four outputs */
            const int8_t *w1 = w + depth;
            const int8_t *w2 = w1 + depth;
            const int8_t *w3 = w2 + depth;
            int32_t sum[4];
            int32_t sum0 = bias[output];
            int32_t sum1 = bias[output + 1];
            int32_t sum2 = bias[output + 2];
            int32_t sum3 = bias[output + 3];
            for (int32_t k = 0; k < depth; k++) {
                const int32_t value = x[k];
                sum0 += value * w[k];
                sum1 += value * w1[k];
                sum2 += value * w2[k];
                sum3 += value * w3[k];
            }
            sum[0] = sum0;
            sum[1] = sum1;
            sum[2] = sum2;
            sum[3] = sum3;
            for (int32_t i = 0; i < 4; i++, scale += shape->multiplier_step) {
                y[output + i] = (int8_t)requantize(sum[i], *scale, &shape->to);
            }
        }
        for (; output < shape->outputs; output++, w += depth, scale += shape->multiplier_step) {
            int32_t sum = bias[output];
            for (int32_t k = 0; k < depth; k++) {
                sum += (int32_t)x[k] * w[k];
            }
            y[output] = (int8_t)requantize(sum, *scale, &shape->to);
        }
    }
}

/* Index of the largest value along an axis of `length`; of equals the first one. */
KERNEL void arg_max_s8(const int8_t *x, int32_t *y, int32_t outer, int32_t length, int32_t inner)
{
    for (; outer > 0; outer--, x += (length - 1) * inner) {
        for (int32_t i = 0; i < inner; i++, x++) {
            int32_t best = 0;
            for (int32_t k = 1; k < length; k++) {
                if (x[k * inner] > x[best * inner]) {
                    best = k;
                }
            }
            *y++ = best;
        }
    }
}

/* Constants: 820 bytes in flash. */

/* Conv2D '/conv2d_1/Conv2D': 8x27 */
static const int8_t model_conv2d_1_weights[216] = {
    34, 11, 15, 111, -57, 81, 44, -127, -27, 91, 14, -119, 68, 59, 88, -83, -105, 93, -122, 11, -107, -51, -5, -20,
    -25, -120, -126, -96, -125, 44, 7, 38, -62, 29, 67, -30, -10, 127, 78, 123, -31, 47, 115, 38, 87, 48, 52, -28,
    96, -93, 20, 56, 88, 6, -32, -48, -20, -4, 56, 99, -109, 111, 8, -36, 44, 18, -63, -45, 56, 24, 1, -41, 66, -28,
    -44, 100, -60, -70, 55, 31, -115, -106, -31, 85, -25, 73, -47, -66, 74, 96, -107, -113, 44, -42, 19, -89, 92,
    -13, 101, 76, 52, -69, 68, -114, 18, -24, 127, -77, 114, -104, 31, 20, 102, -51, 103, 44, 100, -77, 66, 113,
    -115, -34, 35, -101, 3, 33, 67, 109, -23, -15, -7, 116, -78, 0, -115, -19, 114, 31, -38, 126, 26, 114, -123,
    -10, 85, 66, -24, -1, -20, 7, -69, 73, -108, -22, -56, 60, 64, 54, 108, 110, -80, -98, -94, 58, 120, 109, 43,
    119, 95, -124, -97, 93, -106, 123, 83, 117, -36, -90, 4, 121, -34, 99, -30, 82, -69, -5, -44, -68, 100, 77, -92,
    108, 120, -60, -19, 10, 40, -15, -90, 110, 49, -117, 80, 59, -81, 29, 0, -120, 109, 56, -48, -123, -104, 66,
    -89, 3
};

/* Conv2D '/conv2d_1/Conv2D': bias, the input's zero point folded in */
static const int32_t model_conv2d_1_bias[8] = {
    6133, -4335, -933, -2624, -3391, -1652, -4942, -2180
};

/* Conv2D '/conv2d_1/Conv2D': times 2^-40 */
static const int32_t model_conv2d_1_multiplier[8] = {
    1312153977, 859995246, 578222551, 548118588, 1529269676, 1651781196, 1274809041, 1426106327
};

/* Dense '/dense_3/Dense': 5x72 */
static const int8_t model_dense_3_weights[360] = {
    -58, -66, -74, 99, -72, -70, -96, -96, 71, -54, 77, 22, 91, 14, 67, 79, -112, 15, -12, -54, -12, -22, -2, 81,
    83, 32, 54, 117, 35, -33, -107, 13, -68, 24, -121, 89, 113, -90, 81, -24, -117, 105, 112, -117, 24, 82, 74, -22,
    92, 84, -99, -125, -101, -34, -100, -107, -62, 39, 6, -58, 115, 52, 34, 113, 73, -95, -118, 93, -24, -112, -6,
    -30, -18, -18, -47, -3, -2, 121, 49, 70, -125, -49, 123, -59, 3, 93, 35, 97, -86, 3, 35, -40, 19, 126, 60, -47,
    -111, -81, -58, 97, -58, 80, -58, 43, 7, 117, 17, 109, 118, 63, 33, 92, 127, -64, 16, -91, -101, 43, -115, 55,
    82, -85, 46, -27, 100, 105, 20, 16, 54, 20, 63, -78, 72, 7, 64, 6, -49, -105, 6, 123, -118, 18, -13, -126, 11,
    70, 62, 122, 7, 23, 119, -46, 76, -80, -35, 44, 20, -78, 41, 20, 107, 26, 98, 118, -105, -109, 1, 0, 14, 62,
    -47, -82, 46, -29, 110, -111, 53, 58, -58, -105, -46, -27, 122, 95, -69, -7, 25, 105, -93, 68, 108, 106, -57,
    -95, 24, -109, -94, -110, -74, 94, 44, 34, 124, -1, -117, -86, -61, 44, -36, -46, -99, 54, -121, -10, 62, 2, 48,
    74, -70, -104, -113, 20, -60, -77, 60, 79, 116, -3, 6, 125, 1, -81, -62, 118, -116, 77, 38, -5, 85, 80, -15, 26,
    67, 40, -4, 105, 98, -111, 12, 85, -106, -30, 2, -44, 50, 126, -35, 72, -98, -4, -126, -20, -124, 96, 120, -105,
    81, 53, -51, 74, 118, 76, 49, -45, 27, 76, 55, -70, -22, -35, 50, -21, -21, 11, 20, -99, 108, -24, -83, -127,
    -17, 62, -52, 90, -77, -92, -28, 52, -51, 82, -122, 123, -115, 88, -127, -19, -49, 122, 39, 121, -22, 1, 1, 65,
    2, 106, -79, -6, -65, 93, -92, 51, 105, -53, -56, 68, 23, 18, 98, -104, -58, -28, 106, -109, -12, -6, -124, -18,
    38, -19, -50, 22, 123, -96, -55, 111, -52, 47, -38, 83, 22, 101, 35, 21, -3, -117, -97, 54, 36, 18
};

/* Dense '/dense_3/Dense': bias, the input's zero point folded in */
static const int32_t model_dense_3_bias[5] = {
    -2299, 1956, 1777, 193, -1474
};

/* Dense '/dense_3/Dense': times 2^-40 */
static const int32_t model_dense_3_multiplier[5] = {
    1189708932, 1322072820, 2146782064, 1525159604, 1058181459
};

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

#endif /* MODEL_IMPLEMENTATION */
