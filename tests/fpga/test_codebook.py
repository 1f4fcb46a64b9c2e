"""Dense layers that sum inputs of equal weights before they multiply: planned where that saves, equal in C."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks import corpus
from boardfit.backends.hls4ml import BACKEND
from boardfit.backends.hls4ml.layers import make_layers
from boardfit.backends.hls4ml.planning import estimate_plan, plan_graph
from boardfit.board import FpgaBoard, find_board
from boardfit.compress.cluster import ShareWeights
from boardfit.errors import UsageError
from boardfit.frontend.load import load_model
from boardfit.ir import Graph
from boardfit.ops.activation import RELU
from boardfit.options import BackendOptions, Goal, HlsTool, IoType, Strategy
from boardfit.pipeline import canonical_passes, run_passes
from boardfit.plan.codebook import codebook_of
from boardfit.plan.fpga import CODEBOOK, FpgaPlan, find_candidates

from .networks import Builder, Lowered, lowered

pytest.importorskip("hls4ml", reason="hls4ml is not installed")
ASKED = BackendOptions(strategy=Strategy.CODEBOOK)
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def board(name: str = "pynq-z2") -> FpgaBoard:
    found = find_board(name)
    assert isinstance(found, FpgaBoard)
    return found


def network(clusters: int = 8, *, width: int = 12) -> Lowered:
    b = Builder(5)
    b.dense(b.dense(b.input("x", 20), 16, RELU), 4, out=True)
    return lowered(ShareWeights(clusters)(b.editor.finish()), width=width)


def simulated(
    fixed: Graph, inputs: dict[str, np.ndarray], options: BackendOptions, folder: Path, target: str = "pynq-z2"
) -> np.ndarray:
    artifact = BACKEND.emit(fixed, board(target), options)
    sources = [text for name, text in artifact.files.items() if name.startswith("firmware/") and name.endswith(".cpp")]
    assert any(b"boardfit_codebook_dense" in text for text in sources)
    artifact.with_manifest({}).write(folder)
    found = BACKEND.execute(folder, [inputs[name] for name in fixed.inputs], "csim")
    return np.asarray(found[0])


def test_a_codebook_says_what_the_weights_are() -> None:
    weights = np.array([[3, -3, 0, 8], [8, 8, -8, 3]])
    found = codebook_of(weights)
    assert found is not None
    signs = np.sign(found.places) * np.append(0, found.values)[np.abs(found.places)]
    assert np.array_equal(signs, weights)
    assert found.groups.tolist() == [[2, 1], [1, 3]]
    assert codebook_of(np.arange(34)) is None  # too many magnitudes
    assert codebook_of(np.zeros((2, 2))) is None


def test_it_is_cheaper_by_the_estimate_and_planned_there() -> None:
    fixed = network(width=16).fixed
    names = find_candidates(fixed, BackendOptions()).layers
    assert all(CODEBOOK in plans for plans in names.values())
    own = estimate_plan(fixed, board(), ASKED, FpgaPlan(IoType.PARALLEL, dict.fromkeys(names, CODEBOOK)))
    usual = estimate_plan(fixed, board(), BackendOptions(), find_candidates(fixed, BackendOptions()).fastest())
    products = 16 * 4 + 4 * 4  # magnitudes of 8 values for every output, at most twice as many
    assert 0 < own.total.dsp <= 2 * products < usual.total.dsp
    planned = plan_graph(fixed, board(), BackendOptions(goal=Goal.LATENCY))
    assert planned.estimate.fits and planned.estimate.total.dsp < usual.total.dsp


def test_layers_without_few_values_are_refused() -> None:
    b = Builder(6)
    b.dense(b.input("x", 20), 16, out=True)
    many = lowered(b.editor.finish(), width=12).fixed
    assert all(CODEBOOK not in plans for plans in find_candidates(many, BackendOptions()).layers.values())
    with pytest.raises(UsageError, match="more than 32, different magnitudes"):
        find_candidates(many, ASKED)
    few = network().fixed
    with pytest.raises(UsageError, match="is for io_parallel"):
        find_candidates(few, BackendOptions(strategy=Strategy.CODEBOOK, io_type=IoType.STREAM))
    with pytest.raises(UsageError, match="the reuse factor is 1, not 4"):
        find_candidates(few, BackendOptions(strategy=Strategy.CODEBOOK, reuse_factor=4))


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("tool", list(HlsTool))
def test_csim_is_equal(tool: HlsTool, tmp_path: Path) -> None:
    made = network()
    options = BackendOptions(strategy=Strategy.CODEBOOK, tool=tool)
    classes = [
        layer.class_name for layer in make_layers(made.fixed, find_candidates(made.fixed, ASKED).fastest()).layers
    ]
    assert classes.count("BoardfitCodebookDense") == 2
    found = simulated(made.fixed, dict(made.inputs), options, tmp_path / "out")
    assert np.array_equal(found, made.expected[made.fixed.outputs[0]])


@pytest.mark.slow
@needs_compiler
def test_the_jets_network_with_sixteen_values(tmp_path: Path) -> None:
    path = corpus.model_path("three_layer_keras")
    if not path.exists():
        pytest.skip(corpus.missing())
    floating = run_passes(load_model(path), canonical_passes(fuse=True)).graph
    made = lowered(ShareWeights(16)(floating), width=16, samples=100)
    found = simulated(made.fixed, dict(made.inputs), ASKED, tmp_path / "out", "zcu104")
    assert np.array_equal(found, made.expected[made.fixed.outputs[0]])
