"""Comparisons with a constant, and numbers chosen by them, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper

from boardfit.errors import ModelError
from boardfit.frontend import import_model
from boardfit.interp import run

from .harness import Case, build, compare, run_boardfit, run_onnxruntime

X = np.array([[-2.0, -0.5, -0.0, 0.0, 0.25, 0.5, 0.5000001, 3.0]], np.float32)


def chosen(relation: str, threshold: float, *, left: bool, if_true: float = 1.0, if_false: float = -1.0) -> ModelProto:
    nodes = [
        helper.make_node(relation, ["c", "x"] if left else ["x", "c"], ["t"], name="compare"),
        helper.make_node("Where", ["t", "a", "b"], ["y"], name="choose"),
    ]
    constants = {"c": np.float32(threshold), "a": np.float32(if_true), "b": np.float32(if_false)}
    return build(nodes, {"x": (1, 8)}, ["y"], constants, opset=16)


RELATIONS = ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")
CASES = [Case(relation, chosen(relation, 0.3, left=False, if_true=2.0, if_false=-0.5)) for relation in RELATIONS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_random_inputs(case: Case) -> None:
    compare(case.model)


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_choices(relation: str, left: bool, threshold: float) -> None:
    model = chosen(relation, threshold, left=left, if_true=3.0, if_false=-0.5)
    (expected,) = run_onnxruntime(model, [{"x": X}])
    graph = import_model(model, "m.onnx", "m")
    (found,) = run_boardfit(graph, [{graph.inputs[0]: X}])
    np.testing.assert_array_equal(found[0], expected[0])


def test_a_sign_is_one_op() -> None:
    graph = import_model(chosen("GreaterOrEqual", 0.0, left=False), "m.onnx", "m")
    assert [node.op for node in graph.nodes] == ["Bipolar"]
    found = run(graph, {graph.inputs[0]: X[None]})[graph.outputs[0]]
    np.testing.assert_array_equal(found[0, 0], [-1, -1, 1, 1, 1, 1, 1, 1])


def test_what_has_no_form_is_refused() -> None:
    both = [helper.make_node("Greater", ["x", "z"], ["t"]), helper.make_node("Where", ["t", "x", "z"], ["y"])]
    with pytest.raises(ModelError, match="only comparisons with a constant"):
        import_model(build(both, {"x": (1, 8), "z": (1, 8)}, ["y"], opset=16), "m.onnx", "m")
    truth = [helper.make_node("Greater", ["x", "c"], ["t"]), helper.make_node("Not", ["t"], ["y"])]
    with pytest.raises(ModelError):
        import_model(build(truth, {"x": (1, 8)}, ["y"], {"c": np.float32(0)}, opset=16), "m.onnx", "m")
    bare = [helper.make_node("Greater", ["x", "c"], ["y"])]
    with pytest.raises(ModelError, match="is a truth value"):
        import_model(build(bare, {"x": (1, 8)}, ["y"], {"c": np.float32(0)}, opset=16), "m.onnx", "m")
