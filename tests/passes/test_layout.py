"""Layout canonicalisation keeps outputs and removes what is not needed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.interp import run
from boardfit.ir import Graph, GraphEditor, Source, TensorType
from boardfit.ops.activation import RELU
from boardfit.ops.add import AddAttrs
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.mul import MulAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.reduce_mean import ReduceMeanAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.ops.scale_bias import ScaleBiasAttrs
from boardfit.ops.slice import SliceAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.transpose import TransposeAttrs
from boardfit.passes.fold_scale import FoldScale
from boardfit.passes.fuse_activation import FuseActivation
from boardfit.passes.layout import CanonicalLayout

SOURCE = Source("test.onnx", "node", "Test")
TO_LAST = TransposeAttrs((0, 2, 3, 1))
TO_FIRST = TransposeAttrs((0, 3, 1, 2))


class Builder:
    """Short-hand for building float graphs."""

    def __init__(self, *shape: int) -> None:
        self.editor = GraphEditor.empty("test")
        self.x = self.editor.add_input("x", TensorType(shape))
        self.rng = np.random.default_rng(0)

    def constant(self, *shape: int) -> str:
        return self.editor.add_constant("c", self.rng.normal(size=shape).astype(np.float32))

    def add(self, op: str, inputs: list[str], attrs: object) -> str:
        return self.editor.add_node(op, inputs, attrs, SOURCE, name=op.lower()).outputs[0]  # type: ignore[arg-type]

    def done(self, *outputs: str) -> Graph:
        self.editor.outputs.extend(outputs)
        return self.editor.finish()


def outputs(graph: Graph, samples: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    inputs = {n: rng.normal(size=(samples, *graph.types[n].shape)).astype(np.float32) for n in graph.inputs}
    made = run(graph, inputs)
    return [made[name] for name in graph.outputs]


def check(graph: Graph, changed: Graph, tolerance: float = 1e-5) -> None:
    for a, b in zip(outputs(graph), outputs(changed), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance)


def count(graph: Graph, op: str) -> int:
    return sum(node.op == op for node in graph.nodes)


def channels_first_network() -> Graph:
    b = Builder(1, 3, 8, 8)
    t = b.add("Transpose", [b.x], TO_LAST)
    t = b.add("Conv2D", [t, b.constant(4, 3, 3, 3), b.constant(4)], Conv2DAttrs(pads=(1, 1, 1, 1)))
    t = b.add("Transpose", [t], TO_FIRST)
    t = b.add("Clamp", [t], ClampAttrs(RELU))
    t = b.add("Transpose", [t], TO_LAST)
    t = b.add("Conv2D", [t, b.constant(4, 3, 3, 4), b.constant(4)], Conv2DAttrs(strides=(2, 2)))
    t = b.add("Transpose", [t], TO_FIRST)
    t = b.add("Clamp", [t], ClampAttrs(RELU))
    t = b.add("Reshape", [t], ReshapeAttrs((1, 4 * 3 * 3)))
    return b.done(b.add("Dense", [t, b.constant(5, 36), b.constant(5)], DenseAttrs()))


def test_channels_first_network_keeps_one_transpose_at_the_input() -> None:
    graph = channels_first_network()
    changed = CanonicalLayout()(graph)
    check(graph, changed)
    assert count(changed, "Transpose") == 1
    assert changed.nodes[0].op == "Transpose"


def test_single_channel_input_needs_no_transpose() -> None:
    b = Builder(1, 1, 8, 8)
    t = b.add("Transpose", [b.x], TO_LAST)
    t = b.add("Conv2D", [t, b.constant(4, 3, 3, 1)], Conv2DAttrs())
    graph = b.done(b.add("Transpose", [t], TO_FIRST))
    changed = CanonicalLayout()(graph)
    check(graph, changed)
    assert count(changed, "Transpose") == 1  # the output is a channels-first image


def test_residual_and_concat_branches_cancel() -> None:
    b = Builder(1, 6, 6, 4)
    first = b.add("Transpose", [b.x], TO_FIRST)
    left = b.add("Clamp", [first], ClampAttrs(RELU))
    total = b.add("Add", [left, first], AddAttrs())
    scaled = b.add("Mul", [total, b.constant(4, 1, 1)], MulAttrs())
    joined = b.add("Concat", [scaled, left], ConcatAttrs(1))
    cut = b.add("Slice", [joined], SliceAttrs((0, 2, 0, 0), (1, 5, 6, 3), (1, 1, 1, 2)))
    padded = b.add("Pad", [cut], PadAttrs((0, 0, 1, 0), (0, 1, 0, 2), 0.5))
    graph = b.done(b.add("Transpose", [padded], TO_LAST))
    changed = CanonicalLayout()(graph)
    check(graph, changed)
    assert count(changed, "Transpose") == 0


@pytest.mark.parametrize("keep", [True, False])
def test_reductions_follow_their_axes(keep: bool) -> None:
    b = Builder(1, 5, 6, 4)
    first = b.add("Transpose", [b.x], TO_FIRST)
    mean = b.add("ReduceMean", [first], ReduceMeanAttrs((2, 3), keep))
    best = b.add("ArgMax", [first], ArgMaxAttrs(1, keep))
    soft = b.add("Softmax", [first], SoftmaxAttrs(1))
    graph = b.done(mean, best, soft)
    changed = CanonicalLayout()(graph)
    check(graph, changed)
    assert count(changed, "AveragePool2D") == 1


@settings(max_examples=60)
@given(
    st.permutations([0, 1, 2]),
    st.permutations([0, 1, 2]),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.booleans(),
    st.booleans(),
)
def test_random_moves_keep_values(
    first: list[int], second: list[int], shape: tuple[int, int, int], flatten: bool, dense: bool
) -> None:
    b = Builder(*shape)
    t = b.add("Transpose", [b.x], TransposeAttrs(tuple(first)))
    t = b.add("Clamp", [t], ClampAttrs(RELU))
    shape_now = b.editor.types[t].shape
    t = b.add("Reshape", [t], ReshapeAttrs((1, *shape_now)))
    t = b.add("Add", [t, b.constant(shape_now[1], 1)], AddAttrs())
    t = b.add("Reshape", [t], ReshapeAttrs(shape_now))
    t = b.add("Transpose", [t], TransposeAttrs(tuple(second)))
    elements = b.editor.types[t].elements
    if flatten:
        t = b.add("Reshape", [t], ReshapeAttrs((1, elements)))
    if dense:
        t = b.add("Dense", [t, b.constant(3, b.editor.types[t].shape[-1])], DenseAttrs())
    graph = b.done(t)
    check(graph, CanonicalLayout()(graph))


def test_batch_norm_and_constants_fold_into_the_layer() -> None:
    b = Builder(1, 6, 6, 3)
    t = b.add("Conv2D", [b.x, b.constant(4, 3, 3, 3)], Conv2DAttrs())
    t = b.add("ScaleBias", [t, b.constant(4), b.constant(4)], ScaleBiasAttrs())
    t = b.add("Mul", [t, b.constant(1)], MulAttrs())
    t = b.add("Add", [t, b.constant(1, 1, 1, 4)], AddAttrs())
    t = b.add("Clamp", [t], ClampAttrs(RELU))
    graph = b.done(t)
    changed = FuseActivation()(FoldScale()(graph))
    check(graph, changed, 1e-4)
    assert [node.op for node in changed.nodes] == ["Conv2D"]


def test_batch_norm_before_a_padded_convolution_stays() -> None:
    b = Builder(1, 6, 6, 3)
    t = b.add("ScaleBias", [b.x, b.constant(3), b.constant(3)], ScaleBiasAttrs())
    graph = b.done(b.add("Conv2D", [t, b.constant(4, 3, 3, 3)], Conv2DAttrs(pads=(1, 1, 1, 1))))
    changed = FoldScale()(graph)
    check(graph, changed, 1e-4)
    assert count(changed, "ScaleBias") == 1


def test_batch_norm_before_a_dense_layer_folds() -> None:
    b = Builder(1, 6)
    t = b.add("ScaleBias", [b.x, b.constant(6), b.constant(6)], ScaleBiasAttrs())
    graph = b.done(b.add("Dense", [t, b.constant(4, 6)], DenseAttrs()))
    changed = FoldScale()(graph)
    check(graph, changed, 1e-4)
    assert [node.op for node in changed.nodes] == ["Dense"]
