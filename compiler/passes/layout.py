"""Layout canonicalisation: transposes and reshapes sink towards the outputs until they cancel.

The frontend puts a transpose on both sides of every channels-first operator. A transpose commutes with
everything element-wise, and two inverse ones cancel, so that a convolutional network keeps at most one at
its input and one at its output; the one before a classifier's flatten goes into the weights behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph, Node
from ..ir.types import Affine, TensorType
from ..ops.average_pool2d import AveragePool2DAttrs
from ..ops.reduce_mean import ReduceMeanAttrs
from ..ops.reshape import ReshapeAttrs
from ..ops.transpose import TransposeAttrs
from .absorb import absorb_into_dense
from .base import Preserves
from .matching import Editing
from .sink import sink


@dataclass(frozen=True, slots=True)
class CanonicalLayout:
    """Remove every transpose and reshape that is not needed."""

    name: ClassVar[str] = "canonical-layout"
    preserves: ClassVar[Preserves] = Preserves.EXACT

    def __call__(self, graph: Graph) -> Graph:
        """Rewrite until nothing changes."""
        editor = Editing(graph)
        while any(_rewrite(editor, node) for node in list(editor.nodes)):
            editor = Editing(editor.finish(verify=False))
        return editor.finish()


def _rewrite(editor: Editing, node: Node) -> bool:
    if node.op == "Transpose":
        return _simplify_transpose(editor, node) or sink(editor, node)
    if node.op == "Reshape":
        return _simplify_reshape(editor, node) or sink(editor, node)
    if node.op == "Dense":
        return absorb_into_dense(editor, node)
    if node.op == "ReduceMean":
        return _mean_to_pool(editor, node)
    return False


def moves_only_units(perm: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a transpose keeps the order of all axes longer than 1, so that it is a reshape."""
    long_axes = [axis for axis in perm if shape[axis] != 1]
    return long_axes == sorted(long_axes)


def _bypass(editor: Editing, node: Node, replacement: str) -> bool:
    """Let readers of `node` read `replacement`; refused if an input would become an output by that."""
    if node.outputs[0] in editor.outputs and (
        replacement in editor.inputs or replacement in editor.outputs or replacement in editor.constants
    ):
        return False
    editor.replace_uses(node.outputs[0], replacement)
    editor.remove_node(node)
    return True


def _simplify_transpose(editor: Editing, node: Node) -> bool:
    attrs = node.attrs
    if not isinstance(attrs, TransposeAttrs):
        return False
    x = node.inputs[0]
    element = editor.types[x].element
    if attrs.perm == tuple(range(len(attrs.perm))) and _bypass(editor, node, x):
        return True
    per_channel = isinstance(element, Affine) and element.axis is not None
    if not per_channel and moves_only_units(attrs.perm, editor.types[x].shape):
        editor.update(node, op="Reshape", attrs=ReshapeAttrs(editor.types[node.outputs[0]].shape))
        return True
    before = editor.producer(x)
    if before is not None and isinstance(before.attrs, TransposeAttrs):
        perm = tuple(before.attrs.perm[axis] for axis in attrs.perm)
        editor.update(node, inputs=before.inputs, attrs=TransposeAttrs(perm))
        return True
    return False


def _simplify_reshape(editor: Editing, node: Node) -> bool:
    x = node.inputs[0]
    if editor.types[x].shape == editor.types[node.outputs[0]].shape and _bypass(editor, node, x):
        return True
    before = editor.producer(x)
    if before is not None and before.op == "Reshape":
        editor.update(node, inputs=before.inputs)
        return True
    return False


def _mean_to_pool(editor: Editing, node: Node) -> bool:
    """The mean over rows and columns of a channels-last image is an average pool."""
    attrs = node.attrs
    x = editor.types[node.inputs[0]]
    if not isinstance(attrs, ReduceMeanAttrs) or x.rank != 4 or attrs.axes != (1, 2):
        return False
    pool = AveragePool2DAttrs((x.shape[1], x.shape[2]), (1, 1))
    if attrs.keep_dims:
        editor.update(node, op="AveragePool2D", attrs=pool)
        return True
    y = editor.types[node.outputs[0]]
    pooled = TensorType((x.shape[0], 1, 1, x.shape[3]), y.element)
    made = editor.add_node("AveragePool2D", node.inputs, pool, node.source, name=node.name, types=[pooled])
    editor.update(node, op="Reshape", inputs=made.outputs, attrs=ReshapeAttrs(y.shape))
    return True
