"""Measures what kinds of instructions every kernel executes, for the estimates of cycles.

    python -m benchmarks.mcu.instruction_mix [--core m4 ...] [--missing]

writes `backends/mcu/instruction_mix.json`: core -> kernel -> event -> times it happens for one executed instruction.
Every kernel runs on the layers of `typical.py` under the emulator. Needs arm-none-eabi-gcc, qemu-system-arm and the
package capstone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from boardfit.backends.mcu.emit import core_files
from boardfit.backends.mcu.emulator import Caches, Program, build, run
from boardfit.backends.mcu.instruction_mix import CONSTANTS, TABLE
from boardfit.backends.mcu.kernel import Kernel, Site
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan
from boardfit.board import McuBoard, find_board

from .code_size import CORE_BOARDS
from .trace import REDUCTIONS, Events, read_instructions
from .typical import sites_of_kernels

TARGET = Path(__file__).parents[2] / "backends" / "mcu" / TABLE
FLAGS = ("-O2",)
CORES = tuple(core for core in CORE_BOARDS if core in REDUCTIONS)

HARNESS = ("main", "measure_begin", "measure_end", "harness_run", "fill")
DIGITS = 5
NO_CACHES = Caches(32, 0, 0)
BATCH = 40
"""Layers in one program: their weights must fit the emulated flash."""

DRIVER = """
#include <stdint.h>
#include <string.h>
void harness_setup(void);
void harness_run(const void *input, void *output);
static uint8_t memory[{memory}] __attribute__((aligned(16)));
static void __attribute__((noinline)) fill(void)
{{
    uint32_t state = 1u;
    for (uint32_t i = 0; i < sizeof memory; i++) {{
        state = state * 1664525u + 1013904223u;
        memory[i] = (uint8_t)(state >> 24);
    }}
}}
void harness_setup(void) {{}}
void harness_run(const void *input, void *output)
{{
    uint32_t which;
    memcpy(&which, input, sizeof which);
    fill();
    switch (which) {{
{cases}
    default: break;
    }}
    memcpy(output, memory, 4u);
}}
"""


def plan_of(kernel: Kernel, site: Site) -> Plan:
    """A plan of one layer."""
    layers = [Layer(site.node, kernel, kernel.lower(site))]
    return Plan(site.graph, site.features, tuple(layers), *place(site.graph, layers))


def measure_plans(plans: Sequence[Plan], core: str, board: McuBoard) -> list[tuple[Events, float]]:
    """Events of one run of every plan, and the bytes of constants it reads."""
    sources: dict[str, str] = {}
    includes, cases = [], []
    for index, plan in enumerate(plans):
        prefix = f"layer{index}"
        sources |= core_files(plan, board, prefix, single_header=False)
        includes.append(f'#include "{prefix}.h"')
        run_it = f"{{ {prefix}_context context; {prefix}_init(&context, memory); {prefix}_run(&context); break; }}"
        cases.append(f"    case {index}u: {run_it}")
    memory = max(plan.arena.bytes for plan in plans) + 16
    driver = "\n".join(includes) + DRIVER.format(memory=memory, cases="\n".join(cases))
    program = Program({**sources, "driver.c": driver}, 4, 4, FLAGS, warnings=())
    found: list[tuple[Events, float]] = []
    with tempfile.TemporaryDirectory(prefix="boardfit-mix-") as name:
        elf = build(program, MACHINES[core], Path(name), samples=1)
        for index in range(len(plans)):
            rows = np.array([[index]], "<u4").view(np.uint8)
            measured = run(elf, program, MACHINES[core], rows, NO_CACHES)
            instructions = read_instructions(elf, measured, HARNESS)
            assert measured.flow is not None
            found.append((REDUCTIONS[core](instructions), measured.flow.constant_bytes))
    return found


def measure_kernels(core: str, names: Iterable[str]) -> dict[str, dict[str, float]]:
    """The mix of kernels of a core."""
    board = _board(core)
    wanted = set(names)
    cases = [
        (name, plan_of(kernel, site))
        for name, sites in sites_of_kernels(board.features).items()
        if name in wanted
        for kernel, site in sites
    ]
    found: dict[str, list[Mapping[str, float]]] = {}
    for start in range(0, len(cases), BATCH):
        part = cases[start : start + BATCH]
        for (name, _), (events, constants) in zip(
            part, measure_plans([plan for _, plan in part], core, board), strict=True
        ):
            total = events["instructions"]
            shares = {event: count / total for event, count in events.items() if count}
            found.setdefault(name, []).append({**shares, CONSTANTS: constants / total})
    return {name: _mean(mixes) for name, mixes in sorted(found.items())}


def _board(core: str) -> McuBoard:
    board = find_board(CORE_BOARDS[core])
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{CORE_BOARDS[core]} is no microcontroller")
    return board


def _mean(mixes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for mix in mixes:
        sums.update(mix)
    return {event: round(amount / len(mixes), DIGITS) for event, amount in sorted(sums.items()) if amount}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", action="append", choices=CORES, help="only this core; repeatable")
    parser.add_argument("--missing", action="store_true", help="only kernels that have no entry")
    options = parser.parse_args(arguments)
    for core in options.core or CORES:
        table = json.loads(TARGET.read_text()) if TARGET.exists() else {}
        known = table.get(core, {}) if options.missing else {}
        missing = set(sites_of_kernels(_board(core).features)) - set(known)
        table[core] = {**known, **measure_kernels(core, missing)}
        print(f"{core}: {len(missing)} kernels", flush=True)
        TARGET.write_text(_dump(table) + "\n")


def _dump(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """JSON with one line for each kernel."""
    cores = []
    for core, kernels in sorted(table.items()):
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(mix)}" for name, mix in sorted(kernels.items()))
        cores.append(f" {json.dumps(core)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(cores) + "\n}"


if __name__ == "__main__":
    main()
