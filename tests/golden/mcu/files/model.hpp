/* small *-/ network: the interface of model.h for C++11 and later. No exceptions, no RTTI, no heap, no C++ library.
 *
 *     #include "model.hpp"
 *
 *     static boardfit::model::OwningNetwork network;
 *
 *     auto input = network.input();   // input[i], i < input.size()
 *     network.run();
 *     auto output_dense_3_dense_out = network.output_dense_3_dense_out();
 *     auto output_argmax_4_argmax_out = network.output_argmax_4_argmax_out();
 */
#ifndef MODEL_HPP
#define MODEL_HPP

#include <stddef.h>
#include <stdint.h>

#include "model.h"

namespace boardfit {
namespace model {

/* The elements of a tensor in memory that something else owns. */
template <typename Element, size_t elements>
class Span {
public:
    explicit constexpr Span(Element *data) noexcept : data_(data) {}
    Element *data() const noexcept { return data_; }
    static constexpr size_t size() noexcept { return elements; }
    Element &operator[](size_t index) const noexcept { return data_[index]; }
    Element *begin() const noexcept { return data_; }
    Element *end() const noexcept { return data_ + elements; }

private:
    Element *data_;
};

/* Input 'camera image': uint8_t, 1x6x6x3. */
struct Input {
    using value_type = uint8_t;
    using view = Span<value_type, 108>;
    static constexpr size_t elements() noexcept { return 108; }
    static constexpr int rank() noexcept { return 4; }
    /* Size of an axis, 1 beyond the last. */
    static constexpr size_t size_of_axis(int axis) noexcept
    {
        return axis == 0 ? 1 : axis == 1 ? 6 : axis == 2 ? 6 : axis == 3 ? 3 : 1;
    }
    static constexpr float scale() noexcept { return MODEL_INPUT_SCALE; }
    static constexpr int32_t zero_point() noexcept { return MODEL_INPUT_ZERO_POINT; }
    static value_type quantize(float value) noexcept { return model_input_quantize(value); }
};

/* Output '/dense_3/Dense_out': int8_t, 1x5. */
struct Output_dense_3_dense_out {
    using value_type = int8_t;
    using view = Span<const value_type, 5>;
    static constexpr size_t elements() noexcept { return 5; }
    static constexpr int rank() noexcept { return 2; }
    /* Size of an axis, 1 beyond the last. */
    static constexpr size_t size_of_axis(int axis) noexcept
    {
        return axis == 0 ? 1 : axis == 1 ? 5 : 1;
    }
    static constexpr float scale() noexcept { return MODEL_OUTPUT_DENSE_3_DENSE_OUT_SCALE; }
    static constexpr int32_t zero_point() noexcept { return MODEL_OUTPUT_DENSE_3_DENSE_OUT_ZERO_POINT; }
    static float dequantize(value_type value) noexcept { return model_output_dense_3_dense_out_dequantize(value); }
};

/* Output '/argmax_4/ArgMax_out': int32_t, 1. */
struct Output_argmax_4_argmax_out {
    using value_type = int32_t;
    using view = Span<const value_type, 1>;
    static constexpr size_t elements() noexcept { return 1; }
    static constexpr int rank() noexcept { return 1; }
    /* Size of an axis, 1 beyond the last. */
    static constexpr size_t size_of_axis(int axis) noexcept
    {
        return axis == 0 ? 1 : 1;
    }
    static constexpr float scale() noexcept { return MODEL_OUTPUT_ARGMAX_4_ARGMAX_OUT_SCALE; }
    static constexpr int32_t zero_point() noexcept { return MODEL_OUTPUT_ARGMAX_4_ARGMAX_OUT_ZERO_POINT; }
};

/* The network in memory the caller owns. Networks with arenas of their own are independent of one another. */
class Network {
public:
    static constexpr size_t arena_bytes() noexcept { return MODEL_ARENA_BYTES; }
    static constexpr size_t arena_alignment() noexcept { return 4; }

    /* `arena`: arena_bytes() bytes, aligned to arena_alignment(), that live as long as the network. */
    explicit Network(uint8_t *arena) noexcept : context_() { model_init(&context_, arena); }

    /* One inference: reads the inputs, which it may overwrite, and writes the outputs. */
    void run() noexcept { model_run(&context_); }

    /* Input 'camera image'. */
    Input::view input() noexcept
    {
        return Input::view(model_input(&context_));
    }

    /* Output '/dense_3/Dense_out'. */
    Output_dense_3_dense_out::view output_dense_3_dense_out() const noexcept
    {
        return Output_dense_3_dense_out::view(model_output_dense_3_dense_out(&context_));
    }

    /* Output '/argmax_4/ArgMax_out'. */
    Output_argmax_4_argmax_out::view output_argmax_4_argmax_out() const noexcept
    {
        return Output_argmax_4_argmax_out::view(model_output_argmax_4_argmax_out(&context_));
    }

private:
    model_context context_;
};

/* Memory of an OwningNetwork: a base class, because bases are made before what uses them. */
class Arena {
protected:
    uint8_t *arena() noexcept { return arena_; }

private:
    alignas(4) uint8_t arena_[MODEL_ARENA_BYTES];
};

/* The network with its memory. It is as large as the arena: best static, or on a stack that has the room. */
class OwningNetwork : private Arena, public Network {
public:
    OwningNetwork() noexcept : Arena(), Network(arena()) {}
    OwningNetwork(const OwningNetwork &) = delete; // a copy would compute in the memory of the original
    OwningNetwork &operator=(const OwningNetwork &) = delete;
};

} // namespace model
} // namespace boardfit

#endif
