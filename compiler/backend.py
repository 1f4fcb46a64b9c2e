"""What a backend is: validate, estimate, emit, execute. The compiler finds one by the kind of the board.

A backend is a module-level object named `BACKEND` in `boardfit.backends.<name>`. It takes an integer graph
(Affine element types for microcontrollers, FixedPoint for FPGAs) and rounds nothing. An output softmax that the
options drop or leave to the host is gone from the graph before a backend sees it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from .artifact import Artifact
from .board import Board
from .errors import UsageError
from .estimate.report import Estimate
from .ir.graph import Graph, Node
from .options import BackendOptions

if TYPE_CHECKING:
    from .vendor_report import StageReport

BACKENDS = {"mcu": "boardfit.backends.mcu", "fpga": "boardfit.backends.hls4ml"}
"""Board kind -> module that holds the backend object `BACKEND`."""


class Backend(Protocol):
    """Turns an integer graph into files for one kind of board."""

    @property
    def name(self) -> str:
        """Short name for tables and manifests: 'mcu', 'hls4ml'."""
        ...

    @property
    def runners(self) -> tuple[str, ...]:
        """Ways to execute an output folder, best first, such as ('qemu', 'host') or ('csim',)."""
        ...

    def runners_of(self, folder: Path) -> tuple[str, ...]:
        """Those of `runners` that go with an output folder.

        Raises:
            OutputError: the folder is damaged.
        """
        ...

    def refuse_op(self, op: str) -> str | None:
        """Why no node of an IR op can be done, whatever its attributes and shapes, or None if some can."""
        ...

    def refuse(self, node: Node, graph: Graph) -> str | None:
        """Why this backend cannot do a node, or None if it can.

        The graph may still be float: the question is about the op, its attributes and its shapes.
        The reason is a fragment such as 'dilation other than 1 needs io_parallel'.
        """
        ...

    def validate(self, graph: Graph, board: Board, options: BackendOptions) -> None:
        """Check that the whole graph can be lowered for this board with these options.

        Raises:
            ModelError: a node cannot be done (named, with a hint).
            UsageError: an option does not go with this board or graph.
        """
        ...

    def estimate(self, graph: Graph, board: Board, options: BackendOptions) -> Estimate:
        """What the graph will cost, with the plan `emit` would use; does not raise when it does not fit."""
        ...

    def emit(self, graph: Graph, board: Board, options: BackendOptions) -> Artifact:
        """The files of the implementation, without manifest and reference vectors (the driver adds them).

        Pure: touches no disk, starts no process, and the same arguments give the same bytes.
        """
        ...

    def reference_files(
        self, graph: Graph, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
    ) -> Mapping[str, bytes]:
        """Reference vectors in the form the emitted test bench reads; empty if it reads none.

        Args:
            graph: the integer graph, whose types say how values are stored.
            inputs: one array for each graph input, (S, *shape), as `execute` takes them.
            outputs: one array for each graph output, (S, *shape), as the interpreter gives them.
        """
        ...

    def execute(self, folder: Path, inputs: Sequence[np.ndarray], runner: str) -> list[np.ndarray]:
        """Build an output folder in a temporary place and run it.

        Args:
            folder: a folder written by `emit` (with its manifest, see `boardfit.artifact.read_manifest`).
            inputs: one array for each graph input, in order, (S, *shape): raw integers of the input's element
                type (real values for a Float32 input), exactly what `boardfit.interp.run` takes.
            runner: one of `runners`.

        Returns:
            One array for each graph output, in order, (S, *shape), exactly what `boardfit.interp.run` gives.

        Raises:
            ToolError: a compiler or emulator is missing or failed.
        """
        ...

    def reports(self, folder: Path) -> tuple[StageReport, ...]:
        """What the vendor's tools reported about an output folder, in the order of the flow.

        Raises:
            OutputError: there are no reports yet (the hint says what to run), or one cannot be read.
        """
        ...

    def measure(self, folder: Path) -> Mapping[str, int]:
        """What the implementation of an output folder really takes, as far as that can be found without the board.

        Returns:
            Names of `Resources` fields and of `Estimate.details` -> amount; empty if nothing can be measured.

        Raises:
            ToolError: a tool is missing or failed.
        """
        ...


def find_backend(kind: str) -> Backend:
    """The backend for a kind of board ('mcu' or 'fpga').

    Raises:
        UsageError: no backend for that kind.
    """
    try:
        module = BACKENDS[kind]
    except KeyError:
        raise UsageError(f"no backend for boards of kind '{kind}'") from None
    return cast(Backend, importlib.import_module(module).BACKEND)
