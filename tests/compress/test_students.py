"""Students cut out of a network: stages that can be left out, widths, sizes."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.students import HALF, Multipliers, cut_student, macs, shallower, stages, waists
from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Graph, GraphEditor, Source, TensorType
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.add import AddAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.reduce_mean import ReduceMeanAttrs
from boardfit.ops.reshape import ReshapeAttrs

SHAPE = (1, 5, 5, 8)


def network(quiet: int = 1) -> Graph:
    """conv - residual block - three equal convolutions, of which number `quiet` copies its input - mean - dense."""
    random = np.random.default_rng(0)
    editor = GraphEditor.empty("net")

    def conv(name: str, x: str, weights: np.ndarray) -> str:
        inputs = [x, editor.add_constant("c", weights.astype(np.float32)), editor.add_constant("b", np.zeros(8, "f4"))]
        attrs = Conv2DAttrs(pads=(1, 1, 1, 1), activation=RELU)
        return editor.add_node("Conv2D", inputs, attrs, Source("n.onnx", name, "Conv"), name=name).outputs[0]

    def weights(channels: int = 8) -> np.ndarray:
        return random.standard_normal((8, 3, 3, channels)) / np.sqrt(9 * channels)

    copy = np.zeros((8, 3, 3, 8))
    copy[:, 1, 1] = np.eye(8)
    y = conv("first", editor.add_input("x", TensorType((1, 5, 5, 2))), weights(2))
    inner = conv("inner", y, weights())
    y = editor.add_node("Add", [y, inner], AddAttrs(), Source("n.onnx", "add", "Add"), name="add").outputs[0]
    for number in range(3):
        y = conv(f"chain{number}", y, copy if number == quiet else weights())
    source = Source("n.onnx", "head", "Gemm")
    y = editor.add_node("ReduceMean", [y], ReduceMeanAttrs((1, 2), True), source, name="mean").outputs[0]
    y = editor.add_node("Reshape", [y], ReshapeAttrs((1, 8)), source, name="flat").outputs[0]
    inputs = [y, editor.add_constant("c", random.standard_normal((3, 8)).astype(np.float32))]
    editor.outputs = list(editor.add_node("Dense", inputs, DenseAttrs(NONE), source, name="head").outputs)
    return editor.finish()


def data(samples: int = 40) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((samples, 1, 5, 5, 2)).astype(np.float32)}


def names(graph: Graph) -> set[str]:
    return {node.name for node in graph.nodes}


def test_a_residual_block_is_one_stage_and_its_inside_is_no_waist() -> None:
    graph = network()
    assert graph.node("inner").outputs[0] not in waists(graph)
    assert [stage.layers for stage in stages(graph)] == [("inner",), ("chain0",), ("chain1",), ("chain2",)]


@pytest.mark.parametrize("quiet", [0, 1, 2])
def test_the_stage_that_does_least_goes_first(quiet: int) -> None:
    graph = network(quiet)
    shorter = shallower(graph, data(), 0.75)
    assert names(graph) - names(shorter) == {f"chain{quiet}"}
    found, wanted = (run(g, data())[g.outputs[0]] for g in (shorter, graph))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_no_stage_is_left_at_depth_zero() -> None:
    assert names(shallower(network(), data(), 0.0)) == {"first", "mean", "flat", "head"}


def test_auto_has_half_of_the_multiplications() -> None:
    teacher = network()
    student = cut_student(teacher, data(), Multipliers(), multiple=1)
    assert 0.25 * macs(teacher) < macs(student) <= HALF * macs(teacher)
    narrow = cut_student(teacher, data(), Multipliers(0.5, 0.5), multiple=2)
    assert narrow.types[narrow.node("first").outputs[0]].shape == (1, 5, 5, 4)
    assert len(stages(narrow)) == 2


def test_a_network_without_such_stages_cannot_be_shallower() -> None:
    graph = network()
    short = shallower(graph, data(), 0.0)
    with pytest.raises(UsageError, match="it cannot be shallower"):
        shallower(short, data(), 0.5)


def test_specifications() -> None:
    assert Multipliers.parse("auto") == Multipliers(None, 1.0)
    assert Multipliers.parse("auto:0.5") == Multipliers(0.5, 1.0)
    assert Multipliers.parse("auto:0.5x0.25") == Multipliers(0.5, 0.25)
    with pytest.raises(UsageError, match="is no student"):
        Multipliers.parse("automatic")
