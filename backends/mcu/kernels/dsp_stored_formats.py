"""The formats of stored weights, as the DSP kernels have them: which values they hold, their streams, their costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..kernel import Call, Const, Function, Scratch, Table, Value
from . import stored_streams as streams
from .dsp_convolution import FRAME, PIXELS, SUPPORT
from .dsp_layout import LinearLayer, clamps
from .stored_values import (
    BLOCK,
    CODEBOOK,
    Grid,
    grid,
    occupied,
    refuse_grid,
    refuse_ternary,
    refuse_values,
    refuse_zeros,
)

PAIRS = Function("codebook_pairs", "dsp/stored/pairs.c.j2", code_bytes=48, stack_bytes=16)
PAIRS_BYTES = 1024
PAIRS_INSTRUCTIONS = 1660
ROW_FINISH = 11
MOST_BLOCKS = 255
PAIR_OF_NIBBLES = 4
"""Bits by which a weight in the upper half of a byte is shifted."""

MOST_INPUTS = 1 << 16


@dataclass(frozen=True, slots=True)
class Stored:
    """A format, as the DSP kernels have it.

    Attributes:
        format: its name.
        refuse: why the values cannot be stored so, or None.
        columns, row: the stream for four pixels, and for a row.
        column_instructions, row_instructions: predicted, of all outputs, the end of each output aside.
        template: of the inner loop.
        bits: of a packed number, or 0.
        widen: whether a row is widened.
        extra: sums are 2**extra times what they mean.
    """

    format: str
    refuse: Callable[[np.ndarray], str | None]
    columns: Callable[[LinearLayer], np.ndarray]
    row: Callable[[LinearLayer], np.ndarray]
    column_instructions: Callable[[LinearLayer], float]
    row_instructions: Callable[[LinearLayer], float]
    template: str
    bits: int = 0
    widen: bool = True
    extra: int = 0

    @property
    def label(self) -> str:
        """Name of the variant."""
        return f"{self.format}_4_bits" if self.extra else self.format

    @property
    def row_group(self) -> int:
        """Outputs a row is multiplied with at a time."""
        return streams.GROUP if self.bits else 1

    def function(self, layer: LinearLayer, pixels: int) -> Function:
        """The inner loop."""
        clamped = clamps(layer.requantization)
        stem = f"{self.template}{self.bits or ''}"
        context: dict[str, Value] = {"pixels": pixels, "clamp": clamped, **({"bits": self.bits} if self.bits else {})}
        if self.template == "codebook":
            context["pairs"] = PAIRS.name
        return Function(
            f"multiply_{stem}_{'columns' if pixels == PIXELS else 'row'}{'_clamp' if clamped else ''}",
            f"dsp/stored/{self.template}.c.j2",
            context,
            (SUPPORT, FRAME),
            code_bytes=300,
            stack_bytes=36 + 44 + 8 * clamped + 24,
        )

    def overrun(self, layer: LinearLayer, pixels: int) -> int:
        """Bytes read beyond the inputs: packed words are taken whole."""
        if not self.bits:
            return 0
        return 4 * pixels * (-(layer.weights.shape[1] // 2) % (16 // self.bits))

    def prepared(self, layer: LinearLayer) -> tuple[tuple[Call, ...], tuple[Table, ...]]:
        """The call that makes the table of pairs of a codebook, and the codebook."""
        if self.template != "codebook":
            return (), ()
        values = np.zeros(CODEBOOK, np.int8)
        found = np.unique(layer.weights)
        values[: len(found)] = found
        return (Call(PAIRS, (Const("codebook"), Scratch("uint32_t"))),), (
            Table("codebook", values, "distinct weights"),
        )


def _blocks_of_outputs(layer: LinearLayer) -> np.ndarray:
    counts: np.ndarray = occupied(layer.weights, BLOCK).sum(axis=1)
    return counts


def _block_columns(layer: LinearLayer) -> float:
    n = _blocks_of_outputs(layer)
    return float((16 + 15 * n + 2 * ((n + 1) // 2)).sum())


def _block_row(layer: LinearLayer) -> float:
    n = _blocks_of_outputs(layer)
    return float((11 + 10 * (n % 4) + 28 * (n // 4)).sum())


def _refuse_blocks(weights: np.ndarray) -> str | None:
    reason = refuse_zeros(weights, 0.8, "blocks of four", BLOCK)
    if reason is None and streams.most_blocks(weights, streams.ROW_GAP) > MOST_BLOCKS:
        reason = f"an output has more than {MOST_BLOCKS} blocks"
    return reason


BLOCKS = Stored(
    "block",
    _refuse_blocks,
    streams.block_columns,
    streams.block_row,
    _block_columns,
    _block_row,
    "block",
)


def _refuse_small_blocks(weights: np.ndarray) -> str | None:
    if weights.min(initial=0) < -8 or weights.max(initial=0) > 7:
        return "its weights need more than 4 bits"
    return _refuse_blocks(weights)


SMALL_BLOCKS = Stored(
    "block",
    _refuse_small_blocks,
    lambda layer: streams.block4_stream(layer, PAIR_OF_NIBBLES),
    lambda layer: streams.block4_stream(layer, PAIR_OF_NIBBLES),
    lambda layer: float((14 + 20 * _blocks_of_outputs(layer)).sum()),
    lambda layer: float((11 + 13 * _blocks_of_outputs(layer)).sum()),
    "block4",
    extra=PAIR_OF_NIBBLES,
)


def _packed(name: str, bits: int, refuse: Callable[[np.ndarray], str | None]) -> Stored:
    lanes = 16 // bits

    def words(layer: LinearLayer) -> int:
        return math.ceil(layer.weights.shape[1] / 2 / lanes)

    def columns(layer: LinearLayer) -> float:
        return 25 + 3.5 * layer.weights.shape[1] + layer.outputs * (17 + words(layer) * (3 + 6 * lanes))

    def row(layer: LinearLayer) -> float:
        per_group = 42 + words(layer) * (3 + 9 * lanes) - streams.GROUP * ROW_FINISH
        return 25 + 1.25 * layer.weights.shape[1] + layer.outputs / streams.GROUP * per_group

    def lattice(layer: LinearLayer) -> Grid:
        return replace(grid(layer.weights), bits=bits)

    return Stored(
        name,
        refuse,
        lambda layer: streams.packed_columns(layer, lattice(layer)),
        lambda layer: streams.packed_row(layer, lattice(layer)),
        columns,
        row,
        "packed",
        bits,
    )


def _refuse_csr(weights: np.ndarray) -> str | None:
    reason = refuse_zeros(weights, 0.5, "weights")
    if reason is None and weights.shape[1] > MOST_INPUTS:
        reason = f"its outputs have more than {MOST_INPUTS} inputs"
    return reason


def _nonzero(layer: LinearLayer) -> int:
    return int(np.count_nonzero(layer.weights))


STORED = (
    BLOCKS,
    SMALL_BLOCKS,
    _packed("int4", 4, lambda weights: refuse_grid(weights, 4)),
    _packed("int3", 3, lambda weights: refuse_grid(weights, 3)),
    _packed("ternary", 2, refuse_ternary),
    _packed("int2", 2, lambda weights: refuse_grid(weights, 2)),
    _packed("binary", 1, lambda weights: refuse_grid(weights, 1)),
    Stored(
        "codebook",
        lambda weights: refuse_values(weights, CODEBOOK),
        lambda layer: streams.codebook_stream(layer, np.unique(layer.weights)),
        lambda layer: streams.codebook_stream(layer, np.unique(layer.weights)),
        lambda layer: layer.outputs * (17 + 4 * layer.weights.shape[1]),
        lambda layer: layer.outputs * (12 + 2 * layer.weights.shape[1]),
        "codebook",
    ),
    Stored(
        "csr",
        _refuse_csr,
        streams.csr_columns,
        streams.csr_row,
        lambda layer: 17 * layer.outputs + 10 * _nonzero(layer),
        lambda layer: 14 * layer.outputs + 4.5 * _nonzero(layer),
        "csr",
        widen=False,
    ),
    Stored(
        "bitmask",
        lambda weights: refuse_zeros(weights, 0.85, "weights"),
        streams.bitmask_columns,
        streams.bitmask_row,
        lambda layer: layer.outputs * (15 + 12 * math.ceil(layer.weights.shape[1] / 64)) + 11 * _nonzero(layer),
        lambda layer: layer.outputs * (13 + 8 * math.ceil(layer.weights.shape[1] / 32)) + 8 * _nonzero(layer),
        "bitmask",
        widen=False,
    ),
)
