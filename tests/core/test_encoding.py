"""The promises of compressed constants, and that quantization keeps them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from boardfit.compress.ptq import quantize_for_mcu
from boardfit.errors import InternalError
from boardfit.ir import Compressed, Graph, GraphEditor, Source, TensorType, verify_graph
from boardfit.ops.dense import DenseAttrs
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized

WEIGHTS = np.array([[0.5, 0, 0, 0, -1.5, 0.5], [0, 0, 0, 0, 0.5, 100.0]], np.float32)


def network(encoding: Compressed) -> Graph:
    editor = GraphEditor(Graph("net", (), (), (), {}, {}))
    x = editor.add_input("x", TensorType((1, 6)))
    weights = editor.add_constant("w", WEIGHTS, encoding=encoding)
    node = editor.add_node("Dense", [x, weights], DenseAttrs(), Source("net.onnx", "fc", "Gemm"))
    editor.outputs = [node.outputs[0]]
    return editor.finish()


@pytest.mark.parametrize(
    ("encoding", "problem"),
    [
        (Compressed(zeros=7), None),
        (Compressed(zeros=8), "7 zeros where 8 are promised"),
        (Compressed(clusters=4), None),
        (Compressed(clusters=3), "4 distinct values where 3 are promised"),
        (Compressed(zeros=4, block=4), None),
        (Compressed(zeros=5, block=4), "4 zeros where 5 are promised"),
        (Compressed(keep=2, group=4), None),
        (Compressed(keep=0, group=4), "more than 0 of 4 neighbouring values are not zero"),
    ],
)
def test_promise(encoding: Compressed, problem: str | None) -> None:
    if problem is None:
        verify_graph(network(encoding))
    else:
        with pytest.raises(InternalError, match=problem):
            verify_graph(network(encoding))


def test_last_block_may_be_short() -> None:
    assert Compressed(zeros=6, block=4).broken(np.zeros((1, 6))) is None
    assert Compressed(zeros=2, block=4).broken(np.array([[1, 0, 0, 0, 0, 0]])) is None
    assert Compressed(zeros=3, block=4).broken(np.array([[1, 0, 0, 0, 0, 0]])) is not None


def test_raw_values_outside_the_width() -> None:
    assert Compressed(width=4).broken(np.array([[-8, 7]])) is None
    assert Compressed(width=4).broken(np.array([[0, 15]])) is None
    assert Compressed(width=4).broken(np.array([[-8, 15]])) == "raw values -8 to 15 do not fit 4 bits"


@pytest.mark.parametrize(("width", "clusters"), [(8, 4), (4, None), (2, None), (8, None)])
def test_quantization_keeps_the_promise(width: int, clusters: int | None) -> None:
    encoding = Compressed(width=width, zeros=7, clusters=clusters)
    data = {"x": np.random.default_rng(1).standard_normal((32, 1, 6)).astype(np.float32)}
    graph = LowerQuantized()(quantize_for_mcu(network(encoding), data, QuantizeOptions()))
    verify_graph(graph)
    weights = next(c for c in graph.constants.values() if isinstance(c.encoding, Compressed))
    assert weights.encoding == encoding
    assert len(np.unique(weights.values)) <= (clusters or 1 << width)
    assert np.abs(weights.values).max() < 1 << (width - 1)


def test_bad_promises() -> None:
    wrong: tuple[dict[str, Any], ...]
    wrong = ({"width": 0}, {"clusters": 0}, {"block": 0}, {"keep": 3, "group": 2}, {"zeros": -1})
    for promises in wrong:
        with pytest.raises(ValueError, match=r"must be|at least"):
            Compressed(**promises)
