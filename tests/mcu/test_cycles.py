"""The cycle model: the manuals' own examples, the table of mixes, and what the emulator reports for it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mcu.instruction_mix import measure_kernels
from benchmarks.mcu.trace import blocks, decode, dual_events, issue_cycles, scalar_events
from benchmarks.mcu.typical import sites_of_kernels, typical_graphs
from boardfit.backends.mcu.code_size import core_key
from boardfit.backends.mcu.emulator import Caches, Program, build, run
from boardfit.backends.mcu.instruction_mix import is_measured, measured_cores, mix_of
from boardfit.backends.mcu.kernel import Site
from boardfit.backends.mcu.kernels import variants_of
from boardfit.backends.mcu.machines import MACHINES
from boardfit.board import McuBoard, shipped_boards
from boardfit.estimate.cycles import TIMINGS, timing_of

pytest.importorskip("capstone", reason="instructions are decoded by the package capstone")

LDR_R0_R1 = bytes.fromhex("0868")
LDR_R1_R2 = bytes.fromhex("1168")
LDR_R0_R1_R2 = bytes.fromhex("8858")
LDR_R0_R1_R5 = bytes.fromhex("4859")
LDR_R2_R3_4 = bytes.fromhex("5a68")
LDR_R0_R0 = bytes.fromhex("0068")
STR_R0_R3_20 = bytes.fromhex("5861")
STR_R1_R3_R2 = bytes.fromhex("9950")
LDM_R0_THREE = bytes.fromhex("0ec8")
LDM_R0_FOUR = bytes.fromhex("1ec8")
ADD_R1_1 = bytes.fromhex("0131")
ADD_R2_1 = bytes.fromhex("0132")
SMLAD_R0 = bytes.fromhex("21fb0200")  # smlad r0, r1, r2, r0
BNE_BACK = bytes.fromhex("fcd1")  # two instructions of 16 bits back


def cycles(core: str, *code: bytes, count: int = 1, taken: int = 0) -> float:
    """Cycles of instructions that follow one another; only the last may branch."""
    found, address = [], 0x100
    for index, raw in enumerate(code):
        found.append(decode(raw.ljust(4, b"\0"), address, count, taken if index == len(code) - 1 else 0))
        address += found[-1].size
    timing = timing_of(core)
    assert timing is not None
    events = dual_events(found) if core == "cortex-m7" else scalar_events(found)
    return timing.per_instruction(events)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ((LDR_R0_R1,), 2),
        ((LDR_R0_R1, LDR_R1_R2), 3),
        ((LDR_R0_R1_R2, STR_R0_R3_20), 3),
        ((LDR_R0_R1_R2, STR_R1_R3_R2), 3),
        ((LDR_R0_R1_R5, LDR_R1_R2, LDR_R2_R3_4), 4),
        ((STR_R0_R3_20,), 1),
        ((LDM_R0_THREE,), 4),
    ],
)
def test_loads_and_stores_as_in_the_manual_of_the_cortex_m4(code: tuple[bytes, ...], expected: int) -> None:
    assert cycles("cortex-m4", *code) == expected  # 3.3.2 'Load/store timings'


def test_a_load_that_needs_the_one_before_is_not_pipelined() -> None:
    assert cycles("cortex-m4", LDR_R0_R1, LDR_R0_R0) == 4


def test_an_address_from_the_instruction_before_costs_a_cycle() -> None:
    assert cycles("cortex-m4", ADD_R1_1, LDR_R0_R1) == 4
    assert cycles("cortex-m4", ADD_R2_1, LDR_R0_R1) == 3


def test_a_taken_branch_refills_the_pipeline() -> None:
    loop = cycles("cortex-m4", ADD_R1_1, BNE_BACK, count=100, taken=99)
    assert loop == 200 + 2 * 99
    assert cycles("cortex-m0plus", ADD_R1_1, BNE_BACK, count=100, taken=99) == 200 + 99


def test_the_cortex_m7_issues_two_at_once_if_they_are_independent() -> None:
    assert cycles("cortex-m7", ADD_R1_1, ADD_R2_1) == 1
    assert cycles("cortex-m7", ADD_R1_1, ADD_R1_1) == 2
    assert cycles("cortex-m7", LDR_R1_R2, LDR_R2_R3_4) == 1
    assert cycles("cortex-m7", LDM_R0_FOUR) == 2


def test_a_chain_of_sums_goes_on_every_cycle_on_a_cortex_m7() -> None:
    assert cycles("cortex-m7", SMLAD_R0, SMLAD_R0, SMLAD_R0, SMLAD_R0) == 4


def test_blocks_end_where_counts_change() -> None:
    one, two = decode(ADD_R1_1, 0x100, 1), decode(ADD_R2_1, 0x102, 7)
    assert [len(block) for block in blocks([one, two])] == [1, 1]
    assert issue_cycles([one]) == 1


@pytest.mark.parametrize("core", ["m0", "m4", "m7"])
def test_every_kernel_of_usual_layers_has_a_mix(core: str) -> None:
    features = next(
        board.features
        for board in shipped_boards()
        if isinstance(board, McuBoard) and core_key(board.core, board.features) == core
    )
    usual = {
        kernel.name
        for graph in typical_graphs()  # kernels of stored weights may take the mean of their op
        for kernel in variants_of(graph.nodes[0].op)
        if kernel.reason_against(Site(graph.nodes[0], graph, features)) is None
    }
    missing = sorted(name for name in usual if not is_measured(name, core))
    assert not missing, "run: python -m benchmarks.mcu.instruction_mix"


def test_every_mix_gives_a_sensible_speed() -> None:
    for core, timing in TIMINGS.items():
        key = core_key(core, frozenset())
        assert key in measured_cores()
        for name in sites_of_kernels(frozenset({"thumb", "multiply"})):
            mix = mix_of(name, key)
            assert mix is not None
            assert 0.4 < timing.per_instruction(mix) < 3.5, (core, name)


def test_a_kernel_that_was_not_measured_takes_the_mean_of_its_op() -> None:
    found = mix_of("conv2d/of_tomorrow", "m4")
    assert found is not None and 1.0 < TIMINGS["cortex-m4"].per_instruction(found) < 2.0
    assert mix_of("conv2d/mve", "m55") is None


@pytest.mark.slow
def test_the_table_of_mixes_is_current() -> None:
    for tool in (MACHINES["m4"].compiler, MACHINES["m4"].qemu):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    for name, found in measure_kernels("m4", ["dense/dsp", "conv2d/dsp_rows", "add/words"]).items():
        # reads of constants between kernels of one program are shared out by length: the last digit depends on the set
        assert found == pytest.approx(mix_of(name, "m4"), abs=1e-3), "run: python -m benchmarks.mcu.instruction_mix"


SOURCE = """
#include <stdint.h>
#include <string.h>
void harness_setup(void);
void harness_run(const void *input, void *output);
static const uint32_t table[256] = {1};
static void __attribute__((noinline)) spin(uint32_t turns)
{
    __asm__ volatile(".syntax unified\\n1:\\n\\tsubs %0, %0, #1\\n\\tbne 1b" : "+l"(turns) :: "cc");
}
static uint32_t __attribute__((noinline)) sum(uint32_t times)
{
    uint32_t found = 0;
    const uint32_t *from = table;
    __asm__ volatile("" : "+r"(from)); /* the compiler knows no values */
    for (; times > 0; times--)
        for (uint32_t i = 0; i < 256; i++)
            found += from[i];
    return found;
}
void harness_setup(void) {}
void harness_run(const void *input, void *output)
{
    uint32_t turns;
    memcpy(&turns, input, sizeof turns);
    spin(turns);
    turns = sum(turns);
    memcpy(output, &turns, 4);
}
"""


@pytest.mark.slow
def test_the_emulator_counts_taken_branches_and_reads_of_constants() -> None:
    machine = MACHINES["m4"]
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    program = Program({"program.c": SOURCE}, 4, 4, ("-O1",), warnings=())
    rows = np.array([[10]], "<u4").view(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        elf = build(program, machine, Path(folder), samples=1)
        small = run(elf, program, machine, rows, Caches(16, 64, 16)).flow
        large = run(elf, program, machine, rows, Caches(16, 64, 128)).flow
        start, size = run(elf, program, machine, rows).sections.functions["spin"]
    assert small is not None and large is not None
    assert sum(count for at, count in small.taken.items() if start <= at < start + size) in (9, 10)  # and the return
    assert 10 * 1024 <= small.constant_bytes <= 10 * 1024 + 64  # literals of the code
    assert 64 <= large.constant_misses <= 70  # every line once
    assert 640 <= small.constant_misses <= 700  # 1 KB does not fit 256 bytes
