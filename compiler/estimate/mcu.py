"""Estimates for microcontrollers: from what a backend counted to totals, cycles and ways to save.

Flash and RAM are sums of known sizes. Cycles are predicted instructions times the cycles an instruction of the layer's
kernel takes on the core (`cycles.py`), plus the waits for the flash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..board import McuBoard
from ..resources import Resources
from .cycles import Mix, timing_of
from .report import Estimate, LayerEstimate, Saving

CYCLES_PER_INSTRUCTION: Mapping[str, float] = {
    "cortex-m0": 1.6,
    "cortex-m0plus": 1.4,
    "cortex-m3": 1.5,
    "cortex-m4": 1.4,
    "cortex-m7": 0.9,
    "cortex-m23": 1.5,
    "cortex-m33": 1.4,
    "cortex-m55": 1.5,
    "cortex-m85": 0.9,
}
"""Average cycles of an instruction in int8 kernels, where the mix of a kernel or the timing of a core is not known.

Most Helium instructions take two cycles on a Cortex-M55.
"""

OTHER_CORE = 1.4
INSTRUCTION_BYTES = 2.5
"""Average length of a Thumb-2 or compressed RISC-V instruction in the kernels."""

CONSTANT_BYTES = 0.3
"""Bytes of constants an instruction reads on the average, where the mix of the kernel is not known."""

AVERAGE_BAND = (0.65, 1.5)
"""(low, high) of true cycles relative to estimated ones where an average of the core is all that is known."""

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
        mix: events for one instruction of its kernel on the core, see `cycles.py`; empty if they are not known.
        constants_read: bytes of constants that one instruction reads.
    """

    node: str
    op: str
    choice: str
    flash: int
    ram: int
    instructions: int
    mix: Mix = field(default_factory=dict)
    constants_read: float = CONSTANT_BYTES


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
    timing = timing_of(board.core)
    average = CYCLES_PER_INSTRUCTION.get(board.core, OTHER_CORE)
    if timing is not None and layer.mix:
        average = timing.per_instruction(layer.mix)
    return round(layer.instructions * (average + code_stalls(board))) + constant_stalls(layer, board)


def code_stalls(board: McuBoard) -> float:
    """Cycles an instruction waits for code from flash.

    Kernels are loops that fit every instruction cache; without one each line waits, prefetch hiding about half.
    """
    timing = board.flash_timing
    if timing.wait_states == 0 or timing.instruction_cache:
        return 0.0
    return 0.5 * timing.wait_states * INSTRUCTION_BYTES / timing.line_bytes


def constant_stalls(layer: McuLayer, board: McuBoard) -> int:
    """Cycles spent waiting for constants: each line once if they fit the data cache, else at every use."""
    timing = board.flash_timing
    lines = layer.flash / timing.line_bytes
    if layer.flash > timing.data_cache:
        lines = max(lines, layer.instructions * layer.constants_read / timing.line_bytes)
    return round(timing.wait_states * lines)


def cycle_band(footprint: McuFootprint, board: McuBoard) -> tuple[float, float]:
    """(low, high) factors around the cycles of a firmware."""
    timing = timing_of(board.core)
    if timing is not None and all(layer.mix for layer in footprint.layers if layer.instructions):
        return timing.band
    return AVERAGE_BAND


def mcu_estimate(
    board: McuBoard, footprint: McuFootprint, savings: Mapping[str, McuFootprint] | None = None
) -> Estimate:
    """The estimate of a firmware.

    Args:
        savings: change the user can make, as an imperative -> footprint after it.
    """
    layers = tuple(_layer(layer, board) for layer in footprint.layers)
    total = _total(board, footprint)
    low, high = cycle_band(footprint, board)
    bands = {"cycles": (round(total.cycles * low), round(total.cycles * high))}
    if not footprint.measured:
        error = round(FUNCTION_ERROR * footprint.code)
        bands["flash"] = (total.flash - error, total.flash + error)
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


def _total(board: McuBoard, footprint: McuFootprint) -> Resources:
    return Resources(
        flash=footprint.flash, ram=footprint.ram, cycles=sum(cycles(layer, board) for layer in footprint.layers)
    )
