"""Accelerator projects: the AXI wrapper in C simulation, the driver, the options; no vendor tool runs here."""

from __future__ import annotations

import functools
import json
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boardfit.backends.hls4ml import BACKEND
from boardfit.board import find_board, parse_board
from boardfit.errors import BoardError, UsageError
from boardfit.interp import run
from boardfit.ir import FixedPoint, Overflow, Rounding
from boardfit.numerics import dequantize, quantize
from boardfit.ops.activation import RELU
from boardfit.ops.add import AddAttrs
from boardfit.options import BackendOptions, HlsTool, IoType, ProjectKind

from .networks import Builder, Lowered, lowered

pytest.importorskip("hls4ml", reason="hls4ml is not installed")
BOARDS = files("boardfit.boards")


def network(width: int, samples: int = 7) -> Lowered:
    """Two inputs and two outputs, signed and unsigned, of sizes that do not fill whole words."""
    b = Builder(3)
    vector, picture = b.input("9 vector", 7), b.input("in-stream", 5, 5, 3)
    k = b.conv(picture, 3, (3, 3), activation=RELU, out=True)
    b.node("Add", [b.dense(b.flatten(k), 5), b.dense(vector, 5)], AddAttrs(), out=True)
    return lowered(b.editor.finish(), width=width, samples=samples)


def driver_of(files: Any) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(files["driver.py"].decode(), "driver.py", "exec"), space)
    return space


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
@pytest.mark.parametrize(
    ("board", "tool", "io_type", "width"),
    [
        ("pynq-z2", HlsTool.VIVADO, IoType.PARALLEL, 16),
        ("zcu104", HlsTool.VITIS, IoType.STREAM, 7),
        ("alveo-u250", HlsTool.VITIS, IoType.STREAM, 18),
    ],
)
def test_the_wrapper_gives_what_the_interpreter_gives(
    board: str, tool: HlsTool, io_type: IoType, width: int, tmp_path: Path
) -> None:
    net = network(width)
    options = BackendOptions(tool=tool, io_type=io_type)
    BACKEND.validate(net.fixed, find_board(board), options)
    folder = BACKEND.emit(net.fixed, find_board(board), options).with_manifest({}).write(tmp_path / "out")
    assert BACKEND.runners_of(folder) == ("csim", "axi")
    found = BACKEND.execute(folder, [net.inputs[name] for name in net.fixed.inputs], "axi")
    for name, values in zip(net.fixed.outputs, found, strict=True):
        np.testing.assert_array_equal(values, net.expected[name])


def emitted(net: Lowered, options: BackendOptions | None = None, board: str = "pynq-z2") -> Any:
    return BACKEND.emit(net.fixed, find_board(board), options or BackendOptions()).files


@pytest.mark.parametrize("width", [8, 12, 20])
def test_the_driver_packs_runs_and_unpacks(width: int) -> None:
    """The driver with a board that is the interpreter behind an independent reading of the words."""
    net = network(width)
    space = driver_of(emitted(net))
    lane = {8: np.int8, 12: np.int16, 20: np.int32}[width]
    per_word = 4 // np.dtype(lane).itemsize

    driver: Any = space["Accelerator"]

    def whole(count: int) -> int:
        return -(-count // per_word) * per_word

    class OnTheInterpreter(driver):  # type: ignore[misc]  # made by exec
        def __init__(self) -> None:
            pass

        def _exchange(self, words: np.ndarray, size: int) -> np.ndarray:
            assert words.dtype == lane and words.flags["C_CONTIGUOUS"]
            raw, start = {}, 0
            for name in net.fixed.inputs:
                kind = net.fixed.types[name]
                raw[name] = words[:, start : start + kind.elements].astype(np.int64).reshape(-1, *kind.shape)
                start += whole(kind.elements)
            assert start == words.shape[1]
            found = run(net.fixed, raw)
            parts = []
            for name in net.fixed.outputs:
                values = found[name].reshape(len(words), -1)
                parts.append(np.pad(values, ((0, 0), (0, whole(values.shape[1]) - values.shape[1]))))
            back = np.concatenate(parts, axis=1).astype(lane)
            assert back.shape[1] == size
            return back

    random = np.random.default_rng(0)
    real = [random.normal(0, 2, (9, *net.fixed.types[name].shape[1:])) for name in net.fixed.inputs]
    types = [net.fixed.types[name].element for name in net.fixed.inputs]
    raw = {n: quantize(v[:, None], t) for n, v, t in zip(net.fixed.inputs, real, types, strict=True)}
    expected = run(net.fixed, raw)
    board = OnTheInterpreter()
    found = board.predict(*real)
    found_raw = board.predict_raw(*[values[:, 0] for values in raw.values()])
    for name, values, integers in zip(net.fixed.outputs, found, found_raw, strict=True):
        np.testing.assert_array_equal(integers, expected[name][:, 0])
        np.testing.assert_array_equal(values, dequantize(expected[name][:, 0], net.fixed.types[name].element))
    with pytest.raises(ValueError, match="raw values must lie in"):
        board.predict_raw(raw[net.fixed.inputs[0]][:, 0] + (1 << width), raw[net.fixed.inputs[1]][:, 0])
    with pytest.raises(ValueError, match="shape"):
        board.predict(real[1], real[0])


@functools.cache
def any_driver() -> dict[str, Any]:
    return driver_of(emitted(network(8)))


@pytest.mark.parametrize("rounding", list(Rounding))
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("signed", [True, False])
def test_the_driver_rounds_as_the_interpreter(rounding: Rounding, overflow: Overflow, signed: bool) -> None:
    space = any_driver()
    element = FixedPoint(signed, 6, 2, rounding, overflow)
    tensor = space["Tensor"]("x", "x", (1,), signed, 6, 2, rounding.value, overflow.value)
    values = np.arange(-200, 200) / 16.0
    np.testing.assert_array_equal(space["quantize"](values, tensor), quantize(values, element))


def test_what_is_built_follows_board_tool_and_option() -> None:
    net = network(8)

    def kind(board: str, **options: Any) -> str | None:
        files = emitted(net, BackendOptions(**options), board)
        found: str | None = json.loads(files["interface.json"])["accelerator"]
        assert ("driver.py" in files) == (found is not None)
        assert ("block_design.tcl" in files) == (found == "zynq")
        return found

    assert kind("pynq-z2") == kind("zcu104", tool=HlsTool.VIVADO) == "zynq"
    assert kind("alveo-u250") == "xrt"
    assert kind("arty-a7-100t") is kind("pynq-z2", project=ProjectKind.IP) is None
    assert kind("alveo-u250", tool=HlsTool.VIVADO) is None
    for board, tool in (("arty-a7-100t", HlsTool.VITIS), ("alveo-u250", HlsTool.VIVADO)):
        with pytest.raises(UsageError, match=r"no processor|Vivado HLS"):
            BACKEND.validate(net.fixed, find_board(board), BackendOptions(tool=tool, project=ProjectKind.ACCELERATOR))


def test_the_readme_gives_two_commands_and_says_what_did_not_run() -> None:
    net = network(8)
    for board, second in (("pynq-z2", "vivado -mode batch -source block_design.tcl"), ("alveo-u250", "v++ -l")):
        readme = emitted(net, board=board)["README.md"].decode()
        assert "--tcl build_accelerator.tcl" in readme and second in readme
        assert "No vendor tool and no board has run this project" in readme
    assert "driver" not in emitted(net, board="arty-a7-100t")["README.md"].decode()


def test_names_of_the_model_stay_out_of_the_wrapper() -> None:
    files = emitted(network(8))
    for path in ("firmware/net_axi.cpp", "net_axi_test.cpp", "block_design.tcl", "build_accelerator.tcl"):
        assert b"9 vector" not in files[path] and b"in-stream" not in files[path]


@pytest.mark.parametrize("script", ["build_accelerator.tcl", "block_design.tcl"])
@pytest.mark.parametrize("board", ["pynq-z2", "zcu104"])
def test_the_scripts_are_whole_tcl(script: str, board: str) -> None:
    tkinter = pytest.importorskip("tkinter", reason="Python was built without Tcl")
    tcl = tkinter.Tcl()
    assert tcl.call("info", "complete", emitted(network(8), board=board)[script].decode()) == 1


def test_a_board_whose_accelerator_cannot_be() -> None:
    text = (BOARDS / "arty-a7-100t.yaml").read_text()
    with pytest.raises(BoardError, match="family is 'artix-7'"):
        parse_board(text + "accelerator: {shell: zynq}\n", "mine.yaml")
    with pytest.raises(BoardError, match="'platform' is missing"):
        parse_board(text + "accelerator: {shell: xrt}\n", "mine.yaml")
