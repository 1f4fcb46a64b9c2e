"""Ops that hls4ml lacks, as boardfit's own layers: picked values, transposed convolution, argmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from boardfit.ir import FixedPoint, Node
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs
from boardfit.ops.spec import attrs_as

from .layer import HlsLayer, LayerContext
from .linear_layers import bias_attributes, convolution_layer, spread_groups, spread_taps
from .picks import Picks, picks_of, stuffed_picks


def pick(node: Node, context: LayerContext) -> list[HlsLayer]:
    """Slice, Gather, and Resize with positions hls4ml cannot compute."""
    shape = context.shape(node.outputs[0])
    return [_pick(node, context, context.name(node), picks_of(node, context.graph), shape, context.result(node))]


def conv_transpose2d(node: Node, context: LayerContext) -> list[HlsLayer]:
    """ConvTranspose2D: zeros between the pixels, then hls4ml's convolution with the kernel turned around."""
    attrs = attrs_as(node.attrs, ConvTranspose2DAttrs)
    weights = context.real(node.inputs[1])
    picks = stuffed_picks(attrs, weights.shape, context.image(node.inputs[0]))
    name = f"{context.name(node)}_stuffed"
    stuffed = (len(picks.rows), len(picks.columns), len(picks.channels))
    kernel = spread_groups(spread_taps(weights[:, ::-1, ::-1], attrs.dilations), attrs.groups)
    out_height, out_width, filters = context.image(node.outputs[0])
    attributes: dict[str, Any] = {
        "data_format": "channels_last",
        "in_height": stuffed[0],
        "in_width": stuffed[1],
        "n_chan": stuffed[2],
        "out_height": out_height,
        "out_width": out_width,
        "n_filt": filters,
        "filt_height": kernel.shape[1],
        "filt_width": kernel.shape[2],
        "stride_height": 1,
        "stride_width": 1,
        "dilation_height": 1,
        "dilation_width": 1,
        **dict.fromkeys(("pad_top", "pad_bottom", "pad_left", "pad_right"), 0),
        **bias_attributes(node, context, filters),
        "weight_data": kernel.transpose(1, 2, 3, 0).copy(),
    }
    return [
        _pick(node, context, name, picks, stuffed, context.element(node.inputs[0])),
        convolution_layer(node, context, "Conv2D", attributes, (name,)),
    ]


def arg_max(node: Node, context: LayerContext) -> list[HlsLayer]:
    """ArgMax over the last axis; outputs are read in row-major order, so the shape may keep the axis."""
    *outer, classes = context.shape(node.inputs[0])
    attributes = {
        "n_in": int(np.prod(outer)) * classes,
        "n_classes": classes,
        "last": attrs_as(node.attrs, ArgMaxAttrs).last,
        "out_shape": [*outer, 1],
    }
    precision = {"result": context.result(node)}
    return [
        HlsLayer(
            context.name(node),
            "BoardfitArgMax",
            context.inputs(node),
            attributes,
            precision,
            node=node.source.node,
        )
    ]


def _pick(
    node: Node, context: LayerContext, name: str, picks: Picks, shape: tuple[int, ...], result: FixedPoint
) -> HlsLayer:
    height, width, channels = (1, 1, *context.shape(node.inputs[0]))[-3:]
    attributes = {
        "in_height": height,
        "in_width": width,
        "n_chan": channels,
        "rows": list(picks.rows),
        "columns": list(picks.columns),
        "channels": list(picks.channels),
        "out_shape": list(shape),
    }
    return HlsLayer(name, "BoardfitPick", context.inputs(node), attributes, {"result": result}, node=node.source.node)
