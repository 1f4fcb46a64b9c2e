"""The networks of the compression benchmark: sizes, and the way to ONNX and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compression.networks import LENET5, LENET300, Architecture, write_onnx
from benchmarks.compression.recipe import initialisers
from boardfit.frontend import load_model
from boardfit.pipeline import canonicalize


def test_parameters_are_those_of_the_literature() -> None:
    assert (LENET300.parameters, LENET5.parameters) == (266_610, 431_080)


@pytest.mark.parametrize("architecture", [LENET300, LENET5], ids=lambda architecture: architecture.name)
def test_weights_of_an_imported_network_are_those_of_its_file(tmp_path: Path, architecture: Architecture) -> None:
    weights = architecture.initial(1)
    write_onnx(tmp_path / "net.onnx", architecture, weights)
    graph = canonicalize(load_model(tmp_path / "net.onnx"))
    found = initialisers(architecture, graph)
    assert found.keys() == weights.keys()
    for name, values in weights.items():
        assert np.array_equal(found[name], values), name
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
