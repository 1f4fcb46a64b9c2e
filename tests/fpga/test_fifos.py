"""The FIFOs of streamed projects: planned, simulated, and what the project says of them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from boardfit.backends.hls4ml import BACKEND
from boardfit.backends.hls4ml.fifo_pragmas import bind_storage
from boardfit.backends.hls4ml.planning import Described, describe
from boardfit.board import FpgaBoard, find_board
from boardfit.errors import InternalError
from boardfit.estimate.fpga import estimate
from boardfit.ir import Graph
from boardfit.ops.activation import RELU
from boardfit.ops.add import AddAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.options import BackendOptions, HlsTool, IoType
from boardfit.plan.fpga import find_candidates
from boardfit.plan.stream_simulation import simulate

from .networks import Builder, every_op, lowered


def board() -> FpgaBoard:
    found = find_board("pynq-z2")
    assert isinstance(found, FpgaBoard)
    return found


def residual_network() -> Graph:
    b = Builder(0)
    x = b.conv(b.input("x", 8, 8, 3), 6, (3, 3), pads=(1, 1, 1, 1), activation=RELU)
    y = b.conv(b.conv(x, 6, (3, 3), pads=(1, 1, 1, 1)), 6, (3, 3), pads=(1, 1, 1, 1))
    total = b.node("Add", [x, y], AddAttrs(RELU))
    wide = b.node("Concat", [total, b.conv(total, 2, (1, 1))], ConcatAttrs(3))
    b.dense(b.flatten(b.conv(wide, 3, (3, 3), strides=(2, 2))), 4, out=True)
    return lowered(b.editor.finish(), width=8, samples=1).fixed


def described(graph: Graph, tool: HlsTool = HlsTool.VITIS, *, smallest: bool = False) -> Described:
    options = BackendOptions(tool=tool, io_type=IoType.STREAM)
    candidates = find_candidates(graph, options)
    return describe(graph, board(), options, candidates.smallest() if smallest else candidates.fastest())


@pytest.mark.parametrize("tool", list(HlsTool))
@pytest.mark.parametrize("smallest", [True, False])
@pytest.mark.parametrize("kind", ["residual", "every op"])
def test_no_project_locks_up_or_loses_a_cycle(tool: HlsTool, smallest: bool, kind: str) -> None:
    graph = residual_network() if kind == "residual" else lowered(every_op(streams=True), width=8, samples=1).fixed
    found = described(graph, tool, smallest=smallest)
    assert found.streams is not None
    network = found.streams.network
    depths = [found.fifos[key].depth for key in found.streams.keys]
    run = simulate(network, depths, 2)
    assert not run.blocked
    assert run.ends == simulate(network, [10**6] * len(depths), 2).ends


def test_without_the_branch_s_fifo_the_residual_network_locks_up() -> None:
    found = described(residual_network())
    assert found.streams is not None
    assert simulate(found.streams.network, [2] * len(found.fifos), 1).blocked


def test_the_simulated_interval_is_the_estimated_one() -> None:
    for smallest in (True, False):
        found = described(residual_network(), smallest=smallest)
        assert found.streams is not None
        ends = simulate(found.streams.network, [f.depth for f in found.fifos.values()], 3).ends
        assert ends[2] - ends[1] == pytest.approx(estimate(found.design).interval.value, abs=5)


def test_the_estimate_has_the_planned_fifos() -> None:
    design = described(residual_network()).design
    default = replace(design, layers=tuple(replace(layer, fifos=None) for layer in design.layers))
    assert estimate(design).synthesis.bram18.value < estimate(default).synthesis.bram18.value


@pytest.mark.parametrize("tool", list(HlsTool))
def test_the_project_says_every_depth(tool: HlsTool) -> None:
    pytest.importorskip("hls4ml", reason="hls4ml is not installed")
    graph = residual_network()
    options = BackendOptions(tool=tool, io_type=IoType.STREAM)
    plan = BACKEND.plan(graph, board(), options)
    fifos = describe(graph, board(), options, plan).fifos
    source = BACKEND.emit(graph, board(), options).files["firmware/net.cpp"]
    depths = re.findall(rb"#pragma HLS STREAM variable=(\w+) depth=(\d+)", source)
    assert sorted(int(depth) for _, depth in depths) == sorted(fifo.depth for fifo in fifos.values())
    bound = re.findall(rb"variable=(\w+) (?:core=FIFO_SRL|type=fifo impl=srl)", source)
    assert len(bound) == sum(fifo.shift_register for fifo in fifos.values())
    assert set(bound) <= {name for name, _ in depths}


def test_storage_stands_behind_the_depth() -> None:
    source = "f() {\n    #pragma HLS STREAM variable=a depth=9\n    b;\n}"
    found = bind_storage(source, ["a"], HlsTool.VITIS)
    assert found.split("\n")[1:3] == [
        "    #pragma HLS STREAM variable=a depth=9",
        "    #pragma HLS BIND_STORAGE variable=a type=fifo impl=srl",
    ]
    with pytest.raises(InternalError, match="stream 'c' has no depth"):
        bind_storage(source, ["c"], HlsTool.VITIS)
