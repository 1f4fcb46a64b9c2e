"""The graph: immutable nodes in topological order, tensor types and constants.

A pass never changes a graph in place; it opens a `rewrite.GraphEditor` and returns what `finish()` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from .encoding import DENSE, Encoding
from .types import TensorType


@dataclass(frozen=True, slots=True)
class Source:
    """Where a node came from, for every message about it."""

    model: str
    node: str
    op_type: str


@dataclass(frozen=True, slots=True)
class Attrs:
    """Base of every op's attributes; each op defines its own frozen dataclass."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    `op` is a key of `boardfit.ops.OPS`; `attrs` is an instance of that op's attribute class.
    An absent optional input is the empty string.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Attrs
    source: Source

    def input(self, index: int) -> str:
        """Name of an input; the empty string if the node has none at that place."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """Values (float32, or raw integers for Affine and FixedPoint types) and their storage encoding."""

    values: np.ndarray
    encoding: Encoding = DENSE

    def __post_init__(self) -> None:
        values = np.ascontiguousarray(self.values).reshape(np.shape(self.values))
        if values.flags.writeable:
            values = values.copy()
            values.setflags(write=False)
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A network: one inference, batch axis kept as 1, images channels-last.

    Attributes:
        name: name of the model.
        inputs, outputs: tensor names, in the order of the model's interface.
        nodes: in topological order.
        types: type of every tensor (inputs, constants, node outputs).
        constants: values of the constant tensors.
        labels: the names the model's file gives its inputs and outputs, where they differ from the tensor names.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, TensorType]
    constants: Mapping[str, Constant]
    labels: Mapping[str, str] = field(default_factory=dict)

    def producer(self, tensor: str) -> Node | None:
        """The node that makes `tensor`, or None for an input or a constant."""
        for node in self.nodes:
            if tensor in node.outputs:
                return node
        return None

    def producers(self) -> dict[str, Node]:
        """Tensor name to the node that makes it, for all tensors made by nodes."""
        return {output: node for node in self.nodes for output in node.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Tensor name to the nodes that read it (each node once), for all tensors."""
        found: dict[str, list[Node]] = {name: [] for name in self.types}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                if name:
                    found[name].append(node)
        return found

    def input_types(self, node: Node) -> tuple[TensorType | None, ...]:
        """Types of a node's inputs; None for an absent optional input."""
        return tuple(self.types[name] if name else None for name in node.inputs)

    def output_types(self, node: Node) -> tuple[TensorType, ...]:
        """Types of a node's outputs."""
        return tuple(self.types[name] for name in node.outputs)

    def constant(self, tensor: str) -> np.ndarray | None:
        """Values of a constant tensor, or None if the tensor is not constant."""
        found = self.constants.get(tensor)
        return None if found is None else found.values

    def node(self, name: str) -> Node:
        """The node of that name.

        Raises:
            KeyError: no such node.
        """
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @property
    def parameters(self) -> int:
        """Number of constant elements read by nodes."""
        used = {name for node in self.nodes for name in node.inputs if name in self.constants}
        return sum(self.types[name].elements for name in used)

    def renamed(self, name: str) -> Graph:
        """The same graph under another model name."""
        return replace(self, name=name)
