"""Kernels for cores without DSP extension equal the interpreter: as C on this computer, as assembly emulated."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.board import McuBoard, find_board
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.ops.activation import NONE, RELU, Activation
from boardfit.ops.add import AddAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.sub import SubAttrs

from .builders import Builder, s8
from .host import random_inputs, run_on_host

SAMPLES = 3
SAME = (1, 1, 1, 1)
BOARDS = {"m55": "corstone-300", "m0": "raspberry-pi-pico", "rv32": "esp32-c3", "m3": "stm32f103-blue-pill"}


def convolution(
    size: tuple[int, int, int], kernel: tuple[int, int], out: int, attrs: Conv2DAttrs, seed: int = 0, zero: int = -11
) -> Graph:
    """One convolution; odd seeds have the zero point of a rectified output."""
    build = Builder(f"convolution {seed}", seed)
    x = build.input((1, *size), s8(0.05, zero))
    depth = kernel[0] * kernel[1] * size[2] // attrs.groups
    weights = build.weights((out, *kernel, size[2] // attrs.groups), scale=0.05 / depth**0.5)
    return build.finish(build.node("Conv2D", [x, weights, build.bias(out)], attrs, s8(0.1, -128 if seed % 2 else 5)))


def dense(inputs: int, out: int, rows: int = 1, seed: int = 0) -> Graph:
    """One dense layer; odd seeds have a fused activation that clamps inside the output's range."""
    build = Builder(f"dense {seed}", seed)
    x = build.input((rows, inputs), s8(0.05, 7))
    weights = build.weights((out, inputs), scale=0.05 / inputs**0.5)
    activation = RELU if seed % 2 else NONE
    return build.finish(build.node("Dense", [x, weights, build.bias(out)], DenseAttrs(activation), s8(0.1, -3)))


CLAMPED = Activation(-2.0, 3.0)
LINEAR_CASES = [
    dense(64, 12),
    dense(77, 10, seed=1),
    dense(8, 3, rows=3, seed=2),
    dense(24, 4, rows=2, seed=3),
    convolution((5, 7, 8), (1, 1), 6, Conv2DAttrs(), 1),
    convolution((6, 7, 20), (1, 1), 8, Conv2DAttrs((2, 2), activation=CLAMPED), 2),
    convolution((4, 4, 64), (1, 1), 16, Conv2DAttrs(), 3),
    convolution((9, 10, 16), (3, 3), 16, Conv2DAttrs(pads=SAME), 4),
    convolution((9, 9, 3), (3, 3), 8, Conv2DAttrs((2, 2), (0, 0, 1, 1)), 5),
    convolution((12, 10, 1), (10, 4), 6, Conv2DAttrs((2, 2), (4, 1, 5, 1)), 6),
    convolution((7, 8, 19), (5, 3), 5, Conv2DAttrs((1, 2), (2, 0, 2, 1), activation=CLAMPED), 7),
    convolution((7, 11, 4), (2, 3), 4, Conv2DAttrs((3, 1)), 8),  # rows that no window covers
    convolution((9, 7, 4), (3, 2), 4, Conv2DAttrs(pads=(2, 1, 2, 0), dilations=(2, 1)), 9),
]


def depthwise(size: tuple[int, int, int], kernel: tuple[int, int], attrs: Conv2DAttrs, seed: int = 0) -> Graph:
    """One depthwise convolution."""
    return convolution(size, kernel, size[2], replace(attrs, groups=size[2]), seed)


DEPTHWISE_CASES = [
    depthwise((9, 10, 16), (3, 3), Conv2DAttrs(pads=SAME), 12),
    depthwise((7, 5, 40), (3, 3), Conv2DAttrs(pads=SAME), 13),  # a block that is not full
    depthwise((10, 12, 8), (3, 3), Conv2DAttrs(pads=SAME), 14),  # two pixels in a vector
    depthwise((6, 7, 4), (2, 3), Conv2DAttrs(pads=(0, 1, 1, 1), activation=CLAMPED), 15),
    depthwise((11, 9, 32), (3, 3), Conv2DAttrs((2, 2), (0, 0, 1, 1)), 16),
    depthwise((13, 9, 8), (3, 3), Conv2DAttrs((2, 2), SAME), 17),
    depthwise((8, 8, 17), (5, 5), Conv2DAttrs(pads=(2, 2, 2, 2), activation=CLAMPED), 18),
    depthwise((9, 9, 16), (1, 3), Conv2DAttrs((3, 1), (0, 1, 0, 1)), 19),  # rows that no window covers
]


def addition(shape: tuple[int, ...], attrs: AddAttrs | SubAttrs, seed: int = 0) -> Graph:
    """The sum or difference of an input and a pooled copy of it."""
    build = Builder(f"sum {seed}", seed)
    x = build.input(shape, s8(0.05, -20))
    pool = MaxPool2DAttrs((3, 3), (1, 1), SAME)
    pooled = build.node("MaxPool2D", [x], pool)
    op = "Add" if isinstance(attrs, AddAttrs) else "Sub"
    return build.finish(build.node(op, [x, pooled], attrs, s8(0.07, 3)))


def average(shape: tuple[int, ...], attrs: AveragePool2DAttrs, seed: int = 0) -> Graph:
    """One average pooling."""
    build = Builder(f"average {seed}", seed)
    x = build.input(shape, s8(0.05, -20))
    return build.finish(build.node("AveragePool2D", [x], attrs, s8(0.04, 9)))


ELEMENTWISE_CASES = [
    addition((1, 5, 6, 7), AddAttrs(), 20),
    addition((1, 4, 4, 16), SubAttrs(CLAMPED), 21),
    addition((1, 9, 4, 33), AddAttrs(RELU), 22),
    average((1, 5, 6, 7), AveragePool2DAttrs((5, 6), (1, 1)), 23),
    average((1, 8, 9, 20), AveragePool2DAttrs((3, 3), (2, 2), SAME), 24),
    average((1, 8, 9, 16), AveragePool2DAttrs((3, 2), (1, 2), SAME, count_pads=True), 25),
]
CASES: dict[str, tuple[str, list[Graph]]] = {
    "mve-linear": ("m55", LINEAR_CASES),
    "mve-depthwise": ("m55", DEPTHWISE_CASES),
    "mve-elementwise": ("m55", ELEMENTWISE_CASES),
    "thumb-convolution": ("m0", [graph for graph in LINEAR_CASES if graph.nodes[0].op == "Conv2D"]),
    "thumb-depthwise": ("m0", DEPTHWISE_CASES),
    "tile-linear": ("rv32", LINEAR_CASES),
    "tile-linear-m3": ("m3", [graph for graph in LINEAR_CASES if graph.types[graph.outputs[0]].shape[-1] % 4 == 0]),
    "tile-depthwise": ("rv32", [graph for graph in DEPTHWISE_CASES if graph.name != "convolution 18"]),
}


def board(machine: str) -> McuBoard:
    """The board a machine stands for."""
    found = find_board(BOARDS[machine])
    assert isinstance(found, McuBoard)
    return found


@pytest.mark.parametrize("name", CASES)
def test_portable_twin(name: str) -> None:
    machine, graphs = CASES[name]
    plans = [make_plan(graph, board(machine)) for graph in graphs]
    assert all(name.split("-")[0] in layer.kernel.name for plan in plans for layer in plan.layers)
    inputs = [random_inputs(graph, SAMPLES, seed) for seed, graph in enumerate(graphs)]
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for graph, arrays, outputs in zip(graphs, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(graph, dict(zip(graph.inputs, arrays, strict=True)))[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=graph.name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_assembly_and_predicted_instructions(name: str) -> None:
    machine = MACHINES[CASES[name][0]]
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    for seed, graph in enumerate(CASES[name][1]):
        plan = make_plan(graph, board(machine.name))
        x = random_inputs(graph, SAMPLES, seed)[0]
        result = measure(model_program(plan, board(machine.name)), machine, packed_inputs(graph, x))
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected, err_msg=graph.name)
        measured = sum(count for _, count in result.by_site)
        predicted = sum(layer.lowered.instructions for layer in plan.layers)
        assert predicted == pytest.approx(measured, rel=0.25, abs=150), graph.name
