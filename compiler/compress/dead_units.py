"""Remove units that pruning has left without inputs or without readers: neurons and whole channels.

A unit nobody reads is cut out. A unit without weights is a constant: what its readers make of it goes into their
biases, and then nobody reads it. Both are exact up to float rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..ir.encoding import Compressed
from ..ir.graph import Graph, Node
from ..ir.types import TensorType
from ..ops.clamp import ClampAttrs
from ..ops.conv2d import Conv2DAttrs
from ..ops.reshape import ReshapeAttrs
from ..passes.base import Preserves
from .layers import NewWeights, WeightLayer, replace_weights, weight_layers

CHANNEL_WISE = ("MaxPool2D", "Clamp")
"""Ops that keep channels apart and a constant channel constant; average pools do not where they count pads."""


@dataclass(frozen=True, slots=True, eq=False)
class _Link:
    """A layer, the one layer that reads it, and what stands between.

    Attributes:
        between: channel-wise nodes and reshapes, in order.
        repeats: inputs of the reader for each channel of the layer: positions of a flattened image.
    """

    layer: WeightLayer
    reader: WeightLayer
    between: tuple[Node, ...]
    repeats: int


@dataclass(frozen=True, slots=True)
class RemoveDeadUnits:
    """Cut units without weights or without readers out of chains of Dense and Conv2D layers.

    Between the two layers there may be max pools, clamps and the reshape that flattens an image; a unit read by
    anything else stays. Layers with stated integer types stay.
    """

    name: ClassVar[str] = "remove-dead-units"
    preserves: ClassVar[Preserves] = Preserves.EXACT

    def __call__(self, graph: Graph) -> Graph:
        """The smaller graph."""
        while True:
            for link in _links(graph):
                keep = _live(link)
                if not keep.all():
                    graph = _cut(graph, link, keep)
                    break
            else:
                return graph


def _links(graph: Graph) -> list[_Link]:
    layers = {layer.name: layer for layer in weight_layers(graph)}
    consumers = graph.consumers()
    found: list[_Link] = []
    for layer in layers.values():
        tensor = layer.node.outputs[0]
        between: list[Node] = []
        while True:
            readers = consumers[tensor]
            if len(readers) != 1 or tensor in graph.outputs:
                break
            node = readers[0]
            if node.name in layers:
                link = _link(graph, layer, layers[node.name], tuple(between))
                if link is not None:
                    found.append(link)
                break
            if node.op not in (*CHANNEL_WISE, "Reshape"):
                break
            between.append(node)
            tensor = node.outputs[0]
    return found


def _link(graph: Graph, layer: WeightLayer, reader: WeightLayer, between: tuple[Node, ...]) -> _Link | None:
    """The link, if every input of the reader belongs to one channel of the layer in a regular order."""
    if layer.element is not None or reader.element is not None or layer.groups > 1 or reader.groups > 1:
        return None
    units = len(layer.weights)
    for node in between:
        if node.op == "Reshape" and graph.types[node.outputs[0]].shape[-1] % units:
            return None
    inputs = reader.weights.shape[-1]
    return _Link(layer, reader, between, inputs // units) if inputs % units == 0 else None


def _live(link: _Link) -> np.ndarray:
    """(units,) bool: units that are computed and read; one stays in any case."""
    units = len(link.layer.weights)
    fed = (link.layer.weights.reshape(units, -1) != 0).any(axis=1)
    if isinstance(link.reader.node.attrs, Conv2DAttrs) and any(link.reader.node.attrs.pads):
        fed[:] = True  # beside padding, a constant channel is not one constant to its reader
    read = (link.reader.weights.reshape(-1, link.repeats, units) != 0).any(axis=(0, 1))
    keep: np.ndarray = fed & read
    if not keep.any():
        keep[0] = True
    return keep


def _cut(graph: Graph, link: _Link, keep: np.ndarray) -> Graph:
    layer, reader = link.layer, link.reader
    units, count = len(keep), int(keep.sum())
    columns = reader.weights.reshape(*reader.weights.shape[:-1], link.repeats, units)
    bias = np.zeros(units, np.float32) if layer.bias is None else layer.bias
    fed = (layer.weights.reshape(units, -1) != 0).any(axis=1)
    constant = np.where(fed, np.float32(0), layer.activation.apply(bias))
    for node in link.between:
        if isinstance(node.attrs, ClampAttrs):
            constant = node.attrs.activation.apply(constant)
    constant[keep] = 0.0
    spread = np.moveaxis(columns, -1, 0).reshape(units, len(columns), -1).sum(axis=2)
    old = np.zeros(len(columns), np.float32) if reader.bias is None else reader.bias
    folded = (old + (constant[:, None] * spread).sum(axis=0)).astype(np.float32)
    kept = columns[..., keep].reshape(*reader.weights.shape[:-1], link.repeats * count)
    changes = {
        layer.name: NewWeights(layer.weights[keep], _promise(layer, layer.weights[keep]), bias=bias[keep]),
        reader.name: NewWeights(
            kept, _promise(reader, kept), bias=folded if reader.bias is not None or constant.any() else None
        ),
    }
    resized = {layer.node.outputs[0]: count}
    types, nodes = dict(graph.types), list(graph.nodes)
    for node in link.between:
        shape = types[node.outputs[0]].shape
        resized[node.outputs[0]] = shape[-1] // units * count
        if isinstance(node.attrs, ReshapeAttrs):
            attrs = ReshapeAttrs((*shape[:-1], resized[node.outputs[0]]))
            nodes[nodes.index(node)] = replace(node, attrs=attrs)
    for tensor, channels in resized.items():
        types[tensor] = TensorType((*types[tensor].shape[:-1], channels), types[tensor].element)
    return replace_weights(replace(graph, nodes=tuple(nodes), types=types), changes)


def _promise(layer: WeightLayer, values: np.ndarray) -> Compressed:
    """The promise of the smaller weights: as many of the promised zeros as are left."""
    old = layer.promise
    if old.block > 1 or old.group:  # runs of inputs have moved: nothing can be promised of them
        old = replace(old, block=1, keep=0, group=0)
    zeros = min(layer.promise.zeros, int(values.size - np.count_nonzero(values)))
    clusters = None if old.clusters is None else max(len(np.unique(values)), 1)
    return replace(old, zeros=zeros, clusters=clusters, circulant=None, tie=None)  # places have moved
