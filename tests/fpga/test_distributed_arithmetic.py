"""Distributed arithmetic: the adder graph is the matrix, the project is the interpreter, and refusals are clear."""

from __future__ import annotations

import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

import boardfit
from benchmarks import corpus
from boardfit.backends.hls4ml import BACKEND, distributed_arithmetic
from boardfit.backends.hls4ml.planning import modes
from boardfit.board import find_board
from boardfit.errors import ToolError, UsageError
from boardfit.ir import FixedPoint, Graph
from boardfit.numerics import signed_digits
from boardfit.ops.activation import RELU
from boardfit.options import BackendOptions, HlsTool, IoType, QuantizeOptions, Strategy
from boardfit.plan import distributed_arithmetic as plan_distributed_arithmetic
from boardfit.plan.distributed_arithmetic import MOST_DIGITS
from boardfit.plan.fpga import ADDER_GRAPH, find_candidates

from .networks import Builder, Lowered, lowered

BOARD = find_board("zcu104")
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")


def _asked(
    io_type: IoType = IoType.PARALLEL, tool: HlsTool = HlsTool.VITIS, reuse: int | None = None
) -> BackendOptions:
    return BackendOptions(tool=tool, io_type=io_type, strategy=Strategy.DISTRIBUTED_ARITHMETIC, reuse_factor=reuse)


def _dense(width: int = 8, inputs: int = 10, units: int = 6) -> Lowered:
    b = Builder(2)
    b.dense(b.dense(b.input("x", inputs), units, RELU), 3, out=True)
    return lowered(b.editor.finish(), width=width)


def _convolutions(width: int) -> Lowered:
    b = Builder(3)
    x = b.conv(b.input("x", 6, 6, 3), 4, (3, 3), pads=(1, 1, 1, 1), activation=RELU)
    x = b.conv(b.conv(x, 5, (1, 1), strides=(2, 2), activation=RELU), 3, (2, 2), bias=False)
    b.dense(b.flatten(x), 4, out=True)
    return lowered(b.editor.finish(), width=width)


@pytest.mark.parametrize(("number", "digits"), [(0, 0), (1, 1), (-8, 1), (3, 2), (7, 2), (-11, 3), (0b10101, 3)])
def test_signed_digits(number: int, digits: int) -> None:
    assert signed_digits(np.array([number])).tolist() == [digits]


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_an_adder_graph_is_its_matrix(signed: bool, bias: bool) -> None:
    pytest.importorskip("da4ml", reason="da4ml is not installed")
    from boardfit.backends.hls4ml.adder_graph import make_adder_graph

    random = np.random.default_rng(int(signed) + 2 * int(bias))
    weights = random.integers(-31, 32, (12, 7)) * (random.random((12, 7)) < 0.8) / 32.0
    weights[:, 2] = 0.0
    weights[:, 3] = -weights[:, 4]
    offsets = random.integers(-99, 100, 7) / 64.0
    offsets[2] = 0.0
    element = FixedPoint(signed, 7, 3)
    graph = make_adder_graph(weights, offsets if bias else None, element)
    inputs = random.integers(element.minimum, element.maximum + 1, (300, 12))
    inputs[0], inputs[1] = element.minimum, element.maximum
    expected = np.ldexp(inputs, -element.frac) @ weights + (offsets if bias else 0.0)
    assert np.array_equal(np.ldexp(graph.run(inputs), -graph.frac), expected)
    assert 0 < graph.adders < signed_digits(np.rint(weights * 32)).sum() + 7
    assert len(graph.live_bits()) == graph.depth
    for value in graph.values:
        if value.left is not None:
            assert value.width >= value.adder_bits > 0


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize(
    ("tool", "io_type", "width"),
    [
        (HlsTool.VITIS, IoType.PARALLEL, 10),
        (HlsTool.VIVADO, IoType.PARALLEL, 7),
        (HlsTool.VITIS, IoType.STREAM, 6),
        (HlsTool.VIVADO, IoType.STREAM, 9),
    ],
)
def test_projects_equal_the_interpreter(tool: HlsTool, io_type: IoType, width: int, tmp_path: Path) -> None:
    pytest.importorskip("da4ml", reason="da4ml is not installed")
    pytest.importorskip("hls4ml", reason="hls4ml is not installed")
    network, options = _convolutions(width), _asked(io_type, tool)
    BACKEND.validate(network.fixed, BOARD, options)
    project = BACKEND.emit(network.fixed, BOARD, options)
    assert project.files == BACKEND.emit(network.fixed, BOARD, options).files
    project.with_manifest({}).write(tmp_path / "out")
    (found,) = BACKEND.execute(tmp_path / "out", [network.inputs[name] for name in network.fixed.inputs], "csim")
    assert np.array_equal(found, network.expected[network.fixed.outputs[0]])


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", ["digits", "two_layer_keras", "three_layer_keras", "conv2d_small_keras"])
def test_models_equal_the_interpreter(name: str, tmp_path: Path) -> None:
    pytest.importorskip("da4ml", reason="da4ml is not installed")
    pytest.importorskip("hls4ml", reason="hls4ml is not installed")
    if name != "digits" and not corpus.available():
        pytest.skip(corpus.missing())
    model = corpus.model_path(name)
    shape = boardfit.inspect(model).inputs
    made = boardfit.compile(
        model,
        "zcu104",
        corpus.calibration(name, _shape(next(iter(shape.values()))))[:128],
        output=tmp_path / "out",
        quantize=QuantizeOptions(width=8),
        backend=BackendOptions(strategy=Strategy.DISTRIBUTED_ARITHMETIC),
    )
    assert made.estimate.total.dsp <= 10  # those of a softmax
    assert boardfit.verify(tmp_path / "out").equal


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split("[")[1].rstrip("]").split("x"))


def test_hls4ml_is_left_as_it_was() -> None:
    pytest.importorskip("da4ml", reason="da4ml is not installed")
    flows = pytest.importorskip("hls4ml.model.flow.flow", reason="hls4ml is not installed")
    before = list(flows.get_flow(distributed_arithmetic.FLOW).optimizers)
    BACKEND.emit(_dense().fixed, BOARD, _asked())
    assert flows.get_flow(distributed_arithmetic.FLOW).optimizers == before


def test_a_reuse_factor_is_refused() -> None:
    with pytest.raises(UsageError, match="the reuse factor is 1, not 4"):
        find_candidates(_dense().fixed, _asked(reuse=4))
    assert set(find_candidates(_dense().fixed, _asked(reuse=1)).layers.values()) == {(ADDER_GRAPH,)}


def _refused(graph: Graph, io_type: IoType) -> str:
    with pytest.raises(UsageError) as error:
        find_candidates(graph, _asked(io_type))
    return str(error.value)


def test_layers_without_it_are_refused() -> None:
    b = Builder(1)
    b.conv(b.input("x", 4, 4, 3), 3, (3, 3), groups=3, out=True)
    assert "depthwise" in _refused(lowered(b.editor.finish(), width=8, samples=1).fixed, IoType.STREAM)
    large = _dense(16, 300, 20).fixed
    assert f"for at most {MOST_DIGITS}" in _refused(large, IoType.PARALLEL)


@pytest.mark.parametrize(("found", "text"), [(None, "which is not installed"), ("0.5.2", "da4ml 0.5.2 is installed")])
def test_a_missing_or_other_da4ml_is_refused(found: str | None, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hls4ml", reason="hls4ml is not installed")

    def version(_package: str) -> str:
        if found is None:
            raise PackageNotFoundError
        return found

    monkeypatch.setattr(distributed_arithmetic, "version", version)
    with pytest.raises(ToolError, match=text):
        BACKEND.emit(_dense().fixed, BOARD, _asked())


def test_the_planner_takes_it_only_where_it_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = _dense().fixed
    monkeypatch.setattr("boardfit.plan.distributed_arithmetic.installed", lambda: True)
    some = find_candidates(graph, BackendOptions())
    assert all(ADDER_GRAPH in plans for plans in some.layers.values())
    assert all(ADDER_GRAPH in plans for plans in modes(some)[0].layers.values())  # the one pipeline
    monkeypatch.setattr("boardfit.plan.distributed_arithmetic.installed", lambda: False)
    none = find_candidates(graph, BackendOptions())
    assert not any(ADDER_GRAPH in plans for plans in none.layers.values())


def test_the_estimate_has_no_multipliers() -> None:
    found = BACKEND.estimate(_dense().fixed, BOARD, _asked())
    assert found.total.dsp == 0
    assert found.total.lut > 0
    wider = BACKEND.estimate(_dense(12).fixed, BOARD, _asked())
    assert wider.total.lut > found.total.lut


def test_a_plan_made_without_da4ml_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    network = _dense()
    monkeypatch.setattr(plan_distributed_arithmetic, "find_spec", lambda name: None)
    graph = network.fixed
    assert all(ADDER_GRAPH not in plans for plans in find_candidates(graph, BackendOptions()).layers.values())
    (note,) = BACKEND.estimate(graph, BOARD, BackendOptions()).notes
    assert "da4ml is not installed" in note
    readme = BACKEND.emit(graph, BOARD, BackendOptions()).files["README.md"].decode()
    assert note in readme
    asked = BackendOptions(strategy=Strategy.RESOURCE)
    assert not BACKEND.estimate(graph, BOARD, asked).notes
