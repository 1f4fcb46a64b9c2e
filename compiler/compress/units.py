"""Units: which channels of which tensors stand or fall together, and cutting them out of the graph.

A unit is a channel (or neuron) and everything tied to it: the same channel of all tensors that are added to it, of the
depthwise convolutions it passes, of pools and activations; its copies in a flattened image; its place in
concatenations. Every tensor's last axis is a list of units.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np

from ..ir.encoding import Compressed, Encoding
from ..ir.graph import Constant, Graph, Node
from ..ir.types import Affine, TensorType
from ..ops import OPS
from ..ops.concat import ConcatAttrs
from ..ops.conv2d import Conv2DAttrs
from ..ops.reduce_mean import ReduceMeanAttrs
from ..ops.reshape import ReshapeAttrs
from ..ops.unary import infer_unary
from .layers import WeightLayer, weight_layers

SAME_CHANNELS = ("MaxPool2D", "AveragePool2D", "Resize", "ScaleBias")
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu")


@dataclass(slots=True)
class Units:
    """The units of a graph.

    Attributes:
        of: tensor -> unit of each index of its last axis (call `find` for the unit it is tied to).
        parent: union-find over unit numbers.
        fixed: units that cannot be cut: of inputs, outputs, and of ops that mix or move channels.
    """

    of: dict[str, np.ndarray] = field(default_factory=dict)
    parent: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)

    def find(self, unit: int) -> int:
        """The representative of a unit."""
        while self.parent[unit] != unit:
            self.parent[unit] = self.parent[self.parent[unit]]
            unit = self.parent[unit]
        return unit

    def channels(self, tensor: str) -> np.ndarray:
        """Representative of each index of the last axis."""
        return np.array([self.find(int(unit)) for unit in self.of[tensor]], np.int64)

    def free(self) -> list[int]:
        """Units that may be cut, in order of appearance."""
        bound = {self.find(unit) for unit in self.fixed}
        return [unit for unit in range(len(self.parent)) if self.find(unit) == unit and unit not in bound]

    def fresh(self, count: int) -> np.ndarray:
        """New units."""
        start = len(self.parent)
        self.parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def tie(self, left: np.ndarray, right: np.ndarray) -> None:
        """Tie two lists of units one by one."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            first, second = sorted((self.find(a), self.find(b)))
            self.parent[second] = first

    def fix(self, units: np.ndarray) -> None:
        """Forbid cutting."""
        self.fixed.update(units.tolist())


def find_units(graph: Graph) -> Units:
    """The units of a float canonical graph."""
    units = Units()
    layers = {layer.name: layer for layer in weight_layers(graph)}
    for name in graph.inputs:
        units.of[name] = units.fresh(_last(graph, name))
        units.fix(units.of[name])
    for node in graph.nodes:
        _visit(graph, node, layers.get(node.name), units)
    for name in graph.outputs:
        if name in units.of:
            units.fix(units.of[name])
    return units


def _last(graph: Graph, tensor: str) -> int:
    shape = graph.types[tensor].shape
    return shape[-1] if shape else 1


def _visit(graph: Graph, node: Node, layer: WeightLayer | None, units: Units) -> None:
    output = node.outputs[0]
    inputs = [name for name in node.inputs if name in units.of]
    if not inputs:  # a parameter
        return
    width = _last(graph, output)
    if layer is not None and (layer.groups == 1 or (layer.depthwise and len(layer.weights) == layer.groups)):
        units.of[output] = units.of[inputs[0]] if layer.depthwise else units.fresh(width)
        return
    same = node.op in SAME_CHANNELS or OPS[node.op].infer is infer_unary
    if isinstance(node.attrs, ReduceMeanAttrs):
        rank = graph.types[inputs[0]].rank
        same = rank - 1 not in node.attrs.axes
    if same and node.op != "Softmax":
        units.of[output] = units.of[inputs[0]]
        return
    if node.op in ELEMENTWISE and all(len(units.of[name]) == width for name in inputs):
        units.of[output] = units.of[inputs[0]]
        for other in inputs[1:]:
            units.tie(units.of[inputs[0]], units.of[other])
        return
    if isinstance(node.attrs, ConcatAttrs) and len(inputs) == len(node.inputs):
        rank = graph.types[output].rank
        if node.attrs.axis == rank - 1:
            units.of[output] = np.concatenate([units.of[name] for name in inputs])
            return
        units.of[output] = units.of[inputs[0]]
        for other in inputs[1:]:
            units.tie(units.of[inputs[0]], units.of[other])
        return
    if isinstance(node.attrs, ReshapeAttrs) and _flattens(graph, node):
        repeats = width // len(units.of[inputs[0]])
        units.of[output] = np.tile(units.of[inputs[0]], repeats)
        return
    for name in inputs:
        units.fix(units.of[name])
    for name in node.outputs:
        units.of[name] = units.fresh(_last(graph, name))
        units.fix(units.of[name])


def _flattens(graph: Graph, node: Node) -> bool:
    """Whether each row of the output is whole pixels of the input, so that channels repeat."""
    return _last(graph, node.outputs[0]) % max(_last(graph, node.inputs[0]), 1) == 0


def cut_units(graph: Graph, units: Units, gone: Collection[int]) -> Graph:
    """The graph without some free units: nodes, weights, biases and constants shrink; what read them reads less.

    What the cut units added to their readers is lost: set their readers' weights to zero first to keep the outputs.
    """
    dead = np.zeros(len(units.parent), bool)
    dead[list(gone)] = True
    keep = {name: ~dead[units.channels(name)] for name in units.of}
    types, constants = dict(graph.types), dict(graph.constants)
    nodes: list[Node] = []
    layers = {layer.name for layer in weight_layers(graph)}
    made: dict[tuple[str, bytes], str] = {}

    def shrink(name: str, axis: int, mask: np.ndarray) -> None:
        shape = list(types[name].shape)
        shape[axis] = int(mask.sum())
        element = types[name].element
        if isinstance(element, Affine) and element.axis == axis:
            scale = tuple(s for s, k in zip(element.scale, mask, strict=True) if k)
            zero = tuple(z for z, k in zip(element.zero_point, mask, strict=True) if k)
            element = replace(element, scale=scale, zero_point=zero)
        types[name] = TensorType(tuple(shape), element)

    def sliced(name: str, axis: int, mask: np.ndarray) -> str:
        """A parameter without some indices of an axis: a constant, or the Dequantize of one."""
        if mask.all():
            return name
        key = (name, axis.to_bytes(1, "big") + mask.tobytes())
        if key in made:
            return made[key]
        fresh = f"{name}_cut"
        while fresh in types:
            fresh += "_"
        types[fresh] = types[name]
        if name in constants:
            values = np.compress(mask, constants[name].values, axis=axis)
            constants[fresh] = Constant(values, _smaller(constants[name].encoding, values))
        else:
            old = next(node for node in (*nodes, *graph.nodes) if node.outputs[0] == name)
            stored = sliced(old.inputs[0], axis, mask)
            nodes.append(replace(old, name=fresh, inputs=(stored,), outputs=(fresh,)))
        shrink(fresh, axis, mask)
        made[key] = fresh
        return fresh

    for node in graph.nodes:
        inputs, output = list(node.inputs), node.outputs[0]
        if output in keep and node.inputs[0] in keep and node.name in layers:
            whole = keep[output]
            depthwise = isinstance(node.attrs, Conv2DAttrs) and node.attrs.groups > 1
            inputs[1] = sliced(inputs[1], 0, whole)
            if not depthwise:
                inputs[1] = sliced(inputs[1], types[inputs[1]].rank - 1, keep[node.inputs[0]])
            elif isinstance(node.attrs, Conv2DAttrs):
                node = replace(node, attrs=replace(node.attrs, groups=int(whole.sum())))
            if node.input(2):
                inputs[2] = sliced(inputs[2], 0, whole)
        elif output in keep:
            for index, name in enumerate(node.inputs):
                if name and name not in keep and types[name].rank and types[name].shape[-1] == len(keep[output]):
                    inputs[index] = sliced(name, types[name].rank - 1, keep[output])
        if output in keep and not keep[output].all():
            shrink(output, types[output].rank - 1, keep[output])
            if isinstance(node.attrs, ReshapeAttrs):
                node = replace(node, attrs=ReshapeAttrs(types[output].shape))
        nodes.append(replace(node, inputs=tuple(inputs)))
    cut = replace(graph, nodes=tuple(nodes), types=types, constants=constants)
    return _finished(cut)


def _finished(graph: Graph) -> Graph:
    from ..ir.rewrite import GraphEditor

    return GraphEditor(graph).finish()


def _smaller(old: Encoding, values: np.ndarray) -> Encoding:
    """The promise of part of a constant: as many of the promised zeros as are left; runs have moved."""
    if not isinstance(old, Compressed):
        return old
    zeros = min(old.zeros, int(values.size - np.count_nonzero(values)))
    if old.block > 1 or old.group:
        old = replace(old, block=1, keep=0, group=0)
    clusters = None if old.clusters is None else max(len(np.unique(values)), 1)
    return replace(old, zeros=zeros, clusters=clusters, circulant=None, tie=None)
