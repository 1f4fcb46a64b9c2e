"""The kernels for the DSP extension equal the interpreter: their C on this computer, their assembly on the emulator."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Site
from boardfit.backends.mcu.kernels import KERNELS
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan
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
from .host import m4, random_inputs, run_on_host

SAMPLES = 3
SAME = (1, 1, 1, 1)


def convolution(
    size: tuple[int, int, int],
    kernel: tuple[int, int],
    out: int,
    attrs: Conv2DAttrs,
    seed: int = 0,
    zero: int = -11,
    reach: int = 3000,
) -> Graph:
    build = Builder(f"convolution {seed}", seed)
    x = build.input((1, *size), s8(0.05, zero))
    depth = kernel[0] * kernel[1] * size[2] // attrs.groups
    weights = build.weights((out, *kernel, size[2] // attrs.groups), scale=0.05 / depth**0.5)
    result = s8(0.1 * reach / 3000 / (1 if reach == 3000 else 20), -128 if seed % 2 else 5)
    return build.finish(build.node("Conv2D", [x, weights, build.bias(out, reach)], attrs, result))


def dense(inputs: int, out: int, rows: int = 1, seed: int = 0, reach: int = 3000, high: float = math.inf) -> Graph:
    build = Builder(f"dense {seed}", seed)
    x = build.input((rows, inputs), s8(0.05, 7))
    weights = build.weights((out, inputs), scale=0.05 / inputs**0.5)
    activation = Activation(-1.3, high) if high < math.inf else RELU if seed % 2 else NONE
    result = s8(0.1 * reach / 3000 / (1 if reach == 3000 else 20), -128 if high == math.inf else 9)
    return build.finish(build.node("Dense", [x, weights, build.bias(out, reach)], DenseAttrs(activation), result))


def total(size: int, op: str, left: float, right: float | None, seed: int) -> Graph:
    """Sum of two inputs, or of one with itself."""
    build = Builder(f"{op} {size}", seed)
    a = build.input((1, size), s8(left, 17), "a")
    b = a if right is None else build.input((1, size), s8(right, -30), "b")
    return build.finish(build.node(op, [a, b], AddAttrs() if op == "Add" else SubAttrs(), s8(0.07, -20)))


CASES: dict[str, list[Graph]] = {
    "conv2d/dsp_rows": [
        convolution((5, 7, 8), (1, 1), 6, Conv2DAttrs(), 1),  # 35 pixels: a group that is not full
        convolution((6, 6, 4), (1, 1), 10, Conv2DAttrs((2, 2)), 2),
        convolution((9, 10, 12), (3, 3), 4, Conv2DAttrs(pads=SAME), 3),
        convolution((9, 9, 4), (3, 3), 8, Conv2DAttrs((2, 2), (0, 0, 1, 1)), 4),
        convolution((7, 8, 4), (5, 3), 4, Conv2DAttrs((1, 2), (2, 0, 2, 1)), 5),
        convolution((7, 11, 4), (2, 3), 4, Conv2DAttrs((3, 1)), 6),  # rows that no window covers
        convolution((4, 4, 4), (4, 4), 2, Conv2DAttrs(), 7),
        convolution((6, 6, 12), (3, 3), 4, Conv2DAttrs(pads=SAME), 19, reach=30_000_000),  # sums beyond 23 bits
        convolution((5, 4, 8), (1, 1), 4, Conv2DAttrs(activation=Activation(-0.7, 3.1)), 20),
        convolution((5, 4, 8), (2, 1), 4, Conv2DAttrs(activation=Activation(0.0, 6.0)), 22, reach=30_000_000),
    ],
    "conv2d/dsp_windows": [
        convolution((9, 9, 3), (3, 3), 8, Conv2DAttrs((2, 2), (0, 0, 1, 1)), 8),
        convolution((12, 10, 1), (10, 4), 6, Conv2DAttrs((2, 2), (4, 1, 5, 1)), 9),
        convolution((5, 5, 5), (1, 1), 4, Conv2DAttrs(), 10),
        convolution((6, 5, 1), (1, 1), 2, Conv2DAttrs(), 11),  # a depth of one word
    ],
    "conv2d/dsp_depthwise3x3": [
        convolution((9, 10, 6), (3, 3), 6, Conv2DAttrs(pads=SAME, groups=6), 12),
        convolution((9, 4, 5), (3, 3), 5, Conv2DAttrs(pads=SAME, groups=5), 13),  # turned, odd rows
        convolution((10, 12, 4), (3, 3), 4, Conv2DAttrs((2, 2), (0, 0, 1, 1), groups=4), 14),
        convolution((11, 9, 3), (3, 3), 3, Conv2DAttrs((2, 2), SAME, groups=3), 15),
        convolution((3, 3, 4), (3, 3), 4, Conv2DAttrs(groups=4), 16),
        convolution((30, 40, 2), (3, 3), 2, Conv2DAttrs(pads=(2, 2, 2, 2), groups=2), 17),
        convolution((1, 9, 4), (3, 3), 4, Conv2DAttrs(pads=SAME, groups=4), 18),
    ],
    "dense/dsp": [
        dense(64, 12),
        dense(77, 10, seed=1),
        dense(8, 3, rows=3, seed=2),
        dense(24, 4, rows=2, seed=3),
        dense(64, 9, seed=4, reach=30_000_000),
        dense(40, 8, seed=5, high=2.2),
        dense(16, 8, seed=6, reach=30_000_000, high=2.2),
    ],
}


def plan_with(kernel: str, graph: Graph) -> Plan:
    """The one node of a graph done by the kernel of that name."""
    site = Site(graph.nodes[0], graph, m4().features)
    chosen = next(k for k in KERNELS if k.name == kernel)
    assert chosen.reason_against(site) is None
    layer = Layer(site.node, chosen, chosen.lower(site))
    arena, places, scratch = place(graph, [layer])
    return Plan(graph, m4().features, (layer,), arena, places, scratch)


def mean(size: tuple[int, int, int], seed: int) -> Graph:
    build = Builder(f"mean {seed}", seed)
    x = build.input((1, *size), s8(0.05, -100))
    return build.finish(build.node("AveragePool2D", [x], AveragePool2DAttrs(size[:2], (1, 1)), s8(0.03, 4)))


def max_pool(size: tuple[int, int, int], attrs: MaxPool2DAttrs, seed: int) -> Graph:
    build = Builder(f"max pool {seed}", seed)
    return build.finish(build.node("MaxPool2D", [build.input((1, *size), s8(0.05, 3))], attrs))


TWO_INPUTS: dict[str, list[Graph]] = {
    "add/words": [total(64, "Add", 0.05, 0.02, 1), total(7, "Add", 0.003, 0.2, 2)],
    "sub/words": [total(33, "Sub", 0.05, 0.02, 3)],
}
CASES["average_pool2d/dsp_mean"] = [mean((5, 5, 8), 1), mean((15, 17, 4), 2), mean((1, 2, 12), 3)]
CASES["max_pool2d/dsp"] = [
    max_pool((8, 8, 8), MaxPool2DAttrs((2, 2), (2, 2)), 1),
    max_pool((9, 7, 4), MaxPool2DAttrs((3, 3), (2, 1), (1, 1, 1, 1)), 2),
    max_pool((9, 10, 12), MaxPool2DAttrs((2, 3), (2, 2), (0, 1, 0, 0), (2, 1), (1, 1)), 3),
]
CASES["add/words"] = [total(1023, "Add", 0.03, None, 4)]


@pytest.mark.parametrize("kernel", sorted({*CASES, *TWO_INPUTS}))
def test_portable_twin(kernel: str) -> None:
    graphs = CASES.get(kernel, []) + TWO_INPUTS.get(kernel, [])
    plans = [plan_with(kernel, graph) for graph in graphs]
    inputs = [random_inputs(graph, SAMPLES, seed) for seed, graph in enumerate(graphs)]
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for graph, arrays, outputs in zip(graphs, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(graph, dict(zip(graph.inputs, arrays, strict=True)))[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=graph.name)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", CASES)
def test_assembly_and_predicted_instructions(kernel: str) -> None:
    machine = MACHINES["m4"]
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    for seed, graph in enumerate(CASES[kernel]):
        plan = plan_with(kernel, graph)
        x = random_inputs(graph, SAMPLES, seed)[0]
        result = measure(model_program(plan, m4()), machine, packed_inputs(graph, x))
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected, err_msg=graph.name)
        measured = max(count for _, count in result.by_site)
        assert plan.layers[0].lowered.instructions == pytest.approx(measured, rel=0.25, abs=150), graph.name
