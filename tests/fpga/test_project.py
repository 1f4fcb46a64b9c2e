"""Emitted files: deterministic, self-contained, sanitised; refusals before anything is emitted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.hls4ml import BACKEND
from boardfit.backends.hls4ml.testbench import read_vectors, vectors
from boardfit.board import find_board
from boardfit.errors import ModelError
from boardfit.interp import run
from boardfit.ir import Affine, FixedPoint, Graph, Overflow, Rounding
from boardfit.numerics import dequantize
from boardfit.ops.activation import RELU
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.quantize import DequantizeAttrs, QuantizeAttrs
from boardfit.ops.slice import SliceAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.tanh import TanhAttrs
from boardfit.options import BackendOptions, HlsTool, IoType, SoftmaxMode
from boardfit.passes.output_softmax import DropOutputSoftmax

from .networks import Builder, lowered

pytest.importorskip("hls4ml", reason="hls4ml is not installed")
BOARD = find_board("pynq-z2")


def classifier(name: str = "net") -> Graph:
    b = Builder(3)
    x = b.input("input", 10)
    b.node("Softmax", [b.dense(b.dense(x, 8), 4)], SoftmaxAttrs(1), out=True)
    return b.editor.finish().renamed(name)


def test_the_same_graph_gives_the_same_bytes() -> None:
    fixed = lowered(classifier(), width=12, samples=1).fixed
    first, second = (BACKEND.emit(fixed, BOARD, BackendOptions()) for _ in range(2))
    assert first.digest == second.digest


@pytest.mark.parametrize("tool", list(HlsTool))
def test_a_project_has_what_the_tool_needs_and_nothing_of_this_machine(tool: HlsTool) -> None:
    fixed = lowered(classifier("Net work; rm -rf"), width=12, samples=1).fixed
    artifact = BACKEND.emit(fixed, BOARD, BackendOptions(tool=tool))
    name = "net_work_rm_rf"
    wanted = {"README.md", "interface.json", "project.tcl", "build_prj.tcl", "vivado_synth.tcl", f"{name}_test.cpp"}
    wanted |= {f"firmware/{name}.cpp", f"firmware/{name}.h", "firmware/nnet_utils/nnet_dense.h"}
    assert wanted <= artifact.files.keys()
    assert ("build_opt.tcl" in artifact.files) == (tool is HlsTool.VITIS)
    for path, content in artifact.files.items():
        assert b"/tmp/" not in content, path
        assert b"rm -rf" not in content.replace(b"set opt", b"") or path.endswith((".md", ".json")), path
    assert "xc7z020clg400-1" in artifact.files["project.tcl"].decode()
    readme = artifact.files["README.md"].decode()
    assert ("vitis-run" if tool is HlsTool.VITIS else "vivado_hls") in readme
    ports = json.loads(artifact.files["interface.json"])
    assert [port["label"] for port in ports["inputs"]] == ["input"]
    assert re.fullmatch(r"ap_fixed<12,-?\d+,AP_RND,AP_SAT>", ports["inputs"][0]["type"])


def test_softmax_on_the_host() -> None:
    graph = DropOutputSoftmax()(classifier())
    assert [node.op for node in graph.nodes] == ["Dense", "Dense"]
    fixed = lowered(graph, width=12, samples=1).fixed
    files = BACKEND.emit(fixed, BOARD, BackendOptions(softmax=SoftmaxMode.HOST)).files
    space: dict[str, object] = {}
    exec(files["host/softmax.py"].decode(), space)
    function = next(value for name, value in space.items() if name.startswith("softmax_"))
    raw = np.array([[100, 0, -50, 100]])
    assert callable(function)
    result = np.asarray(function(raw))
    assert result.sum() == pytest.approx(1.0)
    assert result[0, 0] == result[0, 3] > result[0, 1] > result[0, 2]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")
def test_the_host_header_compiles_without_warnings(tmp_path: Path) -> None:
    fixed = lowered(DropOutputSoftmax()(classifier()), width=12, samples=1).fixed
    header = BACKEND.emit(fixed, BOARD, BackendOptions(softmax=SoftmaxMode.HOST)).files["host/softmax.h"]
    (tmp_path / "softmax.h").write_bytes(header)
    (tmp_path / "main.c").write_text('#include "softmax.h"\nint main(void) { return 0; }\n')
    flags = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Wno-unused-function"]
    subprocess.run(["gcc", *flags, "main.c", "-lm", "-o", "main"], cwd=tmp_path, check=True)


def test_vectors_are_read_back() -> None:
    random = np.random.default_rng(0)
    arrays = [random.integers(-(2**31), 2**31, (4, 1, 2, 3)), random.integers(0, 9, (4, 1, 1))]
    found = read_vectors(vectors(arrays).decode(), [(1, 2, 3), (1, 1)])
    for left, right in zip(arrays, found, strict=True):
        np.testing.assert_array_equal(left, right)


def padded_pool() -> Graph:
    b = Builder(0)
    b.node("AveragePool2D", [b.input("x", 6, 6, 2)], AveragePool2DAttrs((3, 3), (2, 2), (1, 1, 1, 1)), out=True)
    return lowered(b.editor.finish(), width=8, samples=1).fixed


def overlapping_pool() -> Graph:
    b = Builder(0)
    b.node("MaxPool2D", [b.input("x", 6, 6, 2)], MaxPool2DAttrs((3, 3), (2, 2)), out=True)
    return lowered(b.editor.finish(), width=8, samples=1).fixed


def skipping_rows() -> Graph:
    b = Builder(0)
    b.conv(b.input("x", 6, 6, 2), 3, (1, 3), strides=(2, 1), out=True)
    return lowered(b.editor.finish(), width=8, samples=1).fixed


def backward_rows() -> Graph:
    b = Builder(0)
    b.node("Slice", [b.input("x", 4, 4, 2)], SliceAttrs((0, 3, 0, 0), (1, 4, 4, 2), (1, -1, 1, 1)), out=True)
    return lowered(b.editor.finish(), width=8, samples=1).fixed


@pytest.mark.parametrize("make", [padded_pool, overlapping_pool, skipping_rows, backward_rows])
def test_what_cannot_be_streamed_names_the_node_and_the_way_out(make: Callable[[], Graph]) -> None:
    graph = make()
    with pytest.raises(ModelError) as caught:
        BACKEND.validate(graph, BOARD, BackendOptions(io_type=IoType.STREAM))
    assert graph.nodes[0].op in str(caught.value) and "io_parallel" in str(caught.value)
    assert caught.value.hint == "give --io-type io_parallel"
    BACKEND.validate(graph, BOARD, BackendOptions(io_type=IoType.PARALLEL))


@pytest.mark.parametrize(("axis", "after", "reason"), [(1, False, "over the last axis"), (3, True, "at an output")])
def test_argmax_is_for_the_end(axis: int, after: bool, reason: str) -> None:
    b = Builder(0)
    best = b.node("ArgMax", [b.input("x", 4, 4, 2)], ArgMaxAttrs(axis), out=not after)
    if after:
        b.node("Slice", [best], SliceAttrs((0, 0, 0, 0), (1, 2, 2, 1), (1, 1, 1, 1)), out=True)
    refused = BACKEND.refuse(b.editor.finish().nodes[0], b.editor.finish())
    assert refused is not None and reason in refused


def test_estimates_name_the_nodes_of_the_model() -> None:
    fixed = lowered(classifier(), width=16, samples=1).fixed
    found = BACKEND.estimate(fixed, BOARD, BackendOptions())
    assert {"/Dense", "/Softmax"} <= {layer.node for layer in found.layers}
    assert found.total.dsp > 0 and found.total.lut > 0 and found.interval >= 1
    assert found.fits


def quantized(scale: float, zero_point: int, *, narrow: bool = False) -> Graph:
    """A dense layer whose weights, input and output went through quantizers of the model."""
    b = Builder(1)
    element = Affine(True, 5, (scale,), (zero_point,), narrow=narrow)

    def through(x: str) -> str:
        return b.node("Dequantize", [b.node("Quantize", [x], QuantizeAttrs(element))], DequantizeAttrs())

    hidden = b.dense(through(b.input("x", 8)), 6, RELU)
    b.editor.outputs.append(through(b.node("Tanh", [through(hidden)], TanhAttrs())))
    return b.editor.finish()


@pytest.mark.parametrize("narrow", [False, True])
def test_quantizers_with_power_of_two_scales_keep_their_types(narrow: bool) -> None:
    graph = quantized(0.25, 0, narrow=narrow)
    network = lowered(graph, width=16)
    assert not {"Quantize", "Dequantize", "Requantize"} & {node.op for node in network.fixed.nodes}
    overflow = Overflow.SAT_SYM if narrow else Overflow.SAT
    pinned = FixedPoint(True, 5, 2, Rounding.RND_CONV, overflow)
    assert network.fixed.types[network.fixed.outputs[0]].element == pinned
    assert network.fixed.types[network.fixed.inputs[0]].element == pinned
    real = {name: dequantize(raw, pinned).astype(np.float32) for name, raw in network.inputs.items()}
    floating = run(graph, real)[graph.outputs[0]]
    found = dequantize(network.expected[network.fixed.outputs[0]], pinned)
    assert (np.abs(found - floating) <= pinned.step).all()  # weights have 16 bits, so a tie may fall the other way
    assert (found == floating).mean() > 0.97


@pytest.mark.parametrize(("scale", "zero_point"), [(0.3, 0), (0.25, 3)])
def test_other_quantizers_are_refused_with_their_node(scale: float, zero_point: int) -> None:
    with pytest.raises(ModelError, match="no fixed-point type") as caught:
        lowered(quantized(scale, zero_point), width=16)
    assert caught.value.node == "/Quantize"


def test_hls4ml_is_left_as_it_was() -> None:
    import sys

    backends = pytest.importorskip("hls4ml.backends")
    BACKEND.emit(lowered(classifier(), width=12, samples=1).fixed, BOARD, BackendOptions())
    for tool in ("vivado", "vitis"):
        assert not any("boardfit" in target for target in backends.get_backend(tool).get_custom_source())
    assert sys.modules.get("keras", True) is not None


def test_tensors_too_large_for_registers_are_streamed_or_refused() -> None:
    b = Builder(0)
    b.conv(b.input("x", 40, 40, 3), 2, (3, 3), out=True)
    graph = lowered(b.editor.finish(), width=8, samples=1).fixed
    with pytest.raises(ModelError, match="4800 values, the tools stop at 4096") as caught:
        BACKEND.validate(graph, BOARD, BackendOptions(io_type=IoType.PARALLEL))
    assert caught.value.hint == "give --io-type io_stream"
    BACKEND.validate(graph, BOARD, BackendOptions())
