"""Every layer kind as generated C on this computer, byte for byte equal to the interpreter."""

from __future__ import annotations

import numpy as np

from boardfit.backends.mcu.plan import make_plan
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.ops.activation import NONE, RELU, Activation
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.reshape import ReshapeAttrs

from .builders import Builder, s8, s16, u8
from .host import m4, random_inputs, run_on_host

SAMPLES = 6


def check(graphs: list[Graph]) -> None:
    """All graphs in one program; every value must equal the interpreter's."""
    plans = [make_plan(graph, m4()) for graph in graphs]
    inputs = [random_inputs(graph, SAMPLES, seed) for seed, graph in enumerate(graphs)]
    for graph, arrays, outputs in zip(graphs, inputs, run_on_host(plans, inputs), strict=True):
        expected = run(graph, dict(zip(graph.inputs, arrays, strict=True)))
        for name, output in zip(graph.outputs, outputs, strict=True):
            np.testing.assert_array_equal(output, expected[name], err_msg=f"{graph.name}: {name}")


def convolution(seed: int, size: tuple[int, int, int], kernel: tuple[int, int], out: int, attrs: Conv2DAttrs) -> Graph:
    build = Builder(f"convolution {seed}", seed)
    element = (s8(0.05, 3), u8(0.05, 100), s8(0.02, -128))[seed % 3]
    x = build.input((1, *size), element)
    inputs = [x, build.weights((out, *kernel, size[2] // attrs.groups), per_channel=seed % 4 != 3)]
    if seed % 5 != 4:
        inputs.append(build.bias(out))
    return build.finish(build.node("Conv2D", inputs, attrs, (s8(0.04, -10), u8(0.03, 20))[seed % 2]))


def test_convolutions() -> None:
    check(
        [
            convolution(0, (9, 10, 3), (3, 3), 8, Conv2DAttrs((2, 1), (1, 1, 1, 1), activation=RELU)),
            convolution(1, (9, 10, 3), (3, 2), 5, Conv2DAttrs((1, 2), (0, 1, 2, 0))),
            convolution(2, (11, 7, 4), (3, 3), 6, Conv2DAttrs(pads=(2, 2, 2, 2), dilations=(2, 2))),
            convolution(3, (6, 6, 8), (3, 3), 8, Conv2DAttrs(groups=4, pads=(1, 1, 1, 1))),
            convolution(4, (5, 6, 8), (1, 1), 7, Conv2DAttrs()),
            convolution(5, (5, 6, 8), (1, 1), 7, Conv2DAttrs((2, 2), activation=Activation(0.0, 0.5))),
            convolution(6, (1, 30, 4), (1, 7), 9, Conv2DAttrs((1, 3), (0, 3, 0, 3))),
            convolution(7, (4, 4, 3), (4, 4), 10, Conv2DAttrs()),
        ]
    )


def test_depthwise_convolutions() -> None:
    check(
        [
            convolution(0, (9, 10, 6), (3, 3), 6, Conv2DAttrs(pads=(1, 1, 1, 1), groups=6, activation=RELU)),
            convolution(1, (9, 10, 5), (3, 3), 5, Conv2DAttrs((2, 2), (0, 0, 1, 1), groups=5)),
            convolution(2, (9, 10, 4), (3, 3), 8, Conv2DAttrs(pads=(2, 2, 2, 2), dilations=(2, 2), groups=4)),
            convolution(3, (1, 20, 3), (1, 5), 9, Conv2DAttrs((1, 2), (0, 4, 0, 4), groups=3)),
            convolution(4, (5, 5, 1), (3, 3), 4, Conv2DAttrs(pads=(1, 1, 1, 1))),
            convolution(5, (3, 3, 2), (2, 2), 2, Conv2DAttrs(pads=(3, 3, 3, 3), groups=2)),
        ]
    )


def test_dense() -> None:
    graphs = []
    for seed, (depth, out, lead, element) in enumerate(
        [(64, 10, (1,), s8(0.04, -5)), (7, 3, (1, 5), u8()), (33, 13, (1,), s16(0.001, 9)), (5, 1, (1,), s8())]
    ):
        build = Builder(f"dense {seed}", seed)
        x = build.input((*lead, depth), element)
        inputs = [x, build.weights((out, depth), per_channel=seed % 2 == 0), build.bias(out)]
        activation = RELU if seed % 2 else NONE
        graphs.append(build.finish(build.node("Dense", inputs, DenseAttrs(activation), s8(0.1, -3))))
    check(graphs)


def test_weights_with_a_zero_point() -> None:
    build = Builder("asymmetric weights")
    x = build.input((1, 12), u8(0.02, 30))
    w = build.random_constant((5, 12), u8(0.01, 77))
    check([build.finish(build.node("Dense", [x, w, build.bias(5)], DenseAttrs(), u8(0.1, 60)))])


def test_a_large_ratio_takes_the_wide_requantization() -> None:
    build = Builder("large ratio")
    x = build.input((1, 3), s8(1.0, 0))
    w = build.weights((4, 3), scale=1.0)
    check([build.finish(build.node("Dense", [x, w], DenseAttrs(), s8(0.7, 2)))])


def test_pools() -> None:
    graphs = []
    for seed, attrs in enumerate(
        [
            MaxPool2DAttrs((2, 2), (2, 2)),
            MaxPool2DAttrs((3, 3), (2, 1), (1, 1, 1, 1)),
            MaxPool2DAttrs((2, 3), (2, 2), (0, 1, 0, 0), (2, 1), (1, 1)),
            AveragePool2DAttrs((2, 2), (2, 2)),
            AveragePool2DAttrs((3, 3), (2, 1), (1, 1, 1, 1)),
            AveragePool2DAttrs((3, 3), (2, 2), (1, 1, 1, 1), overhang=(1, 1), count_pads=True),
            AveragePool2DAttrs((9, 10), (1, 1)),
        ]
    ):
        build = Builder(f"pool {seed}", seed)
        x = build.input((1, 9, 10, 5), s8(0.05, -7))
        if isinstance(attrs, MaxPool2DAttrs):
            graphs.append(build.finish(build.node("MaxPool2D", [x], attrs)))
        else:
            graphs.append(build.finish(build.node("AveragePool2D", [x], attrs, s8(0.04, 11))))
    check(graphs)


def test_means_round_ties_to_even() -> None:
    """Of 4 values in one type every fourth mean is a tie, and its side decides a byte."""
    build = Builder("ties")
    x = build.input((1, 16, 16, 3), s8(0.05, -7))
    check([build.finish(build.node("AveragePool2D", [x], AveragePool2DAttrs((2, 2), (2, 2)), s8(0.05, -7)))])


def test_batches_of_images() -> None:
    build = Builder("batch")
    x = build.input((3, 5, 5, 4), s8(0.05, 2))
    y = build.node("Conv2D", [x, build.weights((6, 3, 3, 4)), build.bias(6)], Conv2DAttrs(), s8(0.05))
    y = build.node("Conv2D", [y, build.weights((6, 2, 2, 1))], Conv2DAttrs(groups=6), s8(0.05))
    y = build.node("MaxPool2D", [y], MaxPool2DAttrs((2, 1), (1, 1)))
    check([build.finish(build.node("AveragePool2D", [y], AveragePool2DAttrs((1, 2), (1, 1)), s8(0.03)))])


def test_views_share_memory() -> None:
    build = Builder("views")
    x = build.input((1, 4, 4, 2), s8())
    flat = build.node("Reshape", [x], ReshapeAttrs((1, 32)))
    y = build.node("Dense", [flat, build.weights((4, 32))], DenseAttrs(), s8())
    graph = build.finish(y, build.node("Reshape", [flat], ReshapeAttrs((2, 16))))
    plan = make_plan(graph, m4())
    assert plan.places[flat] == plan.places[x]
    check([graph])
