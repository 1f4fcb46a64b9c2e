"""boardfit's own streamed layers that do one thing after the other: C simulation equals the interpreter."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.hls4ml import BACKEND
from boardfit.backends.hls4ml.layers import make_layers
from boardfit.backends.hls4ml.planning import describe, estimate_plan
from boardfit.backends.hls4ml.project import Settings, write_project
from boardfit.backends.hls4ml.testbench import testbench as make_bench
from boardfit.board import FpgaBoard, find_board
from boardfit.errors import ModelError
from boardfit.estimate.fpga import legal_reuse_factors, serial_filters, serial_lanes
from boardfit.ir import Graph
from boardfit.ops.activation import RELU
from boardfit.options import BackendOptions, HlsTool, IoType, Strategy
from boardfit.plan.fpga import FpgaPlan, LayerPlan, find_candidates
from boardfit.plan.stream_simulation import simulate

from .networks import Builder, lowered

pytest.importorskip("hls4ml", reason="hls4ml is not installed")


def board() -> FpgaBoard:
    found = find_board("pynq-z2")
    assert isinstance(found, FpgaBoard)
    return found


def dense_network() -> Graph:
    """The first dense layer reads an image word by word."""
    b = Builder(3)
    x = b.conv(b.input("x", 3, 2, 2), 4, (1, 1), activation=RELU)
    b.dense(b.dense(b.dense(b.flatten(x), 12, RELU), 6), 1, out=True)
    return b.editor.finish()


def options(tool: HlsTool, reuse: int) -> BackendOptions:
    return BackendOptions(tool=tool, io_type=IoType.STREAM, strategy=Strategy.RESOURCE, reuse_factor=reuse)


def test_multipliers_divide_the_inputs() -> None:
    for n_in, n_out in [(128, 128), (640, 128), (128, 640), (6, 4), (7, 5)]:
        for reuse in legal_reuse_factors(n_in, n_out):
            lanes = serial_lanes(n_in, n_out, reuse)
            assert (lanes > 0) == (reuse > n_in and n_in % (n_in * n_out // reuse) == 0)
            assert lanes in (0, n_in * n_out // reuse)


def test_it_is_planned_where_it_can_be_and_takes_less_than_hls4ml_s() -> None:
    fixed = lowered(dense_network(), width=8, samples=1).fixed
    candidates = find_candidates(fixed, BackendOptions(io_type=IoType.STREAM))
    plan = candidates.smallest()
    classes = [layer.class_name for layer in make_layers(fixed, plan).layers]
    assert classes.count("BoardfitDense") == 2  # one output cannot come after another
    parallel = FpgaPlan(IoType.PARALLEL, plan.layers)
    assert all(layer.class_name != "BoardfitDense" for layer in make_layers(fixed, parallel).layers)
    own = estimate_plan(fixed, board(), BackendOptions(io_type=IoType.STREAM), plan)
    assert own.total.lut < estimate_plan(fixed, board(), BackendOptions(), parallel).total.lut


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(("tool", "reuse"), [(HlsTool.VITIS, 1000), (HlsTool.VIVADO, 36)])
def test_dense_layers(tool: HlsTool, reuse: int, tmp_path: Path) -> None:
    network = lowered(dense_network(), width=9)
    given = options(tool, reuse)
    artifact = BACKEND.emit(network.fixed, board(), given)
    assert b"boardfit_dense" in artifact.files["firmware/net.cpp"]
    artifact.with_manifest({}).write(tmp_path / "out")
    found = BACKEND.execute(tmp_path / "out", [network.inputs[name] for name in network.fixed.inputs], "csim")
    assert np.array_equal(found[0], network.expected[network.fixed.outputs[0]])


def depthwise_network() -> Graph:
    b = Builder(4)
    x = b.conv(b.input("x", 7, 5, 2), 4, (1, 1), activation=RELU)
    x = b.conv(x, 4, (3, 3), pads=(1, 1, 1, 1), groups=4, activation=RELU)
    x = b.conv(x, 4, (2, 3), strides=(2, 1), groups=4)
    b.conv(x, 4, (3, 1), strides=(1, 2), pads=(1, 0, 1, 0), groups=4, out=True)
    return b.editor.finish()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize("tool", list(HlsTool))
def test_depthwise_convolutions(tool: HlsTool, tmp_path: Path) -> None:
    network = lowered(depthwise_network(), width=9)
    artifact = BACKEND.emit(network.fixed, board(), options(tool, 4))
    assert artifact.files["firmware/net.cpp"].count(b"boardfit_depthwise") == 3
    artifact.with_manifest({}).write(tmp_path / "out")
    found = BACKEND.execute(tmp_path / "out", [network.inputs[name] for name in network.fixed.inputs], "csim")
    assert np.array_equal(found[0], network.expected[network.fixed.outputs[0]])


def test_filters_divide_the_outputs() -> None:
    for channels, filters in [(16, 32), (3, 16), (1, 6), (5, 1)]:
        factors = [n for n in range(1, channels * filters + 1) if serial_filters(channels, filters, n)]
        assert factors == [
            n for n in range(2, channels * filters + 1) if channels * filters % n == 0 and n % channels == 0
        ]


def convolutions() -> Graph:
    """Borders on all sides, strides in both directions, one channel and several."""
    b = Builder(5)
    x = b.conv(b.input("x", 7, 6, 1), 6, (3, 3), pads=(1, 1, 1, 1), activation=RELU)
    x = b.conv(x, 4, (3, 2), strides=(2, 1), pads=(0, 1, 1, 0), activation=RELU)
    x = b.conv(x, 6, (1, 1), strides=(1, 2))
    b.conv(x, 4, (2, 3), strides=(1, 2), pads=(1, 0, 0, 2), out=True)
    return b.editor.finish()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(("tool", "reuse"), [(HlsTool.VITIS, (6, 24, 24, 12)), (HlsTool.VIVADO, (2, 12, 12, 6))])
def test_convolutions(tool: HlsTool, reuse: tuple[int, ...], tmp_path: Path) -> None:
    network = lowered(convolutions(), width=9)
    given = BackendOptions(tool=tool, io_type=IoType.STREAM)
    names = [node.name for node in network.fixed.nodes if node.op == "Conv2D"]
    plans = (LayerPlan(Strategy.RESOURCE, factor) for factor in reuse)
    plan = FpgaPlan(IoType.STREAM, dict(zip(names, plans, strict=True)))
    candidates = find_candidates(network.fixed, given).layers
    assert all(layer in candidates[name] for name, layer in plan.layers.items())
    described = describe(network.fixed, board(), given, plan)
    assert all(not layer.name.startswith("pad_") for layer in described.design.layers)  # the border is made inside
    settings = Settings("net", tool, IoType.STREAM, board().part, 10.0)
    project = write_project(described.network, settings, described.fifos)
    source = project.files["firmware/net.cpp"]
    assert source.count(b"boardfit_conv<") == 3 and source.count(b"boardfit_pointwise<") == 1
    artifact = BACKEND.emit(network.fixed, board(), given)
    files = {**artifact.files, **project.files, "net_test.cpp": make_bench(project, stream=True).encode()}
    replace(artifact, files=files).with_manifest({}).write(tmp_path / "out")
    found = BACKEND.execute(tmp_path / "out", [network.inputs[name] for name in network.fixed.inputs], "csim")
    assert np.array_equal(found[0], network.expected[network.fixed.outputs[0]])
    assert described.streams is not None
    run = simulate(described.streams.network, [described.fifos[key].depth for key in described.streams.keys], 2)
    assert not run.blocked


def wide_vectors() -> Graph:
    """Vectors of more bits than a word may have, at the input, between layers and at the output."""
    b = Builder(6)
    x = b.dense(b.dense(b.input("x", 300), 4, RELU), 320, RELU)
    b.dense(b.dense(x, 3, RELU), 600, out=True)
    return b.editor.finish()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(("tool", "reuse"), [(HlsTool.VITIS, 10**6), (HlsTool.VIVADO, 4)])
def test_wide_vectors_travel_in_several_words(tool: HlsTool, reuse: int, tmp_path: Path) -> None:
    network = lowered(wide_vectors(), width=16, samples=2)
    artifact = BACKEND.emit(network.fixed, board(), options(tool, reuse))
    assert b"nnet::array<ap_fixed<16" in artifact.files["firmware/defines.h"]
    words = re.findall(rb"nnet::array<ap_u?fixed<(\d+),[^>]*>, (\d+)\*1>", artifact.files["firmware/defines.h"])
    assert len(words) == 5 and all(int(bits) * int(values) <= 4096 for bits, values in words)
    artifact.with_manifest({}).write(tmp_path / "out")
    found = BACKEND.execute(tmp_path / "out", [network.inputs[name] for name in network.fixed.inputs], "csim")
    assert np.array_equal(found[0], network.expected[network.fixed.outputs[0]])


def test_other_layers_refuse_wide_words() -> None:
    b = Builder(7)
    b.conv(b.input("x", 4, 4, 300), 2, (1, 1), out=True)
    graph = lowered(b.editor.finish(), width=16, samples=1).fixed
    reason = "a word of its stream has 4,800 bits, the tools take 4,096"
    with pytest.raises(ModelError, match=reason):
        BACKEND.validate(graph, board(), BackendOptions(io_type=IoType.STREAM))
