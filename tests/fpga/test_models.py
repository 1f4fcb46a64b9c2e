"""Real models as hls4ml projects: every byte of the C simulation, and agreement with float."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import boardfit
from benchmarks import corpus
from boardfit.frontend.load import load_model
from boardfit.interp import run
from boardfit.ir import FixedPoint, Graph
from boardfit.numerics import dequantize, quantize
from boardfit.options import BackendOptions, HlsTool

pytest.importorskip("hls4ml", reason="hls4ml is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed"),
]

AGREEMENT = 0.98


def samples(name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Calibration and evaluation inputs of a model."""
    if name == "digits":
        return corpus.digits("calibration")[0], corpus.digits("test")[0]
    if name == "kws01":
        x, _ = corpus.kws()
        calibration, rest = corpus.kws_split()
        return x[calibration], x[rest]
    random = np.random.default_rng(corpus.SEED)
    x = random.uniform(-1, 1, (700, *shape[1:])).astype(np.float32)
    return x[:200], x[200:]


def classes(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Largest class of each sample."""
    name, output = graph.inputs[0], graph.outputs[0]
    shaped = x.reshape(-1, *graph.types[name].shape)
    element = graph.types[name].element
    values = run(graph, {name: quantize(shaped, element)})[output]
    return dequantize(values, graph.types[output].element).reshape(len(x), -1).argmax(axis=1)


@pytest.mark.parametrize(
    ("name", "board", "tool"),
    [
        ("digits", "pynq-z2", HlsTool.VITIS),
        ("three_layer_keras", "pynq-z2", HlsTool.VIVADO),
        ("conv2d_small_keras", "arty-a7-100t", HlsTool.VITIS),
        ("three_layer_bn_pytorch", "pynq-z2", HlsTool.VITIS),
        ("kws01", "zcu104", HlsTool.VITIS),
    ],
)
def test_csim_is_equal_and_the_classes_are_those_of_float(name: str, board: str, tool: HlsTool, tmp_path: Path) -> None:
    path = corpus.model_path(name)
    if not path.exists():
        pytest.skip(corpus.missing())
    imported = load_model(path)
    calibration, evaluation = samples(name, imported.types[imported.inputs[0]].shape)
    backend = BackendOptions(tool=tool)
    made = boardfit.compile(path, board, calibration, output=tmp_path / "out", backend=backend)
    result = boardfit.verify(tmp_path / "out")
    assert result.equal and result.runs[0].runner == "csim" and result.runs[0].samples >= 100
    assert isinstance(made.graph.types[made.graph.outputs[0]].element, FixedPoint)
    agreement = (classes(made.graph, evaluation) == classes(made.floating, evaluation)).mean()
    assert agreement >= AGREEMENT
