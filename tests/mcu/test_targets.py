"""The MLPerf Tiny models on the emulated Cortex-M4 stay within their budgets, every byte equal to the interpreter."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

import pytest

from benchmarks import corpus
from boardfit.backends.mcu.machines import MACHINES


@dataclass(frozen=True, slots=True)
class Budget:
    """Instructions per inference, bytes of flash beside the weights, bytes of RAM with input, output and stack."""

    instructions: int
    code: int
    ram: int


BUDGETS = {
    "ad01": Budget(330_000, 3_000, 2_000),
    "ic01": Budget(15_000_000, 10_000, 36_000),
    "kws01": Budget(3_800_000, 10_000, 12_000),
    "vww01": Budget(10_000_000, 14_000, 44_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("model", BUDGETS)
def test_cortex_m4_budget(model: str) -> None:
    if not corpus.available():
        pytest.skip(corpus.missing())
    machine = MACHINES["m4"]
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    from benchmarks.mcu.__main__ import measure_model

    result = measure_model(model, "m4")
    budget = BUDGETS[model]
    assert result.equal
    assert result.measurement.instructions <= budget.instructions
    assert result.code_bytes <= budget.code
    assert result.ram_bytes <= budget.ram
    predicted = sum(layer.lowered.instructions for layer in result.plan.layers)
    assert predicted == pytest.approx(result.measurement.instructions, rel=0.05)
