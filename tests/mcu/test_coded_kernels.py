"""Kernels that decode entropy-coded weights equal the interpreter: on this computer, and emulated on several cores."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Site
from boardfit.backends.mcu.kernels import variants_of
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan, make_plan
from boardfit.board import McuBoard, find_board
from boardfit.interp import run
from boardfit.ir import INT32, Affine, Graph
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.options import Optimize

from .builders import Builder, s8
from .host import random_inputs, run_on_host

SAMPLES = 3
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
BOARDS = {"m4": "nucleo-l4r5zi", "m0": "raspberry-pi-pico", "m3": "stm32f103-blue-pill", "rv32": "esp32-c3"}


def sparse_weights(build: Builder, shape: tuple[int, ...], density: float, clusters: int) -> str:
    """Clustered int8 weights, most of them zero; one scale for all."""
    book = np.unique(build.random.integers(-127, 128, clusters))
    values = np.where(build.random.random(shape) < density, build.random.choice(book, shape), 0)
    depth = max(1.0, density * values[0].size)
    return build.constant(values, Affine(True, 8, (0.05 / depth**0.5,), (0,), narrow=True))


def dense(
    inputs: int,
    out: int,
    density: float,
    *,
    rows: int = 1,
    clusters: int = 16,
    seed: int = 0,
    zero: int = -128,
    bias_shift: int = 4,
    wide: bool = False,
) -> Graph:
    """One dense layer; `wide` has a ratio that the high word of a product cannot do."""
    build = Builder(f"dense {inputs}x{out} {density} {seed}", seed)
    x = build.input((rows, inputs), s8(0.05, zero))
    weights = sparse_weights(build, (out, inputs), density, clusters)
    bias = build.constant(build.random.integers(-60, 61, out) << bias_shift, INT32)
    attrs = DenseAttrs(RELU if seed % 2 else NONE)
    y = s8(0.0005 if wide else 0.1, -128 if seed % 2 else 5)
    return build.finish(build.node("Dense", [x, weights, bias], attrs, y))


DENSE = [
    dense(64, 12, 0.1),
    dense(300, 40, 0.02, seed=1),
    dense(77, 10, 0.3, rows=3, seed=2, zero=7),
    dense(500, 60, 0.0005, seed=3),  # rows and columns without a weight
    dense(40, 6, 0.0, seed=4),
    dense(9, 1, 0.4, seed=5, clusters=2),
    dense(120, 30, 0.25, seed=6, clusters=200, bias_shift=20),
    dense(60, 20, 0.1, seed=7, wide=True),
]


def mcu(name: str) -> McuBoard:
    board = find_board(name)
    assert isinstance(board, McuBoard)
    return board


def plan_with(kernel: str, graph: Graph, board: str = "nucleo-l4r5zi") -> Plan:
    """The one node of a graph done by the kernel of that name."""
    site = Site(graph.nodes[0], graph, mcu(board).features)
    chosen = next(one for one in variants_of(site.node.op) if one.name == kernel)
    assert chosen.reason_against(site) is None
    layer = Layer(site.node, chosen, chosen.lower(site))
    arena, places, scratch = place(graph, [layer])
    return Plan(graph, site.features, (layer,), arena, places, scratch)


def convolution(
    size: tuple[int, int, int],
    kernel: tuple[int, int],
    out: int,
    density: float,
    strides: tuple[int, int] = (1, 1),
    clusters: int = 16,
    seed: int = 0,
    wide: bool = False,
) -> Graph:
    """One convolution without padding."""
    build = Builder(f"convolution {seed}", seed)
    x = build.input((1, *size), s8(0.05, -11))
    weights = sparse_weights(build, (out, *kernel, size[2]), density, clusters)
    bias = build.constant(build.random.integers(-60, 61, out) << 3, INT32)
    y = s8(0.0005 if wide else 0.1, 5)
    return build.finish(build.node("Conv2D", [x, weights, bias], Conv2DAttrs(strides), y))


CONVOLUTION = [
    convolution((9, 8, 1), (5, 5), 6, 0.3, seed=1),
    convolution((8, 9, 6), (3, 3), 7, 0.1, seed=2),
    convolution((11, 10, 4), (3, 2), 5, 0.2, (2, 3), seed=3, clusters=200),
    convolution((5, 5, 12), (1, 1), 9, 0.2, seed=4, wide=True),
    convolution((6, 7, 3), (6, 7), 4, 0.05, seed=5),
]
CASES = {
    "dense/huffman": DENSE,
    "dense/arithmetic": DENSE,
    "conv2d/huffman": CONVOLUTION,
    "conv2d/arithmetic": CONVOLUTION,
}


@pytest.mark.parametrize("kernel", CASES)
def test_on_this_computer(kernel: str) -> None:
    """The tables and the arena are exactly as large as told: reading one byte beside them would be found."""
    graphs = CASES[kernel]
    inputs = [random_inputs(graph, SAMPLES, seed) for seed, graph in enumerate(graphs)]
    found = run_on_host([plan_with(kernel, graph) for graph in graphs], inputs, SANITIZE)
    for graph, arrays, outputs in zip(graphs, inputs, found, strict=True):
        expected = run(graph, dict(zip(graph.inputs, arrays, strict=True)))[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=graph.name)


@pytest.mark.slow
@pytest.mark.parametrize("core", BOARDS)
@pytest.mark.parametrize("kernel", CASES)
def test_on_the_emulator(kernel: str, core: str) -> None:
    machine = MACHINES[core]
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    cases = CASES[kernel] if core == "m4" else CASES[kernel][1:4]
    for seed, graph in enumerate(cases):
        plan = plan_with(kernel, graph, BOARDS[core])
        x = random_inputs(graph, SAMPLES, seed)[0]
        result = measure(model_program(plan, mcu(BOARDS[core])), machine, packed_inputs(graph, x))
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected, err_msg=graph.name)
        if core == "m4":
            measured = max(count for _, count in result.by_site)
            assert plan.layers[0].lowered.instructions == pytest.approx(measured, rel=0.25, abs=1200), graph.name


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(0, 1 << 30), min_size=12, max_size=12))
def test_random_layers(seeds: list[int]) -> None:
    kernels = [kernel for kernel in CASES if kernel.startswith("dense")]
    graphs: list[Graph] = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        size = int(random.integers(1, 300)), int(random.integers(1, 40))
        density = float(random.choice([0.0, 0.003, 0.02, 0.1, 0.3]))
        zero, clusters, shift = (int(random.integers(low, high)) for low, high in ((-128, 128), (2, 254), (0, 20)))
        graphs.append(dense(*size, density, clusters=clusters, seed=seed, zero=zero, bias_shift=shift))
    for kernel in kernels:
        able = [graph for graph in graphs if _can(kernel, graph)]
        inputs = [random_inputs(graph, SAMPLES, seed) for seed, graph in enumerate(able)]
        found = run_on_host([plan_with(kernel, graph) for graph in able], inputs, SANITIZE)
        for graph, arrays, outputs in zip(able, inputs, found, strict=True):
            expected = run(graph, dict(zip(graph.inputs, arrays, strict=True)))[graph.outputs[0]]
            np.testing.assert_array_equal(outputs[0], expected, err_msg=graph.name)


def _can(kernel: str, graph: Graph) -> bool:
    site = Site(graph.nodes[0], graph, mcu("nucleo-l4r5zi").features)
    return next(one for one in variants_of("Dense") if one.name == kernel).reason_against(site) is None


def test_size_chooses_codes_and_any_format_can_be_forced() -> None:
    """Sparse clustered layers: what counts is flash, so the codes win, and the record of choices is by layer."""
    graph = dense(400, 120, 0.02, seed=9)
    board = mcu("nucleo-l4r5zi")
    layer = make_plan(graph, board, Optimize.SIZE).layers[0]
    assert layer.kernel.format in ("huffman", "arithmetic")
    bytes_of = {}
    for name in ("int8", "huffman", "arithmetic"):
        forced = make_plan(graph, board, Optimize.SPEED, ((graph.nodes[0].source.node, name),))
        assert forced.layers[0].kernel.format == name
        bytes_of[name] = forced.layers[0].lowered.constant_bytes
    assert bytes_of["arithmetic"] < bytes_of["huffman"] < bytes_of["int8"] / 20


def test_weights_that_do_not_code_shorter_are_refused() -> None:
    build = Builder("plain", 1)
    x = build.input((1, 64), s8())
    graph = build.finish(build.node("Dense", [x, build.weights((32, 64)), build.bias(32)], DenseAttrs(), s8(0.1)))
    site = Site(graph.nodes[0], graph, mcu("nucleo-l4r5zi").features)
    coded = [kernel for kernel in variants_of("Dense") if kernel.format in ("huffman", "arithmetic")]
    reasons = [kernel.reason_against(site) for kernel in coded]
    assert reasons == ["its weights are hardly shorter in a code"] * 2


def test_a_scale_for_each_channel_keeps_its_multipliers() -> None:
    build = Builder("per channel", 3)
    x = build.input((1, 90), s8(0.05, -3))
    values = np.where(build.random.random((12, 90)) < 0.1, build.random.integers(-9, 10, (12, 90)), 0)
    scales = tuple(float(scale) for scale in build.random.uniform(0.002, 0.02, 12))
    weights = build.constant(values, Affine(True, 8, scales, (0,) * 12, 0, narrow=True))
    graph = build.finish(build.node("Dense", [x, weights, build.bias(12)], DenseAttrs(), s8(0.1, 4)))
    arrays = random_inputs(graph, SAMPLES, 1)
    expected = run(graph, dict(zip(graph.inputs, arrays, strict=True)))[graph.outputs[0]]
    plans = [plan_with(kernel, graph) for kernel in ("dense/huffman", "dense/arithmetic")]
    for outputs in run_on_host(plans, [arrays] * 2, SANITIZE):
        np.testing.assert_array_equal(outputs[0], expected)


@pytest.mark.parametrize("graph", [*DENSE, *CONVOLUTION], ids=lambda graph: str(graph.name))
def test_bounds_are_never_above_what_is_laid_out(graph: Graph) -> None:
    plan = plan_with(f"{graph.nodes[0].op.lower()}/arithmetic", graph)
    layer = plan.layers[0]
    assert layer.kernel.bound is not None
    least = layer.kernel.bound(Site(graph.nodes[0], graph, plan.features))
    assert 0 < least.instructions <= layer.lowered.instructions
    assert least.constant_bytes <= layer.lowered.constant_bytes
    assert least.scratch_bytes <= layer.lowered.scratch_bytes
