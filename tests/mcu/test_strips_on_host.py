"""Firmware that computes wide stages in strips: less memory, the same bytes, weights stored once."""

from __future__ import annotations

import numpy as np

from boardfit.backends.mcu.plan import make_plan
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.ops.activation import RELU
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.slice import SliceAttrs
from boardfit.options import Optimize

from .builders import Builder, s8
from .host import m4, random_inputs, run_on_host


def wide_network() -> Graph:
    """A pointwise layer that makes a tensor much larger than its neighbours."""
    build = Builder("wide")
    x = build.input((1, 24, 24, 4), s8(0.05, 3))
    wide = [x, build.weights((32, 1, 1, 4)), build.bias(32)]
    t = build.node("Conv2D", wide, Conv2DAttrs(activation=RELU), s8(0.04, -20))
    depthwise = [t, build.weights((32, 3, 3, 1)), build.bias(32)]
    t = build.node("Conv2D", depthwise, Conv2DAttrs((2, 2), (0, 0, 1, 1), groups=32), s8(0.05, 1))
    narrow = [t, build.weights((8, 1, 1, 32)), build.bias(8)]
    return build.finish(build.node("Conv2D", narrow, Conv2DAttrs(), s8(0.05, 2)))


def test_strips_save_memory_and_keep_every_byte() -> None:
    graph = wide_network()
    whole, strips = make_plan(graph, m4()), make_plan(graph, m4(), Optimize.RAM)
    assert strips.arena.bytes < 0.7 * whole.arena.bytes
    assert strips.weight_bytes == whole.weight_bytes
    inputs = random_inputs(graph, 6, seed=0)
    expected = run(graph, dict(zip(graph.inputs, inputs, strict=True)))[graph.outputs[0]]
    for outputs in run_on_host([whole, strips], [inputs, inputs]):
        np.testing.assert_array_equal(outputs[0], expected)


def test_pieces_of_rows_need_no_copies() -> None:
    build = Builder("pieces")
    x = build.input((1, 8, 6, 4), s8())
    parts = []
    for first in (0, 3, 5):
        size = {0: 3, 3: 2, 5: 3}[first]
        cut = build.node("Slice", [x], SliceAttrs((0, first, 0, 0), (1, size, 6, 4), (1, 1, 1, 1)), s8())
        inputs = [cut, build.weights((4, 1, 1, 4)), build.bias(4)]
        parts.append(build.node("Conv2D", inputs, Conv2DAttrs(), s8(0.1)))
    graph = build.finish(build.node("Concat", parts, ConcatAttrs(1), s8(0.1)))
    plan = make_plan(graph, m4())
    kernels = {layer.kernel.name for layer in plan.layers}
    assert {"slice/view", "concat/in_place"} <= kernels
    samples = random_inputs(graph, 6, seed=1)
    expected = run(graph, dict(zip(graph.inputs, samples, strict=True)))[graph.outputs[0]]
    np.testing.assert_array_equal(run_on_host([plan], [samples])[0][0], expected)
