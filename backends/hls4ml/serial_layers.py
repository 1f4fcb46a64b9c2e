"""Convolutions of streams by boardfit's own kernels, which make one channel or one result after the other.

hls4ml's resource kernels hold every input and accumulator in registers and select from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from boardfit.estimate.fpga import serial_filters, serial_lanes
from boardfit.options import IoType, Strategy
from boardfit.plan.fpga import LayerPlan

Serial = tuple[str, Mapping[str, Any]]
"""hls4ml class and attributes."""

SERIAL_CLASSES = ("BoardfitPointwise", "BoardfitSerialConv2D")
"""Classes that make the border of the image themselves."""


def serial_convolution(attributes: Mapping[str, Any], plan: LayerPlan, io_type: IoType) -> Serial | None:
    """Class and attributes of a full convolution where a kernel of boardfit's own serves its reuse factor.

    Args:
        attributes: those of hls4ml's Conv2D, weights (height, width, channel, filter).
    """
    if io_type is not IoType.STREAM or plan.strategy is not Strategy.RESOURCE:
        return None
    weights: np.ndarray = attributes["weight_data"]
    height, width, channels, filters = weights.shape
    shape = [attributes["out_height"], attributes["out_width"], filters]
    common = {
        **{name: value for name, value in attributes.items() if name not in ("weight_data", "data_format")},
        "out_shape": attributes.get("out_shape", shape),
    }
    if height == width == 1:
        lanes = serial_lanes(channels, filters, plan.reuse_factor)
        padded = any(attributes[f"pad_{side}"] for side in ("top", "bottom", "left", "right"))
        if not lanes or padded:
            return None
        sizes = {"n_in": channels, "n_out": filters, "lanes": lanes}
        return "BoardfitPointwise", {**common, **sizes, "weight_data": weights.reshape(channels, filters).T.copy()}
    together = serial_filters(channels, filters, plan.reuse_factor) if height > 1 else 0
    if not together:
        return None
    # (tap, channel, group, filter of the group) -> (group, channel, filter of the group, tap)
    split = weights.reshape(height * width, channels, filters // together, together)
    data = split.transpose(2, 1, 3, 0).copy()
    return "BoardfitSerialConv2D", {**common, "filters": together, "weight_data": data}
