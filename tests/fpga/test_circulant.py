"""Dense layers with circulant blocks on FPGAs: one vector for each block, C simulation equals the interpreter."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.hls4ml import BACKEND
from boardfit.backends.hls4ml.layers import make_layers
from boardfit.backends.hls4ml.planning import estimate_plan
from boardfit.board import FpgaBoard, find_board
from boardfit.ir import Graph
from boardfit.ir.circulant import Circulant
from boardfit.ops.activation import RELU
from boardfit.options import BackendOptions, HlsTool, IoType, Strategy
from boardfit.plan.fpga import FpgaPlan, LayerPlan

from .networks import Builder, lowered

pytest.importorskip("hls4ml", reason="hls4ml is not installed")

REUSE = 64 * 36 // 4
"""Four multipliers for the first layer."""


def board() -> FpgaBoard:
    found = find_board("pynq-z2")
    assert isinstance(found, FpgaBoard)
    return found


def network(block: int, *, skew: bool = False) -> Graph:
    """The last row of blocks is cut off."""
    b = Builder(3)
    random = np.random.default_rng(4)
    structure = Circulant(block, skew)
    x = b.dense(b.input("x", 64), 36, RELU)
    name = b.editor.nodes[-1].inputs[1]
    vectors = random.normal(0.0, 0.3, (*structure.grid((36, 64)), block)).astype(np.float32)
    b.editor.constants[name] = type(b.editor.constants[name])(structure.matrix(vectors, (36, 64)))
    b.dense(x, 4, out=True)
    return b.editor.finish()


def plan_of(graph: Graph) -> FpgaPlan:
    """Four multipliers for the first layer, one for the second."""
    factors = {36: REUSE, 4: 36 * 4}
    layers = {
        node.name: LayerPlan(Strategy.RESOURCE, factors[graph.types[node.inputs[1]].shape[0]])
        for node in graph.nodes
        if node.op == "Dense"
    }
    return FpgaPlan(IoType.STREAM, layers)


@pytest.mark.parametrize(("block", "taken"), [(8, True), (16, True), (32, False)])
def test_it_is_taken_where_multipliers_divide_the_blocks(block: int, taken: bool) -> None:
    fixed = lowered(network(block), width=9, samples=1).fixed
    layers = [layer for layer in make_layers(fixed, plan_of(fixed)).layers if "n_in" in layer.attributes]
    first = next(layer for layer in layers if layer.attributes["n_in"] == 64)
    assert first.class_name == ("BoardfitCirculant" if taken else "BoardfitDense")
    if taken:
        assert first.attributes["weight_data"].size == -(-36 // block) * 64
        options = BackendOptions(io_type=IoType.STREAM)
        dense = lowered(network(32), width=9, samples=1).fixed
        own, other = (estimate_plan(g, board(), options, plan_of(g)).total for g in (fixed, dense))
        assert own.bram18 < other.bram18


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(("tool", "block", "skew"), [(HlsTool.VITIS, 8, False), (HlsTool.VIVADO, 16, True)])
def test_c_simulation(tool: HlsTool, block: int, skew: bool, tmp_path: Path) -> None:
    made = lowered(network(block, skew=skew), width=9)
    options = BackendOptions(tool=tool, io_type=IoType.STREAM, strategy=Strategy.RESOURCE, reuse_factor=REUSE)
    artifact = BACKEND.emit(made.fixed, board(), options)
    assert b"boardfit_circulant" in artifact.files["firmware/net.cpp"]
    (weights,) = [text for name, text in artifact.files.items() if re.search(r"weights/w\d+\.h$", name)][:1]
    assert f"[{-(-36 // block) * 64}]".encode() in weights
    artifact.with_manifest({}).write(tmp_path / "out")
    found = BACKEND.execute(tmp_path / "out", [made.inputs[name] for name in made.fixed.inputs], "csim")
    assert np.array_equal(found[0], made.expected[made.fixed.outputs[0]])
