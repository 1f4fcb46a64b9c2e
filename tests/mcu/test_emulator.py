"""The counting harness itself: a loop of known length must count exactly, on every machine."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from boardfit.backends.mcu.emulator import Measurement, Program, measure
from boardfit.backends.mcu.machines import MACHINES, Machine

LOOP = {
    "arm": r'".syntax unified\n1:\n\tsubs %0, %0, #1\n\tbne 1b" : "+l"(turns) :: "cc"',
    "riscv": r'"1:\n\taddi %0, %0, -1\n\tbnez %0, 1b" : "+r"(turns)',
}

SOURCE = """
#include <stdint.h>
#include <string.h>
void harness_setup(void);
void harness_run(const void *input, void *output);
static void __attribute__((noinline)) spin(uint32_t turns)
{
    __asm__ volatile(%s);
}
static uint8_t __attribute__((noinline)) deep(uint32_t bytes)
{
    volatile uint8_t hole[512];
    for (uint32_t i = 0; i < sizeof hole; i++)
        hole[i] = (uint8_t)bytes;
    return hole[bytes & 511u];
}
void harness_setup(void) {}
void harness_run(const void *input, void *output)
{
    uint32_t turns;
    memcpy(&turns, input, sizeof turns);
    spin(turns);
    *(uint8_t *)output = deep(turns);
}
"""


def _measure(machine: Machine, turns: list[int]) -> Measurement:
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    source = SOURCE % LOOP["riscv" if machine.name == "rv32" else "arm"]
    program = Program({"loop.c": source}, input_bytes=4, output_bytes=1, caller="harness_run")
    return measure(program, machine, np.array(turns, np.uint32)[:, None])


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MACHINES))
def test_a_loop_counts_exactly(name: str) -> None:
    machine = MACHINES[name]
    short, long = _measure(machine, [100]), _measure(machine, [100_100])
    assert long.instructions - short.instructions == 2 * 100_000
    assert long.by_function["spin"] - short.by_function["spin"] == 2 * 100_000
    assert long.outputs[0, 0] == 100_100 & 0xFF
    again = _measure(machine, [100_100])
    assert again.by_address == long.by_address


@pytest.mark.slow
def test_counts_are_a_mean_over_samples_and_split_by_call() -> None:
    result = _measure(MACHINES["m4"], [1000, 3000])
    assert result.by_function["spin"] == pytest.approx(2 * 2000 + 1)  # one return instruction
    assert max(count for _, count in result.by_site) >= 2 * 2000
    assert 512 <= result.stack < 700
