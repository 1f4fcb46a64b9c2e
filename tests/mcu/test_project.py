"""The emitted folder: builds and runs under the emulator and on this computer, equal to the interpreter."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from boardfit.artifact import Artifact
from boardfit.backends.mcu.backend import BACKEND
from boardfit.backends.mcu.footprint import measure
from boardfit.backends.mcu.plan import make_plan
from boardfit.board import McuBoard, shipped_boards
from boardfit.interp import run
from boardfit.ir import FLOAT32, INT32, Graph
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.quantize import DequantizeAttrs, QuantizeAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.options import BackendOptions

from .builders import Builder, s8, u8
from .host import m4, random_inputs


def small_network() -> Graph:
    build = Builder("small */ network")
    x = build.input((1, 6, 6, 3), u8(0.02, 10), name="camera image")
    weights = build.weights((8, 3, 3, 3))
    y = build.node("Conv2D", [x, weights, build.bias(8)], Conv2DAttrs((2, 2), (1, 1, 1, 1)), s8(0.05))
    flat = build.node("Reshape", [y], ReshapeAttrs((1, 72)))
    scores = build.node("Dense", [flat, build.weights((5, 72)), build.bias(5)], DenseAttrs(), s8(0.1, 4))
    return build.finish(scores, build.node("ArgMax", [scores], ArgMaxAttrs(1, False), INT32))


def written(graph: Graph, folder: Path, options: BackendOptions) -> Path:
    artifact: Artifact = BACKEND.emit(graph, m4(), options)
    return artifact.write(folder)


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def compare(graph: Graph, folder: Path, runner: str) -> None:
    inputs = random_inputs(graph, 20, 1)
    found = BACKEND.execute(folder, inputs, runner)
    expected = run(graph, dict(zip(graph.inputs, inputs, strict=True)))
    for name, output in zip(graph.outputs, found, strict=True):
        np.testing.assert_array_equal(output, expected[name])
        assert output.dtype == expected[name].dtype


@pytest.mark.parametrize("single_header", [False, True])
def test_runs_on_this_computer(tmp_path: Path, single_header: bool) -> None:
    need("make", "gcc")
    graph = small_network()
    compare(graph, written(graph, tmp_path / "out", BackendOptions(single_header=single_header)), "host")


@pytest.mark.slow
@pytest.mark.parametrize("single_header", [False, True])
def test_runs_on_the_emulated_core(tmp_path: Path, single_header: bool) -> None:
    need("make", "arm-none-eabi-gcc", "qemu-system-arm")
    graph = small_network()
    folder = written(graph, tmp_path / "out", BackendOptions(single_header=single_header))
    compare(graph, folder, "qemu")
    measured = measure(folder, random_inputs(graph, 2, 1))
    assert measured.arena == make_plan(graph, m4()).arena.bytes
    assert 0 < measured.stack < 1000


def test_real_valued_inputs_and_outputs(tmp_path: Path) -> None:
    need("make", "gcc")
    build = Builder("real values")
    x = build.input((1, 9), FLOAT32)
    quantized = build.node("Quantize", [x], QuantizeAttrs(s8(0.03, 5)), s8(0.03, 5))
    y = build.node("Dense", [quantized, build.weights((4, 9))], DenseAttrs(), s8(0.05))
    graph = build.finish(build.node("Dequantize", [y], DequantizeAttrs(), FLOAT32))
    compare(graph, written(graph, tmp_path / "out", BackendOptions()), "host")


def test_the_same_graph_gives_the_same_bytes() -> None:
    first = BACKEND.emit(small_network(), m4(), BackendOptions())
    assert first.digest == BACKEND.emit(small_network(), m4(), BackendOptions()).digest


@pytest.mark.slow
@pytest.mark.parametrize("single_header", [False, True])
def test_the_cmake_file_builds_an_application(tmp_path: Path, single_header: bool) -> None:
    need("cmake", "make", "gcc")
    graph = small_network()
    written(graph, tmp_path / "network", BackendOptions(single_header=single_header))
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(application C)\nadd_subdirectory(network)\n"
        "add_executable(application main.c)\ntarget_link_libraries(application PRIVATE model)\n"
    )
    (tmp_path / "main.c").write_text(
        ("#define MODEL_IMPLEMENTATION\n" if single_header else "")
        + '#include "model.h"\nstatic uint8_t arena[MODEL_ARENA_BYTES] MODEL_ALIGNED;\n'
        "int main(void)\n{\n    model_context context;\n    model_init(&context, arena);\n"
        "    model_input(&context)[0] = model_input_quantize(0.5f);\n    model_run(&context);\n    return 0;\n}\n"
    )
    build = tmp_path / "build"
    for command in (["cmake", "-S", str(tmp_path), "-B", str(build)], ["cmake", "--build", str(build)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert subprocess.run([str(build / "application")], check=False).returncode == 0


@pytest.mark.slow
def test_cppcheck_finds_nothing(tmp_path: Path) -> None:
    need("cppcheck")
    folder = written(small_network(), tmp_path / "network", BackendOptions())
    command = ["cppcheck", "--enable=warning,performance,portability", "--std=c99", "--quiet", "--error-exitcode=1"]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("board", [b for b in shipped_boards() if isinstance(b, McuBoard)], ids=lambda b: b.name)
def test_every_board_has_a_plan_and_a_project(board: McuBoard) -> None:
    artifact = BACKEND.emit(small_network(), board, BackendOptions())
    assert {"model.h", "model.c", "Makefile", "CMakeLists.txt", "README.md", "test/main.c"} <= set(artifact.files)
    estimate = BACKEND.estimate(small_network(), board, BackendOptions())
    assert estimate.fits and estimate.total.cycles > 1000
