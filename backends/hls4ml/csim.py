"""C simulation of an emitted folder with g++: the same sources, types and test bench the vendor's tool gets."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from boardfit.errors import OutputError, ToolError

from .testbench import read_vectors, vectors

RUNNERS = ("csim", "axi")
"""The network alone; the network behind its AXI wrapper, in accelerator projects."""

INTERFACE = "interface.json"
COMPILE_SECONDS = 540
MAX_PROCESSES = 8
"""Simulations that run side by side."""

FLAGS = ("-O1", "-std=c++17", "-w")
"""Most of the time goes into the templates, so -O1 builds as fast as -O0; higher levels run no faster."""


def build(folder: Path, into: Path, runner: str = RUNNERS[0]) -> Path:
    """Compile the test bench of `folder`.

    Args:
        folder: output folder.
        into: folder the program is put in.
        runner: one of `RUNNERS`.

    Returns:
        The program.

    Raises:
        ToolError: g++ is missing or fails.
        OutputError: the folder has no project.
    """
    compiler = shutil.which("g++")
    if compiler is None:
        raise ToolError("g++ is not installed", hint="install g++, for example: apt-get install g++")
    project = interface(folder)["project"]
    weights = folder.resolve() / "firmware" / "weights"
    include = ["-I.", "-Ifirmware/ap_types", f'-DWEIGHTS_DIR="{weights}"']
    into = into.resolve()
    sources = {f"firmware/{project}.cpp": into / "firmware.o"}
    if runner == "axi":
        sources |= {f"firmware/{project}_axi.cpp": into / "axi.o", f"{project}_axi_test.cpp": into / "test.o"}
    else:
        sources[f"{project}_test.cpp"] = into / "test.o"
    running = [
        subprocess.Popen(
            [compiler, *FLAGS, *include, "-c", source, "-o", str(target)],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        for source, target in sources.items()
    ]
    deadline = time.monotonic() + COMPILE_SECONDS
    try:
        for process in running:
            _, errors = process.communicate(timeout=max(deadline - time.monotonic(), 0.0))
            _check(process.returncode, errors, folder)
    except subprocess.TimeoutExpired:
        raise ToolError(f"g++ did not finish in {COMPILE_SECONDS} s", file=str(folder)) from None
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    program = into / "csim"
    link = [compiler, *map(str, sources.values()), "-o", str(program)]
    done = subprocess.run(link, capture_output=True, text=True)
    _check(done.returncode, done.stderr, folder)
    return program


def _check(code: int | None, errors: str, folder: Path) -> None:
    if code != 0:
        first = next((line for line in errors.splitlines() if "error" in line), errors[:200])
        raise ToolError(f"g++ failed: {first}", file=str(folder))


def run(program: Path, folder: Path, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Feed raw inputs (S, *shape) to a built test bench and read the raw outputs.

    Samples do not depend on each other, so they are split over the processor's cores.

    Raises:
        ToolError: the program fails.
    """
    shapes = [tuple(port["shape"]) for port in interface(folder)["outputs"]]
    samples = len(inputs[0])
    parts = max(1, min(os.cpu_count() or 1, MAX_PROCESSES, samples))
    bounds = [samples * part // parts for part in range(parts + 1)]
    with tempfile.TemporaryDirectory(prefix="boardfit-csim-") as name:
        place = Path(name)
        running: list[subprocess.Popen[str]] = []
        try:
            for part, (start, stop) in enumerate(itertools.pairwise(bounds)):
                source, target = place / f"inputs{part}.txt", place / f"outputs{part}.txt"
                source.write_bytes(vectors([array[start:stop] for array in inputs]))
                command = [str(program), str(source), str(target)]
                running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True))
            for process in running:
                _, errors = process.communicate()
                if process.returncode != 0:
                    raise ToolError(f"the C simulation failed: {errors.strip()[:300]}", file=str(folder))
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        text = "".join((place / f"outputs{part}.txt").read_text() for part in range(parts))
    return read_vectors(text, shapes)


def simulate(folder: Path, inputs: Sequence[np.ndarray], runner: str = RUNNERS[0]) -> list[np.ndarray]:
    """Build and run the C simulation of `folder` once."""
    with tempfile.TemporaryDirectory(prefix="boardfit-csim-") as place:
        return run(build(folder, Path(place), runner), folder, inputs)


def interface(folder: Path) -> dict[str, Any]:
    """The interface description of an emitted folder.

    Raises:
        OutputError: it is missing or damaged.
    """
    path = folder / INTERFACE
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot read the interface: {error}", file=str(path)) from error
