"""The intermediate representation: graph, types, editing, verification, text."""

from .encoding import DENSE, Compressed, Dense, Encoding, Tie
from .graph import Attrs, Constant, Graph, Node, Source
from .rewrite import GraphEditor, with_types
from .text import format_graph
from .types import (
    FLOAT32,
    INT32,
    Affine,
    ElementType,
    FixedPoint,
    Float32,
    Overflow,
    Rounding,
    TensorType,
)
from .verify import verify_graph

__all__ = [
    "DENSE",
    "FLOAT32",
    "INT32",
    "Affine",
    "Attrs",
    "Compressed",
    "Constant",
    "Dense",
    "ElementType",
    "Encoding",
    "FixedPoint",
    "Float32",
    "Graph",
    "GraphEditor",
    "Node",
    "Overflow",
    "Rounding",
    "Source",
    "TensorType",
    "Tie",
    "format_graph",
    "verify_graph",
    "with_types",
]
