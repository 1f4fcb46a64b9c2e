"""Every op of the IR: a backend lowers it, or says why not."""

from __future__ import annotations

from functools import lru_cache

import pytest

from boardfit.backend import BACKENDS, find_backend
from boardfit.frontend import import_model
from boardfit.ir.graph import Graph, Node
from boardfit.ops import OPS
from boardfit.pipeline import canonicalize

from .test_operator_table import CASES

INTERNAL = {"Lookup", "Requantize"}
"""Made by lowering, never by an importer."""


@lru_cache(maxsize=1)
def examples() -> dict[str, list[tuple[Node, Graph]]]:
    """Op -> nodes of canonical float graphs."""
    found: dict[str, list[tuple[Node, Graph]]] = {}
    for case in CASES:
        graph = canonicalize(import_model(case.model, "m.onnx", "m"), fuse=False)
        for node in graph.nodes:
            found.setdefault(node.op, []).append((node, graph))
    return found


def test_every_op_comes_from_some_model() -> None:
    assert set(OPS) - set(examples()) == INTERNAL


@pytest.mark.parametrize("kind", BACKENDS)
def test_a_backend_lowers_an_op_or_gives_a_reason(kind: str) -> None:
    backend = find_backend(kind)
    lowered = 0
    for op, nodes in examples().items():
        reasons = [backend.refuse(node, graph) for node, graph in nodes]
        assert all(reason is None or len(reason) > 10 for reason in reasons), op
        lowered += None in reasons
    assert lowered > len(OPS) / 2


def test_microcontrollers_lower_every_op() -> None:
    backend = find_backend("mcu")
    for op, nodes in examples().items():
        assert None in [backend.refuse(node, graph) for node, graph in nodes], op
