"""Layers whose packed weights are expanded into RAM before an int8 kernel runs: few weights used many times.

Depthwise convolutions everywhere, and on cores without the DSP extension all convolutions: an expanded weight is used
for every output pixel, so the expansion costs little, but the RAM of the int8 weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from boardfit.errors import InternalError
from boardfit.ops.conv2d import Conv2DAttrs

from ..kernel import Argument, Call, Const, Function, Kernel, Lowered, Scratch, Site, Table
from . import convolution, dsp_depthwise, thumb, tile
from .common import linear_parameters, literals
from .int8_layers import round_up
from .stored import numbers
from .stored_values import grid, refuse_grid, refuse_ternary

EXPAND = Function("expand_weights", "stored/expand.c.j2", code_bytes=60, stack_bytes=24)
INSTRUCTIONS = {"int4": 7.0, "ternary": 6.0, "int2": 6.0, "binary": 5.5}
"""For each weight, Armv7-M."""

WEIGHTS = "weights"


@dataclass(frozen=True, slots=True)
class Packing:
    """A format of packed numbers."""

    format: str
    bits: int
    refuse: Callable[[np.ndarray], str | None]


PACKINGS = (
    Packing("int4", 4, lambda weights: refuse_grid(weights, 4)),
    Packing("ternary", 2, refuse_ternary),
    Packing("int2", 2, lambda weights: refuse_grid(weights, 2)),
    Packing("binary", 1, lambda weights: refuse_grid(weights, 1)),
)


def _refuse(packing: Packing, base: Kernel, site: Site) -> str | None:
    reason = base.refuse(site)
    if reason:
        return reason
    attrs = site.attrs(Conv2DAttrs)
    if attrs.groups == 1 and "dsp" in site.features:
        return "kernels that multiply packed weights are faster"
    parameters = linear_parameters(site, attrs.activation)
    if parameters.weights.dtype != np.int8:
        return "its weights less their zero point do not fit int8"
    return packing.refuse(parameters.weights.astype(np.int64))


def _lower(packing: Packing, base: Kernel, site: Site) -> Lowered:
    lowered = base.lower(site)
    table = next((table for table in lowered.tables if table.stem == WEIGHTS), None)
    if table is None or table.values.dtype != np.int8:
        raise InternalError(f"'{base.name}' has no table of int8 weights")
    flat = table.values.reshape(1, -1).astype(np.int64)
    found = grid(linear_parameters(site, site.attrs(Conv2DAttrs).activation).weights.astype(np.int64))
    # a layout may fill up with zeros, which need not be on the grid and are multiplied with nothing that counts
    on_grid = np.clip(found.numbers(flat), 0, (1 << packing.bits) - 1)
    offset = round_up(lowered.scratch_bytes, 4)

    def argument(given: Argument) -> Argument:
        return Scratch("int8_t", offset) if isinstance(given, Const) and given.stem == WEIGHTS else given

    expand = Call(
        EXPAND,
        (Const(WEIGHTS), Scratch("int8_t", offset), *literals(flat.size, packing.bits, found.low, found.step)),
    )
    return replace(
        lowered,
        calls=(expand, *(Call(call.function, tuple(map(argument, call.arguments))) for call in lowered.calls)),
        tables=tuple(
            Table(WEIGHTS, numbers(on_grid, packing.bits).astype(np.uint8), packing.format) if one is table else one
            for one in lowered.tables
        ),
        scratch_bytes=offset + round_up(flat.size, 8),
        instructions=lowered.instructions + round(INSTRUCTIONS[packing.format] * flat.size),
    )


BASES = (
    convolution.DEPTHWISE,
    *dsp_depthwise.KERNELS,
    *(kernel for kernel in thumb.KERNELS if kernel.name.endswith("depthwise")),
    *(kernel for kernel in tile.KERNELS if kernel.op == "Conv2D"),
)
"""Kernels whose weights are a table of their own."""


def _kernels() -> Iterator[Kernel]:
    for packing in PACKINGS:
        for base in BASES:
            parts = functools.partial(_refuse, packing, base), functools.partial(_lower, packing, base)
            yield Kernel(f"{base.name}_expanded_{packing.format}", base.op, *parts, base.needs, packing.format)


KERNELS = tuple(_kernels())
