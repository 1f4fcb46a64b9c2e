"""A chain of layers in the place of one: how rewrites that change the structure of a layer are said and carried out.

The pieces are ordinary Dense and Conv2D layers behind each other. Only the last one has the bias and the activation of
the layer it stands for, and it makes the tensor of the same name; everything behind the layer stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..ir.graph import Graph, Node, Source
from ..ir.rewrite import GraphEditor
from ..ir.types import FLOAT32, TensorType
from ..ops import OPS
from ..ops.conv2d import Conv2DAttrs
from ..ops.dense import DenseAttrs
from ..ops.spec import Invocation
from .layers import NewWeights, WeightLayer, real_values, replace_weights, with_weights

CHUNK = 32
"""Samples evaluated at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One layer of a chain.

    Attributes:
        name: what is added to the name of the layer, such as 'vertical'.
        attrs: of the node, its activation included; they say whether it is a Dense or a Conv2D.
        new: its weights, and its bias if it has one.
    """

    name: str
    attrs: Conv2DAttrs | DenseAttrs
    new: NewWeights

    @property
    def op(self) -> str:
        """The IR operator."""
        return "Conv2D" if isinstance(self.attrs, Conv2DAttrs) else "Dense"


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """Layers that take the place of one, in the order of the data."""

    pieces: tuple[Piece, ...]

    @property
    def parameters(self) -> int:
        """Number of weights, biases left out."""
        return sum(int(np.size(piece.new.values)) for piece in self.pieces)


Change = NewWeights | Chain
"""What compression puts in the place of a layer: other weights, or other layers."""


def piece_name(layer: str, piece: str) -> str:
    """Name of a piece's node, from that of the layer it stands for; the same for names in the model's file."""
    return f"{layer}/{piece}"


def chain_layers(layer: WeightLayer, chain: Chain) -> list[WeightLayer]:
    """The pieces as layers of their own, each reading the one before."""
    tensor, found = layer.node.inputs[0], []
    for piece in chain.pieces:
        last = piece is chain.pieces[-1]
        name = piece_name(layer.name, piece.name)
        output = layer.node.outputs[0] if last else f"{name}_out"
        parameters = (f"{name}/weights", *([f"{name}/bias"] if piece.new.bias is not None else []))
        node = Node(name, piece.op, (tensor, *parameters), (output,), piece.attrs, _source(layer, piece))
        found.append(with_weights(replace(layer, node=node, bias=None), piece.new))
        tensor = output
    return found


def _source(layer: WeightLayer, piece: Piece) -> Source:
    source = layer.node.source
    return replace(source, node=piece_name(source.node, piece.name))


def run_layer(layer: WeightLayer, x: np.ndarray) -> np.ndarray:
    """Outputs of one layer, (S, *shape), its activation included, for inputs (S, *shape)."""
    arrays = [layer.weights] if layer.bias is None else [layer.weights, layer.bias]
    node = replace(layer.node, inputs=("input", *("weights", "bias")[: len(arrays)]))
    inputs = [TensorType(x.shape[1:], FLOAT32), *(TensorType(array.shape, FLOAT32) for array in arrays)]
    outputs = tuple(OPS[node.op].infer(node.attrs, inputs))
    runner = OPS[node.op].runner(node, outputs, tuple(inputs))
    constants = [array.astype(np.float32)[None] for array in arrays]
    parts = [
        runner(Invocation(node, (x[start : start + CHUNK], *constants), tuple(inputs), outputs))[0]
        for start in range(0, len(x), CHUNK)
    ]
    return np.concatenate(parts)


def run_chain(layer: WeightLayer, chain: Chain, x: np.ndarray) -> np.ndarray:
    """Outputs of a chain, (S, *shape), for inputs of the layer it stands for."""
    for piece in chain_layers(layer, chain):
        x = run_layer(piece, x)
    return x


def replace_layers(graph: Graph, changes: Mapping[str, Change]) -> Graph:
    """The graph with other weights, or chains of layers, in the place of the named layers."""
    weights = {name: change for name, change in changes.items() if isinstance(change, NewWeights)}
    chains = {name: change for name, change in changes.items() if isinstance(change, Chain)}
    editor = GraphEditor(graph)
    for node in graph.nodes:
        if node.name in chains:
            weights.update(_inserted(editor, node, chains[node.name]))
    return replace_weights(editor.finish() if chains else graph, weights)


def _inserted(editor: GraphEditor, node: Node, chain: Chain) -> dict[str, NewWeights]:
    """Put a chain in the place of a node; the weights its new nodes are to get, by their names."""
    found: dict[str, NewWeights] = {}
    tensor = node.inputs[0]
    for piece in chain.pieces:
        last = piece is chain.pieces[-1]
        name = piece_name(node.name, piece.name)
        inputs = [tensor, editor.add_constant(f"{name}/weights", real_values(piece.new))]
        if piece.new.bias is not None:
            inputs.append(editor.add_constant(f"{name}/bias", np.asarray(piece.new.bias, np.float32)))
        source = replace(node.source, node=piece_name(node.source.node, piece.name))
        outputs = list(node.outputs) if last else None
        types = [editor.types[node.outputs[0]]] if last else None
        made = editor.add_node(
            piece.op, inputs, piece.attrs, source, name=name, outputs=outputs, types=types, before=node
        )
        found[made.name] = replace(piece.new, bias=None)
        tensor = made.outputs[0]
    editor.remove_node(node)
    return found


def placed(before: Graph, after: Graph, name: str) -> tuple[str, ...]:
    """The nodes of `after` that stand for a node of `before`: that node itself, or the pieces of the chain."""
    here = {node.name for node in before.nodes}
    names = [node.name for node in after.nodes]
    if name in names:
        return (name,)
    return tuple(other for other in names if other not in here and other.startswith(piece_name(name, "")))


def placed_sources(before: Graph, after: Graph, name: str) -> tuple[str, ...]:
    """Their names in the model's file, as estimates tell them."""
    return tuple(dict.fromkeys(after.node(piece).source.node for piece in placed(before, after, name)))
