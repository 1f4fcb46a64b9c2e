"""Structured pruning: whole channels and neurons go, and the graph gets smaller.

Which ones: those whose loss the layers that read them can make up for best (the exact OBS cost of all their weights
together, relative to what the reader computes), as in ThiNet (Luo et al. 2017) and structured OBC (Frantar, Alistarh
2022). The readers are refitted, then the units are cut out: through residual additions, concatenations and depthwise
convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.graph import Graph
from ..passes.base import Preserves
from .layers import NewWeights, by_layer, pick, refuse_tied, weight_layers
from .reconstruction import LayerProblem, compress_layers
from .units import Units, cut_units, find_units


@dataclass(frozen=True, slots=True, eq=False)
class PruneUnits:
    """Remove channels and neurons.

    Units without weights are constant: their readers take them into their biases, and they go beside the share.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        share: part of the units to remove: of each layer's, by layer name or pattern of the layer that makes them, or
            one number for all; units shared by several layers (residual additions) go when each of these allows it.
        multiple: keep a multiple of that many units of each layer, rounding up (kernels work on 2 or 4 at a time).
        competing: with one number for all, rank the units of all layers together.
    """

    data: Mapping[str, np.ndarray]
    share: float | Mapping[str, float] = 0.25
    multiple: int = 1
    competing: bool = False

    name: ClassVar[str] = "prune-units"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The smaller graph, readers refitted."""
        shares = by_layer(graph, self.share)
        if not all(0.0 <= share < 1.0 for share in shares.values()) or self.multiple < 1:
            raise UsageError("shares of units are in 0 .. 1, and the multiple is at least 1", hint="0.25")
        if self.competing and isinstance(self.share, Mapping):
            raise UsageError("competing layers share one number", hint="share=0.25")
        units = find_units(graph)
        constant = constant_units(graph, units)
        gone = self._chosen(graph, units, self._costs(graph, units), shares, constant)

        def without(problem: LayerProblem) -> NewWeights | None:
            return _without(problem, units, gone)

        return cut_units(compress_layers(graph, self.data, without), units, gone)

    def _costs(self, graph: Graph, units: Units) -> dict[int, float]:
        """What removal of each free unit costs all its readers, each relative to its output's energy."""
        free = set(units.free())
        costs: dict[int, float] = dict.fromkeys(free, 0.0)

        def rank(problem: LayerProblem) -> None:
            layer = problem.layer
            if layer.groups > 1:
                return
            of = _columns_of(problem, units)
            inverse = np.linalg.inv(problem.damped[0])
            energy = max(float(problem.errors(np.zeros_like(problem.target)).sum()), 1e-30)
            for unit in free.intersection(of.tolist()):
                part = np.flatnonzero(of == unit)
                weights = problem.target[:, part]
                solved = np.linalg.solve(inverse[np.ix_(part, part)], weights.T)
                costs[unit] += float((solved.T * weights).sum()) / energy

        compress_layers(graph, self.data, rank, asymmetric=False)
        return costs

    def _chosen(
        self,
        graph: Graph,
        units: Units,
        costs: Mapping[int, float],
        shares: Mapping[str, float],
        constant: set[int],
    ) -> set[int]:
        """Units to remove: those that are constant, and the cheapest while every layer that makes them allows it."""
        makers: dict[int, list[str]] = {unit: [] for unit in costs}
        room: dict[str, int] = {}
        for layer in weight_layers(graph):
            own = units.channels(layer.node.outputs[0])
            share = pick(shares, layer.name)
            live = len(own) - int(np.isin(own, list(constant)).sum())
            room[layer.name] = self._room(live, 1.0 if share is None or self.competing else share)
            if share is None and not layer.depthwise:
                room[layer.name] = 0
            for unit in set(own.tolist()) & makers.keys():
                makers[unit].append(layer.name)
        order = sorted(costs.keys() - constant, key=lambda unit: (costs[unit], unit))
        most = round(shares.get("*", 1.0) * len(order)) if self.competing else len(order)
        gone: set[int] = set()
        for unit in order:
            if len(gone) == most:
                break
            if makers[unit] and all(room[name] > 0 for name in makers[unit]):
                gone.add(unit)
                for name in makers[unit]:
                    room[name] -= 1
        return self._rounded(units, graph, gone | constant, costs)

    def _room(self, count: int, share: float) -> int:
        """Units a layer may lose; one stays in any case."""
        stay = max(count - int(share * count + 1e-9), 1)
        return max(0, count - -(-stay // self.multiple) * self.multiple)

    def _rounded(self, units: Units, graph: Graph, gone: set[int], costs: Mapping[int, float]) -> set[int]:
        """Take the dearest units back where a layer would not keep a multiple."""
        changed = self.multiple > 1
        while changed:
            changed = False
            for layer in weight_layers(graph):
                own = units.channels(layer.node.outputs[0])
                lost = sorted({int(unit) for unit in own if int(unit) in gone}, key=lambda unit: costs[unit])
                stay = len(own) - int(np.isin(own, lost).sum())
                back = min(-stay % self.multiple, len(lost))
                if back:
                    gone -= set(lost[-back:])
                    changed = True
        return gone


def constant_units(graph: Graph, units: Units) -> set[int]:
    """Units all of whose makers have no weights for them; of each layer one stays in any case."""
    fed: set[int] = set()
    made: set[int] = set()
    layers = [layer for layer in weight_layers(graph) if not layer.depthwise]
    for layer in layers:
        own = units.channels(layer.node.outputs[0])
        made |= set(own.tolist())
        fed |= set(own[layer.mask.any(axis=1)].tolist())
    found = (made - fed) & set(units.free())
    for layer in layers:
        own = units.channels(layer.node.outputs[0])
        if set(own.tolist()) <= found:
            found.discard(int(own[0]))
    return found


def _columns_of(problem: LayerProblem, units: Units) -> np.ndarray:
    """Unit that each weight column of a layer reads, (K,)."""
    channels = units.channels(problem.layer.node.inputs[0])
    return np.tile(channels, problem.layer.matrix.shape[1] // len(channels))


def _without(problem: LayerProblem, units: Units, gone: set[int]) -> NewWeights | None:
    """Refitted weights of a layer that no longer reads some units."""
    layer = problem.layer
    if layer.groups > 1:
        return None
    dead = np.isin(_columns_of(problem, units), list(gone))
    refuse_tied(layer, "refitting")
    moved = np.append(dead, False)
    target = problem.target
    gram = problem.damped[0]
    weights = target.copy()
    if dead.any():
        live = ~moved
        change = np.linalg.solve(gram[np.ix_(live, live)], gram[np.ix_(live, moved)] @ target[:, moved].T)
        weights[:, live] += change.T
        weights[:, moved] = 0.0
    if layer.promise.zeros or layer.promise.group:
        raise UsageError(
            f"layer '{layer.name}' has pruned weights, which refitting would fill again",
            hint="remove units before single weights",
        )
    bias = weights[:, -1].astype(np.float32)
    values = weights[:, :-1].astype(np.float32).reshape(layer.weights.shape)
    return NewWeights(values, layer.promise, None, bias if layer.bias is not None or np.any(bias) else None)
