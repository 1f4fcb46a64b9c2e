"""Editing of graphs: a mutable copy that is checked and ordered again when finished."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import InternalError
from .encoding import DENSE, Encoding
from .graph import Attrs, Constant, Graph, Node, Source
from .types import FLOAT32, ElementType, TensorType


class GraphEditor:
    """A mutable copy of a graph.

    Nodes keep their relative order; `finish` sorts topologically, drops dead nodes, types and constants,
    infers the shapes of node outputs that have no type yet, and verifies.
    """

    def __init__(self, graph: Graph) -> None:
        self.name = graph.name
        self.inputs: list[str] = list(graph.inputs)
        self.outputs: list[str] = list(graph.outputs)
        self.nodes: list[Node] = list(graph.nodes)
        self.types: dict[str, TensorType] = dict(graph.types)
        self.constants: dict[str, Constant] = dict(graph.constants)
        self.labels: dict[str, str] = dict(graph.labels)
        self._taken: set[str] = set(self.types) | {node.name for node in self.nodes}

    @classmethod
    def empty(cls, name: str) -> GraphEditor:
        """An editor with no tensors and no nodes."""
        return cls(Graph(name, (), (), (), {}, {}))

    def fresh(self, stem: str) -> str:
        """A name nobody uses yet, starting with `stem`."""
        name, count = stem, 0
        while name in self._taken or not name:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name

    def add_input(self, name: str, tensor_type: TensorType) -> str:
        """Declare a graph input and return its tensor name."""
        self._taken.add(name)
        self.inputs.append(name)
        self.types[name] = tensor_type
        return name

    def add_constant(
        self,
        stem: str,
        values: np.ndarray,
        element: ElementType = FLOAT32,
        encoding: Encoding = DENSE,
    ) -> str:
        """Add a constant tensor and return its name."""
        name = self.fresh(stem)
        self.types[name] = TensorType(tuple(int(d) for d in values.shape), element)
        self.constants[name] = Constant(values, encoding)
        return name

    def add_node(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Attrs,
        source: Source,
        *,
        name: str | None = None,
        outputs: Sequence[str] | None = None,
        types: Sequence[TensorType] | None = None,
        before: Node | None = None,
    ) -> Node:
        """Add a node; its output types are inferred (float) unless given.

        `before` only keeps the list tidy; the order is repaired by `finish`.
        """
        from ..ops import OPS

        spec = OPS[op]
        if types is None:
            known = [self.types[i] if i else None for i in inputs]
            types = spec.infer(attrs, known)
        node_name = self.fresh(name or source.node or op.lower())
        if outputs is None:
            outputs = [self.fresh(node_name + ("_out" if i == 0 else f"_out{i}")) for i in range(len(types))]
        node = Node(node_name, op, tuple(inputs), tuple(outputs), attrs, source)
        for output, tensor_type in zip(outputs, types, strict=True):
            self.types[output] = tensor_type
            self._taken.add(output)
        self.nodes.insert(self.nodes.index(before) if before is not None else len(self.nodes), node)
        return node

    def replace_node(self, old: Node, new: Node) -> Node:
        """Put `new` where `old` stands."""
        self.nodes[self.nodes.index(old)] = new
        return new

    def update(self, old: Node, **changes: object) -> Node:
        """Replace fields of a node and return the new node."""
        return self.replace_node(old, replace(old, **changes))  # type: ignore[arg-type]

    def remove_node(self, node: Node) -> None:
        """Remove a node; its outputs must be unused or replaced by the caller."""
        self.nodes.remove(node)

    def replace_uses(self, old: str, new: str, *, outputs: bool = True) -> None:
        """Let every reader of tensor `old` read `new`; graph outputs too unless `outputs` is False."""
        for index, node in enumerate(self.nodes):
            if old in node.inputs:
                inputs = tuple(new if name == old else name for name in node.inputs)
                self.nodes[index] = replace(node, inputs=inputs)
        if outputs and old in self.outputs:
            label = self.labels.pop(old, old)
            self.outputs = [new if name == old else name for name in self.outputs]
            self.labels.setdefault(new, label)

    def snapshot(self) -> Graph:
        """The current state as a graph, unsorted and unchecked (for look-ups while editing)."""
        return Graph(
            self.name,
            tuple(self.inputs),
            tuple(self.outputs),
            tuple(self.nodes),
            dict(self.types),
            dict(self.constants),
            dict(self.labels),
        )

    def finish(self, *, verify: bool = True) -> Graph:
        """Sort, drop what is dead, verify, and freeze."""
        nodes = _sorted(self._live())
        used: set[str] = {*self.inputs, *self.outputs}
        for node in nodes:
            used.update(node.inputs, node.outputs)
        graph = Graph(
            self.name,
            tuple(self.inputs),
            tuple(self.outputs),
            tuple(nodes),
            {name: t for name, t in self.types.items() if name in used},
            {name: c for name, c in self.constants.items() if name in used},
            {name: label for name, label in self.labels.items() if name in used},
        )
        if verify:
            from .verify import verify_graph

            verify_graph(graph)
        return graph

    def _live(self) -> list[Node]:
        producers = {output: node for node in self.nodes for output in node.outputs}
        wanted = list(self.outputs)
        live: set[str] = set()
        while wanted:
            node = producers.get(wanted.pop())
            if node is not None and node.name not in live:
                live.add(node.name)
                wanted += node.inputs
        return [node for node in self.nodes if node.name in live]


def _sorted(nodes: Iterable[Node]) -> list[Node]:
    """Topological order that keeps the given order wherever it is already valid."""
    pending = list(nodes)
    awaited = {output for node in pending for output in node.outputs if output}
    ordered: list[Node] = []
    while pending:
        later: list[Node] = []
        for node in pending:
            if awaited.isdisjoint(node.inputs):
                ordered.append(node)
                awaited.difference_update(node.outputs)
            else:
                later.append(node)
        if len(later) == len(pending):
            raise InternalError(f"cycle in graph at node {later[0].name}")
        pending = later
    return ordered


def with_types(graph: Graph, types: Mapping[str, TensorType]) -> Graph:
    """The same graph with some tensor types replaced."""
    return replace(graph, types={**graph.types, **types})
