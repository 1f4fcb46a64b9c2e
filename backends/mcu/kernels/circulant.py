"""Dense layers with block-circulant weights: a vector is stored for each block and multiplied as it is.

A block times its inputs is a product of polynomials modulo t^n - 1 (t^n + 1 if skew-circulant). It is made directly, by
rotated inputs, or modulo the factors t^m + 1 for m = 1, 2, 4, ... n / 2 and t - 1: additions alone lead there and back,
and the factors of all blocks beside each other are summed up before the way back. All of it is exact in integers: the
way back halves sums whose parity is known. (With roots of unity the way would go on to single products, as in CirCNN,
Ding et al. 2017; integers have none, and m terms modulo t^m + 1 cost m^2 products, two of them an instruction.)
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace

import numpy as np

from boardfit.ir.circulant import Circulant, find_circulant
from boardfit.ops.dense import DenseAttrs

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Scratch, Site, Table, Value
from .common import LinearParameters, initialisers, linear_parameters
from .dsp_convolution import SUPPORT as DSP
from .dsp_layout import addend, clamp, clamps, high_word_shift, refuse_requantization
from .int8_layers import refuse_linear, refuse_parameters, requantization_fields
from .stored import core_of
from .thumb import SUPPORT as HALVES
from .tile import SUPPORT as WORD

BLOCKS = tuple(range(2, 65))
"""Sizes of blocks that are looked for."""

DSP_BLOCKS = (4, 8, 16, 32)
UNROLLED_BLOCKS = (4, 8, 16)
LARGEST_PART = 8
"""Sums that a loop of the DSP kernels keeps in registers."""

INT32 = 1 << 31
HALVES_LIMIT = 1 << 29
"""Sums below which the requantization from halfword products is exact."""

PART_INSTRUCTIONS = {
    "circulant4_minus4_by2": 13.1,
    "circulant4_minus4": 18.1,
    "circulant4_plus4": 20.1,
    "circulant8_minus8_by2": 31.7,
    "circulant8_minus8": 49.7,
    "circulant8_plus8": 53.7,
    "circulant16_minus8_by2": 50.3,
    "circulant16_plus8": 65.3,
    "circulant16_minus16": 97.4,
    "circulant16_plus16": 101.4,
    "circulant32_minus8_by2": 76.6,
    "circulant32_plus8": 81.6,
    "circulant32_plus16": 121.9,
    "circulant32_minus32": 197.9,
    "circulant32_plus32": 205.0,
}
"""Instructions of a part for a block of weights on Cortex-M4; shares of one part are alike."""

COSTS = {
    ("m3", "split", 4): 27.0,
    ("m3", "direct", 4): 30.0,
    ("m3", "split", 8): 87.0,
    ("m3", "direct", 8): 136.0,
    ("m3", "split", 16): 400.0,
    ("m3", "direct", 16): 730.0,
    ("m0", "split", 4): 49.5,
    ("m0", "direct", 4): 96.0,
    ("m0", "split", 8): 198.0,
    ("m0", "direct", 8): 366.0,
    ("m0", "split", 16): 600.0,
    ("m0", "direct", 16): 1365.0,
    ("rv32", "split", 4): 32.4,
    ("rv32", "direct", 4): 45.5,
    ("rv32", "split", 8): 103.0,
    ("rv32", "direct", 8): 182.0,
    ("rv32", "split", 16): 414.0,
    ("rv32", "direct", 16): 882.0,
}
"""(core, form, block) -> instructions for a block of weights."""

ANY_COSTS = {"dsp": (5.1, 8.0), "m3": (5.4, 9.0), "m0": (9.5, 11.0), "rv32": (6.5, 8.0)}
"""Core -> instructions of the loop for any block: for a product, and for a row of a block."""

PAIRS = Function("halfword_pairs", "circulant/pairs.c.j2", {}, (DSP,), code_bytes=0, stack_bytes=0)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A dense layer as circulant kernels see it.

    Attributes:
        structure: of its blocks.
        vectors: (rows of blocks, blocks in a row, block) int64.
        bias: (out,) int32, the zero point folded in.
        multipliers: one for each row of blocks, or one.
        parameters: of the layer.
    """

    structure: Circulant
    vectors: np.ndarray
    bias: np.ndarray
    multipliers: np.ndarray
    parameters: LinearParameters


@functools.lru_cache(maxsize=64)
def _found(weights: bytes, shape: tuple[int, int]) -> Circulant | None:
    return find_circulant(np.frombuffer(weights, np.int8).reshape(shape), BLOCKS)


def _structure(parameters: LinearParameters) -> Circulant | None:
    outputs, inputs = parameters.weights.shape
    return _found(parameters.weights.tobytes(), (outputs, inputs))


def layer_of(site: Site) -> Layer | None:
    """The layer, or None if its weights are not block-circulant or a block has several multipliers."""
    parameters = linear_parameters(site, site.attrs(DenseAttrs).activation)
    structure = _structure(parameters)
    if structure is None:
        return None
    multipliers = parameters.multiplier
    if len(multipliers) > 1:
        starts = np.arange(0, len(multipliers), structure.block)
        first = multipliers[starts]
        if not np.array_equal(np.repeat(first, structure.block)[: len(multipliers)], multipliers):
            return None
        multipliers = first[:1] if np.all(first == first[0]) else first
    vectors = structure.exact_vectors(parameters.weights.astype(np.int64))
    return Layer(structure, vectors, parameters.folded, multipliers, parameters)


def _refuse(site: Site) -> str | None:
    reason = refuse_linear(site)
    if reason:
        return reason
    parameters = linear_parameters(site, site.attrs(DenseAttrs).activation)
    reason = refuse_parameters(parameters)
    if reason:
        return reason
    if _structure(parameters) is None:
        return "its weights are not block-circulant"
    layer = layer_of(site)
    if layer is None:
        return "rows of a circulant block have different scales"
    weights = parameters.weights.astype(np.int64)
    largest = int(np.abs(parameters.folded.astype(np.int64)).max(initial=0))
    products = 128 * int(np.abs(weights).sum(axis=1).max(initial=0))
    if largest + products * layer.structure.block >= INT32:
        return "the sums of its factors may exceed 32 bits"
    return None


# the DSP extension


@dataclass(frozen=True, slots=True)
class Part:
    """Sums modulo t^modulus - 1 or + 1, or a share of them, that one loop makes.

    Attributes:
        modulus, negative: t^modulus - 1, or + 1 if negative.
        base: t^base - 1 is multiplied directly, the rest modulo t^m + 1; equal to the modulus if nothing is split.
        parities: 0 for even sums, 1 for odd ones.
        first_pair, pairs: which of the even (odd) sums.
    """

    modulus: int
    negative: bool
    base: int
    parities: tuple[int, ...] = (0, 1)
    first_pair: int = 0
    pairs: int = 0

    @property
    def name(self) -> str:
        """What C functions of this part are called, without the block."""
        kind = f"{'plus' if self.negative else 'minus'}{self.modulus}"
        split = f"_by{self.base}" if not self.negative and self.base < self.modulus else ""
        share = "" if len(self.parities) == 2 else f"_{('even', 'odd')[self.parities[0]]}{self.first_pair or ''}"
        return kind + split + share

    @property
    def factors(self) -> list[tuple[int, bool]]:
        """(m, whether t^m + 1)."""
        if self.negative:
            return [(self.modulus, True)]
        return [(self.base, False), *((m, True) for m in (2, 4, 8, 16) if self.base <= m < self.modulus)]

    @property
    def words(self) -> int:
        """Words of x it reads for a block."""
        each = (1 if m == 2 else len(self.parities) * (m - 1 if plus else m // 2) for m, plus in self.factors)
        return sum(each)


def _shares(modulus: int, *, negative: bool) -> list[Part]:
    """Parts that make all sums of one factor directly."""
    half = modulus // 2
    if modulus <= LARGEST_PART:
        return [Part(modulus, negative, modulus, (0, 1), 0, half)]
    count = min(LARGEST_PART, half)
    return [
        Part(modulus, negative, modulus, (parity,), first, count)
        for parity in (0, 1)
        for first in range(0, half, count)
    ]


def parts_of(structure: Circulant, *, split: bool) -> list[tuple[int, Part]]:
    """(first sum, part) of a product with blocks of a structure."""
    block = structure.block
    if structure.skew or not split:
        return [(0, part) for part in _shares(block, negative=structure.skew)]
    inner = min(block, LARGEST_PART)
    found = [(0, Part(inner, False, 2, (0, 1), 0, inner // 2))]
    for modulus in (8, 16):
        if inner <= modulus < block:
            found += [(modulus, part) for part in _shares(modulus, negative=True)]
    return found


def _part_functions(block: int, part: Part) -> tuple[Function, Function]:
    """(spreads inputs, multiplies)."""
    context: dict[str, Value] = {
        "block": block,
        "modulus": part.modulus,
        "negative": part.negative,
        "base": part.base,
        "parities": part.parities,
        "first_pair": part.first_pair,
        "pairs": part.pairs,
    }
    assembly = {"assembly": part.modulus >= LARGEST_PART, "words": part.words}
    stem = f"circulant{block}_{part.name}"
    size = 6 * (part.words + 2 * block) + 2 * block * part.modulus
    return (
        Function(f"{stem}_spread", "circulant/spread.c.j2", context, (DSP, PAIRS), size, stack_bytes=60),
        Function(stem, "circulant/part.c.j2", {**context, **assembly}, (DSP, PAIRS), size, stack_bytes=80),
    )


def _refuse_dsp(site: Site, *, split: bool) -> str | None:
    reason = _refuse(site)
    if reason:
        return reason
    parameters = linear_parameters(site, site.attrs(DenseAttrs).activation)
    structure = _structure(parameters)
    if structure is None or structure.block not in DSP_BLOCKS:
        return f"its {structure} are none of {DSP_BLOCKS}"
    if split and structure.skew:
        return "t^n + 1 has no factors"
    return refuse_requantization(parameters.requantization, 0)


def _dsp_words(vectors: np.ndarray) -> np.ndarray:
    """Vectors as words whose even bytes are one pair of terms, whose odd bytes the next one."""
    ordered = vectors.reshape(-1, 4)[:, [0, 2, 1, 3]].astype(np.uint8)
    return np.ascontiguousarray(ordered).view("<u4").reshape(-1).astype(np.uint32)


def _tables(layer: Layer, vectors: np.ndarray) -> tuple[Table, ...]:
    down, across = layer.vectors.shape[:2]
    note = f"{down} rows of {across} {layer.structure}"
    shift = layer.parameters.requantization.shift
    return (
        Table("vectors", vectors, note),
        Table("bias", layer.bias, "bias, the input's zero point folded in"),
        Table("multiplier", layer.multipliers, f"times 2^-{shift}, of each row of blocks"),
    )


ARGUMENTS = (Input(), Output(), Const("vectors"), Const("bias"), Const("multiplier"), Const("shape"))


def _sizes(site: Site, layer: Layer) -> dict[str, int]:
    return {
        "rows": math.prod(site.y.shape[:-1]),
        "inputs": site.x(1).shape[1],
        "outputs": site.x(1).shape[0],
    }


def _lower_dsp(site: Site, *, split: bool) -> Lowered:
    layer = _required(site)
    structure, requantization = layer.structure, layer.parameters.requantization
    block = structure.block
    parts = parts_of(structure, split=split)
    functions = [_part_functions(block, part) for _, part in parts]
    clamped = clamps(requantization)
    base = parts[0][1].base if split else block
    kind = f"{'skew_' if structure.skew else ''}circulant{block}{'_split' if split else ''}"
    function = Function(
        f"dense_{kind}{'_clamp' if clamped else ''}",
        "circulant/dense.c.j2",
        {
            "block": block,
            "skew": structure.skew,
            "split": split,
            "clamp": clamped,
            "spreads": tuple(spread.name for spread, _ in functions),
            "parts": tuple(product.name for _, product in functions),
            "offsets": tuple(sum(part.words for _, part in parts[:i]) for i in range(len(parts))),
            "first_sums": tuple(first for first, _ in parts),
            "split_levels": tuple(m for m in (2, 4, 8, 16) if base <= m < block),
        },
        (DSP, *(one for pair in functions for one in pair)),
        code_bytes=500,
        stack_bytes=120 + 4 * block,
        headers=("string.h",),
    )
    sizes = _sizes(site, layer)
    down, across, _ = layer.vectors.shape
    low, floor = clamp(requantization)
    fields = initialisers(
        **sizes,
        multiplier_step=int(len(layer.multipliers) > 1),
        addend=addend(requantization),
        shift=high_word_shift(requantization),
        clamp=f"{{{low}, {floor}}}",
    )
    words = sum(part.words for _, part in parts)
    return Lowered(
        calls=(Call(function, (*ARGUMENTS, Scratch("uint32_t"))),),
        tables=_tables(layer, _dsp_words(layer.vectors)),
        records=(Record("shape", f"{function.name}_shape", fields, 8 * 4),),
        scratch_bytes=4 * words * across,
        instructions=sizes["rows"] * _dsp_instructions(structure, parts, down, across),
    )


def _required(site: Site) -> Layer:
    layer = layer_of(site)
    if layer is None:
        raise site.error("its weights are not block-circulant")
    return layer


def _dsp_instructions(structure: Circulant, parts: list[tuple[int, Part]], down: int, across: int) -> int:
    """Predicted, of one vector."""
    block = structure.block
    each = sum(_part_instructions(block, part) for _, part in parts)
    spread = sum(4 * part.words + 1.5 * block for _, part in parts)
    return round(60 + across * spread + down * (50 * len(parts) + 20 * block + across * each))


def _part_instructions(block: int, part: Part) -> float:
    """Predicted, of one block of weights."""
    return PART_INSTRUCTIONS[f"circulant{block}_{replace(part, parities=(0, 1), first_pair=0).name}"]


# other cores


def _portable_unrolled(structure: Circulant, site: Site) -> bool:
    return structure.block in UNROLLED_BLOCKS and "dsp" not in site.features


def _refuse_portable(site: Site, *, form: str) -> str | None:
    reason = _refuse(site)
    if reason:
        return reason
    structure = _structure(linear_parameters(site, site.attrs(DenseAttrs).activation))
    if structure is None:
        return "its weights are not block-circulant"
    if form == "any":
        return "the unrolled kernels are faster" if _portable_unrolled(structure, site) else None
    if not _portable_unrolled(structure, site):
        return f"its {structure} are none of {UNROLLED_BLOCKS}, or there are kernels for the DSP extension"
    return "t^n + 1 has no factors" if form == "split" and structure.skew else None


def _lower_portable(site: Site, *, form: str) -> Lowered:
    layer = _required(site)
    structure, requantization = layer.structure, layer.parameters.requantization
    block = structure.block
    largest = int(np.abs(layer.bias.astype(np.int64)).max(initial=0)) + 128 * int(
        np.abs(layer.parameters.weights.astype(np.int64)).sum(axis=1).max(initial=0)
    )
    halves = "long-multiply" not in site.features and largest < HALVES_LIMIT
    support = HALVES if halves else WORD
    requantize = "requantize_halves" if halves else "requantize_word"
    ending = "_halves" if halves else ""
    core = "dsp" if "dsp" in site.features else core_of(site.features)
    skew = "skew_" if structure.skew else ""
    sizes = _sizes(site, layer)
    down, across, _ = layer.vectors.shape
    steps = {"multiplier_step": int(len(layer.multipliers) > 1)}
    if form == "any":
        function = Function(
            f"dense_circulant_any{ending}",
            "circulant/direct.c.j2",
            {"requantize": requantize},
            (support,),
            code_bytes=300,
            stack_bytes=90,
        )
        fields = {**sizes, "block": block, "skew": -1 if structure.skew else 1, **steps}
        places = 2 * block - 1
        product, start = ANY_COSTS[core]
        each = product * block * block + start * block
    else:
        split = form == "split"
        function = Function(
            f"dense_{skew}circulant{block}_portable{'_split' if split else ''}{ending}",
            "circulant/portable.c.j2",
            {"block": block, "skew": structure.skew, "split": split, "requantize": requantize},
            (support,),
            code_bytes=300 + 10 * block * block,
            stack_bytes=120 + 8 * block,
        )
        fields = {**sizes, **steps}
        moduli = [1, *(m for m in (1, 2, 4, 8) if m < block)] if split else [block]
        places = sum(2 * m - 1 for m in moduli)
        each = COSTS[core, form, block]
    fields |= requantization_fields(requantization)
    vectors = layer.vectors.astype(np.int8)
    return Lowered(
        calls=(Call(function, (*ARGUMENTS, Scratch("int16_t"))),),
        tables=_tables(layer, vectors),
        records=(Record("shape", f"{function.name}_shape", initialisers(**fields), 4 * len(fields)),),
        scratch_bytes=2 * places * across,
        instructions=round(sizes["rows"] * (60 + 5 * places * across + down * (35 * block + across * each))),
    )


def _kernels() -> tuple[Kernel, ...]:
    needs = frozenset({"dsp"})
    found = [
        Kernel(
            f"dense/circulant{'_split' if split else '_direct'}",
            "Dense",
            functools.partial(_refuse_dsp, split=split),
            functools.partial(_lower_dsp, split=split),
            needs,
            "circulant",
        )
        for split in (True, False)
    ]
    found += [
        Kernel(
            f"dense/circulant_portable_{form}",
            "Dense",
            functools.partial(_refuse_portable, form=form),
            functools.partial(_lower_portable, form=form),
            format="circulant",
        )
        for form in ("split", "direct", "any")
    ]
    return tuple(found)


KERNELS = _kernels()
