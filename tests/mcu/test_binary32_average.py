"""Averages stated in binary32: the C kernel computes them in integers, equal to NumPy's float32 on every compiler."""

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
from boardfit.ir import Affine, Graph
from boardfit.ops.average_pool2d import AveragePool2DAttrs, MeanArithmetic

from .builders import Builder, s8, s16, u8
from .host import m4, random_inputs, run_on_host

SAMPLES = 4
BOARDS = {"m0": "raspberry-pi-pico", "m4": "nucleo-l4r5zi", "m55": "corstone-300", "rv32": "esp32-c3"}
PADS = (1, 1, 1, 1)
BINARY32 = MeanArithmetic.BINARY32

GEOMETRIES = [
    ((8, 8, 24), (8, 8), (8, 8), (0, 0, 0, 0), False),
    ((9, 10, 5), (2, 2), (2, 2), (0, 0, 0, 0), False),
    ((9, 10, 5), (3, 3), (2, 1), PADS, False),
    ((9, 10, 3), (3, 2), (2, 2), PADS, True),
    ((25, 5, 6), (25, 5), (1, 1), (0, 0, 0, 0), False),
]
ELEMENTS = [
    (s8(0.1270691454410553, -128), None),
    (s8(0.0371, 5), None),
    (u8(0.0123, 77), s8(0.5, 2)),
    (s8(0.3, -7), u8(0.001, 9)),  # saturates both ways
    (s16(0.00131, -5), None),
    (Affine(False, 16, (3.7e-5,), (40000,)), s16(0.002, -300)),
    (s8(2.0**-9, 0), s8(2.0**-9, 1)),
    (s8(1e-15, 3), s8(3e-15, 0)),
    (s8(float(np.nextafter(np.float32(1), np.float32(0))), -100), s8(1.0, 0)),
]


def average(seed: int, geometry: int, x_type: Affine, y_type: Affine, arithmetic: MeanArithmetic = BINARY32) -> Graph:
    """One pool."""
    size, kernel, strides, pads, count_pads = GEOMETRIES[geometry % len(GEOMETRIES)]
    attrs = AveragePool2DAttrs(kernel, strides, pads, count_pads=count_pads, arithmetic=arithmetic)
    build = Builder(f"binary32 {seed}", seed)
    x = build.input((1, *size), float32(x_type))
    return build.finish(build.node("AveragePool2D", [x], attrs, float32(y_type)))


def float32(element: Affine) -> Affine:
    """The type with its scale as a file holds it."""
    return replace(element, scale=tuple(float(np.float32(scale)) for scale in element.scale))


def cases() -> list[Graph]:
    """Every pair of types with two geometries."""
    pairs = [(index + shift, x, y or x) for index, (x, y) in enumerate(ELEMENTS) for shift in (0, 3)]
    return [average(seed, *pair) for seed, pair in enumerate(pairs)]


def tied_inputs(graph: Graph, seed: int) -> np.ndarray:
    """Random inputs; in the second half, means over a whole image are exact ties if input and output share a type."""
    x = random_inputs(graph, SAMPLES, seed)[0]
    element = graph.types[graph.inputs[0]].element
    assert isinstance(element, Affine)
    attrs = graph.nodes[0].attrs
    assert isinstance(attrs, AveragePool2DAttrs)
    count = attrs.kernel[0] * attrs.kernel[1]
    if attrs.kernel == x.shape[2:4] and count % 2 == 0:
        for image in x[SAMPLES // 2 :].reshape(-1, count, x.shape[-1]):
            for channel in range(x.shape[-1]):
                missing = (count // 2 - int((image[:, channel] - element.zero_point[0]).sum())) % count
                room = np.flatnonzero(image[:, channel] < element.maximum)[:missing]
                image[room, channel] += 1
    return x


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")),
        ("gcc", ("-Ofast", "-march=native")),  # contraction, reordering, flush to zero: integers do not care
        ("clang", ("-O2", "-ffast-math")),
    ],
)
def test_equals_the_interpreter(compiler: str, flags: tuple[str, ...]) -> None:
    graphs = cases()
    inputs = [[tied_inputs(graph, seed)] for seed, graph in enumerate(graphs)]
    plans = [make_plan(graph, m4()) for graph in graphs]
    assert {layer.kernel.name for plan in plans for layer in plan.layers} == {"average_pool2d/binary32"}
    for graph, arrays, outputs in zip(graphs, inputs, run_on_host(plans, inputs, flags, compiler), strict=True):
        expected = run(graph, {graph.inputs[0]: arrays[0]})[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=f"{graph.name} {graph.types[graph.inputs[0]]}")


def test_noise_decides_ties() -> None:
    """The arithmetic matters: exact and binary32 averages of the same tied inputs differ."""
    element = ELEMENTS[0][0]
    graph, exact = (average(0, 0, element, element, arithmetic) for arithmetic in MeanArithmetic)
    values = tied_inputs(graph, 0)
    apart = np.abs(
        run(graph, {graph.inputs[0]: values})[graph.outputs[0]]
        - run(exact, {exact.inputs[0]: values})[exact.outputs[0]]
    )
    assert apart.max() == 1
    assert 0.1 < apart[SAMPLES // 2 :].mean() < 0.9  # the half of the samples that is tied


@pytest.mark.slow
@pytest.mark.parametrize("name", BOARDS)
def test_every_core(name: str) -> None:
    machine = MACHINES[name]
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    board = find_board(BOARDS[name])
    assert isinstance(board, McuBoard)
    for seed, graph in enumerate(cases()[::4]):
        plan = make_plan(graph, board)
        x = tied_inputs(graph, seed)
        result = measure(model_program(plan, board), machine, packed_inputs(graph, x))
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected, err_msg=graph.name)
        if name == "m4":
            measured = sum(count for _, count in result.by_site)
            predicted = sum(layer.lowered.instructions for layer in plan.layers)
            assert predicted == pytest.approx(measured, rel=0.25), graph.name
