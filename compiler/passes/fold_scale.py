"""Constant scales and offsets (batch norm, Mul, Add, Div, Sub by constants) folded into the layer before them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..ir.graph import Graph, Node
from ..ir.types import FLOAT32, Affine
from ..ops.conv2d import Conv2DAttrs
from ..ops.conv_transpose2d import ConvTranspose2DAttrs
from ..ops.dense import DenseAttrs
from ..ops.elementwise import ElementwiseAttrs
from ..ops.scale_bias import ScaleBiasAttrs
from .base import Preserves
from .matching import Editing

LINEAR = ("Conv2D", "ConvTranspose2D", "Dense")


@dataclass(frozen=True, slots=True)
class FoldScale:
    """Element-wise ops with a constant become ScaleBias; ScaleBias is folded into a linear layer next to it.

    Jacob et al. 2018, "Quantization and Training of Neural Networks", section 3.2 (batch norm folding).
    """

    name: ClassVar[str] = "fold-scale"
    preserves: ClassVar[Preserves] = Preserves.EXACT

    def __call__(self, graph: Graph) -> Graph:
        """Fold until nothing changes."""
        editor = Editing(graph)
        while any(_rewrite(editor, node) for node in list(editor.nodes)):
            pass
        return editor.finish()


def _rewrite(editor: Editing, node: Node) -> bool:
    if node not in editor.nodes or not editor.types[node.outputs[0]].is_float:
        return False
    if node.op in ("Add", "Sub", "Mul", "Div"):
        return _add_to_bias(editor, node) or _to_scale_bias(editor, node)
    if node.op == "ScaleBias":
        return _into_previous(editor, node) or _into_next(editor, node)
    return False


def _channel_vector(editor: Editing, tensor: str, channels: int, rank: int) -> np.ndarray | None:
    """A constant operand as one value per last-axis channel (float64), or None."""
    values = editor.real_constant(tensor)
    if values is None or values.ndim > rank:
        return None
    if values.size == 1:
        return np.full(channels, values.reshape(-1)[0], np.float64)
    if values.ndim >= 1 and values.size == channels and values.shape[-1] == channels:
        return values.reshape(-1).astype(np.float64)
    return None


def _operands(editor: Editing, node: Node) -> tuple[str, str, bool] | None:
    """(activation, constant, whether the constant is on the right)."""
    left, right = node.inputs
    if editor.constant_source(right) is not None and editor.constant_source(left) is None:
        return left, right, True
    if editor.constant_source(left) is not None and editor.constant_source(right) is None:
        return right, left, False
    return None


def _add_to_bias(editor: Editing, node: Node) -> bool:
    """MatMul + Add: the addend becomes the layer's bias unchanged, so that a quantized bias keeps its integers."""
    found = _operands(editor, node)
    if node.op != "Add" or found is None:
        return False
    x, addend, _ = found
    layer = editor.producer(x)
    if layer is None or layer.op not in LINEAR or len(layer.inputs) > 2 or editor.only_reader(x) is not node:
        return False
    if editor.types[node.outputs[0]].shape != editor.types[x].shape or not _no_activation(layer):
        return False
    channels = editor.types[x].shape[-1]
    source = editor.constant_source(addend)
    vector = _channel_vector(editor, addend, channels, editor.types[x].rank)
    if source is None or vector is None:
        return False
    values, element = source
    if values.size == channels and not (isinstance(element, Affine) and element.axis is not None and values.ndim > 1):
        bias = editor.remake_constant(addend, values.reshape(channels), element, f"{layer.name}/bias")
    else:
        bias = editor.add_constant(f"{layer.name}/bias", vector.astype(np.float32))
    _absorb(editor, layer, node, (*layer.inputs, bias))
    return True


def _no_activation(node: Node) -> bool:
    attrs = node.attrs
    if isinstance(attrs, (DenseAttrs, Conv2DAttrs, ConvTranspose2DAttrs, ScaleBiasAttrs, ElementwiseAttrs)):
        return attrs.activation.is_none
    return True


def _absorb(editor: Editing, layer: Node, follower: Node, inputs: tuple[str, ...]) -> None:
    """`layer` with new inputs takes over the output and the activation of `follower`."""
    attrs = layer.attrs
    wanted = follower.attrs
    if isinstance(wanted, (ElementwiseAttrs, ScaleBiasAttrs)) and isinstance(
        attrs, (DenseAttrs, Conv2DAttrs, ConvTranspose2DAttrs, ScaleBiasAttrs)
    ):
        attrs = replace(attrs, activation=wanted.activation)
    editor.remove_node(follower)
    editor.update(layer, inputs=inputs, outputs=follower.outputs, attrs=attrs)


def _to_scale_bias(editor: Editing, node: Node) -> bool:
    found = _operands(editor, node)
    attrs = node.attrs
    if found is None or not isinstance(attrs, ElementwiseAttrs):
        return False
    x, constant, on_right = found
    shape = editor.types[x].shape
    if not shape or editor.types[node.outputs[0]].shape != shape or (node.op == "Div" and not on_right):
        return False
    vector = _channel_vector(editor, constant, shape[-1], len(shape))
    if vector is None or (node.op == "Div" and not vector.all()):
        return False
    ones, zeros = np.ones(shape[-1]), np.zeros(shape[-1])
    if node.op == "Add":
        scale, bias = ones, vector
    elif node.op == "Sub":
        scale, bias = (ones, -vector) if on_right else (-ones, vector)
    elif node.op == "Mul":
        scale, bias = vector, zeros
    else:
        scale, bias = 1.0 / vector, zeros
    inputs = (
        x,
        editor.add_constant(f"{node.name}/scale", scale.astype(np.float32)),
        editor.add_constant(f"{node.name}/bias", bias.astype(np.float32)),
    )
    editor.update(node, op="ScaleBias", inputs=inputs, attrs=ScaleBiasAttrs(attrs.activation))
    return True


def _scale_and_bias(editor: Editing, node: Node) -> tuple[np.ndarray, np.ndarray] | None:
    scale = editor.real_constant(node.inputs[1])
    if scale is None:
        return None
    bias = np.zeros(len(scale))
    if len(node.inputs) > 2 and node.inputs[2]:
        found = editor.real_constant(node.inputs[2])
        if found is None:
            return None
        bias = found
    return scale.astype(np.float64), bias.astype(np.float64)


def _into_previous(editor: Editing, node: Node) -> bool:
    layer = editor.producer(node.inputs[0])
    if layer is None or layer.op not in (*LINEAR, "ScaleBias") or not _no_activation(layer):
        return False
    found = _scale_and_bias(editor, node)
    if editor.only_reader(node.inputs[0]) is not node or found is None:
        return False
    scale, offset = found
    source = editor.constant_source(layer.inputs[1])
    if source is None:
        return False
    values, element = source
    bias = np.zeros(len(scale))
    if layer.input(2):
        old = editor.real_constant(layer.input(2))
        if old is None:
            return False
        bias = old.astype(np.float64)
    if isinstance(element, Affine) and (scale > 0).all() and element.axis in (None, 0) and values.ndim > 1:
        per_channel = np.broadcast_to(np.asarray(element.scale), scale.shape) * scale
        zero = tuple(int(z) for z in np.broadcast_to(np.asarray(element.zero_point), scale.shape))
        element = replace(element, scale=tuple(map(float, per_channel)), zero_point=zero, axis=0)
        weights = editor.remake_constant(layer.inputs[1], values, element, f"{layer.name}/weights")
    else:
        real = editor.real_constant(layer.inputs[1])
        if real is None:
            return False
        factor = scale.reshape(-1, *[1] * (real.ndim - 1))
        weights = editor.add_constant(f"{layer.name}/weights", (real * factor).astype(np.float32), FLOAT32)
    new_bias = editor.add_constant(f"{layer.name}/bias", (bias * scale + offset).astype(np.float32))
    _absorb(editor, layer, node, (layer.inputs[0], weights, new_bias))
    return True


def _into_next(editor: Editing, node: Node) -> bool:
    """Into the dense layer or unpadded convolution behind it: w' = w * scale, b' = b + w . offset."""
    layer = editor.only_reader(node.outputs[0])
    if layer is None or layer.op not in ("Dense", "Conv2D") or not _no_activation(node):
        return False
    attrs = layer.attrs
    found = _scale_and_bias(editor, node)
    if found is None or layer.inputs[0] != node.outputs[0]:
        return False
    scale, offset = found
    grouped = isinstance(attrs, Conv2DAttrs) and attrs.groups != 1
    padded = isinstance(attrs, Conv2DAttrs) and any(attrs.pads) and offset.any()
    real = editor.real_constant(layer.inputs[1]) if layer.inputs[1] in editor.constants else None
    if grouped or padded or real is None:
        return False
    weights = real.astype(np.float64)
    bias = np.zeros(len(weights))
    if layer.input(2):
        old = editor.real_constant(layer.input(2))
        if old is None:
            return False
        bias = old.astype(np.float64)
    axes = tuple(range(1, weights.ndim))
    bias = bias + (weights * offset).sum(axis=axes)
    inputs = (
        node.inputs[0],
        editor.add_constant(f"{layer.name}/weights", (weights * scale).astype(np.float32)),
        editor.add_constant(f"{layer.name}/bias", bias.astype(np.float32)),
    )
    editor.update(layer, inputs=inputs)
    editor.remove_node(node)
    return True
