"""Layers with weights of one or two bits, without a multiplication for each: inputs are added by tables of their sums.

A table holds the sums of all choices of four inputs of four pixels, or of eight inputs of a row; it serves all outputs,
which take what they want of it by their bits. Weights of two bits are two such products.
Measured on Cortex-M4 for each input and output: convolutions 0.37 instructions for four pixels with one bit, dense
layers 0.44, and the tables 3.8 (four pixels) and 23 instructions for each input.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..kernel import (
    Call,
    Const,
    Function,
    FunctionPointer,
    Input,
    Kernel,
    Lowered,
    Output,
    Record,
    Scratch,
    Site,
    Table,
)
from .common import initialisers
from .dsp_convolution import (
    FRAME,
    NEEDS,
    SUPPORT,
    Inner,
    lower_rows,
    lower_windows,
    refuse_geometry,
    refuse_row_channels,
    round_up,
)
from .dsp_layout import LinearLayer, addend, clamp, clamps, high_word_shift, per_output
from .dsp_stored import DENSE, DENSE_SHAPE_BYTES, linear_layer, refuse_sums, shape_fields
from .stored_values import Grid, grid, refuse_grid, refuse_ternary

WORD = 32
"""Inputs a word has bits for."""

TILE = 4
"""Words of a row whose tables are made at a time for four pixels: 4 KB."""

COLUMN_TABLE_BYTES, ROW_TABLE_BYTES = 1024, 2048
"""Tables of the inputs of one word, for four pixels and for a row."""

MOST_WORDS = 1 << 15


def gray_code(bits: int) -> dict[str, tuple[int, ...]]:
    """The walk through all numbers of so many bits but zero that changes one bit a step.

    Returns `bits` (the bit that changes), `added` (whether it is set) and `entries` (the number).
    """
    entries = tuple(step ^ step >> 1 for step in range(1, 1 << bits))
    changed = tuple((step & -step).bit_length() - 1 for step in range(1, 1 << bits))
    added = tuple(entry >> bit & 1 for entry, bit in zip(entries, changed, strict=True))
    return {"bits": changed, "added": added, "entries": entries}


HALVES = Function("add_halves", "dsp/sums/halves.c.j2", code_bytes=0, stack_bytes=0)
COLUMN_TABLES = Function("column_tables", "dsp/sums/column_tables.c.j2", gray_code(4), (SUPPORT, HALVES), 260, "", 36)
COLUMN_SUMS = Function("column_sums", "dsp/sums/column_sums.c.j2", {}, (SUPPORT,), 230, "", 48)
ROW_TABLES = Function("row_tables", "dsp/sums/row_tables.c.j2", gray_code(4), (SUPPORT,), 680, "", 40)
ROW_SUMS = Function("row_sums", "dsp/sums/row_sums.c.j2", {}, (SUPPORT,), 200, "", 36)


@dataclass(frozen=True, slots=True)
class Planes:
    """A format whose weights are numbers of a few bits, each bit a plane.

    Attributes:
        format: its name.
        bits: planes.
        refuse: why values cannot be stored so, or None.
    """

    format: str
    bits: int
    refuse: Callable[[np.ndarray], str | None]

    def grid(self, layer: LinearLayer) -> Grid:
        """What the numbers stand for."""
        return replace(grid(layer.weights), bits=self.bits)

    def rows(self, layer: LinearLayer, unit: int) -> np.ndarray:
        """Bits (rows, inputs filled up to whole words): all inputs first, then the planes of every output.

        Args:
            unit: rows are filled up to a multiple of it.
        """
        numbers = self.grid(layer).numbers(layer.weights)
        planes = (numbers[:, None, :] >> np.arange(self.bits)[:, None]) & 1
        rows = np.concatenate([np.ones((1, layer.weights.shape[1]), np.int64), planes.reshape(-1, numbers.shape[1])])
        return np.pad(rows, ((0, -len(rows) % unit), (0, -rows.shape[1] % WORD)))

    def function(self, layer: LinearLayer, *, columns: bool) -> Function:
        """The inner loop."""
        clamped = clamps(layer.requantization)
        tables, add = (COLUMN_TABLES, COLUMN_SUMS) if columns else (ROW_TABLES, ROW_SUMS)
        stem = f"{'column' if columns else 'row'}_sums_of_{self.bits}_bit{'s' if self.bits > 1 else ''}"
        return Function(
            f"multiply_{stem}{'_clamp' if clamped else ''}",
            f"dsp/sums/{'columns' if columns else 'row'}.c.j2",
            {"planes": self.bits, "tile": TILE, "clamp": clamped, "tables": tables.name, "add": add.name},
            (SUPPORT, FRAME, tables, add),
            headers=("string.h",),
        )


def stream(planes: Planes, layer: LinearLayer, unit: int, tile: int) -> np.ndarray:
    """Layout of `columns.c.j2` and `row.c.j2`; the words of `tile` words of inputs stand together."""
    rows = planes.rows(layer, unit)
    words = (rows.reshape(len(rows), -1, WORD) << np.arange(WORD)).sum(axis=2).astype(np.uint32)
    tiles = [words[:, first : first + tile].reshape(-1) for first in range(0, words.shape[1], tile)]
    found = planes.grid(layer)
    head = np.array([found.low, found.step, len(rows), words.shape[1]], np.int64).astype(np.uint32)
    ends = np.array([layer.bias, per_output(layer.requantization, layer.outputs)], np.int64).T.astype(np.uint32)
    return np.concatenate([head, *tiles, ends.reshape(-1)])


def words_of(layer: LinearLayer) -> int:
    """Words of a row."""
    return math.ceil(layer.weights.shape[1] / WORD)


def _note(planes: Planes, layer: LinearLayer) -> str:
    return f"{planes.format}: bits of all rows, start sums and multipliers times 2^-{layer.requantization.shift}"


def _inner(planes: Planes, site: Site) -> Inner:
    layer = linear_layer(site)
    layer = replace(layer, weights=np.pad(layer.weights, ((0, 0), (0, -layer.weights.shape[1] % 4)), "edge"))
    function = planes.function(layer, columns=True)
    words, rows = words_of(layer), planes.bits * layer.outputs + 1
    tiles = math.ceil(words / TILE)
    clamped = 16 if clamps(layer.requantization) else 0
    instructions = (
        120
        + 61 * 8 * words
        + tiles * (50 + 18 * rows)
        + 44 * words * rows
        + (46 + 8 * (planes.bits - 1) + clamped) * layer.outputs
    )
    return Inner(
        Table("stream", stream(planes, layer, 1, TILE), _note(planes, layer)),
        shape_fields(layer, 0),
        function,
        function,
        round(instructions),
        round(instructions),
        overrun=8 * (words * WORD - layer.weights.shape[1]),
        before=min(words, TILE) * COLUMN_TABLE_BYTES + 16 * rows,
    )


def _lower_dense(planes: Planes, site: Site) -> Lowered:
    layer = linear_layer(site)
    outputs, inputs = layer.weights.shape
    words, table = words_of(layer), stream(planes, layer, 4, 1)
    lines = round_up(planes.bits * outputs + 1, 4)
    count = math.prod(site.y.shape[:-1])
    below, floor = clamp(layer.requantization)
    shape = Record(
        "shape",
        f"{DENSE.name}_shape",
        initialisers(
            rows=count,
            inputs=inputs,
            padded_inputs=round_up(inputs, 4),
            outputs=outputs,
            stored_outputs=outputs,
            widen=0,
            stream_words=table.size,
            addend=addend(layer.requantization, 0),
            shift=f"{high_word_shift(layer.requantization)}u",
            clamp=f"{{{below}, {floor}}}",
        ),
        DENSE_SHAPE_BYTES,
    )
    before = ROW_TABLE_BYTES + 4 * lines
    function = planes.function(layer, columns=False)
    end = 13 + planes.bits + (5 if clamps(layer.requantization) else 0)
    return Lowered(
        calls=(
            Call(
                DENSE,
                (
                    Input(),
                    Output(),
                    Const("stream"),
                    FunctionPointer(function),
                    Const("shape"),
                    Scratch("uint32_t", before),
                ),
            ),
        ),
        tables=(Table("stream", table, _note(planes, layer)),),
        records=(shape,),
        scratch_bytes=before + words * WORD,
        instructions=round(count * (110 + inputs * 0.75 + words * (790 + 14 * lines) + outputs * end)),
    )


def _refuse(planes: Planes, site: Site) -> str | None:
    reason = refuse_sums(site)
    if reason:
        return reason
    layer = linear_layer(site)
    if words_of(layer) > MOST_WORDS:
        return "its outputs have too many inputs"
    return planes.refuse(layer.weights)


PLANES = (
    Planes("binary", 1, lambda weights: refuse_grid(weights, 1)),
    Planes("ternary", 2, refuse_ternary),
    Planes("int2", 2, lambda weights: refuse_grid(weights, 2)),
)


def _convolution(planes: Planes, lower: Callable[[Site, Inner], Lowered], rows: bool) -> Kernel:
    def refuse(site: Site) -> str | None:
        reason = refuse_geometry(site) or (refuse_row_channels(site) if rows else None)
        return reason or _refuse(planes, site)

    name = f"conv2d/dsp_{'rows' if rows else 'windows'}_{planes.format}_sums"
    return Kernel(name, "Conv2D", refuse, lambda site: lower(site, _inner(planes, site)), NEEDS, planes.format)


def _kernels() -> Iterator[Kernel]:
    for planes in PLANES:
        parts = functools.partial(_refuse, planes), functools.partial(_lower_dense, planes)
        yield Kernel(f"dense/dsp_{planes.format}_sums", "Dense", *parts, NEEDS, planes.format)
        yield _convolution(planes, lower_rows, rows=True)
        yield _convolution(planes, lower_windows, rows=False)


KERNELS = tuple(_kernels())
