"""The example network: small, accurate, and the whole way to both boards."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import boardfit
from boardfit.frontend import load_model
from boardfit.interp import run
from boardfit.metrics import top1

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MODEL = EXAMPLES / "digits.onnx"
CALIBRATION = EXAMPLES / "digits_calibration.npz"


def test_the_example_is_small_and_accurate() -> None:
    assert MODEL.stat().st_size < 100_000
    with np.load(EXAMPLES / "digits_test.npz") as file:
        images, labels = file["x"], file["y"]
    graph = load_model(MODEL)
    outputs = run(graph, {graph.inputs[0]: images[:, None]})[graph.outputs[0]]
    assert top1(outputs, labels) >= 0.97


def test_calibration_images_are_no_test_images() -> None:
    with np.load(EXAMPLES / "digits_test.npz") as file, np.load(CALIBRATION) as given:
        test = {image.tobytes() for image in file["x"]}
        assert not test & {image.tobytes() for image in given["x"]}


@pytest.mark.parametrize("board", ["nucleo-l4r5zi", "pynq-z2"])
def test_same_input_same_bytes(board: str) -> None:
    one = boardfit.compile(MODEL, board, CALIBRATION)
    two = boardfit.compile(str(MODEL), board.upper(), str(CALIBRATION))
    assert one.artifact.files == two.artifact.files
    assert one.artifact.digest == two.artifact.digest


@pytest.mark.parametrize("board", ["nucleo-l4r5zi", "pynq-z2"])
def test_no_file_names_this_machine(board: str, tmp_path: Path) -> None:
    copy = tmp_path / "somewhere-special" / "digits.onnx"
    copy.parent.mkdir()
    shutil.copy(MODEL, copy)
    made = boardfit.compile(copy, board, CALIBRATION)
    for path, content in made.artifact.files.items():
        assert b"somewhere-special" not in content, path
        assert str(EXAMPLES).encode() not in content, path


def test_python_interface_is_typed_and_lazy() -> None:
    found = boardfit.estimate(MODEL, "nucleo-l4r5zi")
    assert isinstance(found, boardfit.Estimate)
    assert found.fits
    assert found.latency_seconds == pytest.approx(found.total.cycles / 120e6)
    seen = boardfit.inspect(MODEL)
    assert seen.macs == 23_680
    assert seen.parameters == 1_898
    assert all(reason is None for layer in seen.layers for reason in layer.refusals.values())
    assert set(boardfit.__all__) <= set(dir(boardfit))
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        _ = boardfit.fly


@pytest.mark.slow
@pytest.mark.parametrize(
    ("board", "tool"), [("nucleo-l4r5zi", "qemu-system-arm"), ("pynq-z2", "g++"), ("stm32f103-blue-pill", "gcc")]
)
def test_compile_and_verify(board: str, tool: str, tmp_path: Path) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    boardfit.compile(MODEL, board, CALIBRATION, output=tmp_path / "out")
    found = boardfit.verify(tmp_path / "out")
    assert found.equal
    assert found.edited == ()


@pytest.mark.slow
def test_a_changed_weight_is_found(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    boardfit.compile(MODEL, "nucleo-l4r5zi", CALIBRATION, output=tmp_path / "out")
    source = tmp_path / "out" / "model_weights.c"
    text = source.read_text()
    source.write_text(text.replace("= {", "= { 30000 +", 1))  # the first bias
    found = boardfit.verify(tmp_path / "out", "host")
    assert found.edited == ("model_weights.c",)
    assert not found.equal
    assert found.runs[0].first is not None
