"""What is in a model, and what each backend can do with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .backend import BACKENDS, find_backend
from .ir.graph import Graph, Node
from .ops import OPS


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One node of the canonical graph.

    Attributes:
        node: name in the ONNX file.
        op_type: ONNX operator.
        op: operator of the IR.
        shapes: shapes of the outputs.
        parameters: constant elements it reads.
        macs: multiply-accumulates of one inference.
        refusals: backend name -> why it cannot do this node, None if it can.
    """

    node: str
    op_type: str
    op: str
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    macs: int
    refusals: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Inspection:
    """What `boardfit inspect` shows.

    Attributes:
        model: name of the file.
        sha256: of the file.
        inputs, outputs: name -> text of the type, as the file calls them.
        layers: nodes in canonical form.
    """

    model: str
    sha256: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    layers: tuple[LayerFacts, ...]

    @property
    def parameters(self) -> int:
        """Constant elements of the model (each counted once per node that reads it)."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)


def inspect_model(model: str | Path, input_shapes: Mapping[str, tuple[int, ...]]) -> Inspection:
    """Import a model, bring it into canonical form, with stored integers as real weights, and describe it.

    Raises:
        ModelError: it cannot be imported.
    """
    from .frontend import load_model
    from .passes.fold_dequantize import FoldDequantize
    from .pipeline import canonicalize

    path = Path(model)
    imported = load_model(path, dict(input_shapes))
    graph = canonicalize(FoldDequantize()(imported), fuse=False)
    return Inspection(
        path.name,
        hashlib.sha256(path.read_bytes()).hexdigest(),
        _interface(imported, imported.inputs),
        _interface(imported, imported.outputs),
        tuple(_facts(node, graph) for node in graph.nodes),
    )


def _interface(graph: Graph, names: tuple[str, ...]) -> dict[str, str]:
    return {graph.labels.get(name, name): str(graph.types[name]) for name in names}


def _facts(node: Node, graph: Graph) -> LayerFacts:
    backends = [find_backend(kind) for kind in BACKENDS]
    constants = {name for name in node.inputs if name in graph.constants}
    return LayerFacts(
        node=node.source.node,
        op_type=node.source.op_type,
        op=node.op,
        shapes=tuple(tensor_type.shape for tensor_type in graph.output_types(node)),
        parameters=sum(graph.types[name].elements for name in constants),
        macs=OPS[node.op].macs(node, graph),
        refusals={backend.name: backend.refuse(node, graph) for backend in backends},
    )
