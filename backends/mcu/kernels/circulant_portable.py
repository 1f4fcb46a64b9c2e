"""Kernels for block-circulant weights on cores without the DSP extension, and for blocks of any size."""

from __future__ import annotations

import numpy as np

from boardfit.ir.circulant import Circulant

from ..kernel import Call, Function, Lowered, Record, Scratch, Site
from .circulant_layers import ARGUMENTS, parameters_of, refuse_layer, required_layer, sizes_of, structure_of, tables_of
from .common import initialisers
from .int8_layers import requantization_fields
from .stored import core_of
from .thumb import SUPPORT as HALVES
from .tile import SUPPORT as WORD

UNROLLED_BLOCKS = (4, 8, 16)

HALVES_LIMIT = 1 << 29
"""Sums below which the requantization from halfword products is exact."""

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


def _portable_unrolled(structure: Circulant, site: Site) -> bool:
    return structure.block in UNROLLED_BLOCKS and "dsp" not in site.features


def refuse_portable(site: Site, *, form: str) -> str | None:
    reason = refuse_layer(site)
    if reason:
        return reason
    structure = structure_of(parameters_of(site))
    if structure is None:
        return "its weights are not block-circulant"
    if form == "any":
        return "the unrolled kernels are faster" if _portable_unrolled(structure, site) else None
    if not _portable_unrolled(structure, site):
        return f"its {structure} are none of {UNROLLED_BLOCKS}, or there are kernels for the DSP extension"
    return "t^n + 1 has no factors" if form == "split" and structure.skew else None


def lower_portable(site: Site, *, form: str) -> Lowered:
    layer = required_layer(site)
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
    sizes = sizes_of(site)
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
        tables=tables_of(layer, vectors),
        records=(Record("shape", f"{function.name}_shape", initialisers(**fields), 4 * len(fields)),),
        scratch_bytes=2 * places * across,
        instructions=round(sizes["rows"] * (60 + 5 * places * across + down * (35 * block + across * each))),
    )
