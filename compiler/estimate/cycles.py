"""Cycles of instructions on microcontroller cores, from what the cores' makers publish.

A kernel's *mix* says how many of each event happen for one executed instruction (measured, see
`boardfit.backends.mcu.instruction_mix`); a core's timing says what each event costs. From memory without wait states
the cycles of a layer are instructions times the sum of both. Waits for the flash are added by `mcu.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Mix = Mapping[str, float]

CHECKED = (0.9, 1.25)
"""Band of the Cortex-M4: CMSIS-NN takes 1.10 to 1.20 times the cycles the model says, as published, and the estimate is
within 4 % of the model applied to executed instructions (`python -m benchmarks.mcu.cycles`)."""

UNCHECKED = (0.75, 1.4)
"""Band of cores for which no published figure can be compared: what is not known of their pipelines comes on top. On a
Cortex-M7 the ratio to the Cortex-M4 is 0.81 to 1.21 times that of published software."""


@dataclass(frozen=True, slots=True)
class CoreTiming:
    """What events cost on a core.

    Attributes:
        events: event -> cycles; events that are not listed cost nothing beyond what is.
        source: where the figures are from.
        band: (low, high) of true cycles relative to estimated ones.
    """

    events: Mapping[str, float]
    source: str
    band: tuple[float, float] = UNCHECKED

    def per_instruction(self, mix: Mix) -> float:
        """Average cycles of an instruction of a mix."""
        return sum(cycles * mix.get(event, 0.0) for event, cycles in self.events.items())


REFILL = 2.0
"""Cycles to refill the pipeline after a taken branch: the manuals say 1 to 3."""

DIVIDE = 6.0
"""Cycles of a division beyond the first: the manuals say 2 to 12, it ends early for small quotients."""

SINGLE_ISSUE = {
    "instructions": 1.0,
    "loads": 1.0,
    "indexed_stores": 1.0,
    "address": 1.0,
    "transfers": 1.0,
    "branches": REFILL,
    "returns": REFILL,
    "divides": DIVIDE,
}
"""A single load takes 2 cycles unless it follows one; n registers take 1 + n; a taken branch 1 + P."""

CORTEX_M4 = CoreTiming(
    {**SINGLE_ISSUE, "float_accumulates": 2.0, "float_divides": 13.0},
    "Arm Cortex-M4 Processor Technical Reference Manual (100166), 3.3.1 'Table of processor instructions', 3.3.2 "
    "'Load/store timings', 7.2.3 'FPU instruction set table'",
    CHECKED,
)

TIMINGS: Mapping[str, CoreTiming] = {
    "cortex-m0": CoreTiming(
        {
            "instructions": 1.0,
            "loads": 1.0,
            "pipelined_loads": 1.0,
            "stores": 1.0,
            "transfers": 1.0,
            "branches": 2.0,
            "returns": 2.0,
        },
        "Arm Cortex-M0 Technical Reference Manual (DDI 0432), 3.3 'Instruction set summary', multiplier of one cycle",
    ),
    "cortex-m0plus": CoreTiming(
        {
            "instructions": 1.0,
            "loads": 1.0,
            "pipelined_loads": 1.0,
            "stores": 1.0,
            "transfers": 1.0,
            "branches": 1.0,
            "returns": 1.0,
        },
        "Arm Cortex-M0+ Technical Reference Manual (DDI 0484), 3.3 'Instruction set summary', multiplier of one cycle",
    ),
    "cortex-m3": CoreTiming(
        {**SINGLE_ISSUE, "accumulates": 1.0, "long_multiplies": 3.0, "long_accumulates": 4.5},
        "Arm Cortex-M3 Technical Reference Manual (DDI 0337), 3.3.1 'Cortex-M3 instructions': MLA 2, SMULL 3 to 5, "
        "SMLAL 4 to 7 cycles",
    ),
    "cortex-m4": CORTEX_M4,
    "cortex-m33": CoreTiming(
        CORTEX_M4.events,
        "as the Cortex-M4: Arm publishes no table for this core",
    ),
    "cortex-m7": CoreTiming(
        {"issue": 1.0, "mispredicted": 6.0, "returns": 3.0, "divides": DIVIDE, "float_divides": 15.0},
        "dual issue by the scheduling model of LLVM, ARMScheduleM7.td: Arm publishes no table for this core",
    ),
}
"""Cores whose cycles follow from the mix."""


def timing_of(core: str) -> CoreTiming | None:
    """The timing of a core in the spelling of gcc's -mcpu, or None if its cycles are only known on the average."""
    return TIMINGS.get(core)
