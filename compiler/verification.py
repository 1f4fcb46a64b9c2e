"""Verification of an output folder: run it, and compare every value with the interpreter's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .artifact import changed_files, read_manifest
from .backend import Backend, find_backend
from .errors import OutputError, ToolError, UsageError
from .reference import read_reference


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The first value that differs.

    Attributes:
        output: name of the output.
        sample: which inference.
        index: position in the output.
        expected, found: raw values.
    """

    output: str
    sample: int
    index: tuple[int, ...]
    expected: float
    found: float


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one runner gave.

    Attributes:
        runner: how it was executed.
        samples: inferences compared.
        values: output values compared.
        different: values that differ.
        first: the first that differs, or None.
    """

    runner: str
    samples: int
    values: int
    different: int
    first: Mismatch | None

    @property
    def equal(self) -> bool:
        """Whether every value is equal."""
        return self.different == 0


@dataclass(frozen=True, slots=True)
class Footprint:
    """One quantity of the implementation: what the estimate said and what was measured."""

    name: str
    estimated: int
    measured: int

    @property
    def error(self) -> float:
        """Relative error of the estimate."""
        return (self.estimated - self.measured) / self.measured if self.measured else float(self.estimated != 0)


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of `boardfit verify`.

    Attributes:
        folder: what was verified.
        backend: backend that made it.
        board: board it was made for.
        edited: files that are no longer as they were written.
        runs: one result for each runner.
        skipped: runner -> why it could not run.
        footprint: what the implementation takes; empty where it could not be measured.
    """

    folder: str
    backend: str
    board: str
    edited: tuple[str, ...]
    runs: tuple[RunResult, ...]
    skipped: dict[str, str]
    footprint: tuple[Footprint, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether something ran and every value of every run was equal."""
        return bool(self.runs) and all(run.equal for run in self.runs)


def verify_folder(folder: str | Path, runner: str | None = None) -> Verification:
    """Execute an output folder on its reference inputs and compare with the reference outputs.

    Args:
        folder: what `compile` wrote.
        runner: one way to run it; None tries all, and a missing tool is then no error if another runs.

    Raises:
        OutputError: not an output of boardfit, or its reference vectors were changed.
        UsageError: no such runner.
        ToolError: the runner (or every runner) is missing a tool, or a tool failed.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    edited = changed_files(folder, manifest)
    touched = [path for path in edited if path.startswith("reference/")]
    if touched:
        raise OutputError(
            f"the reference vectors were changed: {touched[0]}", file=str(folder), hint="compile the model again"
        )
    backend = find_backend(manifest["board"]["kind"])
    runners = backend.runners_of(folder)
    if runner is not None and runner not in runners:
        known = ", ".join(runners)
        raise UsageError(f"no runner '{runner}' for {manifest['board']['name']}", hint=f"runners: {known}")
    reference = read_reference(folder, len(manifest["inputs"]), len(manifest["outputs"]))
    names = [entry["name"] for entry in manifest["outputs"]]
    runs: list[RunResult] = []
    skipped: dict[str, str] = {}
    problems: list[ToolError] = []
    for name in (runner,) if runner else runners:
        try:
            outputs = backend.execute(folder, reference.inputs, name)
        except ToolError as error:
            skipped[name] = str(error)
            problems.append(error)
            continue
        runs.append(_compare(name, names, reference.outputs, outputs))
    if not runs:
        raise problems[0]
    return Verification(
        str(folder),
        backend.name,
        manifest["board"]["name"],
        tuple(edited),
        tuple(runs),
        skipped,
        _footprint(backend, folder, manifest["estimate"]) if runner in (None, backend.runners[0]) else (),
    )


def _footprint(backend: Backend, folder: Path, estimate: Mapping[str, Any]) -> tuple[Footprint, ...]:
    """Estimate beside measurement; what could not run is told by the runs already."""
    try:
        measured = backend.measure(folder)
    except ToolError:
        return ()
    estimated = {**estimate["total"], **estimate.get("details", {})}
    return tuple(Footprint(name, estimated[name], amount) for name, amount in measured.items() if name in estimated)


def _compare(runner: str, names: list[str], expected: tuple[np.ndarray, ...], found: list[np.ndarray]) -> RunResult:
    different, first = 0, None
    for name, want, have in zip(names, expected, found, strict=True):
        if want.shape != have.shape:
            raise ToolError(f"{runner} gave output '{name}' of shape {have.shape}, not {want.shape}")
        wrong = np.argwhere(want != have)
        different += len(wrong)
        if first is None and len(wrong):
            place = tuple(int(i) for i in wrong[0])
            first = Mismatch(name, place[0], place[1:], want[place].item(), have[place].item())
    return RunResult(runner, len(expected[0]), sum(array.size for array in expected), different, first)
