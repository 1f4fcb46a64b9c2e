"""The microcontroller backend: C99 sources, a test program, and ways to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boardfit.artifact import Artifact
from boardfit.board import Board, McuBoard
from boardfit.errors import InternalError
from boardfit.estimate.mcu import McuFootprint, mcu_estimate
from boardfit.estimate.report import Estimate
from boardfit.ir import Affine, FixedPoint, Graph, Node
from boardfit.ops import OPS
from boardfit.ops.unary import infer_unary
from boardfit.options import BackendOptions, Optimize
from boardfit.vendor_report import StageReport

from .cost import footprint
from .emit import core_files
from .execute import RUNNERS, execute, pack
from .footprint import measure_folder
from .formats import LAYOUTS
from .kernel import Site
from .kernels import variants_of
from .plan import OPTIMIZATION_FLAGS, Plan, make_plan
from .project import project_files
from .storage import storage_of
from .weight_formats import forced_formats

PREFIX = "model"


def mcu_board(board: Board) -> McuBoard:
    """`board`, which must be a microcontroller board."""
    if not isinstance(board, McuBoard):
        raise InternalError(f"{board.name} is not a microcontroller board")
    return board


@dataclass(frozen=True, slots=True)
class McuBackend:
    """See `boardfit.backend.Backend`."""

    name: str = "mcu"
    runners: tuple[str, ...] = RUNNERS

    def reports(self, folder: Path) -> tuple[StageReport, ...]:
        """None: firmware is measured, see `measure`."""
        return ()

    def runners_of(self, folder: Path) -> tuple[str, ...]:
        """All of them, whatever is in the folder."""
        return self.runners

    def refuse_op(self, op: str) -> str | None:
        """Why no kernel and no table can do an op."""
        # functions of one number become a table of all 256 values
        has_code = variants_of(op) or OPS[op].infer is infer_unary
        return None if has_code else f"there is no microcontroller code for {op}"

    def refuse(self, node: Node, graph: Graph) -> str | None:
        """Why no kernel can do a node; a float graph is judged by what quantization makes of it."""
        if any(isinstance(graph.types[name].element, FixedPoint) for name in (*node.inputs, *node.outputs) if name):
            return "fixed-point types are for FPGAs"
        if not variants_of(node.op):
            return self.refuse_op(node.op)
        ends = (node.inputs[0], node.outputs[0])
        if not all(isinstance(graph.types[name].element, Affine) for name in ends) and node.op != "Quantize":
            return None
        site = Site(node, graph, frozenset())  # what any core can do
        reasons = [kernel.refuse(site) for kernel in variants_of(node.op) if not kernel.needs]
        return None if None in reasons else "; ".join(dict.fromkeys(reason for reason in reasons if reason))

    def validate(self, graph: Graph, board: Board, options: BackendOptions) -> None:
        """Raises ModelError for the first node without a kernel, UsageError for weight formats that name nothing."""
        _plan(graph, mcu_board(board), options)

    def estimate(self, graph: Graph, board: Board, options: BackendOptions) -> Estimate:
        """Flash, RAM and cycles of the plan `emit` uses."""
        target = mcu_board(board)
        need = _footprint(graph, target, options)
        found = mcu_estimate(target, need)
        if found.fits:
            return found
        others = {aim: replace(options, optimize=aim) for aim in Optimize if aim is not options.optimize}
        savings = {f"give --optimize {aim.value}": _footprint(graph, target, o) for aim, o in others.items()}
        return mcu_estimate(target, need, savings)

    def emit(self, graph: Graph, board: Board, options: BackendOptions) -> Artifact:
        """Sources, test program, build files, README."""
        target = mcu_board(board)
        plan = _plan(graph, target, options)
        core = core_files(plan, target, PREFIX, single_header=options.single_header)
        around = project_files(
            plan,
            target,
            PREFIX,
            tuple(core),
            single_header=options.single_header,
            project_format=options.format,
            optimization=OPTIMIZATION_FLAGS[options.optimize],
        )
        layout = LAYOUTS[options.format]
        placed = {layout.place(name, PREFIX): text for name, text in core.items()}
        files = {path: text.encode() for path, text in (placed | around).items()}
        return Artifact(files, layout.place(f"{PREFIX}.h", PREFIX))

    def reference_files(
        self, graph: Graph, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
    ) -> Mapping[str, bytes]:
        """The vectors `make check` compares, as the test program reads and writes them."""
        return {
            "test/inputs.bin": pack(inputs, [storage_of(graph.types[name].element) for name in graph.inputs]),
            "test/expected.bin": pack(outputs, [storage_of(graph.types[name].element) for name in graph.outputs]),
        }

    def execute(self, folder: Path, inputs: Sequence[np.ndarray], runner: str) -> list[np.ndarray]:
        """Build in a temporary folder and run on this computer ('host') or on the emulated core ('qemu')."""
        return execute(folder, inputs, runner)

    def measure(self, folder: Path) -> Mapping[str, int]:
        """Flash, RAM, arena and stack of the linked firmware."""
        found = measure_folder(folder)
        return {"flash": found.flash, "ram": found.ram, "arena": found.arena, "stack": found.stack}


def _plan(graph: Graph, board: McuBoard, options: BackendOptions) -> Plan:
    return make_plan(graph, board, options.optimize, forced_formats(graph, options.weights))


def _footprint(graph: Graph, board: McuBoard, options: BackendOptions) -> McuFootprint:
    return footprint(_plan(graph, board, options), board, OPTIMIZATION_FLAGS[options.optimize])


BACKEND = McuBackend()
