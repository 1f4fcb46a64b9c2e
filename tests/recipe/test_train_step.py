"""The training step of a recipe: a pass like the others, with the trainer's options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from boardfit.compress.layers import weight_layers
from boardfit.errors import InternalError, UsageError
from boardfit.ir import Graph
from boardfit.recipe.context import Context
from boardfit.recipe.recipe import Recipe, parse_recipe
from boardfit.train.trainer import Trained, Training
from tests.train.networks import dense_network, image_network, task

TRAIN = "train: {options: {epochs: 2, batch: 50, learning_rate: 0.01}, labels: 1.0"


def context(graph: Graph) -> Context:
    data = task(400)
    return Context(graph, {"x": data.inputs["x"][:50]}, data.inputs, data.labels)


def recipe(steps: str) -> Recipe:
    return parse_recipe(f"steps: [{steps}]", "mine", "mine.yaml")


def test_a_trained_graph_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = dense_network()
    broken = replace(graph, outputs=("nothing",))
    monkeypatch.setattr(Training, "run", lambda *_, **__: SimpleNamespace(graph=broken))
    with pytest.raises(InternalError, match="pass train"):
        recipe("{" + TRAIN + "}}").apply(graph, 0, context(graph))


def test_tied_weights_stay_tied() -> None:
    pytest.importorskip("tensorflow")
    graph = dense_network()
    made = recipe("{tie-weights: {buckets: 0.125}}, {" + TRAIN + "}}").apply(graph, 0, context(graph))
    for layer in weight_layers(made):
        assert len(np.unique(np.abs(layer.weights))) <= max(round(layer.weights.size / 8), 1)
    before, after = (weight_layers(g)[0].weights for g in (graph, made))
    assert not np.allclose(before, after)


def test_parameters_live_on_a_grid() -> None:
    pytest.importorskip("tensorflow")
    graph = dense_network()
    step = "{" + TRAIN + ", fixed_point: {width: 16, fraction: 9}}}"
    for layer in weight_layers(recipe(step).apply(graph, 0, context(graph))):
        scaled = layer.weights.astype(np.float64) * 2**9
        assert np.array_equal(scaled, np.round(scaled)) and np.any(scaled != 0)


def test_hints_are_trained_with(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    graph = dense_network()
    steps = "{prune-units: {share: 0.5}}, {train: {options: {epochs: 2}, hints: 0.1, distillation: {}}}"
    made = recipe(steps).apply(graph, 0, replace(context(graph), checkpoints=tmp_path))
    assert weight_layers(made)[0].weights.shape == (16, 12)
    assert [path.name for path in tmp_path.iterdir()] == ["step-2.npz"]


def test_the_teacher_may_look_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorflow")
    graph = image_network()
    images = np.random.default_rng(0).normal(size=(64, 1, 12, 12, 1)).astype(np.float32)
    seen: list[Graph | None] = []
    run = Training.run

    def told(training: Training) -> Trained:
        seen.append(training.teacher)
        return run(training)

    monkeypatch.setattr(Training, "run", lambda training, **_: told(training))
    where = Context(graph, {"x": images[:16]}, {"x": images})
    recipe("{train: {options: {epochs: 1}, logits: 1.0, views: 2}}").apply(graph, 0, where)
    (teacher,) = seen
    assert teacher is not None
    assert sum(node.op == "Resize" for node in teacher.nodes) == 10
    for options in ("logits: 1.0, views: -1", "hints: 1.0, views: 2"):
        with pytest.raises(UsageError, match="views"):
            recipe("{train: {" + options + "}}").apply(graph, 0, where)
