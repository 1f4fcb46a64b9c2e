"""Output shapes of the layers of a layer list."""

from __future__ import annotations

from collections.abc import Mapping

from boardfit.ir import Graph

from .layer import HlsLayer, plain_shape
from .layers import LayerList


def _has_shape(layer: HlsLayer) -> bool:
    """Whether a layer of boardfit's own says its shape, which need not be that of a tensor of the graph."""
    return "out_shape" in layer.attributes


def layer_shapes(graph: Graph, network: LayerList) -> Mapping[str, tuple[int, ...]]:
    """Layer name -> shape without the batch axis; parts of a split concatenation have that of the whole."""
    found = {layer.name: tuple(layer.attributes["input_shape"]) for layer in network.layers if not layer.inputs}
    found |= {layer.name: tuple(layer.attributes["out_shape"]) for layer in network.layers if _has_shape(layer)}
    for tensor, name in network.makers.items():
        found.setdefault(name, plain_shape(graph, tensor))
    for layer in reversed(network.layers):
        found.setdefault(layer.name, found.get(layer.name.rsplit("_p", 1)[0], ()))
    return found
