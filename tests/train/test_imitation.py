"""Imitation across shapes: several outputs, regression, hints of other widths, ensembles, data made up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Graph, GraphEditor
from boardfit.ops.activation import NONE
from boardfit.ops.dense import DenseAttrs
from boardfit.train.losses import Imitation, Labels, LogitError, Loss, PseudoLabels, logits_tensors, matching_hints
from boardfit.train.options import TrainingData, TrainOptions
from boardfit.train.pseudo_data import Munge, Variations, with_pseudo_data
from boardfit.train.teachers import ensemble
from boardfit.train.trainer import Training

from .networks import SOURCE, dense_network, image_network, task

pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'boardfit[train]'")

OPTIONS = TrainOptions(epochs=12, batch=50, learning_rate=1e-2, seed=3)


def error(graph: Graph, data: TrainingData) -> float:
    name = logits_tensors(graph)[0]
    logits = run(graph, dict(data.inputs))[graph.outputs[0] if name not in graph.outputs else name]
    return 100.0 * float(np.mean(np.argmax(logits.reshape(data.samples, -1), axis=1) != data.labels))


@pytest.fixture(scope="module")
def teachers() -> list[Graph]:
    options = TrainOptions(epochs=20, batch=50, learning_rate=1e-2, weight_decay=0.01)
    return [Training(dense_network(seed=seed), task(), (Labels(),), options).run().graph for seed in (0, 1)]


def two_outputs(hidden: int, seed: int) -> Graph:
    """Classes behind a softmax, and two numbers of another order of magnitude."""
    graph = dense_network(hidden, seed, softmax=True)
    editor = GraphEditor(graph)
    random = np.random.default_rng(seed)
    inputs = [
        graph.node("fc1").outputs[0],
        editor.add_constant("w", random.normal(size=(2, hidden)).astype(np.float32) * 30),
        editor.add_constant("b", np.zeros(2, np.float32)),
    ]
    editor.outputs.append(editor.add_node("Dense", inputs, DenseAttrs(NONE), SOURCE, name="numbers").outputs[0])
    return editor.finish()


@pytest.mark.parametrize("loss", [LogitError(), PseudoLabels(), PseudoLabels(confidence=0.5)], ids=str)
def test_a_smaller_student_learns_without_labels(teachers: list[Graph], loss: Loss) -> None:
    unlabelled = TrainingData(task().inputs)
    found = Training(dense_network(8, seed=5), unlabelled, (loss,), OPTIONS, teacher=teachers[0]).run().graph
    assert error(found, task(seed=1)) < 34.0


def test_classes_and_numbers_are_learnt_together() -> None:
    teacher, student = two_outputs(32, 0), two_outputs(12, 9)
    data = TrainingData(task().inputs)
    found = Training(student, data, (Imitation(),), OPTIONS, teacher=teacher).run().graph
    fresh = dict(task(seed=1).inputs)
    wanted, before, after = (list(run(graph, fresh).values()) for graph in (teacher, student, found))
    agree = [np.mean(np.argmax(made[0], -1) == np.argmax(wanted[0], -1)) for made in (before, after)]
    unexplained = [np.var(made[1] - wanted[1]) / np.var(wanted[1]) for made in (before, after)]
    assert agree[1] > 0.8 > agree[0]
    assert unexplained[1] < 0.2 < unexplained[0]


def test_an_ensemble_answers_better_than_its_members_and_teaches(teachers: list[Graph]) -> None:
    data = task(seed=1)
    together = ensemble(teachers)
    assert error(together, data) <= float(np.mean([error(teacher, data) for teacher in teachers]))
    logits = [run(teacher, dict(data.inputs))[teacher.outputs[0]] for teacher in teachers]
    found = run(together, dict(data.inputs))[together.outputs[0]]
    np.testing.assert_allclose(found, np.mean(logits, axis=0), atol=1e-5)
    student = Training(dense_network(8, seed=5), TrainingData(task().inputs), (Imitation(),), OPTIONS, teacher=together)
    assert error(student.run().graph, data) < 34.0


def test_an_ensemble_of_softmax_networks_ends_in_one() -> None:
    together = ensemble([dense_network(8, 0, softmax=True), dense_network(16, 1, softmax=True)])
    answers = run(together, dict(task(20).inputs))[together.outputs[0]]
    np.testing.assert_allclose(answers.sum(axis=-1), 1.0, atol=1e-6)
    with pytest.raises(UsageError, match="one ends in a softmax, the other does not"):
        ensemble([dense_network(8, 0, softmax=True), dense_network(8, 1)])
    with pytest.raises(UsageError, match="have inputs of shapes"):
        ensemble([dense_network(8, 0), image_network()])
    with pytest.raises(UsageError, match="needs a teacher"):
        ensemble([])


def test_hints_are_found_between_layers_of_different_width(teachers: list[Graph]) -> None:
    student = dense_network(8, seed=5)
    hints = matching_hints(student, teachers[0])
    assert hints.tensors == {student.node("fc1").outputs[0]: teachers[0].node("fc1").outputs[0]}
    trained = Training(student, TrainingData(task().inputs), (hints,), OPTIONS, teacher=teachers[0]).run()
    assert trained.history[-1].loss < 0.5 * trained.history[0].loss
    images = image_network(0)
    hinted = matching_hints(images, image_network(1)).tensors
    assert hinted == {name: name for name in (images.node(node).outputs[0] for node in ("conv1", "conv2", "fc1"))}
    others = matching_hints(images, renamed(image_network(1))).tensors
    ours = [images.node(name).outputs[0] for name in ("conv1", "pool1", "conv2", "pool2", "fc1")]
    assert others == {name: f"other_{name}" for name in ours}
    with pytest.raises(UsageError, match="no tensors of one resolution"):
        matching_hints(dense_network(8), renamed(_without_hidden()))


def renamed(graph: Graph) -> Graph:
    """The graph with other names for what its nodes compute."""
    names = {name: f"other_{name}" for node in graph.nodes for name in node.outputs}
    nodes = [
        replace(node, inputs=tuple(names.get(n, n) for n in node.inputs), outputs=tuple(names[n] for n in node.outputs))
        for node in graph.nodes
    ]
    types = {names.get(name, name): kind for name, kind in graph.types.items()}
    return replace(graph, nodes=tuple(nodes), types=types, outputs=tuple(names[n] for n in graph.outputs))


def _without_hidden() -> Graph:
    graph = dense_network(8)
    editor = GraphEditor(graph)
    editor.outputs = [graph.node("fc1").outputs[0]]
    return editor.finish()


def test_munge_stays_among_the_data() -> None:
    x = np.random.default_rng(0).normal(size=(60, 1, 5)).astype(np.float32) * np.array([1, 10, 100, 1, 1], np.float32)
    made = Munge(copies=3)(x, np.random.default_rng(1))
    assert made.shape == (180, 1, 5) and made.dtype == np.float32
    assert np.mean(made == np.tile(x, (3, 1, 1))) == pytest.approx(0.5, abs=0.1)
    assert np.all(np.abs(made).max(axis=(0, 1)) < 2.5 * np.abs(x).max(axis=(0, 1)))


def test_variations_shift_rows_and_keep_the_originals() -> None:
    x = np.random.default_rng(0).normal(size=(30, 1, 9, 4, 1)).astype(np.float32)
    still = Variations(copies=2, shift=2, mix=0.0, noise=0.0, offset=0.0)(x, np.random.default_rng(1))
    assert still.shape == (60, 1, 9, 4, 1)
    rows = {row.tobytes() for row in x.reshape(-1, 4)}
    assert all(row.tobytes() in rows for row in still.reshape(-1, 4))
    data = with_pseudo_data({"x": x}, Variations(copies=2), seed=3)["x"]
    assert np.array_equal(data[:30], x) and len(data) == 90
    assert np.array_equal(data, with_pseudo_data({"x": x}, Variations(copies=2), seed=3)["x"])
    with pytest.raises(UsageError, match="no rows to shift"):
        Variations(shift=1)(x.reshape(30, 1, -1), np.random.default_rng(0))
    with pytest.raises(UsageError, match="one input"):
        with_pseudo_data({"x": x, "y": x}, Munge(), 0)
