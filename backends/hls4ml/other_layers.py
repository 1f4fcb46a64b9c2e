"""Pooling, element-wise, activation and shape ops as hls4ml layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from boardfit.errors import InternalError
from boardfit.ir import FixedPoint, Node
from boardfit.ops.activation import RELU
from boardfit.ops.average_pool2d import AveragePool2DAttrs, average_accumulator
from boardfit.ops.clamp import ClampAttrs, fixed_bounds
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.pooling import PoolAttrs
from boardfit.ops.softmax_fixed import softmax_design
from boardfit.ops.spec import attrs_as
from boardfit.ops.transpose import TransposeAttrs

from .layer import HlsLayer, LayerContext
from .linear_layers import ZERO, affine_layer, cast_layer

MERGES = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Min": "minimum", "Max": "maximum"}
"""IR op -> hls4ml merge operation."""

ONE = FixedPoint(False, 1, 0)
MINUS_ONE = FixedPoint(True, 1, 0)


def pool(node: Node, context: LayerContext) -> list[HlsLayer]:
    """MaxPool2D and AveragePool2D; a window over the whole image becomes a global pooling layer."""
    attrs = attrs_as(node.attrs, PoolAttrs)
    kind = "Max" if node.op == "MaxPool2D" else "Average"
    height, width, channels = context.image(node.inputs[0])
    out_height, out_width, _ = context.image(node.outputs[0])
    x, y = context.element(node.inputs[0]), context.result(node)
    accumulator = x if kind == "Max" else average_accumulator(x, y, attrs.kernel[0] * attrs.kernel[1])
    precision = {"accum": accumulator, "result": y}
    attributes: dict[str, Any] = {
        "data_format": "channels_last",
        "in_height": height,
        "in_width": width,
        "n_filt": channels,
    }
    if is_global(node, context):
        class_name = f"Global{kind}Pooling2D"
    else:
        class_name = f"{kind}Pooling2D"
        top, left, bottom, right = attrs.all_pads
        attributes |= {
            "out_height": out_height,
            "out_width": out_width,
            "pool_height": attrs.kernel[0],
            "pool_width": attrs.kernel[1],
            "stride_height": attrs.strides[0],
            "stride_width": attrs.strides[1],
            "pad_top": top,
            "pad_bottom": bottom,
            "pad_left": left,
            "pad_right": right,
            "count_pad": isinstance(attrs, AveragePool2DAttrs) and attrs.count_pads,
        }
    return [_layer(node, context, class_name, attributes, precision)]


def is_global(node: Node, context: LayerContext) -> bool:
    """Whether one window covers the whole image and nothing else."""
    attrs = attrs_as(node.attrs, PoolAttrs)
    height, width, _ = context.image(node.inputs[0])
    return attrs.kernel == (height, width) and not any(attrs.all_pads)


def merge(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Add, Sub, Mul, Min, Max of two tensors, or of one tensor and a constant."""
    left, right = node.inputs[:2]
    constants = context.graph.constants
    if left in constants or right in constants:
        return [_with_constant(node, context, left in constants)]
    attributes = {"op": MERGES[node.op]}
    return [_layer(node, context, "Merge", attributes, {"result": context.result(node)}, 2)]


def _with_constant(node: Node, context: LayerContext, constant_first: bool) -> HlsLayer:
    tensor, constant = node.inputs[1], node.inputs[0]
    if not constant_first:
        tensor, constant = constant, tensor
    values, element = context.real(constant), context.element(constant)
    none = (np.zeros(1), ZERO)
    one = (np.ones(1), ONE)
    if node.op == "Add":
        return affine_layer(node, context, tensor, one, (values, element))
    if node.op == "Mul":
        return affine_layer(node, context, tensor, (values, element), none)
    if node.op == "Sub" and constant_first:
        return affine_layer(node, context, tensor, (-np.ones(1), MINUS_ONE), (values, element))
    if node.op == "Sub":
        wider = FixedPoint(True, element.width + 1, element.frac)  # -(-2**n) needs one bit more
        return affine_layer(node, context, tensor, one, (-values, wider))
    raise InternalError(f"{node.op} '{node.name}' with a constant")


def relu_or_clamp(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Clamp: hls4ml's ReLU, or boardfit's own layer for any other interval."""
    activation = attrs_as(node.attrs, ClampAttrs).activation
    size = int(np.prod(context.shape(node.inputs[0])))
    precision = {"result": context.result(node)}
    if activation == RELU:
        return [_layer(node, context, "Activation", {"activation": "relu", "n_in": size}, precision)]
    x = context.element(node.inputs[0])
    low, high = fixed_bounds(activation, x)
    attributes = {"n_in": size, "low": low, "high": high}
    return [_layer(node, context, "BoardfitClamp", attributes, precision)]


def bipolar(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Bipolar: hls4ml's binary tanh, 1 for values from zero on, else -1."""
    size = int(np.prod(context.shape(node.inputs[0])))
    attributes = {"activation": "binary_tanh", "n_in": size}
    return [_layer(node, context, "Activation", attributes, {"result": context.result(node)})]


def prelu(node: Node, context: LayerContext) -> list[HlsLayer]:
    """PRelu: one slope as a parameter, several as an array."""
    slopes, element = context.real(node.inputs[1]), context.element(node.inputs[1])
    shape = context.shape(node.inputs[0])
    precision = {"param": element, "result": context.result(node)}
    size = int(np.prod(shape))
    if slopes.size == 1:
        attributes: dict[str, Any] = {
            "activation": "leakyrelu",
            "n_in": size,
            "activ_param": float(slopes.reshape(-1)[0]),
        }
        return [_layer(node, context, "LeakyReLU", attributes, precision)]
    flat = slopes.reshape(slopes.shape[max(slopes.ndim - len(shape), 0) :])
    values = np.broadcast_to(flat, shape).reshape(-1).copy()
    return [_layer(node, context, "PReLU", {"activation": "prelu", "n_in": size, "param_data": values}, precision)]


def lookup(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Lookup: hls4ml's UnaryLUT is addressed by the bit pattern, so the table's negative half comes last."""
    x = context.element(node.inputs[0])
    table = np.roll(context.real(node.inputs[1]), x.minimum)
    attributes = {"table_data": table, "table_size": len(table), "activation": "unary_lut"}
    precision = {"table": context.element(node.inputs[1]), "result": context.result(node)}
    return [_layer(node, context, "UnaryLUT", attributes, precision)]


def requantize(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Requantize: a linear activation, whose assignment is the cast."""
    shape = context.shape(node.inputs[0])
    return [cast_layer(node, context, context.name(node), context.inputs(node), shape)]


def softmax(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Softmax over the last axis, in hls4ml's stable implementation with the types of `softmax_design`."""
    shape = context.shape(node.inputs[0])
    classes = shape[-1]
    design = softmax_design(context.element(node.inputs[0]), classes)
    size = int(np.prod(shape))
    attributes = {
        "activation": "softmax",
        "implementation": "stable",
        "n_in": size,
        "n_outer": size // classes,
        "n_inner": 1,
        "axis": -1,
        "exp_table_size": 1 << design.norm.width,
        "inv_table_size": 1 << design.inverse_input.width,
        "table_size": 1 << design.norm.width,
    }
    precision = {
        "result": context.result(node),
        "exp_table": design.exponential,
        "inv_table": design.inverse,
        "inv_inp": design.inverse_input,
        "inp_norm": design.norm,
        "accum": design.accumulator,
    }
    return [_layer(node, context, "Softmax", attributes, precision)]


def concat(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Concat: a chain of hls4ml's two-input layers."""
    rank = len(context.shape(node.outputs[0]))
    axis = attrs_as(node.attrs, ConcatAttrs).axis
    precision = {"result": context.result(node)}
    layers: list[HlsLayer] = []
    left = context.names[node.inputs[0]]
    last = len(node.inputs) - 1
    for index in range(1, len(node.inputs)):
        name = context.name(node) if index == last else f"{context.name(node)}_p{index}"
        inputs = (left, context.names[node.inputs[index]])
        attributes = {"op": f"concatenate{rank}d", "axis": axis}
        layers.append(HlsLayer(name, "Concatenate", inputs, attributes, precision, node=node.source.node))
        left = name
    return layers


def zero_padding(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Pad with zeros around an image."""
    attrs = attrs_as(node.attrs, PadAttrs)
    height, width, channels = context.image(node.inputs[0])
    out_height, out_width, _ = context.image(node.outputs[0])
    attributes = {
        "data_format": "channels_last",
        "in_height": height,
        "in_width": width,
        "n_chan": channels,
        "out_height": out_height,
        "out_width": out_width,
        "pad_top": attrs.before[1],
        "pad_bottom": attrs.after[1],
        "pad_left": attrs.before[2],
        "pad_right": attrs.after[2],
    }
    return [_layer(node, context, "ZeroPadding2D", attributes, {"result": context.result(node)})]


def resize(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Resize: nearest neighbour."""
    height, width, channels = context.image(node.inputs[0])
    out_height, out_width, _ = context.image(node.outputs[0])
    attributes = {
        "data_format": "channels_last",
        "in_height": height,
        "in_width": width,
        "out_height": out_height,
        "out_width": out_width,
        "n_chan": channels,
        "algorithm": "nearest",
        "align_corners": False,
    }
    return [_layer(node, context, "Resize", attributes, {"result": context.result(node)})]


def reshape(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Reshape: free in hls4ml; no layer at all where only the batch axis moves."""
    target = context.shape(node.outputs[0])
    if target == context.shape(node.inputs[0]):
        return []
    attributes = {"target_shape": list(target)}
    return [_layer(node, context, "Reshape", attributes, {"result": context.result(node)})]


def transpose(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Transpose of the axes behind the batch axis."""
    permutation = [axis - 1 for axis in attrs_as(node.attrs, TransposeAttrs).perm[1:]]
    return [_layer(node, context, "Transpose", {"perm": permutation}, {"result": context.result(node)})]


def _layer(
    node: Node,
    context: LayerContext,
    class_name: str,
    attributes: dict[str, Any],
    precision: dict[str, FixedPoint],
    count: int = 1,
) -> HlsLayer:
    return HlsLayer(
        context.name(node), class_name, context.inputs(node, count), attributes, precision, node=node.source.node
    )
