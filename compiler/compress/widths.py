"""Widths of weights and tensors: which may be chosen together, what noise they add, and the graph they give."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..interp import run
from ..ir.graph import Graph
from ..numerics import dequantize, quantize
from ..ops.spec import as_fixed
from .fixed import LINEAR, Ranges, fixed_types_for
from .fixed_point_biases import correct_biases
from .lower_fixed import LowerFixed

PROBE_WIDTHS = (8, 5)
"""Widths at which the noise of one set of weights or tensors is measured, all else being wide."""

RANGE_BITS = 2
"""log2 of the factor noise power grows by with each bit less: the step doubles, its square is uniform noise's power."""


@dataclass(frozen=True, slots=True)
class Widths:
    """A choice: bits of the weights of each linear node, and of each group of tensors."""

    weights: Mapping[str, int]
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """Noise power (mean square at the outputs) that each choice adds by itself, as measured at `PROBE_WIDTHS`.

    Powers of independent rounding errors add up; between and beyond the probes the power follows the square of the
    step, from the nearer probe.
    """

    weights: Mapping[str, tuple[float, ...]]
    groups: tuple[tuple[float, ...], ...]
    top: int

    def weight_noise(self, node: str, width: int) -> float:
        """Of the weights of a node at `width` bits."""
        return self._at(self.weights[node], width)

    def group_noise(self, group: int, width: int) -> float:
        """Of the tensors of a group at `width` bits."""
        return self._at(self.groups[group], width)

    def loudest(self, width: int) -> float:
        """With `width` bits everywhere: no choice of at least as many bits is louder."""
        weights = sum(self.weight_noise(name, width) for name in self.weights)
        return weights + sum(self.group_noise(index, width) for index in range(len(self.groups)))

    def _at(self, measured: tuple[float, ...], width: int) -> float:
        if width >= self.top:
            return 0.0
        wide, narrow = PROBE_WIDTHS
        if width >= wide or not measured[0]:
            nearest, power = (wide, measured[0]) if width >= wide else (narrow, measured[1])
            return power * 2.0 ** (RANGE_BITS * (nearest - width))
        if width <= narrow:
            return max(measured) * 2.0 ** (RANGE_BITS * (narrow - width))
        part = (wide - width) / (wide - narrow)
        return measured[0] * max(measured[1] / measured[0], 1.0) ** part


@dataclass(frozen=True, slots=True)
class WidthSpace:
    """A float graph in fixed-point form, its ranges, and what may get a width of its own.

    Attributes:
        form: the graph.
        ranges: of its tensors.
        groups: tensors that share a width: an input or the result of a linear node, and all that is computed
            from it without multiplying by weights.
        linear: names of the nodes with weights.
        top: the widest width.
        means: mean input of each layer with weights, for its bias (see `fixed_point_biases`).
    """

    form: Graph
    ranges: Ranges
    groups: tuple[tuple[str, ...], ...]
    linear: tuple[str, ...]
    top: int
    means: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, form: Graph, ranges: Ranges, top: int, means: Mapping[str, np.ndarray]) -> WidthSpace:
        """Find the groups of a graph."""
        index = {name: position for position, name in enumerate(form.inputs)}
        members: list[list[str]] = [[name] for name in form.inputs]
        linear: list[str] = []
        for node in form.nodes:
            if node.op in LINEAR:
                linear.append(node.name)
                members.append([])
                found = len(members) - 1
            else:
                found = next((index[name] for name in node.inputs if name in index), 0)
            for name in node.outputs:
                index[name] = found
                members[found].append(name)
        return cls(form, ranges, tuple(map(tuple, members)), tuple(linear), top, means)

    def group_of(self, tensor: str) -> int:
        """Index of a tensor's group."""
        return next(i for i, names in enumerate(self.groups) if tensor in names)

    def uniform(self, width: int) -> Widths:
        """The same width everywhere."""
        return Widths(dict.fromkeys(self.linear, width), (width,) * len(self.groups))

    def graph(self, widths: Widths) -> Graph:
        """The fixed-point graph with these widths."""
        bits = dict.fromkeys(self.form.types, self.top)
        for names, width in zip(self.groups, widths.groups, strict=True):
            bits.update(dict.fromkeys(names, width))
        for node in self.form.nodes:
            if node.op in LINEAR:
                bits[node.inputs[1]] = widths.weights[node.name]
        form = correct_biases(self.form, fixed_types_for(self.form, self.ranges, bits), self.means)
        return LowerFixed(fixed_types_for(form, self.ranges, bits))(form)


def fixed_outputs(graph: Graph, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """Real values of all outputs of a fixed-point graph on real inputs, (S, values), float64."""
    raw = {name: quantize(data[name], as_fixed(graph.types[name].element), sample_axis=True) for name in graph.inputs}
    found = run(graph, raw)
    return _joined(dequantize(found[name], as_fixed(graph.types[name].element)) for name in graph.outputs)


def float_outputs(graph: Graph, data: Mapping[str, np.ndarray]) -> np.ndarray:
    """The same of a float graph."""
    found = run(graph, data)
    return _joined(found[name].astype(np.float64) for name in graph.outputs)


def _joined(outputs: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([values.reshape(len(values), -1) for values in outputs], axis=1)


def measure_noise(space: WidthSpace, data: Mapping[str, np.ndarray]) -> NoiseModel:
    """Narrow one thing at a time and see how far the outputs of the integer interpreter move.

    Args:
        data: graph input -> real values (S, *shape); a few dozen samples are enough.
    """
    wide = space.uniform(space.top)
    reference = fixed_outputs(space.graph(wide), data)

    def noise(widths: Widths) -> float:
        return float(np.mean(np.square(fixed_outputs(space.graph(widths), data) - reference)))

    weights = {
        name: tuple(noise(Widths({**wide.weights, name: width}, wide.groups)) for width in PROBE_WIDTHS)
        for name in space.linear
    }
    groups = tuple(
        tuple(noise(Widths(wide.weights, (*wide.groups[:i], width, *wide.groups[i + 1 :]))) for width in PROBE_WIDTHS)
        for i in range(len(space.groups))
    )
    return NoiseModel(weights, groups, space.top)
