"""Estimates for microcontrollers: from what a backend counted to totals, cycles and ways to save.

Flash and RAM are sums of known sizes. Cycles are predicted instructions times the cycles an instruction takes on the
average on the core, plus the waits for the flash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..board import McuBoard
from ..resources import Resources
from .report import Estimate, LayerEstimate, Saving

CYCLES_PER_INSTRUCTION: Mapping[str, float] = {
    "cortex-m0": 1.55,
    "cortex-m0plus": 1.45,
    "cortex-m3": 1.45,
    "cortex-m4": 1.3,
    "cortex-m7": 0.75,
    "cortex-m23": 1.5,
    "cortex-m33": 1.25,
    "cortex-m55": 1.5,
    "cortex-m85": 0.9,
}
"""Average cycles of an instruction in int8 kernels, from zero-wait memory.

Loads take 2 cycles on a Cortex-M3/M4 unless they follow one another, taken branches 2 to 4 (Cortex-M4 Technical
Reference Manual, 3.3.1); the M7 issues two instructions at once; most Helium instructions take two cycles.
"""

OTHER_CORE = 1.3
INSTRUCTION_BYTES = 2.5
"""Average length of a Thumb-2 or compressed RISC-V instruction in the kernels."""

CONSTANT_BYTES = 0.2
"""Bytes of weights an instruction reads on the average, where they are read again for every group of pixels."""

CYCLE_ERROR = 0.3
"""Relative error of the cycles: the averages are no pipeline model."""

FUNCTION_ERROR = 0.1
"""Relative error of the code where a function was not measured for the core."""


@dataclass(frozen=True, slots=True)
class McuLayer:
    """What a backend knows of one layer.

    Attributes:
        node: name in the ONNX file.
        op: IR operator.
        choice: kernel variant.
        flash: bytes of its constants.
        ram: bytes that are live while it runs.
        instructions: predicted for one inference.
    """

    node: str
    op: str
    choice: str
    flash: int
    ram: int
    instructions: int


@dataclass(frozen=True, slots=True)
class McuFootprint:
    """What a backend knows of a whole firmware.

    Attributes:
        layers: in order of execution.
        constants: bytes of all constants, weights included.
        code: bytes of machine code.
        arena: bytes of the arena.
        stack: bytes of the deepest stack.
        measured: whether all code sizes come from measurements on this core.
    """

    layers: Sequence[McuLayer]
    constants: int
    code: int
    arena: int
    stack: int
    measured: bool

    @property
    def flash(self) -> int:
        """Constants and code."""
        return self.constants + self.code

    @property
    def ram(self) -> int:
        """Arena and stack; the code keeps no other memory."""
        return self.arena + self.stack


def cycles(layer: McuLayer, board: McuBoard) -> int:
    """Predicted cycles of a layer on a board."""
    average = CYCLES_PER_INSTRUCTION.get(board.core, OTHER_CORE)
    return round(layer.instructions * average * code_delay(board)) + constant_stalls(layer, board)


def code_delay(board: McuBoard) -> float:
    """Factor by which fetching code from flash slows the kernels.

    Kernels are loops that fit every instruction cache; without one each line waits, prefetch hiding about half.
    """
    timing = board.flash_timing
    if timing.wait_states == 0 or timing.instruction_cache:
        return 1.0
    return 1.0 + 0.5 * timing.wait_states * INSTRUCTION_BYTES / timing.line_bytes


def constant_stalls(layer: McuLayer, board: McuBoard) -> int:
    """Cycles spent waiting for constants: each line once if they fit the data cache, else at every use."""
    timing = board.flash_timing
    lines = layer.flash / timing.line_bytes
    if layer.flash > timing.data_cache:
        lines = max(lines, layer.instructions * CONSTANT_BYTES / timing.line_bytes)
    return round(timing.wait_states * lines)


def mcu_estimate(
    board: McuBoard, footprint: McuFootprint, savings: Mapping[str, McuFootprint] | None = None
) -> Estimate:
    """The estimate of a firmware.

    Args:
        savings: change the user can make, as an imperative -> footprint after it.
    """
    layers = tuple(_layer(layer, board) for layer in footprint.layers)
    total = _total(board, footprint)
    bands = {"cycles": _band(total.cycles, CYCLE_ERROR)}
    if not footprint.measured:
        bands["flash"] = _band(total.flash, FUNCTION_ERROR * footprint.code / max(footprint.flash, 1))
    return Estimate(
        board=board.name,
        budget=board.budget,
        total=total,
        layers=layers,
        interval=total.cycles,
        clock_mhz=board.clock_mhz,
        bands=bands,
        savings=tuple(Saving(change, _total(board, after)) for change, after in (savings or {}).items()),
        details={
            "constants": footprint.constants,
            "code": footprint.code,
            "arena": footprint.arena,
            "stack": footprint.stack,
        },
    )


def _layer(layer: McuLayer, board: McuBoard) -> LayerEstimate:
    spent = cycles(layer, board)
    resources = Resources(flash=layer.flash, ram=layer.ram, cycles=spent)
    return LayerEstimate(layer.node, layer.op, resources, spent, layer.choice)


def _band(amount: int, error: float) -> tuple[int, int]:
    return round(amount * (1 - error)), round(amount * (1 + error))


def _total(board: McuBoard, footprint: McuFootprint) -> Resources:
    return Resources(
        flash=footprint.flash, ram=footprint.ram, cycles=sum(cycles(layer, board) for layer in footprint.layers)
    )
