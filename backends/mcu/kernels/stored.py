"""Layers whose weights are stored in fewer bytes than int8 and multiplied as they are, in C for every core.

Convolutions take the windows from the strips of `tile/convolution.c.j2`. Instructions were measured on Cortex-M0+,
Cortex-M55 (which has no faster loop for these) and RV32IMC.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Literal, Lowered, Output, Record, Site, Table, Value
from .common import LinearParameters, initialisers, linear_parameters, pixel_overlap
from .int8_layers import refuse_linear, refuse_parameters, requantization_fields
from .stored_values import (
    BLOCK,
    CODEBOOK,
    Grid,
    gaps,
    grid,
    occupied,
    refuse_grid,
    refuse_ternary,
    refuse_values,
    refuse_zeros,
)
from .thumb import SUPPORT as HALVES
from .tile import SUPPORT as WORD
from .tile import row_convolution

NEEDS = (frozenset({"riscv"}), frozenset({"thumb"}))
PRODUCT_SHAPE_BYTES = 6 * 4
HALVES_LIMIT = 1 << 29
"""Sums below which the requantization from halfword products is exact."""

Stream = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, slots=True)
class Stored:
    """A format, as the portable kernels have it.

    Attributes:
        format: its name.
        refuse: why (outputs, depth) weights cannot be stored so, or None.
        stream: the bytes.
        template: branch of the template.
        bits: of a number, or 0.
        items: what is counted for the prediction: stored blocks, weights, positions.
    """

    format: str
    refuse: Callable[[np.ndarray], str | None]
    stream: Stream
    template: str
    items: Callable[[np.ndarray], float]
    bits: int = 0


def _sparse(weights: np.ndarray, block: int) -> np.ndarray:
    """For each output the number of entries, then the distance and the weights of each."""
    parts: list[np.ndarray] = []
    for row, places in zip(weights, occupied(weights, block), strict=True):
        # distances of single weights count from the weight before itself, of blocks from the end of the block before
        distances, real = gaps(np.flatnonzero(places), 255 if block > 1 else 254)
        if block == 1:
            distances[1:] += 1
        values = np.zeros((len(distances), block), np.int64)
        values[real] = row.reshape(-1, block)[places]
        parts.append(np.array([len(distances) & 0xFF, len(distances) >> 8]))
        parts.append(np.concatenate([distances[:, None], values], axis=1).reshape(-1))
    return np.concatenate(parts)


def numbers(values: np.ndarray, bits: int) -> np.ndarray:
    """Numbers of so few bits, 8 // bits to a byte, each output's filled up to a byte."""
    each = 8 // bits
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % each))).reshape(len(values), -1, each)
    packed: np.ndarray = (padded << bits * np.arange(each)).sum(axis=2).reshape(-1)
    return packed


def _codebook(weights: np.ndarray) -> np.ndarray:
    values = np.unique(weights)
    head = np.pad(values, (0, CODEBOOK - len(values)))
    return np.concatenate([head, numbers(np.searchsorted(values, weights), 4)])


def _bitmask(weights: np.ndarray) -> np.ndarray:
    eights = np.pad(weights, ((0, 0), (0, -weights.shape[1] % 8))).reshape(-1, 8)
    masks = ((eights != 0) << np.arange(8)).sum(axis=1)
    parts = [np.concatenate([[mask], row[row != 0]]) for mask, row in zip(masks, eights, strict=True)]
    return np.concatenate(parts)


def _refuse_blocks(weights: np.ndarray) -> str | None:
    if weights.shape[1] % BLOCK:
        return "the inputs of an output are no multiple of four"
    return refuse_zeros(weights, 0.8, "blocks of four", BLOCK)


def _packed(name: str, bits: int, refuse: Callable[[np.ndarray], str | None]) -> Stored:
    def stream(weights: np.ndarray) -> np.ndarray:
        return numbers(grid(weights).numbers(weights), bits)

    return Stored(name, refuse, stream, "packed", lambda weights: weights.size, bits)


STORED = (
    Stored(
        "block",
        _refuse_blocks,
        lambda weights: _sparse(weights, BLOCK),
        "block",
        lambda weights: float(occupied(weights, BLOCK).sum()),
    ),
    _packed("int4", 4, lambda weights: refuse_grid(weights, 4)),
    _packed("ternary", 2, refuse_ternary),
    _packed("int2", 2, lambda weights: refuse_grid(weights, 2)),
    _packed("binary", 1, lambda weights: refuse_grid(weights, 1)),
    Stored("codebook", lambda weights: refuse_values(weights, CODEBOOK), _codebook, "codebook", np.size, 4),
    Stored(
        "csr",
        lambda weights: refuse_zeros(weights, 0.5, "weights"),
        lambda weights: _sparse(weights, 1),
        "csr",
        lambda weights: float(np.count_nonzero(weights)),
    ),
    Stored(
        "bitmask",
        lambda weights: refuse_zeros(weights, 0.85, "weights"),
        _bitmask,
        "bitmask",
        lambda weights: float(np.count_nonzero(weights)),
    ),
)

Cost = tuple[float, float, float]
"""Instructions for a group of pixels: of an item, of an output, and of a turn of the loop over a mask's bits."""

COSTS: Mapping[tuple[str, str, int], Cost] = {
    ("m0", "block", 1): (30, 48, 0),
    ("m0", "packed4", 1): (8.1, 50, 0),
    ("m0", "packed2", 1): (7.1, 50, 0),
    ("m0", "packed1", 1): (6.6, 50, 0),
    ("m0", "codebook", 1): (9.0, 50, 0),
    ("m0", "csr", 1): (11, 51, 0),
    ("m0", "bitmask", 1): (8.3, 10, 5.2),
    ("m0", "block", 2): (50.4, 103, 0),
    ("m0", "packed4", 2): (12.4, 126, 0),
    ("m0", "packed2", 2): (11.7, 134, 0),
    ("m0", "packed1", 2): (11.8, 134, 0),
    ("m0", "codebook", 2): (19, 117, 0),
    ("m0", "csr", 2): (16.1, 105, 0),
    ("m0", "bitmask", 2): (10.8, 115, 6.6),
    ("m3", "block", 1): (18, 28.6, 0),
    ("m3", "packed4", 1): (5, 27, 0),
    ("m3", "packed2", 1): (4, 27, 0),
    ("m3", "packed1", 1): (3.5, 27, 0),
    ("m3", "codebook", 1): (6, 27, 0),
    ("m3", "csr", 1): (8, 26.7, 0),
    ("m3", "bitmask", 1): (4.6, 0, 3.8),
    ("m3", "block", 2): (28.2, 51, 0),
    ("m3", "packed4", 2): (7.3, 75, 0),
    ("m3", "packed2", 2): (6, 74, 0),
    ("m3", "packed1", 2): (5.4, 74, 0),
    ("m3", "codebook", 2): (8.5, 61, 0),
    ("m3", "csr", 2): (10, 51, 0),
    ("m3", "bitmask", 2): (7.2, 26, 4.7),
    ("rv32", "block", 1): (22.3, 26, 0),
    ("rv32", "packed4", 1): (6, 26, 0),
    ("rv32", "packed2", 1): (5.5, 26, 0),
    ("rv32", "packed1", 1): (5.7, 26, 0),
    ("rv32", "codebook", 1): (8, 26, 0),
    ("rv32", "csr", 1): (8, 26, 0),
    ("rv32", "bitmask", 1): (7.4, 0, 3.4),
    ("rv32", "block", 4): (70, 111, 0),
    ("rv32", "packed4", 4): (16.5, 124, 0),
    ("rv32", "packed2", 4): (16.5, 138, 0),
    ("rv32", "packed1", 4): (20.5, 144, 0),
    ("rv32", "codebook", 4): (18.5, 111, 0),
    ("rv32", "csr", 4): (20, 96, 0),
    ("rv32", "bitmask", 4): (17.8, 42, 6.2),
}
"""(core, template with bits, pixels at a time) -> cost."""


def core_of(features: frozenset[str]) -> str:
    """Key of the costs that fits a core without the DSP extension best."""
    return "rv32" if "riscv" in features else "m3" if "long-multiply" in features else "m0"


GROUP = {"rv32": 4, "m3": 2, "m0": 2}
"""Pixels of a convolution that share the reading of the weights."""


def _function(stored: Stored, parameters: LinearParameters, pixels: int, features: frozenset[str]) -> Function:
    """The product."""
    requantize, support = requantize_function(parameters, features)
    halves = requantize == "requantize_halves"
    stem = f"{stored.template}{stored.bits if stored.template == 'packed' else ''}"
    context: dict[str, Value] = {
        "form": stored.template,
        "pixels": pixels,
        "requantize": requantize,
        **({"bits": stored.bits} if stored.bits else {}),
    }
    return Function(
        f"stored_{stem}_{pixels}{'_halves' if halves else ''}",
        "stored/product.c.j2",
        context,
        (support,),
        code_bytes=200 + 80 * pixels,
        stack_bytes=80,
    )


def requantize_function(parameters: LinearParameters, features: frozenset[str]) -> tuple[str, Function]:
    """The inline function for a core: without a long multiplication sums must stay below `HALVES_LIMIT`."""
    halves = "long-multiply" not in features and _bound(parameters) < HALVES_LIMIT
    return ("requantize_halves", HALVES) if halves else ("requantize_word", WORD)


def _bound(parameters: LinearParameters) -> int:
    """Largest magnitude of a sum, in whatever order it is made."""
    weights = parameters.weights.reshape(len(parameters.weights), -1).astype(np.int64)
    return int((np.abs(parameters.folded.astype(np.int64)) + 128 * np.abs(weights).sum(axis=1)).max(initial=0))


def mask_turns(weights: np.ndarray) -> float:
    """Bits of all masks up to the highest one set, and two for every mask."""
    eights = np.pad(weights, ((0, 0), (0, -weights.shape[1] % 8))).reshape(-1, 8) != 0
    highest = np.where(eights.any(axis=1), 8 - np.argmax(eights[:, ::-1], axis=1), 0)
    return float((highest + 2).sum())


def _parameters(site: Site) -> LinearParameters:
    activation = (site.attrs(DenseAttrs) if site.node.op == "Dense" else site.attrs(Conv2DAttrs)).activation
    return linear_parameters(site, activation)


def _refuse(stored: Stored, site: Site) -> str | None:
    if "dsp" in site.features:
        return "the kernels for the DSP extension are faster"
    reason = refuse_linear(site)
    if reason:
        return reason
    parameters = _parameters(site)
    weights = parameters.weights.reshape(len(parameters.weights), -1).astype(np.int64)
    return refuse_parameters(parameters) or stored.refuse(weights)


def _refuse_convolution(stored: Stored, site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if attrs.groups != 1:
        return "it has groups"
    if attrs.dilations[1] != 1:
        return "its kernel is dilated along a row"
    if min(attrs.pads) < 0:
        return "its padding crops"
    return _refuse(stored, site)


def _refuse_pointwise(stored: Stored, site: Site) -> str | None:
    attrs = site.attrs(Conv2DAttrs)
    if site.x(1).shape[1:3] != (1, 1) or any(attrs.pads) or attrs.strides != (1, 1):
        return "it is not a 1x1 convolution with stride 1 and without padding"
    return _refuse_convolution(stored, site)


def _shape(stored: Stored, parameters: LinearParameters, weights: np.ndarray) -> dict[str, int]:
    """Members of the shape struct of the product."""
    fields = {"depth": weights.shape[1], "outputs": len(weights)}
    fields |= requantization_fields(parameters.requantization)
    if stored.template == "packed":
        found: Grid = grid(weights)
        fields |= {"base": found.low, "step": found.step}
    return fields


def _tables(stored: Stored, parameters: LinearParameters, weights: np.ndarray) -> tuple[Table, Table]:
    stream = stored.stream(weights).astype(np.uint8).view(np.int8)
    multiplier = np.broadcast_to(parameters.multiplier, (len(weights),))
    constants = np.stack([parameters.folded, multiplier], axis=1)
    note = f"bias and multiplier times 2^-{parameters.requantization.shift} of every output"
    return Table("weights", stream, stored.format), Table("constants", constants, note)


def instructions(stored: Stored, weights: np.ndarray, count: int, pixels: int, features: frozenset[str]) -> float:
    """Predicted, of `count` pixels."""
    stem = f"{stored.template}{stored.bits if stored.template == 'packed' else ''}"
    item, output, turn = COSTS[core_of(features), stem, pixels]
    group = 30 + len(weights) * output + stored.items(weights) * item
    if stored.template == "bitmask":
        group += mask_turns(weights) * turn
    if stored.template == "packed":
        group += weights.shape[1] * (2 + 3 * pixels)
    return 30 + math.ceil(count / pixels) * group


def _lower_product(stored: Stored, site: Site) -> Lowered:
    """A dense layer, or a 1x1 convolution where the image lies."""
    parameters = _parameters(site)
    weights = parameters.weights.reshape(len(parameters.weights), -1).astype(np.int64)
    rows = math.prod(site.y.shape[:-1])
    pixels = 1 if rows == 1 else GROUP[core_of(site.features)]
    function = _function(stored, parameters, pixels, site.features)
    fields = _shape(stored, parameters, weights)
    sizes = (Literal(str(rows)), Literal(str(weights.shape[1])))
    return Lowered(
        calls=(Call(function, (Input(), Output(), *sizes, Const("weights"), Const("constants"), Const("shape"))),),
        tables=_tables(stored, parameters, weights),
        records=(Record("shape", f"{function.name}_shape", initialisers(**fields), 4 * len(fields)),),
        overlap=pixel_overlap(site, pixels) if site.node.op == "Conv2D" else {},
        instructions=round(instructions(stored, weights, rows, pixels, site.features)),
    )


def _lower_convolution(stored: Stored, site: Site) -> Lowered:
    parameters = _parameters(site)
    columns, outputs = site.y.shape[2:]
    weights = parameters.weights.transpose(0, 2, 1, 3).reshape(outputs, -1).astype(np.int64)
    pixels = GROUP[core_of(site.features)]
    multiply = _function(stored, parameters, pixels, site.features)
    name = multiply.name.replace("stored", "convolution_stored")
    product = tuple(_shape(stored, parameters, weights).values())
    cost = instructions(stored, weights, columns, pixels, site.features)
    return row_convolution(site, parameters.zero, multiply, name, product, _tables(stored, parameters, weights), cost)


def _kernels() -> Iterator[Kernel]:
    for stored in STORED:
        for needs in NEEDS:
            for name, op, refuse, lower in (
                ("dense/stored", "Dense", _refuse, _lower_product),
                ("conv2d/stored_pointwise", "Conv2D", _refuse_pointwise, _lower_product),
                ("conv2d/stored", "Conv2D", _refuse_convolution, _lower_convolution),
            ):
                parts = functools.partial(refuse, stored), functools.partial(lower, stored)
                yield Kernel(f"{name}_{stored.format}", op, *parts, needs, stored.format)


KERNELS = tuple(_kernels())
