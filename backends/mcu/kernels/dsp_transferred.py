"""Convolutions of which many filters are copies of others, for the DSP extension: stored once, products computed once.

A negation or a copy with another bias costs an output channel nothing but its requantization; a mirrored or turned
filter costs its product, on columns whose taps are put in another order. Measured on Cortex-M4: 0.77 instructions for
each multiplication with a stored filter, 11 for each output.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from boardfit.numerics import Requantization
from boardfit.ops.conv2d import Conv2DAttrs

from ..kernel import Function, Kernel, Lowered, Site, Table
from .common import linear_parameters
from .dsp_convolution import (
    FRAME,
    NEEDS,
    SUPPORT,
    UNROLL,
    Inner,
    lower_rows,
    lower_windows,
    refuse_geometry,
    refuse_linear,
    refuse_row_channels,
    round_up,
)
from .dsp_layout import (
    LinearLayer,
    addend,
    clamp,
    clamps,
    high_word_shift,
    per_output,
    refuse_pairs,
    refuse_requantization,
    weight_words,
)
from .transferred_filters import Filters, copies_of, refuse_copies

FORMAT = "transferred"
MOST_CHANNELS = 1 << 15
PAIR_END = 34
"""Instructions of a pair of filters beside its multiplications."""

OUTPUT = 44
"""Of an output channel of four pixels; a clamp comes on top."""

CLAMP = 14


def _products(filters: Filters) -> LinearLayer:
    """The stored filters as a matrix product without bias, filled up to pairs and to whole words."""
    bases = filters.bases.reshape(len(filters.bases), -1)
    plain = Requantization((0,), 33, 0, -128, 127)
    layer = LinearLayer(bases, np.zeros(len(bases), np.int64), plain)
    return layer.padded(round_up(len(bases), 2), round_up(bases.shape[1], 4))


def _turns(filters: Filters) -> bool:
    return any(transform > 0 for transform in filters.orders)


def _refuse(site: Site) -> str | None:
    reason = refuse_linear(site) or refuse_geometry(site)
    if reason:
        return reason
    parameters = linear_parameters(site, site.attrs(Conv2DAttrs).activation)
    if parameters.weights.dtype != np.int8:
        return "its weights less their zero point do not fit int8"
    if parameters.requantization.ties_to_even:
        return "its requantization rounds ties to even"
    if len(parameters.weights) >= MOST_CHANNELS:
        return f"it has {len(parameters.weights)} output channels"
    filters = copies_of(site)
    reason = refuse_requantization(parameters.requantization, 0) or refuse_copies(filters)
    if reason:
        return reason
    if _turns(filters) and site.x(1).shape[3] % 4:
        return "filters are mirrored or turned, and the number of input channels is no multiple of four"
    return None


def _pairs(filters: Filters, transform: int) -> tuple[int, int]:
    """The first pair of filters that a transform needs, and how many."""
    first, end = filters.span(transform)
    return first // 2, round_up(end, 2) // 2 - first // 2


def _stream(site: Site, filters: Filters, layer: LinearLayer, before: int) -> np.ndarray:
    """Layout of `outputs.c.j2`."""
    parameters = linear_parameters(site, site.attrs(Conv2DAttrs).activation)
    multipliers = per_output(parameters.requantization, len(parameters.weights))
    words = weight_words(layer, wide=refuse_pairs(layer) is not None).reshape(-1)
    head = [len(filters.orders), before, 2 * filters.bases.shape[3], words.size]
    parts = [np.array(head, np.uint32), words]
    for transform, order in filters.orders.items():
        own = [(channel, copy) for channel, copy in enumerate(filters.copies) if copy.transform == transform]
        first, pairs = _pairs(filters, transform)
        parts.append(np.array([len(own) | pairs << 16, (order.size if transform else 0) | first << 16], np.uint32))
        if transform:
            parts.append(np.pad(order.astype(np.uint8), (0, -order.size % 4)).view("<u4"))
        for channel, copy in own:
            entry = channel | (copy.base - 2 * first) << 16 | copy.negative << 31
            bias = int(parameters.folded[channel]) & 0xFFFFFFFF
            parts.append(np.array([entry, bias, multipliers[channel]], np.uint32))
    return np.concatenate([part.astype(np.uint32) for part in parts])


def _instructions(filters: Filters, layer: LinearLayer, *, clamped: bool) -> int:
    """Of a group of four pixels."""
    depth = layer.weights.shape[1]
    steps = depth // 2 - 1
    pair = PAIR_END + (13 if refuse_pairs(layer) else 12) * steps + 3 * (steps // UNROLL + 1)
    total = 60 + len(filters.copies) * (OUTPUT + (CLAMP if clamped else 0))
    for transform, order in filters.orders.items():
        total += 60 + pair * _pairs(filters, transform)[1]
        if transform:
            total += 14 * order.size + 4 * depth
    return total


def _functions(layer: LinearLayer, *, clamped: bool) -> tuple[Function, int]:
    """The inner loop, and the bytes of a turn of the products' unrolled loop."""
    wide = refuse_pairs(layer) is not None
    step_bytes = 52 if wide else 48
    sums = Function(
        "multiply_filters_wide" if wide else "multiply_filters",
        "dsp/transferred/sums.c.j2",
        {"wide": wide, "unroll": UNROLL, "step_bytes": step_bytes},
        (SUPPORT,),
        code_bytes=540 + 24 * wide,
        stack_bytes=56,
    )
    name = f"multiply_transferred{'_wide' if wide else ''}{'_clamp' if clamped else ''}"
    outputs = Function(
        name,
        "dsp/transferred/outputs.c.j2",
        {"sums": sums.name, "clamp": clamped},
        (FRAME, sums),
        code_bytes=420 + 60 * clamped,
        stack_bytes=120 + 56,
        headers=("string.h",),
    )
    return outputs, step_bytes


def _inner(site: Site) -> Inner:
    filters = copies_of(site)
    layer = _products(filters)
    r = linear_parameters(site, site.attrs(Conv2DAttrs).activation).requantization
    depth = layer.weights.shape[1]
    before = 4 * layer.outputs + (2 * depth if _turns(filters) else 0)
    function, step_bytes = _functions(layer, clamped=clamps(r))
    below, floor = clamp(r)
    skip = (UNROLL - (depth // 2 - 1) % UNROLL) * step_bytes
    fields = {
        "skip": f"{skip}u",
        "addend": f"{{{addend(r)}, 0}}",
        "shift": f"{{{high_word_shift(r)}u, 0u}}",
        "clamp": f"{{{below}, {floor}}}",
    }
    kept, outputs = len(filters.bases), len(filters.copies)
    note = f"{kept} filters, and how {outputs} output channels are made of them; multipliers times 2^-{r.shift}"
    instructions = _instructions(filters, layer, clamped=clamps(r))
    stream = Table("stream", _stream(site, filters, layer, before), note)
    return Inner(stream, fields, function, function, instructions, instructions, before=4 * before)


def _kernel(name: str, lower: Callable[[Site, Inner], Lowered], *, rows: bool) -> Kernel:
    def refuse(site: Site) -> str | None:
        return (refuse_row_channels(site) if rows else None) or _refuse(site)

    return Kernel(name, "Conv2D", refuse, lambda site: lower(site, _inner(site)), NEEDS, FORMAT)


KERNELS = (
    _kernel("conv2d/dsp_rows_transferred", lower_rows, rows=True),
    _kernel("conv2d/dsp_windows_transferred", lower_windows, rows=False),
)
