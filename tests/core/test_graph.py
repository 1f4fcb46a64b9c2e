"""The graph, its editor and its verifier."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from boardfit.errors import InternalError
from boardfit.ir import Affine, Constant, Graph, GraphEditor, Source, TensorType, format_graph, verify_graph
from boardfit.ops.activation import RELU
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.dense import DenseAttrs

SOURCE = Source("m.onnx", "n", "Gemm")


def network() -> Graph:
    editor = GraphEditor.empty("net")
    x = editor.add_input("x", TensorType((1, 3)))
    w = editor.add_constant("w", np.ones((2, 3), np.float32))
    dead = editor.add_constant("dead", np.ones((2, 3), np.float32))
    y = editor.add_node("Dense", [x, w], DenseAttrs(), SOURCE, name="fc").outputs[0]
    editor.add_node("Dense", [x, dead], DenseAttrs(), SOURCE, name="unused")
    editor.outputs.append(editor.add_node("Clamp", [y], ClampAttrs(RELU), SOURCE, name="relu").outputs[0])
    return editor.finish()


def test_finish_drops_what_is_dead() -> None:
    graph = network()
    assert [node.name for node in graph.nodes] == ["fc", "relu"]
    assert set(graph.constants) == {"w"}
    assert graph.parameters == 6


def test_finish_sorts_nodes() -> None:
    editor = GraphEditor(network())
    editor.nodes.reverse()
    assert [node.name for node in editor.finish().nodes] == ["fc", "relu"]


def test_fresh_names_never_collide() -> None:
    editor = GraphEditor(network())
    names = {editor.fresh("fc") for _ in range(5)} | {editor.fresh("x") for _ in range(3)}
    assert len(names) == 8
    assert not names & {"fc", "x", "w", "relu"}


def test_constants_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        network().constants["w"].values[0, 0] = 2.0


def test_text_form_names_everything() -> None:
    text = format_graph(network())
    for part in ("graph net", "%x: f32[1x3]", "constant %w", "= Dense(%x, %w)", "output   %relu_out"):
        assert part in text


def test_cycle_is_found() -> None:
    graph = network()
    editor = GraphEditor(graph)
    editor.nodes[0] = replace(editor.nodes[0], inputs=(graph.outputs[0], "w"))
    with pytest.raises(InternalError, match="cycle"):
        editor.finish()


def broken(**changes: object) -> Graph:
    return replace(network(), **changes)  # type: ignore[arg-type]


def test_verifier_finds_broken_invariants() -> None:
    graph = network()
    fc, relu = graph.nodes
    x = graph.types["x"]
    cases: list[tuple[Graph, str]] = [
        (broken(nodes=(relu, fc)), "before it is made"),
        (broken(nodes=(fc, replace(relu, name="fc"))), "two nodes"),
        (broken(nodes=(replace(fc, op="Nonsense"), relu)), "unknown op"),
        (broken(nodes=(replace(fc, attrs=ClampAttrs()), relu)), "attributes of class"),
        (broken(outputs=("nowhere",)), "has no type"),
        (broken(types={**graph.types, fc.outputs[0]: TensorType((1, 7))}), "inferred"),
        (broken(constants={"w": Constant(np.ones((3, 3), np.float32))}), "has shape"),
        (broken(types={**graph.types, "x": replace(x, element=Affine(True, 8, (1.0,), (0,)))}), "cannot run"),
    ]
    for bad, message in cases:
        with pytest.raises(InternalError, match=message):
            verify_graph(bad)


def test_verifier_checks_integer_constants() -> None:
    graph = network()
    element = Affine(True, 4, (0.5,), (0,))
    types = {**graph.types, "w": TensorType((2, 3), element)}
    with pytest.raises(InternalError, match="outside"):
        verify_graph(replace(graph, types=types, constants={"w": Constant(np.full((2, 3), 9))}))
    with pytest.raises(InternalError, match="values"):
        verify_graph(replace(graph, types=types))


def test_affine_rejects_nonsense() -> None:
    for scale, zero, axis in (((0.0,), (0,), None), ((1.0, 2.0), (0, 0), None), ((1.0,), (), None)):
        with pytest.raises(ValueError, match=r"scale|parameters"):
            Affine(True, 8, scale, zero, axis)
