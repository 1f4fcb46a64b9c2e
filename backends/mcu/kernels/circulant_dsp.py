"""Kernels for block-circulant weights on cores with the DSP extension: two products an instruction."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from boardfit.ir.circulant import Circulant

from ..kernel import Call, Function, Lowered, Record, Scratch, Site, Value
from .circulant_layers import ARGUMENTS, parameters_of, refuse_layer, required_layer, sizes_of, structure_of, tables_of
from .common import initialisers
from .dsp_convolution import SUPPORT as DSP
from .dsp_layout import addend, clamp, clamps, high_word_shift, refuse_requantization

DSP_BLOCKS = (4, 8, 16, 32)
LARGEST_PART = 8
"""Sums that a loop of the DSP kernels keeps in registers."""


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

PAIRS = Function("halfword_pairs", "circulant/pairs.c.j2", {}, (DSP,), code_bytes=0, stack_bytes=0)


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


def refuse_dsp(site: Site, *, split: bool) -> str | None:
    reason = refuse_layer(site)
    if reason:
        return reason
    parameters = parameters_of(site)
    structure = structure_of(parameters)
    if structure is None or structure.block not in DSP_BLOCKS:
        return f"its {structure} are none of {DSP_BLOCKS}"
    if split and structure.skew:
        return "t^n + 1 has no factors"
    return refuse_requantization(parameters.requantization, 0)


def _dsp_words(vectors: np.ndarray) -> np.ndarray:
    """Vectors as words whose even bytes are one pair of terms, whose odd bytes the next one."""
    ordered = vectors.reshape(-1, 4)[:, [0, 2, 1, 3]].astype(np.uint8)
    return np.ascontiguousarray(ordered).view("<u4").reshape(-1).astype(np.uint32)


def lower_dsp(site: Site, *, split: bool) -> Lowered:
    layer = required_layer(site)
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
    sizes = sizes_of(site)
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
        tables=tables_of(layer, _dsp_words(layer.vectors)),
        records=(Record("shape", f"{function.name}_shape", fields, 8 * 4),),
        scratch_bytes=4 * words * across,
        instructions=sizes["rows"] * _dsp_instructions(structure, parts, down, across),
    )


def _dsp_instructions(structure: Circulant, parts: list[tuple[int, Part]], down: int, across: int) -> int:
    """Predicted, of one vector."""
    block = structure.block
    each = sum(_part_instructions(block, part) for _, part in parts)
    spread = sum(4 * part.words + 1.5 * block for _, part in parts)
    return round(60 + across * spread + down * (50 * len(parts) + 20 * block + across * each))


def _part_instructions(block: int, part: Part) -> float:
    """Predicted, of one block of weights."""
    return PART_INSTRUCTIONS[f"circulant{block}_{replace(part, parities=(0, 1), first_pair=0).name}"]
