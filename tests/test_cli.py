"""The command line where nothing is wrong: what it prints, writes and returns."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boardfit import cli
from boardfit.artifact import MANIFEST
from boardfit.cli.options import input_shapes
from boardfit.errors import UsageError

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DIGITS = str(EXAMPLES / "digits.onnx")
DATA = ["--calibration", str(EXAMPLES / "digits_calibration.npz")]


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["boardfit", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def _json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert _run(monkeypatch, *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_boards(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = {board["name"]: board for board in _json(monkeypatch, capsys, "boards")}
    assert found["pynq-z2"]["budget"]["dsp"] == 220
    assert "dsp" in found["nucleo-l4r5zi"]["features"]
    assert _run(monkeypatch, "boards") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in found)


def test_inspect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(monkeypatch, capsys, "inspect", DIGITS)
    assert found["inputs"] == {"input": "f32[1x1x8x8]"}
    assert found["outputs"] == {"probabilities": "f32[1x10]"}
    layers = [layer for layer in found["layers"] if layer["op"] == "Conv2D"]
    assert [layer["node"] for layer in layers] == ["/conv1/Conv", "/conv2/Conv"]
    assert layers[0]["macs"] == 8 * 8 * 8 * 9
    assert set(layers[0]["refusals"]) == {"mcu", "hls4ml"}
    assert _run(monkeypatch, "inspect", DIGITS) == 0
    assert "/classifier/Gemm" in capsys.readouterr().out


@pytest.mark.parametrize("board", ["nucleo-l4r5zi", "pynq-z2"])
def test_estimate(board: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(monkeypatch, capsys, "estimate", DIGITS, "--board", board)
    assert found["board"] == board
    assert found["total"]["cycles"] > 0
    assert {"/conv1/Conv", "/conv2/Conv", "/classifier/Gemm"} <= {layer["node"] for layer in found["layers"]}
    assert _run(monkeypatch, "estimate", DIGITS, "--board", board) == 0
    printed = capsys.readouterr().out
    assert "/classifier/Gemm" in printed
    assert "does not fit" not in printed


def test_compile_and_verify(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    out = str(tmp_path / "out")
    dump = tmp_path / "ir"
    made = _json(
        monkeypatch,
        capsys,
        "compile",
        DIGITS,
        "-b",
        "pico",
        *DATA,
        "-o",
        out,
        "--dump-ir",
        str(dump),
        "--single-header",
    )
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["board"]["name"] == "raspberry-pi-pico"
    assert manifest["options"]["backend"]["single_header"] is True
    assert manifest["model"]["file"] == "digits.onnx"
    assert len(made["digest"]) == 64
    assert sum(1 for _ in dump.rglob("*.txt")) >= 4
    found = _json(monkeypatch, capsys, "verify", out, "--runner", "host")
    assert found["runs"][0]["different"] == 0
    assert _run(monkeypatch, "verify", out, "--runner", "host") == 0
    assert "equal to the reference" in capsys.readouterr().out


def test_without_a_folder_it_is_named_for_model_and_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run(monkeypatch, "compile", DIGITS, "-b", "pico", *DATA) == 0
    assert "next: boardfit verify digits-raspberry-pi-pico" in capsys.readouterr().out
    assert (tmp_path / "digits-raspberry-pi-pico" / MANIFEST).is_file()


def test_a_difference_is_exit_code_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    out = tmp_path / "out"
    assert _run(monkeypatch, "compile", DIGITS, "-b", "nucleo-l4r5zi", *DATA, "-o", str(out)) == 0
    weights = out / "model_weights.c"
    weights.write_text(weights.read_text().replace("= {", "= { 30000 +", 1))
    capsys.readouterr()
    assert _run(monkeypatch, "verify", str(out), "--runner", "host") == cli.NOT_EQUAL
    printed = capsys.readouterr().out
    assert "differs first at output 'probabilities', inference" in printed
    assert "edited since it was written: model_weights.c" in printed


def test_changed_reference_vectors_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert _run(monkeypatch, "compile", DIGITS, "-b", "nucleo-l4r5zi", *DATA, "-o", str(out)) == 0
    np.save(out / "reference" / "output_0.npy", np.zeros((32, 1, 10), np.int8))
    assert _run(monkeypatch, "verify", str(out)) == 2
    assert "the reference vectors were changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "shapes"),
    [
        (["x=1,3,8,8"], {"x": (1, 3, 8, 8)}),
        (["serving_default:0=1,4", "b=2"], {"serving_default:0": (1, 4), "b": (2,)}),
        (["a=b=1x3x8"], {"a=b": (1, 3, 8)}),
        (None, {}),
    ],
)
def test_input_shapes(given: list[str] | None, shapes: dict[str, tuple[int, ...]]) -> None:
    assert input_shapes(given) == shapes


@pytest.mark.parametrize("given", [["x"], ["=1,2"], ["x="], ["x=1,a"], ["x=1,0"], ["x=1", "x=1"]])
def test_wrong_input_shapes(given: list[str]) -> None:
    with pytest.raises(UsageError):
        input_shapes(given)


def test_termination_leaves_nothing_behind(tmp_path: Path) -> None:
    program = "\n".join(
        (
            "import sys, time",
            "from pathlib import Path",
            "from boardfit import cli",
            "original = Path.write_bytes",
            "def slow(self, data):",
            "    print('writing', file=sys.stderr, flush=True)",
            "    time.sleep(60)",
            "Path.write_bytes = slow",
            f"sys.argv = ['boardfit', 'compile', {DIGITS!r}, '-b', 'pico', *{DATA!r}, '-o', {str(tmp_path / 'out')!r}]",
            "cli.main()",
        )
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stderr.readline() == b"writing\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 128 + signal.SIGTERM
    process.stderr.close()
    assert list(tmp_path.iterdir()) == []
