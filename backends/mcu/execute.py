"""Builds the test program of an output folder in a temporary place, runs it, and reads what it wrote."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boardfit.errors import OutputError, ToolError

from .machines import MACHINES, Machine
from .project import VECTORS
from .storage import STORAGES, Storage

RUNNERS = ("qemu", "host")
HOST = Path("build/host")
FIRMWARE = Path("build/firmware")
TIMEOUT_SECONDS = 480.0
INSTALL = {
    "make": "apt-get install make",
    "gcc": "apt-get install gcc",
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "apt-get install qemu-system-arm",
    "riscv64-unknown-elf-gcc": "apt-get install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
    "qemu-system-riscv32": "apt-get install qemu-system-misc",
}


@dataclass(frozen=True, slots=True)
class Vectors:
    """Layout of inputs.bin and outputs.bin: (storage, shape) of each tensor of one inference, in order."""

    inputs: tuple[tuple[Storage, tuple[int, ...]], ...]
    outputs: tuple[tuple[Storage, tuple[int, ...]], ...]
    machine: Machine | None


def read_vectors(folder: Path) -> Vectors:
    """The layout of the binary files of an output folder.

    Raises:
        OutputError: missing or damaged.
    """
    path = folder / VECTORS
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        storages = {storage.c_type: storage for storage in STORAGES}
        ports = [
            tuple((storages[port["type"]], tuple(int(size) for size in port["shape"])) for port in facts[kind])
            for kind in ("inputs", "outputs")
        ]
        machine = MACHINES[facts["machine"]] if facts["machine"] is not None else None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"cannot read: {error}", file=str(path), hint="compile the model again") from error
    return Vectors(ports[0], ports[1], machine)


def pack(arrays: Sequence[np.ndarray], storages: Sequence[Storage]) -> bytes:
    """Tensors of all samples as the test program reads and writes them: sample by sample, tensor by tensor."""
    columns = [
        np.ascontiguousarray(array, np.dtype(storage.dtype)).reshape(len(array), -1).view(np.uint8)
        for array, storage in zip(arrays, storages, strict=True)
    ]
    return np.concatenate(columns, axis=1).tobytes()


def unpack(raw: bytes, ports: Sequence[tuple[Storage, tuple[int, ...]]], samples: int) -> list[np.ndarray]:
    """The inverse of `pack`, as the interpreter's arrays (int64 or float32).

    Raises:
        ToolError: the program wrote another number of bytes.
    """
    sizes = [int(np.prod(shape, dtype=np.int64)) * storage.bytes for storage, shape in ports]
    if len(raw) != samples * sum(sizes):
        raise ToolError(f"the program wrote {len(raw)} bytes of outputs, {samples * sum(sizes)} were expected")
    rows = np.frombuffer(raw, np.uint8).reshape(samples, sum(sizes))
    found: list[np.ndarray] = []
    at = 0
    for (storage, shape), size in zip(ports, sizes, strict=True):
        column = np.ascontiguousarray(rows[:, at : at + size]).view(np.dtype(storage.dtype))
        wide = np.float32 if storage.c_type == "float" else np.int64
        found.append(column.reshape(samples, *shape).astype(wide))
        at += size
    return found


def execute(folder: Path, inputs: Sequence[np.ndarray], runner: str) -> list[np.ndarray]:
    """Build and run; see `boardfit.backend.Backend.execute`."""
    vectors = read_vectors(folder)
    with temporary_copy(folder) as place:
        raw = run_program(place, vectors, pack(inputs, [storage for storage, _ in vectors.inputs]), runner)
    return unpack(raw, vectors.outputs, len(inputs[0]))


@contextmanager
def temporary_copy(folder: Path) -> Iterator[Path]:
    """A copy of the sources: nothing is written to the output folder."""
    with tempfile.TemporaryDirectory(prefix="boardfit-verify-") as name:
        place = Path(name) / "project"
        shutil.copytree(folder, place, ignore=shutil.ignore_patterns("build", "reference"))
        yield place


def run_program(place: Path, vectors: Vectors, inputs: bytes, runner: str) -> bytes:
    """Build the test program in a copy of the folder, run it on `inputs` and return what it wrote.

    Raises:
        ToolError: a tool is missing or failed.
    """
    if runner == "host":
        build = place / HOST
        _call(["make", "-s", "host"], place, _compiler())
        (build / "inputs.bin").write_bytes(inputs)
        _call(["./test"], build)
    else:
        if vectors.machine is None:
            raise ToolError("no emulator executes this board's instructions")
        build = place / FIRMWARE
        _call(["make", "-s", "firmware"], place, vectors.machine.compiler)
        (build / "inputs.bin").write_bytes(inputs)
        _call(["make", "-s", "emulate"], place, vectors.machine.qemu)
    output = build / "outputs.bin"
    if not output.is_file():
        raise ToolError(f"the program wrote no outputs ({runner})")
    return output.read_bytes()


def _compiler() -> str:
    return os.environ.get("CC", "gcc").split()[0]


def _call(command: Sequence[str], place: Path, *needed: str) -> None:
    """Run a command of the build; `needed` are further tools it starts."""
    for tool in (*needed, command[0]):
        if not tool.startswith("./") and shutil.which(tool) is None:
            raise ToolError(f"{tool} is not installed", hint=INSTALL.get(tool))
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{' '.join(command)} did not end within {TIMEOUT_SECONDS:.0f} s") from error
    if done.returncode != 0:
        text = "\n".join((done.stdout + done.stderr).strip().splitlines()[-30:])
        raise ToolError(f"{' '.join(command)} failed with code {done.returncode}:\n{text}")
