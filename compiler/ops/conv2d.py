"""Conv2D: channels-last convolution, grouped, dilated, any stride; depthwise when groups equals the input channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs, Graph, Node
from ..ir.types import TensorType
from ..numerics import exact_dtype
from .activation import NONE, Activation
from .linear import linear_runs
from .spec import Invocation, OpSpec, Types, attrs_as, required
from .windows import Pads, Pair, merge_samples, output_size, windows

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class Conv2DAttrs(Attrs):
    """Geometry and fused activation; pads are top, left, bottom, right."""

    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1
    activation: Activation = NONE


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, Conv2DAttrs)
    x, w = required(inputs, 0), required(inputs, 1)
    if x.rank != 4 or w.rank != 4:
        raise ValueError(f"expected a 4-D input and 4-D weights, not {x.shape} and {w.shape}")
    channels = w.shape[3] * a.groups
    if x.shape[3] != channels:
        raise ValueError(f"the input has {x.shape[3]} channels, the weights want {channels}")
    if w.shape[0] % a.groups:
        raise ValueError(f"{w.shape[0]} output channels cannot be split into {a.groups} groups")
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None and bias.shape != (w.shape[0],):
        raise ValueError(f"bias of shape {bias.shape} for {w.shape[0]} output channels")
    height = output_size(x.shape[1], w.shape[1], a.strides[0], a.pads[0], a.pads[2], a.dilations[0])
    width = output_size(x.shape[2], w.shape[2], a.strides[1], a.pads[1], a.pads[3], a.dilations[1])
    return [TensorType((x.shape[0], height, width, w.shape[0]), x.element)]


def convolve(x: np.ndarray, weights: np.ndarray, attrs: Conv2DAttrs, bound: int | None) -> np.ndarray:
    """Convolution sums without bias.

    Args:
        x: (B, H, W, C) values less their zero point, so that padding is zero.
        weights: (out, KH, KW, C / groups).
        bound: None for float32, else a bound on the absolute integer sums.

    Returns:
        (B, OH, OW, out) float32, or int64 if `bound` is given.
    """
    out, kh, kw, per_group = weights.shape
    if bound is not None:  # before the windows are copied: narrow numbers copy faster
        x, weights = x.astype(exact_dtype(bound)), weights.astype(exact_dtype(bound))
    view = windows(x, (kh, kw), attrs.strides, attrs.pads, attrs.dilations)
    batch, oh, ow = view.shape[:3]
    if per_group == 1 and attrs.groups > 1:
        sums = _depthwise(view, weights, attrs.groups)
        return sums if bound is None else sums.astype(np.int64)
    groups_out = out // attrs.groups
    parts: list[np.ndarray] = []
    for group in range(attrs.groups):
        columns = view[..., group * per_group : (group + 1) * per_group].reshape(batch * oh * ow, -1)
        kernel = weights[group * groups_out : (group + 1) * groups_out].reshape(groups_out, -1).T
        parts.append(np.matmul(columns, kernel).reshape(batch, oh, ow, groups_out))
    sums = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=3)
    return sums if bound is None else sums.astype(np.int64)


def _depthwise(view: np.ndarray, weights: np.ndarray, groups: int) -> np.ndarray:
    """One input channel per group: a sum over taps of channel-wise products."""
    out, kh, kw, _ = weights.shape
    kernel = weights.reshape(groups, out // groups, kh, kw)
    total = np.zeros((*view.shape[:3], groups, out // groups), kernel.dtype)
    for row in range(kh):
        for column in range(kw):
            total += view[:, :, :, row, column, :, None] * kernel[:, :, row, column]
    return total.reshape(*view.shape[:3], out)


def _sums(call: Invocation, x: np.ndarray, weights: np.ndarray, bound: int | None) -> np.ndarray:
    return convolve(merge_samples(x), weights, call.attrs(Conv2DAttrs), bound)


RUN_FLOAT, RUN_AFFINE, RUN_FIXED = linear_runs(_sums, lambda call: call.attrs(Conv2DAttrs).activation)


def _macs(node: Node, graph: Graph) -> int:
    w = graph.types[node.inputs[1]]
    y = graph.types[node.outputs[0]]
    return y.elements * (w.elements // w.shape[0])


def import_conv(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Conv, 1-D or 2-D: weights (out, in / groups, KH, KW) become (out, KH, KW, in / groups)."""
    from ..frontend.geometry import window_geometry

    x = context.tensor(node, 0)
    shape = context.type(x).shape
    weights = context.parameter(node, 1, "the weights")
    rank = len(shape) - 2
    if weights.values.ndim != len(shape):
        raise context.error(node, f"weights of rank {weights.values.ndim} for an input of shape {shape}")
    if node.integer_list("kernel_shape", weights.values.shape[2:]) != list(weights.values.shape[2:]):
        raise context.error(node, "attribute kernel_shape contradicts the weights")
    image = context.channels_last(node, x)
    geometry = window_geometry(context, node, weights.values.shape[2:], shape[2:])
    if rank == 1:
        out, per_group, width = weights.values.shape
        weights = weights.reshaped((out, per_group, 1, width))
    kernel = context.add_parameter(f"{node.name}/weights", weights.transposed((0, 2, 3, 1)))
    inputs = [image, kernel]
    if node.has_input(2):
        bias = context.parameter(node, 2, "the bias")
        inputs.append(context.add_parameter(f"{node.name}/bias", bias))
    attrs = Conv2DAttrs(geometry.strides, geometry.pads, geometry.dilations, node.integer("group", 1))
    y = context.emit(node, "Conv2D", inputs, attrs)
    context.bind(node.outputs[0], context.channels_first(node, y, len(shape)))


CONV2D = OpSpec(
    name="Conv2D",
    attrs=Conv2DAttrs,
    doc=(
        "y[n, i, j, o] = activation(b[o] + sum over r, s, c of x[n, i*sh + r*dh - top, j*sw + s*dw - left, g + c] * "
        "w[o, r, s, c]), g the first input channel of o's group; weights (out, KH, KW, in / groups)."
    ),
    infer=_infer,
    run_float=RUN_FLOAT,
    run_affine=RUN_AFFINE,
    run_fixed=RUN_FIXED,
    macs=_macs,
    importers={"Conv": import_conv},
)
