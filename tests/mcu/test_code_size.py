"""The table of measured code sizes: complete, current, and good enough for estimates."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.mcu.code_size import CORE_FEATURES, functions_for, measure_functions
from boardfit.backends.mcu.code_size import code_size, core_key, function_size, measurements
from boardfit.backends.mcu.emit import core_files
from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Function
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.board import McuBoard, shipped_boards
from boardfit.options import Optimize

from .host import m4, random_inputs
from .test_project import small_network
from .test_strips_on_host import wide_network
from .tools import call, need


def test_every_core_has_both_optimizations() -> None:
    for core in CORE_FEATURES:
        for optimization in ("-O2", "-Os"):
            facts = measurements(core, optimization)
            assert facts["functions"]
            assert facts["library"]["memcpy"] > 0


def test_every_board_has_a_core_in_the_table() -> None:
    for board in shipped_boards():
        if isinstance(board, McuBoard):
            assert core_key(board.core, board.features) in CORE_FEATURES


@pytest.mark.parametrize("core", ["m4", "m0"])
def test_every_function_of_the_samples_is_in_the_table(core: str) -> None:
    missing = [
        name
        for name, function in functions_for(CORE_FEATURES[core]).items()
        if not function_size(function, core, "-O2")[2]
    ]
    assert not missing, "run: python -m benchmarks.mcu.code_size"


@pytest.mark.slow
def test_the_table_is_current(tmp_path: Path) -> None:
    machine = MACHINES["m4"]
    if shutil.which(machine.compiler) is None:
        pytest.skip(f"{machine.compiler} is not installed")
    found = measure_functions(functions_for(CORE_FEATURES["m4"]), machine, "-O2", tmp_path)
    assert found == measurements("m4", "-O2")["functions"], "run: python -m benchmarks.mcu.code_size"


@pytest.mark.slow
@pytest.mark.parametrize("optimize", [Optimize.SPEED, Optimize.RAM])
def test_the_stack_is_predicted(optimize: Optimize) -> None:
    """Also where a stage is computed in strips: dozens of calls on shared tables."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    graph = wide_network()
    plan = make_plan(graph, m4(), optimize)
    rows = packed_inputs(graph, random_inputs(graph, 1, seed=0)[0])
    measured = measure(model_program(plan, m4()), MACHINES["m4"], rows).stack
    caller = 16  # of the measuring program, which calls the run function
    assert abs(code_size(plan, "m4", "-O2").stack + caller - measured) <= 16


def test_the_run_function_keeps_no_sums_of_addresses(tmp_path: Path) -> None:
    """Its frame does not grow with the number of strips."""
    need("arm-none-eabi-gcc")
    for optimize in (Optimize.SPEED, Optimize.RAM):
        plan = make_plan(wide_network(), m4(), optimize)
        for name, text in core_files(plan, m4(), "model", single_header=False).items():
            (tmp_path / name).write_text(text)
        flags = (*MACHINES["m4"].flags, "-O2", "-std=c99", "-fstack-usage")
        call(tmp_path, "arm-none-eabi-gcc", *flags, "-c", "model.c", "-o", "model.o")
        frames = {line.split(":")[-1].split()[0]: line.split()[1] for line in (tmp_path / "model.su").open()}
        assert int(frames["model_run"]) <= 64


def test_an_unmeasured_function_is_judged_by_its_likes() -> None:
    strange = Function("linear_u8_s16_s8_wide", "linear.c.j2", {})
    code, stack, measured = function_size(strange, "m4", "-O2")
    assert code > 100 and stack > 0 and not measured


def test_a_plan_is_the_sum_of_its_parts() -> None:
    sizes = code_size(make_plan(small_network(), m4()), "m4", "-O2")
    assert sizes.measured
    assert sizes.total == sizes.run + sum(sizes.functions.values()) + sum(sizes.library.values())
    assert 0 < sizes.run < 400
