"""Layers whose weights are stored in fewer bytes than int8 and multiplied as they are, for the DSP extension.

Convolutions share the drivers of the dense kernels (`dsp_convolution.py`): the inner loop alone knows the format.
Measured on Cortex-M4, convolution / dense layer: instructions for each stored block 16 / 7.3, each packed position at
4 bits 0.84 / 1.2, each pair of codebook places 7.5 / 4, each weight that is not zero 10 / 4.5 (csr), 11 / 8 (bitmask).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

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
    Value,
)
from . import stored_streams as streams
from .common import initialisers, linear_parameters
from .dsp_convolution import (
    FRAME,
    NEEDS,
    PIXELS,
    SUPPORT,
    Inner,
    lower_rows,
    lower_windows,
    refuse_geometry,
    refuse_linear,
    refuse_row_channels,
    round_up,
)
from .dsp_layout import LinearLayer, addend, clamp, clamps, high_word_shift, refuse_requantization
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

DENSE = Function(
    "dense_columns",
    "dsp/stored/dense.c.j2",
    {},
    (SUPPORT, FRAME),
    code_bytes=260,
    stack_bytes=120,
    headers=("string.h",),
)
DENSE_SHAPE_BYTES = 11 * 4
PAIRS = Function("codebook_pairs", "dsp/stored/pairs.c.j2", code_bytes=48, stack_bytes=16)
PAIRS_BYTES = 1024
PAIRS_INSTRUCTIONS = 1660
PIXEL_FINISH, ROW_FINISH = 23, 11
PIXEL_CLAMP, ROW_CLAMP = 13, 4
MOST_BLOCKS = 255
PAIR_OF_NIBBLES = 4
"""Bits by which a weight in the upper half of a byte is shifted."""

SUM_LIMIT = 1 << 31
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


def _layer(stored: Stored, weights: np.ndarray, layer: LinearLayer, unit: int, group: int) -> LinearLayer:
    """The layer with its depth and outputs filled up.

    What is added meets inputs that are zero, or is not an output: its weights are any that the format has.
    """
    outputs, depth = weights.shape
    wide = layer.padded(round_up(outputs, group), round_up(depth, unit))
    if stored.template in ("packed", "codebook"):
        fill = int(weights.min())
        wide.weights[:, depth:] = fill
        wide.weights[outputs:] = fill
    return wide


def _linear(site: Site) -> LinearLayer:
    activation = (site.attrs(DenseAttrs) if site.node.op == "Dense" else site.attrs(Conv2DAttrs)).activation
    parameters = linear_parameters(site, activation)
    weights = parameters.weights.reshape(len(parameters.weights), -1).astype(np.int64)
    return LinearLayer(weights, parameters.folded.astype(np.int64), parameters.requantization)


def _refuse(stored: Stored, site: Site) -> str | None:
    reason = refuse_linear(site)
    if reason:
        return reason
    layer = _linear(site)
    if layer.weights.min(initial=0) < -128 or layer.weights.max(initial=0) > 127:
        return "its weights less their zero point do not fit int8"
    if layer.requantization.ties_to_even:
        return "its requantization rounds ties to even"
    sums = np.abs(layer.bias) + 128 * np.abs(layer.weights).sum(axis=1)
    if int(sums.max(initial=0)) << stored.extra >= SUM_LIMIT:
        return "the sums of an output channel are too large"
    return refuse_requantization(layer.requantization, stored.extra) or stored.refuse(layer.weights)


def _fields(layer: LinearLayer, extra: int) -> dict[str, str]:
    """Members of the shape structs of the drivers of convolutions."""
    r = layer.requantization
    below, floor = clamp(r)
    return {
        "skip": "0u",
        "addend": f"{{{addend(r, extra)}, 0}}",
        "shift": f"{{{high_word_shift(r) + extra}u, 0u}}",
        "clamp": f"{{{below}, {floor}}}",
    }


def _inner(stored: Stored, site: Site) -> Inner:
    layer = _linear(site)
    layer = _layer(stored, layer.weights, layer, 4, 1)
    note = f"{stored.format}: start sums, weights, multipliers times 2^-{layer.requantization.shift}"
    function = stored.function(layer, PIXELS)
    end = PIXEL_FINISH + (PIXEL_CLAMP if clamps(layer.requantization) else 0)
    instructions = round(45 + stored.column_instructions(layer) + layer.outputs * end)
    prepare, tables = stored.prepared(layer)
    return Inner(
        Table("stream", stored.columns(layer), note),
        _fields(layer, stored.extra),
        function,
        function,
        instructions,
        instructions,
        stored.overrun(layer, PIXELS),
        PAIRS_BYTES if prepare else 0,
        prepare,
        tables,
    )


def _lower_dense(stored: Stored, site: Site) -> Lowered:
    outputs, inputs = site.x(1).shape
    layer = _linear(site)
    layer = _layer(stored, layer.weights, layer, 4, stored.row_group)
    depth = layer.weights.shape[1]
    stream = stored.row(layer)
    below, floor = clamp(layer.requantization)
    rows = math.prod(site.y.shape[:-1])
    shape = Record(
        "shape",
        f"{DENSE.name}_shape",
        initialisers(
            rows=rows,
            inputs=inputs,
            padded_inputs=depth,
            outputs=outputs,
            stored_outputs=layer.outputs,
            widen=int(stored.widen),
            stream_words=stream.size,
            addend=addend(layer.requantization, stored.extra),
            shift=f"{high_word_shift(layer.requantization) + stored.extra}u",
            clamp=f"{{{below}, {floor}}}",
        ),
        DENSE_SHAPE_BYTES,
    )
    prepare, tables = stored.prepared(layer)
    before = PAIRS_BYTES if prepare else 0
    copied = depth * 0.75 + (depth / 4 * 7 if stored.widen else 0)
    end = ROW_FINISH + (ROW_CLAMP if clamps(layer.requantization) else 0)
    scratch = depth * (2 if stored.widen else 1)
    call = Call(
        DENSE,
        (
            Input(),
            Output(),
            Const("stream"),
            FunctionPointer(stored.function(layer, 1)),
            Const("shape"),
            Scratch("uint32_t", before),
        ),
    )
    note = f"{stored.format}: start sums, weights, multipliers times 2^-{layer.requantization.shift}"
    return Lowered(
        calls=(*prepare, call),
        tables=(Table("stream", stream, note), *tables),
        records=(shape,),
        scratch_bytes=before + scratch + max(round_up(layer.outputs, 4), stored.overrun(layer, 1)),
        instructions=round(
            PAIRS_INSTRUCTIONS * len(prepare)
            + rows * (90 + copied + stored.row_instructions(layer) + layer.outputs * end)
        ),
    )


def _convolution(stored: Stored, lower: Callable[[Site, Inner], Lowered], rows: bool) -> Kernel:
    def refuse(site: Site) -> str | None:
        reason = refuse_geometry(site) or (refuse_row_channels(site) if rows else None)
        return reason or _refuse(stored, site)

    def lowered(site: Site) -> Lowered:
        inner = _inner(stored, site)
        found = lower(site, inner)
        return replace(found, instructions=found.instructions + PAIRS_INSTRUCTIONS * len(inner.prepare))

    name = f"conv2d/dsp_{'rows' if rows else 'windows'}_{stored.label}"
    return Kernel(name, "Conv2D", refuse, lowered, NEEDS, stored.format)


def _kernels() -> Iterator[Kernel]:
    for stored in STORED:
        yield Kernel(
            f"dense/dsp_{stored.label}",
            "Dense",
            functools.partial(_refuse, stored),
            functools.partial(_lower_dense, stored),
            NEEDS,
            stored.format,
        )
        yield _convolution(stored, lower_rows, rows=True)
        yield _convolution(stored, lower_windows, rows=False)


KERNELS = tuple(_kernels())
