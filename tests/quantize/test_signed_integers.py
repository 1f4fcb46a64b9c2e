"""Unsigned graphs become signed without any change of the values they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.interp import run
from boardfit.ir import Affine, Graph
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.tanh import TanhAttrs
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.passes.signed_integers import SignedIntegers
from tests.quantize.networks import Network


def u8(scale: float, zero: int) -> Affine:
    return Affine(False, 8, (scale,), (zero,))


def unsigned_graph() -> Graph:
    net = Network(1, 6, 6, 2)
    x = net.quantize(net.x, u8(0.02, 120))
    weights = net.quantized_constant(net.rng.integers(0, 256, (4, 3, 3, 2)), u8(0.01, 131))
    conv = net.quantize(net.add("Conv2D", [x, weights, net.random(4)], Conv2DAttrs()), u8(0.05, 100))
    pooled = net.add("MaxPool2D", [conv], MaxPool2DAttrs((2, 2), (2, 2)))
    padded = net.add("Pad", [pooled], PadAttrs((0, 1, 0, 0), (0, 1, 2, 0), 0.5))
    bent = net.quantize(net.add("Tanh", [padded], TanhAttrs()), u8(1 / 128, 128))
    joined = net.quantize(net.add("Concat", [padded, bent], ConcatAttrs(3)), u8(0.06, 90))
    return LowerQuantized()(net.done(joined))


@pytest.mark.parametrize("keep_interface", [False, True])
def test_real_values_stay(keep_interface: bool) -> None:
    graph = unsigned_graph()
    keep = (*graph.inputs, *graph.outputs) if keep_interface else ()
    changed = SignedIntegers(keep)(graph)
    unsigned = {name for name, t in changed.types.items() if isinstance(t.element, Affine) and not t.element.signed}
    assert unsigned == set(keep)
    raw = np.random.default_rng(3).integers(0, 256, (20, 1, 6, 6, 2))
    shift = 0 if keep_interface else 128
    expected = run(graph, {graph.inputs[0]: raw})[graph.outputs[0]]
    got = run(changed, {changed.inputs[0]: raw - shift})[changed.outputs[0]]
    np.testing.assert_array_equal(got + shift, expected)


def test_signed_graphs_stay_what_they_are() -> None:
    graph = SignedIntegers()(unsigned_graph())
    again = SignedIntegers()(graph)
    assert again.nodes == graph.nodes
    assert again.types == graph.types
