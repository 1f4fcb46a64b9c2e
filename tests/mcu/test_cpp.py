"""The C++ interface: compiles as C++11 without exceptions, RTTI and standard library, and computes the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from boardfit.backends.mcu.backend import BACKEND
from boardfit.backends.mcu.execute import pack
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.storage import storage_of
from boardfit.interp import run
from boardfit.ir import FLOAT32, INT32, Graph
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.quantize import QuantizeAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.options import BackendOptions

from .builders import Builder, s8, u8
from .host import m4, random_inputs
from .tools import STRICT, call, mcu, need, network, write_sources

CPP = (*STRICT, "-std=c++11", "-fno-exceptions", "-fno-rtti", "-Wnon-virtual-dtor")

MAIN = """
#include <stdio.h>
#include <string.h>
#include "model.hpp"

using namespace boardfit::model;

static_assert(Input_camera_image::elements() == 108 && Input_camera_image::rank() == 4, "shape");
static_assert(Input_camera_image::size_of_axis(3) == 3 && Input_camera_image::size_of_axis(9) == 1, "axes");
static_assert(Input_camera_image::zero_point() == 10, "zero point");
static_assert(Input_camera_image::scale() > 0.0199f && Input_camera_image::scale() < 0.0201f, "scale");
static_assert(sizeof(Input_camera_image::value_type) == 1, "type");
static_assert(sizeof(Output_argmax_4_argmax_out::value_type) == 4, "type");
static_assert(decltype(Network(nullptr).input_gain())::size() == 5, "spans know their size");
static_assert(alignof(OwningNetwork) >= Network::arena_alignment(), "alignment");
static_assert(sizeof(OwningNetwork) >= Network::arena_bytes(), "memory");

static OwningNetwork owning;
static uint8_t arena[Network::arena_bytes()] MODEL_ALIGNED;

template <typename Input> static bool fill(Input span, FILE *file)
{
    return fread(span.data(), sizeof(span[0]), span.size(), file) == span.size();
}

template <typename Output> static void store(Output span, FILE *file)
{
    for (auto &value : span) { // begin() and end()
        fwrite(&value, sizeof(value), 1, file);
    }
}

static void infer(Network &network, FILE *inputs, FILE *outputs)
{
    while (fill(network.input_camera_image(), inputs) && fill(network.input_gain(), inputs)) {
        network.run();
        const Network &finished = network; // outputs are read from a constant network
        store(finished.output_dense_3_dense_out(), outputs);
        store(finished.output_argmax_4_argmax_out(), outputs);
        store(finished.output_quantize_5_quantize_out(), outputs);
    }
}

int main()
{
    Network borrowing(arena);
    FILE *inputs = fopen("inputs.bin", "rb");
    FILE *outputs = fopen("outputs.bin", "wb");
    if (inputs == nullptr || outputs == nullptr) {
        return 1;
    }
    infer(owning, inputs, outputs);
    rewind(inputs);
    infer(borrowing, inputs, outputs);
    fclose(inputs);
    fclose(outputs);
    /* real values, in and out */
    return Input_camera_image::quantize(0.02f) == 11 && Input_camera_image::quantize(1e9f) == 255 ? 0 : 2;
}
"""


def two_inputs() -> Graph:
    """An unsigned image and real numbers in; bytes, an int32 and bytes out."""
    build = Builder("C++ \\ network")
    image = build.input((1, 6, 6, 3), u8(0.02, 10), name="camera image")
    gain = build.input((1, 5), FLOAT32, name="gain")
    weights = build.weights((8, 3, 3, 3))
    y = build.node("Conv2D", [image, weights, build.bias(8)], Conv2DAttrs((2, 2), (1, 1, 1, 1)), s8(0.05))
    flat = build.node("Reshape", [y], ReshapeAttrs((1, 72)))
    scores = build.node("Dense", [flat, build.weights((5, 72)), build.bias(5)], DenseAttrs(), s8(0.1, 4))
    best = build.node("ArgMax", [scores], ArgMaxAttrs(1, False), INT32)
    return build.finish(scores, best, build.node("Quantize", [gain], QuantizeAttrs(s8(0.03, 5)), s8(0.03, 5)))


@pytest.mark.parametrize("single_header", [False, True])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_computes_the_same(compiler: str, single_header: bool, tmp_path: Path) -> None:
    c_compiler = {"g++": "gcc", "clang++": "clang"}[compiler]
    need(compiler, c_compiler)
    graph = two_inputs()
    options = BackendOptions(single_header=single_header)
    folder = BACKEND.emit(graph, m4(), options).write(tmp_path / "out")
    inputs = random_inputs(graph, 6, 3)
    samples = dict(zip(graph.inputs, inputs, strict=True))
    (folder / "main.cpp").write_text(MAIN)
    sources = ["test/model.c"] if single_header else ["model.c", "model_weights.c"]
    call(folder, c_compiler, "-std=c99", "-c", *sources)
    call(folder, compiler, *CPP, "-I.", "main.cpp", *(Path(name).stem + ".o" for name in sources), "-o", "program")
    storages = [[storage_of(graph.types[name].element) for name in names] for names in (graph.inputs, graph.outputs)]
    (folder / "inputs.bin").write_bytes(pack(inputs, storages[0]))
    call(folder, "./program")
    expected = run(graph, samples)
    packed = pack([expected[name] for name in graph.outputs], storages[1])
    assert (folder / "outputs.bin").read_bytes() == packed + packed  # of the owning and of the borrowing network


FREESTANDING = """
#include "model.hpp"
static boardfit::model::OwningNetwork network;
int8_t infer(int8_t value);
int8_t infer(int8_t value)
{
    for (auto &element : network.input()) {
        element = value;
    }
    network.run();
    return network.output()[0];
}
"""


@pytest.mark.parametrize("machine", ["m0", "m4", "m55"])
def test_compiles_for_the_core(machine: str, tmp_path: Path) -> None:
    need("arm-none-eabi-g++")
    write_sources(network("digits"), mcu("nucleo-l4r5zi"), tmp_path)
    (tmp_path / "use.cpp").write_text(FREESTANDING)
    flags = (*MACHINES[machine].flags, *CPP, "-O2", "-ffreestanding", "-fno-threadsafe-statics")
    call(tmp_path, "arm-none-eabi-g++", *flags, "-c", "use.cpp")
    wanted = call(tmp_path, "arm-none-eabi-nm", "--undefined-only", "use.o").split()[1::2]
    assert set(wanted) <= {"model_init", "model_input", "model_run", "model_output", "memset"}  # no C++ library


@pytest.mark.parametrize("standard", ["c++11", "c++17", "c++20"])
def test_every_standard(standard: str, tmp_path: Path) -> None:
    need("g++")
    write_sources(network("digits"), mcu("nucleo-l4r5zi"), tmp_path)
    (tmp_path / "use.cpp").write_text(FREESTANDING)
    call(tmp_path, "g++", *CPP, f"-std={standard}", "-fsyntax-only", "use.cpp")
