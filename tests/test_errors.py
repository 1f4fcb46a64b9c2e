"""Every error a user can cause, through the command line: exit code 2, a golden text, nothing left behind.

The expected texts are in `golden/errors/`; `BOARDFIT_UPDATE_GOLDEN=1 pytest tests/test_errors.py` writes them anew.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from boardfit import cli

GOLDEN = Path(__file__).parent / "golden" / "errors"
ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "examples" / "digits.onnx"
CALIBRATION = ROOT / "examples" / "digits_calibration.npz"
MCU = ["--board", "nucleo-l4r5zi"]
DATA = ["--calibration", str(CALIBRATION)]

Case = Callable[[Path], list[str]]
CASES: dict[str, Case] = {}


def case(make: Case) -> Case:
    """Register a case: a function that prepares a folder and returns the command's arguments."""
    CASES[make.__name__] = make
    return make


def _compile(model: Path, *more: str, board: list[str] = MCU) -> list[str]:
    return ["compile", str(model), *board, "-o", "OUT", *more]


def _model(folder: Path, nodes: list[onnx.NodeProto], shape: list[int | str], *weights: onnx.TensorProto) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        list(weights),
    )
    path = folder / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]).SerializeToString())
    return path


def _dense(values: np.ndarray, folder: Path, shape: list[int | str]) -> Path:
    gemm = helper.make_node("Gemm", ["x", "w"], ["y"], name="/fc/Gemm")
    return _model(folder, [gemm], shape, numpy_helper.from_array(values.astype(np.float32), "w"))


@case
def missing_file(folder: Path) -> list[str]:
    return _compile(folder / "nowhere.onnx", *DATA)


@case
def folder_as_model(folder: Path) -> list[str]:
    return _compile(folder, *DATA)


@case
def empty_file(folder: Path) -> list[str]:
    (folder / "model.onnx").write_bytes(b"")
    return _compile(folder / "model.onnx", *DATA)


@case
def not_an_onnx_file(folder: Path) -> list[str]:
    (folder / "model.onnx").write_bytes(b"\x89PNG\r\n\x1a\n and so on, certainly no network")
    return _compile(folder / "model.onnx", *DATA)


@case
def truncated_file(folder: Path) -> list[str]:
    (folder / "model.onnx").write_bytes(DIGITS.read_bytes()[:4000])
    return _compile(folder / "model.onnx", *DATA)


@case
def unsupported_operator(folder: Path) -> list[str]:
    node = helper.make_node("LSTM", ["x", "w", "r"], ["y"], name="/rnn/LSTM", hidden_size=4)
    weights = [
        numpy_helper.from_array(np.zeros((1, 16, 3), np.float32), "w"),
        numpy_helper.from_array(np.zeros((1, 16, 4), np.float32), "r"),
    ]
    return _compile(_model(folder, [node], [7, 1, 3], *weights), *DATA)


@case
def unsupported_attribute(folder: Path) -> list[str]:
    node = helper.make_node("Resize", ["x", "", "s"], ["y"], name="/up/Resize", mode="cubic")
    scales = numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "s")
    return _compile(_model(folder, [node], [1, 3, 4, 4], scales), *DATA)


@case
def control_flow(folder: Path) -> list[str]:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["b"])],
        "b",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, [1])],
    )
    node = helper.make_node("If", ["c"], ["y"], name="/If", then_branch=branch, else_branch=branch)
    return _compile(_model(folder, [node], [1], numpy_helper.from_array(np.array(True), "c")), *DATA)


@case
def unresolved_shape(folder: Path) -> list[str]:
    return _compile(_dense(np.zeros((4, 2)), folder, ["batch", "features"]), *DATA)


@case
def input_shape_of_an_unknown_input(folder: Path) -> list[str]:
    return _compile(DIGITS, "--input-shape", "imgae=1,1,8,8", *DATA)


@case
def input_shape_that_contradicts(folder: Path) -> list[str]:
    return _compile(DIGITS, "--input-shape", "input=1,1,9,9", *DATA)


@case
def input_shape_that_is_none(folder: Path) -> list[str]:
    return _compile(DIGITS, "--input-shape", "input:1x8x8", *DATA)


@case
def nan_weights(folder: Path) -> list[str]:
    values = np.ones((4, 2))
    values[1, 1] = np.nan
    return _compile(_dense(values, folder, [1, 4]), *DATA)


@case
def no_calibration(folder: Path) -> list[str]:
    return _compile(DIGITS)


@case
def no_calibration_for_an_fpga(folder: Path) -> list[str]:
    return _compile(DIGITS, board=["--board", "pynq-z2"])


@case
def calibration_missing(folder: Path) -> list[str]:
    return _compile(DIGITS, "--calibration", str(folder / "none.npz"))


@case
def calibration_of_wrong_shape(folder: Path) -> list[str]:
    np.savez(folder / "data.npz", x=np.zeros((20, 8, 8, 3), np.float32))
    return _compile(DIGITS, "--calibration", str(folder / "data.npz"))


@case
def calibration_of_wrong_type(folder: Path) -> list[str]:
    np.savez(folder / "data.npz", x=np.full((20, 1, 8, 8), "zero"))
    return _compile(DIGITS, "--calibration", str(folder / "data.npz"))


@case
def calibration_with_nan(folder: Path) -> list[str]:
    np.savez(folder / "data.npz", x=np.full((20, 1, 8, 8), np.inf, np.float32))
    return _compile(DIGITS, "--calibration", str(folder / "data.npz"))


@case
def calibration_is_no_array_file(folder: Path) -> list[str]:
    (folder / "data.npz").write_text("x,y\n1,2\n")
    return _compile(DIGITS, "--calibration", str(folder / "data.npz"))


@case
def unknown_board(folder: Path) -> list[str]:
    return _compile(DIGITS, *DATA, board=["--board", "nucleo-l4r5"])


@case
def missing_board_file(folder: Path) -> list[str]:
    return _compile(DIGITS, *DATA, board=["--board", str(folder / "my-board.yaml")])


@case
def invalid_board_file(folder: Path) -> list[str]:
    return _compile(DIGITS, *DATA, board=["--board", str(_board(folder, "pynq-z2", r"lut: \d+", "lut: -1"))])


def _fpga(*more: str) -> list[str]:
    return _compile(DIGITS, *more, *DATA, board=["--board", "pynq-z2"])


@case
def board_file_without_a_budget(folder: Path) -> list[str]:
    return _compile(DIGITS, *DATA, board=["--board", str(_board(folder, "pynq-z2", r"(?s)budget:.*?\n(?=\S)", "\n"))])


@case
def board_file_without_dsps(folder: Path) -> list[str]:
    return _compile(DIGITS, *DATA, board=["--board", str(_board(folder, "pynq-z2", r"dsp: \d+", "dsps: 220"))])


@case
def board_file_with_a_negative_clock(folder: Path) -> list[str]:
    return _compile(
        DIGITS, *DATA, board=["--board", str(_board(folder, "pynq-z2", r"clock_ns: [\d.]+", "clock_ns: -5"))]
    )


@case
def max_drop_out_of_range(folder: Path) -> list[str]:
    return _fpga("--max-drop", "-1")


@case
def min_snr_out_of_range(folder: Path) -> list[str]:
    return _fpga("--min-snr", "0")


@case
def clock_of_nothing(folder: Path) -> list[str]:
    return _fpga("--clock-ns", "0")


@case
def clock_beyond_the_part(folder: Path) -> list[str]:
    return _fpga("--clock-ns", "0.5")


@case
def max_drop_and_min_snr(folder: Path) -> list[str]:
    return _fpga("--max-drop", "1", "--min-snr", "30")


@case
def impossible_min_snr(folder: Path) -> list[str]:
    return _fpga("--min-snr", "190", "--width", "8")


@case
def width_out_of_range(folder: Path) -> list[str]:
    return _fpga("--width", "1")


@case
def reuse_factor_out_of_range(folder: Path) -> list[str]:
    return _fpga("--reuse-factor", "0")


@case
def distributed_arithmetic_with_a_reuse_factor(folder: Path) -> list[str]:
    return _fpga("--strategy", "distributed_arithmetic", "--reuse-factor", "4")


@case
def distributed_arithmetic_of_a_large_layer(folder: Path) -> list[str]:
    values = np.random.default_rng(0).normal(0.0, 0.3, (64, 64))
    np.savez(folder / "data.npz", x=np.random.default_rng(1).normal(0.0, 1.0, (20, 64)).astype(np.float32))
    model = _dense(values, folder, [1, 64])
    more = ["--strategy", "distributed_arithmetic", "--calibration", str(folder / "data.npz")]
    return _compile(model, *more, board=["--board", "zcu104"])


@case
def unsupported_on_an_fpga(folder: Path) -> list[str]:
    node = helper.make_node("MaxPool", ["x"], ["y"], name="/pool/MaxPool", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    np.savez(folder / "data.npz", x=np.random.default_rng(1).normal(0.0, 1.0, (20, 2, 6, 6)).astype(np.float32))
    more = ["--io-type", "io_stream", "--calibration", str(folder / "data.npz")]
    return _compile(_model(folder, [node], [1, 2, 6, 6]), *more, board=["--board", "pynq-z2"])


@case
def output_is_a_file(folder: Path) -> list[str]:
    (folder / "taken").write_text("x")
    return ["compile", str(DIGITS), *MCU, *DATA, "-o", str(folder / "taken")]


@case
def output_is_somebody_elses(folder: Path) -> list[str]:
    (folder / "thesis.tex").write_text("x")
    return ["compile", str(DIGITS), *MCU, *DATA, "-o", str(folder)]


@case
def output_not_writable(folder: Path) -> list[str]:
    return ["compile", str(DIGITS), *MCU, *DATA, "-o", "/proc/boardfit"]


@case
def fpga_option_for_a_microcontroller(folder: Path) -> list[str]:
    return _compile(DIGITS, "--reuse-factor", "4", *DATA)


@case
def microcontroller_option_for_an_fpga(folder: Path) -> list[str]:
    return _compile(DIGITS, "--single-header", *DATA, board=["--board", "pynq-z2"])


@case
def single_header_as_a_library(folder: Path) -> list[str]:
    return _compile(DIGITS, "--single-header", "--format", "arduino", *DATA)


@case
def does_not_fit_a_microcontroller(folder: Path) -> list[str]:
    board = _board(folder, "stm32f103-blue-pill", r"bytes: 65536", "bytes: 1500")
    return _compile(DIGITS, *DATA, board=["--board", str(board)])


@case
def does_not_fit_an_fpga(folder: Path) -> list[str]:
    board = _board(folder, "cora-z7-07s", r"lut: \d+", "lut: 900")
    return _compile(DIGITS, *DATA, board=["--board", str(board)])


@case
def verify_a_folder_that_is_no_output(folder: Path) -> list[str]:
    return ["verify", str(folder)]


def _board(folder: Path, name: str, pattern: str, replacement: str) -> Path:
    text = (files("boardfit.boards") / f"{name}.yaml").read_text(encoding="utf-8")
    changed = re.sub(pattern, replacement, re.sub(rf"name: {name}", "name: mine", text), count=1)
    assert replacement in changed
    path = folder / "my-board.yaml"
    path.write_text(changed)
    return path


def _plain(text: str, folder: Path, figures: bool) -> str:
    """Without the test's own paths, and without figures where they come from an estimate."""
    text = text.replace(str(folder), "DIR").replace(str(ROOT), "ROOT")
    if figures:
        return text
    text = re.sub(r" \[.*\]", " [KERNEL]", text)
    return re.sub(r"(?<![\w-])\d[\d,.]*(?![\w-])", "N", re.sub(r"(?<=it would fit )\S+", "BOARD", text))


@pytest.mark.parametrize("name", CASES)
def test_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "case"
    folder.mkdir()
    arguments = [str(tmp_path / "out") if word == "OUT" else word for word in CASES[name](folder)]
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["boardfit", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed = capsys.readouterr()
    assert stop.value.code == 2
    assert printed.out == ""
    assert sorted(tmp_path.rglob("*")) == before
    found = _plain(printed.err, folder, figures="does_not_fit" not in name and name != "impossible_min_snr")
    golden = GOLDEN / f"{name}.txt"
    if os.environ.get("BOARDFIT_UPDATE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


def test_no_golden_text_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)


@pytest.mark.parametrize(
    "arguments",
    [
        ["compile"],
        ["compile", "m.onnx", "-o", "x"],
        ["compile", "m.onnx", "-b", "pynq-z2", "-o", "x", "--goal", "speed"],
        ["boards", "--nope"],
        ["fly"],
    ],
)
def test_usage_errors(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "boardfit.cli", *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Usage" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_in_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "boardfit.cli", "inspect", str(tmp_path / "none.onnx")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
