/* The kernels small *-/ network needs. Included by model.c only. */
#ifndef MODEL_KERNELS_H
#define MODEL_KERNELS_H

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

#endif
