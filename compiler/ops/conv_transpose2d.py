"""ConvTranspose2D: the gradient of a convolution, as a convolution of the zero-stuffed input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs, Graph, Node
from ..ir.types import TensorType
from .activation import NONE, Activation
from .conv2d import Conv2DAttrs, convolve
from .linear import linear_runs
from .spec import Invocation, OpSpec, Types, attrs_as, required
from .windows import Pads, Pair, merge_samples

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode


@dataclass(frozen=True, slots=True)
class ConvTranspose2DAttrs(Attrs):
    """Geometry and fused activation; `pads` crop the full result (top, left, bottom, right)."""

    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    output_padding: Pair = (0, 0)
    groups: int = 1
    activation: Activation = NONE


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a = attrs_as(attrs, ConvTranspose2DAttrs)
    x, w = required(inputs, 0), required(inputs, 1)
    if x.rank != 4 or w.rank != 4:
        raise ValueError(f"expected a 4-D input and 4-D weights, not {x.shape} and {w.shape}")
    if x.shape[3] != w.shape[3] * a.groups:
        raise ValueError(f"the input has {x.shape[3]} channels, the weights want {w.shape[3] * a.groups}")
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None and bias.shape != (w.shape[0],):
        raise ValueError(f"bias of shape {bias.shape} for {w.shape[0]} output channels")
    sizes: list[int] = []
    for axis in (0, 1):
        reach = a.dilations[axis] * (w.shape[1 + axis] - 1) + 1
        full = (x.shape[1 + axis] - 1) * a.strides[axis] + reach + a.output_padding[axis]
        sizes.append(full - a.pads[axis] - a.pads[axis + 2])
        if sizes[-1] < 1:
            raise ValueError("the padding crops the whole output")
    return [TensorType((x.shape[0], sizes[0], sizes[1], w.shape[0]), x.element)]


def transposed_sums(x: np.ndarray, weights: np.ndarray, attrs: ConvTranspose2DAttrs, bound: int | None) -> np.ndarray:
    """Transposed convolution sums without bias; arguments as `conv2d.convolve`."""
    batch, height, width, channels = x.shape
    sh, sw = attrs.strides
    stuffed = np.zeros((batch, (height - 1) * sh + 1, (width - 1) * sw + 1, channels), x.dtype)
    stuffed[:, ::sh, ::sw] = x
    reach_h = attrs.dilations[0] * (weights.shape[1] - 1)
    reach_w = attrs.dilations[1] * (weights.shape[2] - 1)
    full = Conv2DAttrs(
        pads=(reach_h, reach_w, reach_h + attrs.output_padding[0], reach_w + attrs.output_padding[1]),
        dilations=attrs.dilations,
        groups=attrs.groups,
    )
    sums = convolve(stuffed, weights[:, ::-1, ::-1], full, bound)
    top, left, bottom, right = attrs.pads
    return sums[:, top : sums.shape[1] - bottom, left : sums.shape[2] - right]


def _sums(call: Invocation, x: np.ndarray, weights: np.ndarray, bound: int | None) -> np.ndarray:
    return transposed_sums(merge_samples(x), weights, call.attrs(ConvTranspose2DAttrs), bound)


RUN_FLOAT, RUN_AFFINE, RUN_FIXED = linear_runs(_sums, lambda call: call.attrs(ConvTranspose2DAttrs).activation)


def _macs(node: Node, graph: Graph) -> int:
    w = graph.types[node.inputs[1]]
    x = graph.types[node.inputs[0]]
    return x.elements * (w.elements // x.shape[3])


def import_conv_transpose(context: ImportContext, node: OnnxNode) -> None:
    """ONNX ConvTranspose, 1-D or 2-D: weights (in, out / groups, KH, KW) become (out, KH, KW, in / groups)."""
    from ..frontend.transposed import transposed_geometry

    x = context.tensor(node, 0)
    shape = context.type(x).shape
    weights = context.parameter(node, 1, "the weights")
    groups = node.integer("group", 1)
    if weights.values.ndim != len(shape):
        raise context.error(node, f"weights of rank {weights.values.ndim} for an input of shape {shape}")
    channels, per_group, *kernel = weights.values.shape
    if node.integer_list("kernel_shape", kernel) != kernel:
        raise context.error(node, "attribute kernel_shape contradicts the weights")
    if groups < 1 or channels % groups:
        raise context.error(node, f"{channels} input channels cannot be split into {groups} groups")
    image = context.channels_last(node, x)
    strides, pads, dilations, extra = transposed_geometry(context, node, kernel, shape[2:])
    height, width = kernel if len(kernel) == 2 else (1, kernel[0])
    split = weights.reshaped((groups, channels // groups, per_group, height, width))
    grouped = split.transposed((0, 2, 3, 4, 1)).reshaped((groups * per_group, height, width, channels // groups))
    inputs = [image, context.add_parameter(f"{node.name}/weights", grouped)]
    if node.has_input(2):
        inputs.append(context.add_parameter(f"{node.name}/bias", context.parameter(node, 2, "the bias")))
    attrs = ConvTranspose2DAttrs(strides, pads, dilations, extra, groups)
    y = context.emit(node, "ConvTranspose2D", inputs, attrs)
    context.bind(node.outputs[0], context.channels_first(node, y, len(shape)))


CONV_TRANSPOSE2D = OpSpec(
    name="ConvTranspose2D",
    attrs=ConvTranspose2DAttrs,
    doc=(
        "Every input pixel adds x * w at stride spacing; the sum is cropped by the pads. "
        "Weights (out, KH, KW, in / groups)."
    ),
    infer=_infer,
    run_float=RUN_FLOAT,
    run_affine=RUN_AFFINE,
    run_fixed=RUN_FIXED,
    macs=_macs,
    importers={"ConvTranspose": import_conv_transpose},
)
