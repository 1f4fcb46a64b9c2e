"""How large the adder graph of a layer with distributed arithmetic gets, before it is made.

Making it takes da4ml seconds; a planner asks thousands of times. The relations below were fitted on graphs that da4ml
made, the price of an adder bit on what Yosys makes of them (`python -m benchmarks.estimator.distributed --fit`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from .description import LayerDescription, WeightStatistics

STRATEGY = "distributed_arithmetic"


@dataclass(frozen=True, slots=True)
class AdderGraphSize:
    """How much there is of everything.

    Attributes:
        adders, adder_bits: adders, and the cells of all of them.
        depth: adders on the longest way.
        live_bits: bits that cross from one level of adders to the next, over all levels: what registers at each hold.
    """

    adders: float
    adder_bits: float
    depth: float
    live_bits: float


@dataclass(frozen=True, slots=True)
class AdderGraphModel:
    """Fitted relations.

    Attributes:
        relations: adders = digits * share * (digits / inputs)^share_inputs * (digits / outputs)^share_outputs;
            bits of an adder = input bits + width + width_digits * digits per weight;
            depth = log2(digits / outputs) + depth; live bits = adder bits * live.
        hls, synthesis: resource -> term -> price of one unit.
    """

    relations: Mapping[str, float]
    hls: Mapping[str, Mapping[str, float]]
    synthesis: Mapping[str, Mapping[str, float]]


@lru_cache(maxsize=1)
def load_adder_graph_model() -> AdderGraphModel:
    """The model shipped with the package."""
    text = resources.files("boardfit.estimate").joinpath("fpga_adder_graph.json").read_text(encoding="utf-8")
    raw = json.loads(text)
    return AdderGraphModel(raw["relations"], raw["hls"], raw["synthesis"])


def expected_size(
    weights: WeightStatistics,
    inputs: int,
    outputs: int,
    input_bits: int,
    relations: Mapping[str, float] | None = None,
) -> AdderGraphSize:
    """Size of the graph of a matrix of `inputs` x `outputs` weights."""
    r = load_adder_graph_model().relations if relations is None else relations
    digits = weights.csd_digits
    if digits <= 0:
        return AdderGraphSize(0.0, 0.0, 0.0, 0.0)
    per_input, per_output = max(1.0, digits / max(1, inputs)), max(1.0, digits / max(1, outputs))
    share = r["share"] * per_input ** r["share_inputs"] * per_output ** r["share_outputs"]
    adders = digits * min(1.0, share)
    bits = input_bits + r["width"] + r["width_digits"] * digits / max(1.0, weights.nonzero)
    depth = math.log2(per_output) + r["depth"]
    return AdderGraphSize(adders, adders * max(1.0, bits), depth, adders * max(1.0, bits) * r["live"])


def size_of(layer: LayerDescription, weights: WeightStatistics) -> AdderGraphSize:
    """Size of a layer's graph: what is expected of its weights."""
    return expected_size(weights, layer.n_in, layer.n_out, layer.input_precision.width)
