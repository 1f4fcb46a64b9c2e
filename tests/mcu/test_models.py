"""Whole models through the driver: compiled, run on the emulated core, estimate beside the linked program."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import boardfit
from benchmarks import corpus
from boardfit.frontend import load_model

ROOT = Path(__file__).parents[2]
MEASURED = 0.02
"""Largest relative error of the estimated flash."""


def need_tools() -> None:
    missing = [tool for tool in ("make", "gcc", "arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def check(model: Path, data: object, folder: Path) -> None:
    need_tools()
    boardfit.compile(model, "nucleo-l4r5zi", data, output=folder)  # type: ignore[arg-type]
    found = boardfit.verify(folder)
    assert {run.runner for run in found.runs} == {"qemu", "host"}
    assert found.equal and all(run.samples >= 20 for run in found.runs)
    sizes = {one.name: one for one in found.footprint}
    assert sizes["arena"].estimated == sizes["arena"].measured
    assert abs(sizes["flash"].error) <= MEASURED
    assert abs(sizes["stack"].estimated - sizes["stack"].measured) <= 64


@pytest.mark.slow
def test_digits(tmp_path: Path) -> None:
    data = np.load(ROOT / "examples" / "digits_calibration.npz")
    check(ROOT / "examples" / "digits.onnx", dict(data), tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kws01", "ad01"])
def test_corpus(tmp_path: Path, name: str) -> None:
    if not corpus.available():
        pytest.skip(corpus.missing())
    path = corpus.model_path(name)
    graph = load_model(path)
    check(path, corpus.calibration(name, graph.types[graph.inputs[0]].shape), tmp_path / "out")
