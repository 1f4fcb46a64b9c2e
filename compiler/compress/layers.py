"""The layers with weights, as compression sees them: one matrix a layer, whatever holds the values.

Weights are float constants, or raw integers behind a Dequantize (a model file that stores int8 weights, or the result
of a pass that has fixed an integer grid). Both are read as real values here and written back in either form.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ..errors import UsageError
from ..ir.affine import WEIGHT_BITS
from ..ir.encoding import Compressed, Encoding
from ..ir.graph import Graph, Node
from ..ir.rewrite import GraphEditor
from ..ir.types import FLOAT32, Affine
from ..numerics import dequantize, dequantize_affine
from ..ops.activation import NONE, Activation
from ..ops.conv2d import Conv2DAttrs
from ..ops.dense import DenseAttrs
from ..ops.quantize import DequantizeAttrs
from ..passes.lowering import storage_dtype
from ..suggest import listed

COMPRESSED_OPS = ("Conv2D", "Dense")
"""Ops whose weights compression works on: (out, in) or (out, kh, kw, in / groups)."""

Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True, eq=False)
class WeightLayer:
    """One Dense or Conv2D node with constant weights.

    Attributes:
        node: the node.
        weights: real weights (out, ...), float32.
        bias: real bias (out,), float32, or None.
        encoding: what is promised of the weights.
        element: the stated integer type of the weights, or None for float weights.
    """

    node: Node
    weights: np.ndarray
    bias: np.ndarray | None
    encoding: Encoding
    element: Affine | None = None

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.node.name

    @property
    def groups(self) -> int:
        """Groups of a convolution; 1 for a dense layer."""
        return self.node.attrs.groups if isinstance(self.node.attrs, Conv2DAttrs) else 1

    @property
    def activation(self) -> Activation:
        """The fused clamp."""
        return self.node.attrs.activation if isinstance(self.node.attrs, (Conv2DAttrs, DenseAttrs)) else NONE

    @property
    def matrix(self) -> np.ndarray:
        """Weights as (out, K), float64."""
        return self.weights.reshape(len(self.weights), -1).astype(np.float64)

    @property
    def depthwise(self) -> bool:
        """Whether each output channel reads one input channel only."""
        return self.groups > 1 and self.weights.shape[-1] == 1

    @property
    def mask(self) -> np.ndarray:
        """(out, K) bool: weights that are not zero."""
        return self.weights.reshape(len(self.weights), -1) != 0

    @property
    def promise(self) -> Compressed:
        """What is promised of the weights; an empty promise at 8 bits if nothing is."""
        return self.encoding if isinstance(self.encoding, Compressed) else Compressed(WEIGHT_BITS)


@dataclass(frozen=True, slots=True, eq=False)
class NewWeights:
    """What a pass puts in the place of a layer's weights.

    Attributes:
        values: (out, ...) real values, or raw integers of `element`.
        encoding: what is promised of them.
        element: None for real values.
        bias: new bias, or None to keep the old one.
    """

    values: np.ndarray
    encoding: Encoding
    element: Affine | None = None
    bias: np.ndarray | None = None


def weight_layers(graph: Graph) -> list[WeightLayer]:
    """The layers of a float canonical graph whose weights are constant, in topological order."""
    producers = graph.producers()
    found: list[WeightLayer] = []
    for node in graph.nodes:
        if node.op not in COMPRESSED_OPS:
            continue
        stored = stored_constant(graph, producers, node.inputs[1])
        if stored is None:
            continue
        constant, element = graph.constants[stored], graph.types[stored].element
        bias = stored_constant(graph, producers, node.input(2))
        found.append(
            WeightLayer(
                node,
                dequantize(constant.values, element).astype(np.float32),
                None if bias is None else _real(graph, bias),
                constant.encoding,
                element if isinstance(element, Affine) else None,
            )
        )
    return found


def stored_constant(graph: Graph, producers: Mapping[str, Node], tensor: str) -> str | None:
    """The constant that holds a parameter: itself, or what its Dequantize reads; None if it is computed."""
    if tensor in graph.constants:
        return tensor
    producer = producers.get(tensor)
    if producer is not None and producer.op == "Dequantize" and producer.inputs[0] in graph.constants:
        return producer.inputs[0]
    return None


def _real(graph: Graph, name: str) -> np.ndarray:
    return dequantize(graph.constants[name].values, graph.types[name].element).astype(np.float32)


def real_values(new: NewWeights) -> np.ndarray:
    """The real values of new weights, float32."""
    if new.element is None:
        return np.asarray(new.values, np.float32)
    return dequantize_affine(np.asarray(new.values, np.int64), new.element)


def replace_weights(graph: Graph, changes: Mapping[str, NewWeights]) -> Graph:
    """The graph with other weights in the named layers.

    Real values become a float constant; raw integers become an integer constant and a Dequantize, as in QDQ models.
    """
    editor = GraphEditor(graph)
    for layer in weight_layers(graph):
        new = changes.get(layer.name)
        if new is None:
            continue
        node = next(n for n in editor.nodes if n.name == layer.name)
        inputs = list(node.inputs)
        stem = _stem(inputs[1])
        if new.element is None:
            inputs[1] = editor.add_constant(stem, np.asarray(new.values, np.float32), FLOAT32, new.encoding)
        else:
            raw = np.asarray(new.values).astype(storage_dtype(new.element))
            stored = editor.add_constant(f"{stem}_int{new.element.width}", raw, new.element, new.encoding)
            real = editor.add_node("Dequantize", [stored], DequantizeAttrs(), node.source, name=f"{stem}_real")
            inputs[1] = real.outputs[0]
        if new.bias is not None:
            bias = editor.add_constant(f"{stem}_bias", np.asarray(new.bias, np.float32))
            inputs = [*inputs[:2], bias]
        editor.update(node, inputs=tuple(inputs))
    return editor.finish()


def _stem(name: str) -> str:
    for ending in ("_real_out", "_real"):
        name = name.removesuffix(ending)
    return name


def with_weights(layer: WeightLayer, new: NewWeights) -> WeightLayer:
    """The layer as it will be read once `new` is in the graph."""
    bias = layer.bias if new.bias is None else np.asarray(new.bias, np.float32)
    return replace(layer, weights=real_values(new), bias=bias, encoding=new.encoding, element=new.element)


def refuse_tied(layer: WeightLayer, what: str) -> None:
    """Refuse to change the weights of a layer one by one where they are tied to each other.

    Args:
        what: what would separate them, such as 'pruning'.

    Raises:
        UsageError: they are.
    """
    if layer.promise.tie is not None:
        raise UsageError(
            f"layer '{layer.name}' has filters that are copies of others, which {what} would separate",
            hint=f"leave the layer out of {what}, or share filters last",
        )


def pick(choices: Mapping[str, Choice], layer: str) -> Choice | None:
    """What is chosen for a layer: by its name, else by the first pattern (`fc*`) that fits, else None."""
    if layer in choices:
        return choices[layer]
    for pattern, choice in choices.items():
        if fnmatch.fnmatchcase(layer, pattern):
            return choice
    return None


def by_layer(graph: Graph, choice: Choice | Mapping[str, Choice]) -> Mapping[str, Choice]:
    """What `pick` takes, of one choice for all layers or of choices by name or pattern.

    Raises:
        UsageError: a name or pattern that fits no layer.
    """
    if not isinstance(choice, Mapping):
        return {"*": choice}
    check_names(graph, choice)
    return choice


def check_names(graph: Graph, patterns: Iterable[str]) -> None:
    """Refuse names and patterns that fit no layer.

    Raises:
        UsageError: such a name; the hint lists the layers.
    """
    names = [layer.name for layer in weight_layers(graph)]
    for pattern in patterns:
        if not any(name == pattern or fnmatch.fnmatchcase(name, pattern) for name in names):
            raise UsageError(
                f"no layer with weights is called '{pattern}'",
                hint=f"layers with weights: {listed(names, pattern)}",
            )
