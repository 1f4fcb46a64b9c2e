"""boardfit's own streamed layers (`nnet_boardfit.h`): one output, channel or filter after the other.

hls4ml's resource kernels hold every input, window and accumulator in registers and select from them. These keep what
they read in memories or in rings that turn, so the LUTs hardly depend on how many channels there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from .description import LayerDescription
from .memory import bram18_blocks
from .multipliers import Multipliers
from .reuse import serial_filters, serial_lanes

SHIFT_REGISTER = 32
"""Bits that one LUT of the families in question holds as a shift register (SRLC32E) or memory (RAM32)."""


@dataclass(frozen=True, slots=True)
class SerialTerms:
    """Terms of LUT and FF, and RAMB18 of line buffers."""

    lut: Mapping[str, float]
    ff: Mapping[str, float]
    bram: Mapping[str, float]


def is_serial(layer: LayerDescription) -> bool:
    """Whether a layer is one of these kernels; the reuse factor decides, as it does for the project."""
    if layer.implementation != "boardfit" or layer.io_type != "io_stream" or layer.strategy != "resource":
        return False
    if layer.kind == "depthwise":
        return layer.kernel_height > 1 and layer.reuse_factor == layer.channels_in
    if _has_window(layer):
        return serial_filters(layer.channels_in, layer.n_out, layer.reuse_factor) > 0
    single = layer.kind == "dense" or layer.kernel_height == layer.kernel_width == 1
    return single and serial_lanes(layer.n_in, layer.n_out, layer.reuse_factor) > 0


def _has_window(layer: LayerDescription) -> bool:
    return layer.kind in ("conv", "depthwise") and layer.kernel_height > 1


def serial_terms(layer: LayerDescription, m: Multipliers) -> SerialTerms:
    """What such a layer is built of, beside its multipliers' DSP slices and the memory of its weights."""
    inputs, accum, results = layer.input_precision.width, layer.accum_precision.width, layer.result_precision.width
    lut = {
        "accumulate_shared": m.instances * accum,
        "fabric_multiply": m.fabric * layer.weight_precision.width * inputs,
    }
    ff = {"accumulate_shared": m.instances * accum}
    if not _has_window(layer):
        # inputs go round, outputs are shifted in: no accumulator and no input is selected
        lut["select_input"] = layer.n_in * inputs
        ff["pipeline"] = layer.n_in * inputs + layer.n_out * results
        return SerialTerms(lut, ff, {})
    # lines and windows are memories addressed by the channel; the pixel is shifted in, the result shifted out
    taps = layer.kernel_height * layer.kernel_width
    lut["select_input"] = layer.channels_in * inputs
    lut["line_buffer"] = taps * math.ceil(layer.channels_in / SHIFT_REGISTER) * inputs
    ff["pipeline"] = layer.channels_in * inputs + layer.n_out * results
    lines = (layer.kernel_height - 1) * bram18_blocks(layer.width_in * layer.channels_in, inputs)
    return SerialTerms(lut, ff, {"lines": float(lines)})


def serial_cycles(layer: LayerDescription, tail: int) -> int:
    """Cycles of one inference of a convolution.

    Args:
        tail: cycles in which a loop fills and empties.
    """
    if layer.kind == "depthwise":
        return layer.positions_in * (layer.reuse_factor + tail) + 1
    # every pixel goes into lines and window, one channel a cycle; only where there is a result products are made
    kept = layer.channels_in + tail if _has_window(layer) else 1
    return layer.positions_in * kept + layer.positions_out * (layer.reuse_factor + tail) + 1
