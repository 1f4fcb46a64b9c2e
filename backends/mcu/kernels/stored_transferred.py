"""Convolutions of which many filters are copies of others, in C for every core: stored once, products computed once.

Windows come from the strips of `tile/convolution.c.j2`, whose taps lie column by column.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs

from ..kernel import Function, Kernel, Lowered, Site, Table
from .common import linear_parameters
from .int8_layers import refuse_linear, refuse_parameters, requantization_fields
from .stored import GROUP, NEEDS, core_of, requantize_function
from .tile import row_convolution
from .transferred_filters import Filters, copies_of, refuse_copies

FORMAT = "transferred"
MOST_CHANNELS = 1 << 15
MOST_TAPS = 255

COSTS = {"m0": (11.0, 150.0, 32.0), "m3": (7.0, 85.0, 18.0), "rv32": (19.0, 190.0, 20.0)}
"""Instructions for a group of pixels, measured: of a weight, of an output, of a tap that is put in order."""

FILTER = 30


def _refuse(site: Site) -> str | None:
    if "dsp" in site.features:
        return "the kernels for the DSP extension are faster"
    attrs = site.attrs(Conv2DAttrs)
    if attrs.groups != 1:
        return "it has groups"
    if attrs.dilations[1] != 1:
        return "its kernel is dilated along a row"
    if min(attrs.pads) < 0:
        return "its padding crops"
    reason = refuse_linear(site)
    if reason:
        return reason
    parameters = linear_parameters(site, attrs.activation)
    outputs, kh, kw, _ = parameters.weights.shape
    if outputs >= MOST_CHANNELS or kh * kw > MOST_TAPS:
        return f"it has {outputs} filters of {kh * kw} taps"
    return refuse_parameters(parameters) or refuse_copies(copies_of(site))


def _turned(filters: Filters) -> Filters:
    """The filters with taps column by column: what lay at (y, x) is now at x * kh + y."""
    _, kh, kw, _ = filters.bases.shape
    places = np.arange(kh * kw).reshape(kh, kw).T.reshape(-1)  # new place -> old place
    new = np.argsort(places)
    orders = {transform: new[order[places]] for transform, order in filters.orders.items()}
    return Filters(filters.bases.transpose(0, 2, 1, 3), filters.copies, orders)


def _short(value: int) -> list[int]:
    return [value & 0xFF, value >> 8]


def _plan(filters: Filters) -> tuple[np.ndarray, list[int]]:
    """What lies before the filters, and the output channels in its order."""
    found: list[int] = []
    channels: list[int] = []
    for transform, order in filters.orders.items():
        taps = order.tolist() if transform else []
        by_base: dict[int, list[int]] = {}
        for channel, copy in enumerate(filters.copies):
            if copy.transform == transform:
                by_base.setdefault(copy.base, []).append(channel)
        found += [len(taps), *taps, *_short(len(by_base))]
        for base, own in by_base.items():
            found += [*_short(base), *_short(len(own))]
            for channel in own:
                found += _short(channel | filters.copies[channel].negative << 15)
            channels += own
    return np.array(found, np.uint8), channels


def _instructions(filters: Filters, pixels: int, features: frozenset[str]) -> float:
    """Predicted, of a row of pixels."""
    core = core_of(features)
    weight, output, tap = COSTS[core]
    depth = math.prod(filters.bases.shape[1:])
    group = 30 + output * len(filters.copies)
    for transform, order in filters.orders.items():
        used = len({copy.base for copy in filters.copies if copy.transform == transform})
        group += used * (FILTER + weight * depth + (tap * order.size if transform else 0))
    return 30 + math.ceil(pixels / GROUP[core]) * group


def _lower(site: Site) -> Lowered:
    attrs = site.attrs(Conv2DAttrs)
    parameters = linear_parameters(site, attrs.activation)
    columns, outputs = site.y.shape[2:]
    filters = _turned(copies_of(site))
    plan, order = _plan(filters)
    pixels = GROUP[core_of(site.features)]
    requantize, support = requantize_function(parameters, site.features)
    stem = f"{pixels}{'_halves' if requantize == 'requantize_halves' else ''}"
    product = Function(
        f"transferred_{stem}",
        "stored/transferred.c.j2",
        {"pixels": pixels, "requantize": requantize},
        (support,),
        code_bytes=300 + 80 * pixels,
        stack_bytes=100,
    )
    members = {
        "depth": math.prod(filters.bases.shape[1:]),
        "outputs": outputs,
        **requantization_fields(parameters.requantization),
        "channels": site.x().shape[3],
        "transforms": len(filters.orders),
        "plan_bytes": plan.size,
    }
    multiplier = np.broadcast_to(parameters.multiplier, (outputs,))
    constants = np.stack([parameters.folded, multiplier], axis=1)[order]
    stream = np.concatenate([plan.view(np.int8), filters.bases.astype(np.int8).reshape(-1)])
    note = f"bias and multiplier times 2^-{parameters.requantization.shift} of every output, in the order of the plan"
    what = f"how {outputs} output channels are made, and {len(filters.bases)} filters"
    tables = (Table("weights", stream, what), Table("constants", constants, note))
    cost = _instructions(filters, columns, site.features)
    shape = tuple(members.values())
    return row_convolution(site, parameters.zero, product, f"convolution_{product.name}", shape, tables, cost)


def _kernels() -> Iterator[Kernel]:
    for needs in NEEDS:
        yield Kernel("conv2d/stored_transferred", "Conv2D", _refuse, _lower, needs, FORMAT)


KERNELS = tuple(_kernels())
