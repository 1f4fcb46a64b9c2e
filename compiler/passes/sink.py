"""Moving a transpose or reshape from the input of an op to its output."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir.graph import Attrs, Node
from ..ir.types import Affine, ElementType, TensorType
from ..ops.arg_max import ArgMaxAttrs
from ..ops.concat import ConcatAttrs
from ..ops.gather import GatherAttrs
from ..ops.pad import PadAttrs
from ..ops.quantize import QuantizeAttrs
from ..ops.reduce_mean import ReduceMeanAttrs
from ..ops.reshape import ReshapeAttrs
from ..ops.slice import SliceAttrs
from ..ops.softmax import SoftmaxAttrs
from ..ops.transpose import TransposeAttrs
from .matching import Editing

UNARY = (
    *("Clamp", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign"),
    *("Exp", "Log", "Sqrt", "Abs", "Erf", "Bipolar", "Quantize", "Dequantize", "Requantize", "Lookup"),
)
"""Ops that act on every element alone: they commute with any move of elements."""

BINARY = ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu")


def _per_channel(element: ElementType) -> bool:
    return isinstance(element, Affine) and element.axis is not None


def commutes(editor: Editing, node: Node) -> bool:
    """Whether a node acts on every element of its first input alone."""
    if node.op not in UNARY or _per_channel(editor.types[node.inputs[0]].element):
        return False
    return not (isinstance(node.attrs, QuantizeAttrs) and _per_channel(node.attrs.element))


def sink(editor: Editing, move: Node) -> bool:
    """Move a Transpose or Reshape behind one of its readers, if that reader allows it."""
    tensor = move.outputs[0]
    for reader in editor.readers(tensor):
        if commutes(editor, reader) and reader.inputs[0] == tensor:
            _behind(editor, move, reader, [move.inputs[0], *reader.inputs[1:]], reader.attrs, move.attrs)
            return True
        if reader.op == "ScaleBias" and _keeps_channels(editor, move):
            _behind(editor, move, reader, [move.inputs[0], *reader.inputs[1:]], reader.attrs, move.attrs)
            return True
        if reader.op in BINARY and _sink_binary(editor, move, reader):
            return True
        if isinstance(move.attrs, TransposeAttrs) and _sink_transpose(editor, move, move.attrs, reader):
            return True
        if reader.op == "Reshape" and isinstance(move.attrs, TransposeAttrs) and _swap_units(editor, move, reader):
            return True
    return False


def _keeps_channels(editor: Editing, move: Node) -> bool:
    """Whether every element keeps its index along the last axis."""
    before, after = editor.types[move.inputs[0]].shape, editor.types[move.outputs[0]].shape
    if isinstance(move.attrs, TransposeAttrs):
        return move.attrs.perm[-1] == len(before) - 1
    return bool(before) and bool(after) and before[-1] == after[-1]


def _behind(editor: Editing, move: Node, reader: Node, inputs: list[str], attrs: Attrs, move_attrs: Attrs) -> None:
    """reader(move(x)) becomes move(reader(x)); the new move makes the reader's old output tensor."""
    from ..ops import OPS

    known = [editor.types[name] if name else None for name in inputs]
    shape = OPS[reader.op].infer(attrs, known)[0].shape
    element = editor.types[reader.outputs[0]].element
    inner = editor.fresh(f"{reader.outputs[0]}_moved")
    editor.types[inner] = TensorType(shape, element)
    outer = reader.outputs
    editor.update(reader, inputs=tuple(inputs), outputs=(inner,), attrs=attrs)
    types = [editor.types[outer[0]]]
    editor.add_node(move.op, [inner], move_attrs, move.source, name=move.name, outputs=outer, types=types)


def _sink_binary(editor: Editing, move: Node, reader: Node) -> bool:
    """Both operands moved alike, or the other one constant."""
    inputs: list[str] = []
    out = editor.types[reader.outputs[0]].shape
    if editor.types[move.outputs[0]].shape != out and not isinstance(move.attrs, TransposeAttrs):
        return False
    for name in reader.inputs:
        if name == move.outputs[0]:
            inputs.append(move.inputs[0])
            continue
        other = editor.producer(name)
        same = other is not None and other.op == move.op and other.attrs == move.attrs
        if same and other is not None and _same_reshape(editor, move, other):
            inputs.append(other.inputs[0])
            continue
        moved = _moved_constant(editor, move, name, len(out))
        if moved is None:
            return False
        inputs.append(moved)
    if editor.types[move.outputs[0]].rank != len(out):
        return False
    _behind(editor, move, reader, inputs, reader.attrs, move.attrs)
    return True


def _same_reshape(editor: Editing, move: Node, other: Node) -> bool:
    return move.op == "Transpose" or editor.types[move.inputs[0]].shape == editor.types[other.inputs[0]].shape


def _moved_constant(editor: Editing, move: Node, name: str, rank: int) -> str | None:
    """A constant operand as it must be before the move, or None if it cannot be moved."""
    source = editor.constant_source(name)
    if source is None:
        return None
    values, element = source
    if values.size == 1:
        return name
    if _per_channel(element):
        return None
    if isinstance(move.attrs, TransposeAttrs):
        full = values.reshape((1,) * (rank - values.ndim) + values.shape)
        inverse = np.argsort(move.attrs.perm)
        return editor.remake_constant(name, full.transpose(inverse), element, f"{name}_moved")
    if values.shape == editor.types[move.outputs[0]].shape:
        return editor.remake_constant(
            name, values.reshape(editor.types[move.inputs[0]].shape), element, f"{name}_moved"
        )
    return None


def _sink_transpose(editor: Editing, move: Node, attrs: TransposeAttrs, reader: Node) -> bool:
    """Ops with an axis: the axis is renamed."""
    perm = attrs.perm
    inverse = [int(i) for i in np.argsort(perm)]
    old = reader.attrs
    x = move.inputs[0]
    if isinstance(old, ConcatAttrs):
        makers = [editor.producer(name) for name in reader.inputs]
        inputs = [m.inputs[0] for m in makers if m is not None and m.attrs == attrs]
        if len(inputs) != len(reader.inputs):
            return False
        _behind(editor, move, reader, inputs, ConcatAttrs(perm[old.axis]), attrs)
        return True
    new: Attrs | None = None
    after: Attrs = attrs
    if isinstance(old, (SoftmaxAttrs, GatherAttrs)):
        new = replace(old, axis=perm[old.axis])
    elif isinstance(old, SliceAttrs):
        new = SliceAttrs(*(tuple(values[i] for i in inverse) for values in (old.starts, old.sizes, old.steps)))
    elif isinstance(old, PadAttrs):
        before, behind = (tuple(values[i] for i in inverse) for values in (old.before, old.after))
        new = PadAttrs(before, behind, old.value)
    elif isinstance(old, ReduceMeanAttrs):
        axes = tuple(sorted(perm[axis] for axis in old.axes))
        new = ReduceMeanAttrs(axes, old.keep_dims)
        after = attrs if old.keep_dims else _without(perm, set(axes))
    elif isinstance(old, ArgMaxAttrs):
        new = replace(old, axis=perm[old.axis])
        after = attrs if old.keep_dims else _without(perm, {perm[old.axis]})
    if new is None:
        return False
    _behind(editor, move, reader, [x], new, after)
    return True


def _without(perm: tuple[int, ...], removed: set[int]) -> TransposeAttrs:
    """The permutation of the axes that are left."""
    left = [axis for axis in perm if axis not in removed]
    rank = {axis: i for i, axis in enumerate(sorted(left))}
    return TransposeAttrs(tuple(rank[axis] for axis in left))


def _swap_units(editor: Editing, move: Node, reader: Node) -> bool:
    """Transpose, then a Reshape that only adds or removes axes of length 1: the reshape goes first."""
    if not isinstance(move.attrs, TransposeAttrs) or not isinstance(reader.attrs, ReshapeAttrs):
        return False
    shape = editor.types[move.inputs[0]].shape
    target = reader.attrs.shape
    long_axes = [axis for axis in move.attrs.perm if shape[axis] != 1]
    if [shape[axis] for axis in long_axes] != [d for d in target if d != 1]:
        return False
    # give every long axis of the target its number in the order before the transpose; unit axes go in front
    places = [i for i, d in enumerate(target) if d != 1]
    units = [i for i, d in enumerate(target) if d == 1]
    order = sorted(range(len(long_axes)), key=lambda i: long_axes[i])
    first = [*units, *(places[i] for i in order)]
    inner_shape = tuple(target[i] for i in first)
    perm = tuple(first.index(i) for i in range(len(target)))
    if perm == tuple(range(len(target))):
        return False  # it would be a plain reshape; _simplify_transpose handles that form
    attrs = ReshapeAttrs(inner_shape)
    _behind(editor, move, reader, [move.inputs[0]], attrs, TransposeAttrs(perm))
    return True
