"""Sensitivities: the curvature against exact derivatives, costs of options, and the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import boardfit.compress.sensitivity as sensitivity
from boardfit.cache import cache_folder, fingerprint
from boardfit.compress.hessian import diagonal_hessian
from boardfit.compress.layers import weight_layers
from boardfit.compress.round_to_nearest import RoundToNearest
from boardfit.compress.sensitivity import Option, sensitivity_table
from boardfit.errors import OutputError
from boardfit.ir import Graph, GraphEditor, Source, TensorType
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.dense import DenseAttrs

DATA = {"x": np.random.default_rng(5).standard_normal((16, 1, 6)).astype(np.float32)}


def rounding(width: int) -> Option:
    return Option(f"{width} bits", lambda layer: RoundToNearest({layer: width}))


OPTIONS = [rounding(width) for width in (8, 4, 2)]


def mlp() -> Graph:
    random = np.random.default_rng(0)
    editor = GraphEditor.empty("net")
    x = editor.add_input("x", TensorType((1, 6)))
    for name, size, activation in (("fc1", 5, RELU), ("fc2", 3, NONE)):
        weights = editor.add_constant("w", random.standard_normal((size, editor.types[x].shape[1])).astype(np.float32))
        source = Source("net.onnx", name, "Gemm")
        x = editor.add_node("Dense", [x, weights], DenseAttrs(activation), source, name=name).outputs[0]
    editor.outputs = [x]
    return editor.finish()


def test_curvature_is_that_of_the_exact_derivatives() -> None:
    graph = mlp()
    first, second = (layer.matrix for layer in weight_layers(graph))
    x = DATA["x"][:, 0].astype(np.float64)
    hidden = np.maximum(x @ first.T, 0)
    logits = hidden @ second.T
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    fisher = [np.diag(p) - np.outer(p, p) for p in chances]
    last = np.mean([np.diag(f) for f in fisher], axis=0)[:, None] * (hidden**2).mean(axis=0)
    felt = np.mean([np.diag(second.T @ f @ second) for f in fisher], axis=0)  # behind the ReLU, where it is open
    found = diagonal_hessian(graph, DATA)
    assert found["fc2"] == pytest.approx(last, rel=1e-2)
    assert np.all(found["fc1"] <= felt[:, None] * (x**2).mean(axis=0) * 1.02)
    assert found["fc1"].shape == first.shape and found["fc1"].min() >= 0


def test_fewer_bits_cost_more(tmp_path: Path) -> None:
    table = sensitivity_table(mlp(), OPTIONS, DATA, cache=tmp_path).costs
    assert list(table) == ["fc1", "fc2"]
    for costs in table.values():
        assert list(costs) == ["8 bits", "4 bits", "2 bits"]
        assert costs["8 bits"].divergence < costs["4 bits"].divergence < costs["2 bits"].divergence
        assert costs["8 bits"].relative < 1e-3


def test_the_cache_is_used_and_depends_on_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = sensitivity_table(mlp(), OPTIONS, DATA, cache=tmp_path)
    entries = sorted((tmp_path / "sensitivity").iterdir())
    assert len(entries) == 6 and all(entry.suffix == ".json" for entry in entries)
    with monkeypatch.context() as patch:
        patch.setattr(sensitivity, "run", lambda *_: pytest.fail("the cache was not used"))
        assert sensitivity_table(mlp(), OPTIONS, DATA, cache=tmp_path) == first
    entries[0].write_text("{")  # damaged: measured again
    assert sensitivity_table(mlp(), OPTIONS, DATA, cache=tmp_path) == first
    sensitivity_table(mlp(), OPTIONS, {"x": DATA["x"] + 1}, cache=tmp_path)
    assert len(list((tmp_path / "sensitivity").iterdir())) == 12


def test_the_folder_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOARDFIT_CACHE", str(tmp_path / "a"))
    assert cache_folder() == tmp_path / "a"
    assert cache_folder(tmp_path / "b") == tmp_path / "b"
    monkeypatch.delenv("BOARDFIT_CACHE")
    assert cache_folder().name == "boardfit"
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        sensitivity_table(mlp(), OPTIONS[:1], DATA, cache=tmp_path / "file")


def test_fingerprints_tell_contents_apart() -> None:
    values = [1, 1.0, "1", [1], {"a": 1}, np.ones(2), np.ones(2, np.float32), np.ones((1, 2)), RoundToNearest(4), None]
    assert len({fingerprint(value) for value in values}) == len(values)
    assert fingerprint(RoundToNearest(4)) == fingerprint(RoundToNearest(4))
    with pytest.raises(TypeError):
        fingerprint(object())
