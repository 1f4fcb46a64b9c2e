"""Compilers and other programs the tests of generated sources start, and the networks they are started on."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

import pytest

import boardfit
from benchmarks import corpus
from boardfit.backends.mcu.emit import core_files
from boardfit.backends.mcu.plan import make_plan
from boardfit.board import McuBoard, find_board
from boardfit.ir import Graph
from boardfit.options import Optimize

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DIGITS = EXAMPLES / "digits.onnx"
CALIBRATION = EXAMPLES / "digits_calibration.npz"

STRICT = (
    *("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror", "-Wshadow", "-Wcast-align", "-Wcast-qual"),
    *("-Wundef", "-Wdouble-promotion", "-Wvla", "-Wwrite-strings"),
)
"""Warnings that mean the same in C and C++."""

STRICT_C = ("-std=c99", *STRICT, "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wold-style-definition")


def need(*tools: str) -> None:
    """Skip the test unless every program is installed."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def call(folder: Path, *command: str) -> str:
    """Standard output of a command; the test fails with what it wrote if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)[:400]} failed:\n{done.stdout}{done.stderr}"[:6000])
    return done.stdout


def mcu(name: str) -> McuBoard:
    """A shipped microcontroller board."""
    board = find_board(name)
    assert isinstance(board, McuBoard)
    return board


@functools.cache
def network(model: str) -> Graph:
    """The 8-bit graph of the example or of a network of the corpus; the same for every microcontroller."""
    if model == "digits":
        return boardfit.compile(DIGITS, "nucleo-l4r5zi", CALIBRATION).graph
    if not corpus.available():
        pytest.skip(corpus.missing())
    from benchmarks.mcu.__main__ import network as of_corpus

    return of_corpus(model, "nucleo-l4r5zi")[0]


def write_sources(graph: Graph, board: McuBoard, folder: Path, optimize: Optimize = Optimize.SPEED) -> list[str]:
    """Write what a user's project needs; returns the names of the C files."""
    files = core_files(make_plan(graph, board, optimize), board, "model", single_header=False)
    for name, text in files.items():
        (folder / name).write_text(text)
    return sorted(name for name in files if name.endswith(".c"))
