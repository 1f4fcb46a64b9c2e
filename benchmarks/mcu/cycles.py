"""How good the cycle model is: estimate beside executed instructions, and the model beside published cycle counts.

    python -m benchmarks.mcu.cycles

1. Every model on a Cortex-M4 and a Cortex-M7: `boardfit estimate` predicts instructions, their mix and the waits for
   the flash; here the firmware runs under the emulator, the same model is applied to what was executed, and a
   simulation of the board's caches counts the waits.
2. The networks computed by CMSIS-NN run the same way, and the cycles are compared with a published submission that
   uses CMSIS-NN. Needs the package `bakenn`, which carries its sources; without it the rows are left out.
3. Cycles on a Cortex-M7 over those on a Cortex-M4, ours and of published software that runs on both.
4. Our cycles beside those of the fastest published software on the same board: no error of the model, a comparison.

Writes `benchmarks/results/cycles.json`, rows {check, model, core, board, software, instructions, cycles, reference,
error}: `error` is cycles / reference - 1.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from boardfit.backends.mcu.cost import footprint
from boardfit.backends.mcu.emulator import Caches, Program, build, run
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.board import McuBoard, find_board
from boardfit.estimate.cycles import timing_of
from boardfit.estimate.mcu import cycles as estimated_cycles

from .. import corpus
from ..results import Row, print_rows, write_rows
from . import cmsis_nn
from .__main__ import BOARDS, FLAGS, inputs_for, network
from .published import BOTH_CORES, CMSIS_NN, OTHERS
from .trace import REDUCTIONS, read_instructions

HARNESS = ("main", "measure_begin", "measure_end", "harness_run")
CORES = ("m4", "m7")
PREFETCHED = 0.5
"""Share of a missed line of code whose wait prefetching hides, as the estimate assumes."""


def board_named(name: str) -> McuBoard:
    """A microcontroller board."""
    board = find_board(name)
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{name} is no microcontroller")
    return board


def executed_cycles(program: Program, core: str, board: McuBoard, inputs: np.ndarray) -> tuple[float, float]:
    """(instructions, cycles) of a program by its executed instructions and simulated caches, mean over the inputs."""
    timing, flash = timing_of(board.core), board.flash_timing
    if timing is None:
        raise SystemExit(f"no timing of {board.core}")
    width = flash.line_bytes
    caches = Caches(width, flash.instruction_cache // width, flash.data_cache // width)
    with tempfile.TemporaryDirectory(prefix="boardfit-cycles-") as name:
        elf = build(program, MACHINES[core], Path(name), samples=len(inputs))
        measured = run(elf, program, MACHINES[core], inputs, caches)
        events = REDUCTIONS[core](read_instructions(elf, measured, HARNESS))
    assert measured.flow is not None
    instructions = events["instructions"] / len(inputs)
    shares = {event: count / events["instructions"] for event, count in events.items()}
    waits = flash.wait_states * ((1 - PREFETCHED) * measured.flow.code_misses + measured.flow.constant_misses)
    return instructions, instructions * timing.per_instruction(shares) + waits


def check_estimates() -> list[Row]:
    """The estimate of every model beside the model applied to what was executed."""
    rows: list[Row] = []
    for core in CORES:
        board = board_named(BOARDS[core])
        for model in corpus.FLOAT_TINY:
            graph, _ = network(model, board.name)
            plan = make_plan(graph, board)
            layers = footprint(plan, board, FLAGS[0]).layers
            estimate = sum(estimated_cycles(layer, board) for layer in layers)
            inputs = packed_inputs(graph, inputs_for(model, graph)[:2])
            instructions, cycles = executed_cycles(model_program(plan, board, FLAGS), core, board, inputs)
            rows.append(_row("estimate", model, core, board, "boardfit", instructions, estimate, cycles))
    return rows


def check_cmsis_nn() -> list[Row]:
    """The model applied to CMSIS-NN beside the published cycles; without rows if its sources are not installed."""
    folder = cmsis_nn.sources_folder()
    if folder is None:
        print("CMSIS-NN: left out, the package that carries its sources is not installed (pip install bakenn)")
        return []
    board = board_named(CMSIS_NN.board)
    rows: list[Row] = []
    for model in corpus.FLOAT_TINY:
        graph, _ = network(model, board.name)
        program = cmsis_nn.program(graph, folder, FLAGS)
        instructions, cycles = executed_cycles(program, "m4", board, np.zeros((1, program.input_bytes), np.uint8))
        reference = CMSIS_NN.cycles(model)
        rows.append(_row("published", model, "m4", board, CMSIS_NN.software, instructions, cycles, reference))
    return rows


def check_cores(estimates: list[Row]) -> list[Row]:
    """Cycles on a Cortex-M7 over those on a Cortex-M4: published by others, and ours by the model."""
    rows: list[Row] = []
    ours = {(str(row["model"]), str(row["core"])): float(str(row["reference"])) for row in estimates}
    for model in corpus.FLOAT_TINY:
        ratio = ours[model, "m7"] / ours[model, "m4"]
        for slow, fast in BOTH_CORES:
            published = fast.cycles(model) / slow.cycles(model)
            rows.append(
                {
                    "check": "M7 over M4",
                    "model": model,
                    "software": fast.software,
                    "board": fast.board,
                    "cycles": round(ratio, 3),
                    "reference": round(published, 3),
                    "error": round(ratio / published - 1, 3),
                }
            )
    return rows


def compare_with_others(estimates: list[Row]) -> list[Row]:
    """Our cycles by the model beside published ones."""
    found = [row for row in estimates if row["core"] == "m4"]
    return [
        {**row, "check": "beside others", "software": other.software, "cycles": row["reference"]}
        | {"reference": round(reference), "error": round(float(str(row["reference"])) / reference - 1, 3)}
        for other in OTHERS
        for row in found
        for reference in [other.cycles(str(row["model"]))]
    ]


def _row(
    check: str,
    model: str,
    core: str,
    board: McuBoard,
    software: str,
    instructions: float,
    cycles: float,
    reference: float,
) -> Row:
    return {
        "check": check,
        "model": model,
        "core": core,
        "board": board.name,
        "software": software,
        "instructions": round(instructions),
        "cycles": round(cycles),
        "reference": round(reference),
        "error": round(cycles / reference - 1, 3),
    }


def main() -> int:
    """Measure, print, write."""
    if not corpus.available():
        print(corpus.missing())
        return 0
    estimates = check_estimates()
    print_rows("Estimated cycles; reference: the model applied to the executed instructions", estimates)
    published = check_cmsis_nn()
    print_rows("The model applied to CMSIS-NN 4.0.0; reference: published cycles", published)
    cores = check_cores(estimates)
    print_rows("Cycles on a Cortex-M7 over those on a Cortex-M4; reference: published software", cores)
    others = compare_with_others(estimates)
    print_rows("The model applied to our executed instructions; reference: published cycles of others", others)
    if published:
        print(f"written to {write_rows('cycles', [*estimates, *published, *cores, *others])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
