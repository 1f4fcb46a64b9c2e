"""What each option costs each layer: the table that a solver chooses from.

Only one layer is changed at a time; the cost is what the outputs of the whole network feel of it, on unlabelled data.
Entries are kept in a cache, named by the content of everything they depend on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..cache import Store
from ..interp import run
from ..ir.graph import Graph
from ..passes.base import Pass
from .chains import Change, replace_layers
from .fidelity import is_classifier
from .layers import weight_layers
from .reconstruction import check_inputs

SAMPLES = 256
"""Samples the outputs are compared on."""


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be done to a layer.

    Attributes:
        name: for tables.
        make: layer name -> the pass that changes that layer alone.
    """

    name: str
    make: Callable[[str], Pass]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an option costs the outputs.

    Attributes:
        divergence: mean Kullback-Leibler divergence of the class probabilities from the original ones, in nats; for
            networks that do not classify, the relative squared error.
        relative: squared error of the outputs relative to their power.
        disagreement: share of samples with another class; 0 for networks that do not classify.
    """

    divergence: float
    relative: float
    disagreement: float


class Sensitivity:
    """What changes of a network cost its outputs, each measured once and then taken from the cache."""

    def __init__(self, graph: Graph, data: Mapping[str, np.ndarray], cache: str | Path | None = None) -> None:
        """See `sensitivity_table`."""
        samples = check_inputs(graph, data)
        few = np.arange(min(samples, SAMPLES)) * samples // min(samples, SAMPLES)
        self._graph = graph
        self._inputs = {
            name: data[name][few].astype(np.float32 if graph.types[name].is_float else np.int64)
            for name in graph.inputs
        }
        self._store = Store.open("sensitivity", [graph, self._inputs], cache)
        self._reference: dict[str, np.ndarray] = {}

    def cost(self, key: Any, change: Callable[[], Graph]) -> Cost:
        """The cost of a change.

        Args:
            key: what the change depends on, the network and the data aside: see `fingerprint`.
            change: makes the changed network; not called if the cost is known.

        Raises:
            OutputError: the cache cannot be written.
        """
        cost = _read(self._store.get(key))
        if cost is None:
            self._reference = self._reference or run(self._graph, self._inputs)
            cost = compare_outputs(self._graph, run(change(), self._inputs), self._reference)
            self._store.put(key, asdict(cost))
        return cost

    def cost_of_weights(self, changes: Mapping[str, Change]) -> Cost:
        """The cost of other weights in some layers, or of others in their place; the key is their content."""
        return self.cost(["weights", changes], lambda: replace_layers(self._graph, changes))


@dataclass(frozen=True, slots=True)
class SensitivityTable:
    """Costs by layer and option name; all layers have all options, in the given order."""

    costs: Mapping[str, Mapping[str, Cost]]


def sensitivity_table(
    graph: Graph,
    options: Sequence[Option],
    data: Mapping[str, np.ndarray],
    *,
    layers: Sequence[str] | None = None,
    cache: str | Path | None = None,
    told: Callable[[str, str, Cost], None] | None = None,
) -> SensitivityTable:
    """Measure every option on every layer.

    Args:
        graph: float canonical graph.
        data: graph input -> (S, *shape), unlabelled; the outputs are compared on at most 256 of them.
        layers: names of layers, or None for all with weights.
        cache: folder; None takes the variable BOARDFIT_CACHE, else the user's cache folder.
        told: called with layer, option and cost as they are known (for a progress bar).

    Raises:
        DataError: no data, or data of another shape.
        OutputError: the cache cannot be written.
    """
    sensitivity = Sensitivity(graph, data, cache)
    table: dict[str, dict[str, Cost]] = {}
    for layer in layers if layers is not None else [layer.name for layer in weight_layers(graph)]:
        table[layer] = {}
        for option in options:
            step = option.make(layer)
            cost = sensitivity.cost([layer, step], partial(step, graph))
            table[layer][option.name] = cost
            if told is not None:
                told(layer, option.name, cost)
    return SensitivityTable(table)


def compare_outputs(graph: Graph, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> Cost:
    """The cost of outputs (a changed network may name them differently: the order counts) against the original's."""
    pairs = [
        (b.reshape(len(b), -1).astype(np.float64), a.reshape(len(a), -1).astype(np.float64))
        for a, b in zip(outputs.values(), reference.values(), strict=True)
    ]
    lost = sum(float(np.square(a - b).sum()) for b, a in pairs)
    power = sum(float(np.square(b).sum()) for b, _ in pairs)
    relative = lost / power if power > 0.0 else float(lost > 0.0)
    if not is_classifier(graph):
        return Cost(relative, relative, 0.0)
    (before, after), producer = pairs[0], graph.producer(graph.outputs[0])
    softmax = producer is not None and producer.op == "Softmax"
    p, q = (_log_chances(rows, softmax) for rows in (before, after))
    divergence = float((np.exp(p) * (p - q)).sum(axis=1).mean())
    return Cost(max(divergence, 0.0), relative, float((before.argmax(axis=1) != after.argmax(axis=1)).mean()))


def _log_chances(rows: np.ndarray, softmax: bool) -> np.ndarray:
    if softmax:
        return np.log(np.maximum(rows, 1e-9))
    shifted = rows - rows.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _read(found: Any) -> Cost | None:
    """A cached cost; None if there is none or it is damaged."""
    try:
        cost = Cost(float(found["divergence"]), float(found["relative"]), float(found["disagreement"]))
    except (ValueError, KeyError, TypeError):
        return None
    return cost if all(math.isfinite(number) for number in (cost.divergence, cost.relative)) else None
