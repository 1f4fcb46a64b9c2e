"""Layers of two-valued inputs and weights, computed by XOR and a count of bits, equal the interpreter."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Kernel, Site
from boardfit.backends.mcu.kernels import signs
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan, make_plan
from boardfit.interp import run
from boardfit.ir import Affine, Graph
from boardfit.ops.activation import Activation
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.lookup import LookupAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs

from .builders import Builder, s8
from .host import random_inputs, run_on_host
from .test_stored_weights import board

CASES, SAMPLES = 10, 3


def layer(kernel: Kernel, seed: int, *, zero: int | None = None) -> Graph:
    """signs - (max pool -) layer; `zero` makes the inputs unequal about their zero point."""
    random = np.random.default_rng(seed)
    build = Builder(f"{kernel.name} {seed}", seed)

    def pick(low: int, high: int) -> int:
        return int(random.integers(low, high, endpoint=True))

    middle, size, weight = pick(-20, 20), pick(1, 100), pick(1, 127)
    x_type = s8(0.05, middle if zero is None else zero)
    table = np.where(np.arange(-128, 128) >= pick(-30, 30), middle + size, middle - size)
    dense = kernel.op == "Dense"
    channels = pick(1, 80) if seed % 3 else pick(100, 700) if dense else 32 * pick(1, 3)
    height, width = pick(3, 7), pick(3, 7)
    shape = (pick(1, 3), channels) if dense else (1, height, width, channels)
    x = build.input(shape, s8(0.1, 3))
    y = build.node("Lookup", [x, build.constant(table, x_type)], LookupAttrs("sign"), x_type)
    if not dense and seed % 2:
        y = build.node("MaxPool2D", [y], MaxPool2DAttrs((2, 2), (1, 1)), x_type)
    out = pick(1, 21)
    kh, kw = (1, 1) if dense else (pick(1, 3), pick(1, 3))
    raw = weight * random.choice([-1, 1], (out, channels) if dense else (out, kh, kw, channels))
    scales = tuple(float(s) for s in random.uniform(0.001, 0.003, out))
    operands = [y, build.constant(raw, Affine(True, 8, scales, (0,) * out, 0, narrow=True)), build.bias(out, 3000)]
    activation = Activation() if seed % 3 else Activation(-1.0, 4.0)
    y_type = s8(0.5, pick(-128, 127))
    if dense:
        return build.finish(build.node("Dense", operands, DenseAttrs(activation), y_type))
    strides = (pick(1, 2), pick(1, 2))
    pads = (pick(0, 2), pick(0, 2), pick(0, 2), pick(0, 2))
    dilations = (2, 2) if seed % 4 == 3 else (1, 1)
    attrs = Conv2DAttrs(strides, pads, dilations=dilations, activation=activation)
    return build.finish(build.node("Conv2D", operands, attrs, y_type))


def plan_with(kernel: Kernel, graph: Graph, machine: str) -> Plan:
    """The last node done by the kernel."""
    features = board(machine).features
    layers = list(make_plan(graph, board(machine)).layers)
    site = Site(graph.nodes[-1], graph, features)
    assert kernel.reason_against(site) is None
    layers[-1] = Layer(graph.nodes[-1], kernel, kernel.lower(site))
    arena, places, scratch = place(graph, layers)
    return Plan(graph, features, tuple(layers), arena, places, scratch)


@pytest.mark.parametrize("kernel", signs.KERNELS, ids=lambda kernel: kernel.name)
def test_c_on_this_computer(kernel: Kernel) -> None:
    graphs = [layer(kernel, seed) for seed in range(CASES)]
    plans = [plan_with(kernel, graph, "m0") for graph in graphs]
    inputs = [random_inputs(graph, SAMPLES, seed) for seed, graph in enumerate(graphs)]
    flags = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for graph, arrays, outputs in zip(graphs, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(graph, {graph.inputs[0]: arrays[0]})[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=graph.name)


@pytest.mark.parametrize("kernel", signs.KERNELS, ids=lambda kernel: kernel.name)
def test_only_signs_about_the_zero_point_are_taken(kernel: Kernel) -> None:
    graph = layer(kernel, 1, zero=90)
    reason = kernel.reason_against(Site(graph.nodes[-1], graph, board("m4").features))
    assert reason == "its inputs are not two values with the zero point in the middle"
    graph = layer(kernel, 1)
    bare = Site(graph.nodes[-1], graph, board("m4").features)
    assert kernel.reason_against(bare) is None
    assert signs.magnitude_of_signs(graph, graph.inputs[0]) is None


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["m4", "m0", "rv32"])
@pytest.mark.parametrize("kernel", signs.KERNELS, ids=lambda kernel: kernel.name)
def test_emulated(kernel: Kernel, machine: str) -> None:
    target = MACHINES[machine]
    if shutil.which(target.compiler) is None or shutil.which(target.qemu) is None:
        pytest.skip(f"{target.compiler} or {target.qemu} is not installed")
    graph = layer(kernel, 3)
    x = random_inputs(graph, SAMPLES, 3)[0]
    result = measure(model_program(plan_with(kernel, graph, machine), board(machine)), target, packed_inputs(graph, x))
    expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected)


def test_bits_are_counted_where_that_is_faster() -> None:
    """Many inputs and outputs: 32 products by a dozen instructions, and a bit for each weight in flash."""
    random = np.random.default_rng(1)
    build = Builder("signs")
    x = build.input((1, 512), s8(0.1, 3))
    table = np.where(np.arange(-128, 128) >= 3, 1, -1)
    y = build.node("Lookup", [x, build.constant(table, s8(1.0, 0))], LookupAttrs("sign"), s8(1.0, 0))
    weights = build.constant(random.choice([-1, 1], (128, 512)), Affine(True, 8, (0.01,), (0,)))
    graph = build.finish(build.node("Dense", [y, weights, build.bias(128)], DenseAttrs(), s8(0.5, -4)))
    chosen = make_plan(graph, board("m4")).layers[-1]
    assert chosen.kernel.name == "dense/signs"
    assert chosen.lowered.constant_bytes < 128 * 512 / 8 + 128 * 8 + 64
    assert chosen.lowered.instructions < 0.6 * 128 * 512
