"""Dense, convolution and per-channel scale as hls4ml layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from boardfit.estimate.fpga import serial_lanes
from boardfit.ir import FixedPoint, Node
from boardfit.ir.circulant import find_circulant
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.linear import fixed_accumulator
from boardfit.ops.spec import attrs_as
from boardfit.options import Strategy
from boardfit.plan.fpga import UNROLL_LIMIT

from .codebook import CLASS as CODEBOOK_DENSE
from .codebook import codebook_attributes
from .layer import HlsLayer, LayerContext
from .serial_layers import serial_convolution
from .words import parts

ZERO = FixedPoint(False, 1, 0)
"""Type of a bias that is not there."""


def dense(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Dense: weights (out, in) become (in, out); over several positions it is a 1x1 convolution."""
    weights = context.real(node.inputs[1])
    *positions, _ = context.shape(node.outputs[0])
    if int(np.prod(positions)) != 1:
        return _dense_at_positions(node, context, weights, positions)
    filters = weights.shape[0]
    attributes = {
        "n_in": weights.shape[1],
        "n_out": filters,
        "weight_data": weights.T.copy(),
        **bias_attributes(node, context, filters),
    }
    if context.plan.layers[node.name].strategy is Strategy.CODEBOOK:
        element, source = context.element(node.inputs[1]), context.element(node.inputs[0])
        attributes |= codebook_attributes(context.raw(node.inputs[1]), element, source)
        return [linear_layer(node, context, CODEBOOK_DENSE, attributes)]
    words = parts(node.outputs[0], context.graph) if context.streams else 1
    wide = context.streams and max(words, parts(node.inputs[0], context.graph)) > 1
    lanes = _lanes(node, context, weights)
    if not wide and not lanes:
        return [linear_layer(node, context, "Dense", attributes)]
    attributes["out_shape"] = [words, filters // words] if words > 1 else [filters]
    if context.plan.layers[node.name].strategy is Strategy.RESOURCE:
        attributes["weight_data"] = weights  # the order hls4ml brings them into for its own layers
    if lanes:
        circulant = _circulant(node, context, lanes)
        if circulant is not None:
            return [linear_layer(node, context, "BoardfitCirculant", {**attributes, **circulant})]
        return [linear_layer(node, context, "BoardfitDense", {**attributes, "lanes": lanes})]
    return [linear_layer(node, context, "BoardfitWordsDense", attributes)]


def _lanes(node: Node, context: LayerContext, weights: np.ndarray) -> int:
    """Multipliers of boardfit's own kernel for streams, or 0 where hls4ml's is used.

    hls4ml's keeps an accumulator for every output and selects among them; the own one makes one output after the other.
    """
    plan = context.plan.layers[node.name]
    if not context.streams or plan.strategy is not Strategy.RESOURCE:
        return 0
    return serial_lanes(weights.shape[1], weights.shape[0], plan.reuse_factor)


def _circulant(node: Node, context: LayerContext, lanes: int) -> dict[str, Any] | None:
    """Attributes of a dense layer whose blocks are circulant and can be multiplied `lanes` at a time, else None.

    Only the vectors are stored, those of `lanes` neighbouring blocks entry by entry.
    """
    raw = context.raw(node.inputs[1])
    inputs = raw.shape[1]
    blocks = tuple(n for n in range(2, inputs // lanes + 1) if inputs % (n * lanes) == 0)
    structure = find_circulant(raw, blocks)
    if structure is None:
        return None
    vectors = structure.exact_vectors(context.real(node.inputs[1]))
    down, across, block = vectors.shape
    data = vectors.reshape(down, across // lanes, lanes, block).transpose(0, 1, 3, 2).copy()
    return {"lanes": lanes, "block": block, "skew": int(structure.skew), "n_weights": data.size, "weight_data": data}


def _dense_at_positions(node: Node, context: LayerContext, weights: np.ndarray, positions: list[int]) -> list[HlsLayer]:
    """A 1x1 convolution that gives the shape of the dense layer, so that what follows sees no difference.

    Without FIFOs hls4ml asks input and result for height and width, so tensors of lower rank are reshaped there and
    back (which is free).
    """
    filters, channels = weights.shape
    height, width = [1, *positions][-2:]
    attributes: dict[str, Any] = {
        "data_format": "channels_last",
        "in_height": height,
        "in_width": width,
        "n_chan": channels,
        "out_height": height,
        "out_width": width,
        "n_filt": filters,
        **dict.fromkeys(("filt_height", "filt_width", "stride_height", "stride_width"), 1),
        **dict.fromkeys(("dilation_height", "dilation_width"), 1),
        **dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0),
        "weight_data": weights.T.reshape(1, 1, channels, filters).copy(),
        **bias_attributes(node, context, filters),
        "out_shape": [*positions, filters],
    }
    if context.streams or len(positions) == 2:
        return [convolution_layer(node, context, "BoardfitConv2D", attributes)]
    name = context.name(node)
    attributes["out_shape"] = [height, width, filters]
    source = context.element(node.inputs[0])
    before = _reshape(node, f"{name}_image", context.inputs(node), [height, width, channels], source)
    product = linear_layer(node, context, "BoardfitConv2D", attributes, (before.name,))
    return [before, product, _reshape(node, f"{name}_rows", (name,), [*positions, filters], context.result(node))]


def _reshape(node: Node, name: str, inputs: tuple[str, ...], shape: list[int], element: FixedPoint) -> HlsLayer:
    attributes = {"target_shape": shape, "out_shape": shape}
    return HlsLayer(name, "Reshape", inputs, attributes, {"result": element}, node=node.source.node)


def conv2d(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Conv2D: weights (out, h, w, in) become (h, w, in, out); depthwise ones (h, w, channel, 1).

    A dilated kernel becomes a larger one with zeros between its taps, and a grouped convolution that is not
    depthwise a full one with zeros between the groups: hls4ml has neither, and the sums are the same. A streamed 1x1
    convolution with more weights than the tools can put into registers takes the general kernel.
    """
    attrs = attrs_as(node.attrs, Conv2DAttrs)
    height, width, channels = context.image(node.inputs[0])
    out_height, out_width, filters = context.image(node.outputs[0])
    kernel = spread_taps(context.real(node.inputs[1]), attrs.dilations)
    top, left, bottom, right = attrs.pads
    attributes: dict[str, Any] = {
        "data_format": "channels_last",
        "in_height": height,
        "in_width": width,
        "n_chan": channels,
        "out_height": out_height,
        "out_width": out_width,
        "n_filt": filters,
        "filt_height": kernel.shape[1],
        "filt_width": kernel.shape[2],
        "stride_height": attrs.strides[0],
        "stride_width": attrs.strides[1],
        "dilation_height": 1,
        "dilation_width": 1,
        "pad_top": top,
        "pad_bottom": bottom,
        "pad_left": left,
        "pad_right": right,
        **bias_attributes(node, context, filters),
    }
    if is_depthwise(node, context):
        attributes["depthwise_data"] = kernel.transpose(1, 2, 0, 3).copy()
        attributes["depthwise_quantizer"] = None
        attributes["depth_multiplier"] = 1
        plan = context.plan.layers[node.name]
        serial = context.streams and plan.strategy is Strategy.RESOURCE and plan.reuse_factor == kernel.shape[0]
        own = serial and kernel.shape[1] > 1  # hls4ml's kernel holds every window in registers and selects from it
        return [linear_layer(node, context, "BoardfitDepthwiseConv2D" if own else "DepthwiseConv2D", attributes)]
    attributes["weight_data"] = spread_groups(kernel, attrs.groups).transpose(1, 2, 3, 0).copy()
    single = kernel.shape[1] == kernel.shape[2] == 1
    class_name = "BoardfitConv2D" if context.streams and single and kernel.size > UNROLL_LIMIT else "Conv2D"
    return [convolution_layer(node, context, class_name, attributes)]


def is_depthwise(node: Node, context: LayerContext) -> bool:
    """Whether a convolution has one input and one output channel for each group."""
    weights = context.graph.types[node.inputs[1]].shape
    groups = attrs_as(node.attrs, Conv2DAttrs).groups
    return groups > 1 and weights[3] == 1 and weights[0] == groups


def spread_taps(weights: np.ndarray, dilations: tuple[int, int]) -> np.ndarray:
    """A kernel (out, h, w, in) with `dilation - 1` zeros between neighbouring taps."""
    out, height, width, per_group = weights.shape
    down, across = dilations
    spread = np.zeros((out, (height - 1) * down + 1, (width - 1) * across + 1, per_group), weights.dtype)
    spread[:, ::down, ::across] = weights
    return spread


def spread_groups(weights: np.ndarray, groups: int) -> np.ndarray:
    """A grouped kernel (out, h, w, in / groups) as a full one (out, h, w, in)."""
    if groups == 1:
        return weights
    out, height, width, per_group = weights.shape
    full = np.zeros((out, height, width, per_group * groups), weights.dtype)
    per_out = out // groups
    for group in range(groups):
        rows = slice(group * per_out, (group + 1) * per_out)
        full[rows, :, :, group * per_group : (group + 1) * per_group] = weights[rows]
    return full


def scale_bias(node: Node, context: LayerContext) -> list[HlsLayer]:
    """ScaleBias: hls4ml's BatchNormalization, or a plain cast where nothing is scaled."""
    bias = context.bias(node)
    return [
        affine_layer(
            node,
            context,
            node.inputs[0],
            (context.real(node.inputs[1]), context.element(node.inputs[1])),
            (context.real(bias), context.element(bias)) if bias else (np.zeros(1), ZERO),
        )
    ]


Operand = tuple[np.ndarray, FixedPoint]
"""Real values and their type."""


def affine_layer(node: Node, context: LayerContext, tensor: str, scale: Operand, bias: Operand) -> HlsLayer:
    """x * scale + bias with constants that broadcast to x: per channel, or one for each element."""
    shape = context.shape(tensor)
    name, inputs = context.name(node), (context.names[tensor],)
    if np.all(scale[0] == 1.0) and not np.any(bias[0]):
        return cast_layer(node, context, name, inputs, shape)  # hls4ml removes a layer that changes nothing
    both = np.broadcast_shapes(scale[0].shape, bias[0].shape)
    channels = shape[-1]
    per_channel = len(shape) > 1 and int(np.prod(both)) in (1, channels) and (both or (1,))[-1] in (1, channels)
    target = (channels,) if per_channel else shape
    attributes = {
        "n_in": int(np.prod(shape)),
        "n_filt": channels if per_channel else -1,
        "scale_data": _spread(scale[0], target),
        "bias_data": _spread(bias[0], target),
        "use_gamma": True,
        "use_beta": True,
    }
    precision = {"scale": scale[1], "bias": bias[1], "result": context.result(node)}
    return HlsLayer(name, "BatchNormalization", inputs, attributes, precision, node=node.source.node)


def _spread(values: np.ndarray, target: tuple[int, ...]) -> np.ndarray:
    if len(target) == 1:
        values = values.reshape(-1)
    elif values.ndim > len(target):
        values = values.reshape(values.shape[values.ndim - len(target) :])
    return np.broadcast_to(values, target).reshape(-1).copy()


def cast_layer(
    node: Node, context: LayerContext, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]
) -> HlsLayer:
    """The same values in another type."""
    attributes = {"activation": "linear", "n_in": int(np.prod(shape))}
    return HlsLayer(name, "Activation", inputs, attributes, {"result": context.result(node)}, node=node.source.node)


def bias_attributes(node: Node, context: LayerContext, count: int) -> dict[str, Any]:
    """Bias of a linear node, zeros if it has none."""
    bias = context.bias(node)
    values = context.real(bias) if bias else np.zeros(count)
    return {"bias_data": values, "weight_quantizer": None, "bias_quantizer": None}


def accumulator_type(node: Node, context: LayerContext) -> FixedPoint:
    """The exact accumulator of a dense or convolution node, from its weights."""
    bias = context.bias(node)
    weights = context.raw(node.inputs[1])
    return fixed_accumulator(
        context.element(node.inputs[0]),
        context.element(node.inputs[1]),
        weights.reshape(len(weights), -1),
        context.element(bias) if bias else None,
        context.raw(bias) if bias else None,
    ).element


def convolution_layer(
    node: Node,
    context: LayerContext,
    class_name: str,
    attributes: dict[str, Any],
    inputs: tuple[str, ...] | None = None,
) -> HlsLayer:
    """A full convolution: by a kernel of boardfit's own where one serves its reuse factor, else of this class."""
    own = serial_convolution(attributes, context.plan.layers[node.name], context.plan.io_type)
    if own is not None:
        class_name, attributes = own[0], dict(own[1])
    return linear_layer(node, context, class_name, attributes, inputs)


def linear_layer(
    node: Node,
    context: LayerContext,
    class_name: str,
    attributes: dict[str, Any],
    inputs: tuple[str, ...] | None = None,
) -> HlsLayer:
    """A layer that multiplies by constant weights, with its types and its plan; `inputs` if not the node's own."""
    bias = context.bias(node)
    precision = {
        "weight": context.element(node.inputs[1]),
        "bias": context.element(bias) if bias else ZERO,
        "accum": accumulator_type(node, context),
        "result": context.result(node),
    }
    plan = context.plan.layers[node.name]
    sources = inputs or context.inputs(node)
    return HlsLayer(context.name(node), class_name, sources, attributes, precision, plan, node.source.node)
