"""The fastest assignment that fits a board, and weight formats that are forced."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.backends.mcu.backend import BACKEND
from boardfit.backends.mcu.choice import Candidate
from boardfit.backends.mcu.kernel import Kernel, Lowered, Table, always
from boardfit.backends.mcu.plan import make_plan
from boardfit.backends.mcu.weight_formats import forced_formats
from boardfit.backends.mcu.within import Limits, _descend, fastest_within, flash_bytes
from boardfit.board import Memory
from boardfit.errors import ModelError, UsageError
from boardfit.options import BackendOptions

from .host import m4
from .test_project import small_network


def candidate(name: str, instructions: int, table: int, scratch: int) -> Candidate:
    tables = (Table("weights", np.zeros(table, np.int8)),)

    def lower(site: object) -> Lowered:
        return lowered

    lowered = Lowered((), tables, instructions=instructions, scratch_bytes=scratch)
    return Kernel(name, "Dense", always, lower), lowered


def ram_bytes(chosen: Sequence[Candidate]) -> int:
    return 100 + max(lowered.scratch_bytes for _, lowered in chosen)


Problem = tuple[list[list[Candidate]], dict[int, dict[str, int]], Limits]


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    layers, code = [], {}
    for _ in range(draw(st.integers(1, 4))):
        options = []
        for name in "abc"[: draw(st.integers(1, 3))]:
            found = candidate(name, *(draw(st.integers(0, 40)) for _ in range(3)))
            code[id(found[1])] = {name: 10, **({"shared": 7} if draw(st.booleans()) else {})}
            options.append(found)
        layers.append(options)
    return layers, code, Limits(draw(st.integers(0, 150)), draw(st.integers(90, 150)))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(problems())
def test_it_is_the_fastest_of_all_that_fit(
    problem: tuple[list[list[Candidate]], dict[int, dict[str, int]], Limits],
) -> None:
    layers, code, limits = problem

    def code_bytes(lowered: Lowered) -> dict[str, int]:
        return code[id(lowered)]

    fitting = [
        sum(lowered.instructions for _, lowered in chosen)
        for chosen in itertools.product(*layers)
        if flash_bytes(chosen, code_bytes) <= limits.flash and ram_bytes(chosen) <= limits.ram
    ]
    found = fastest_within(layers, limits, code_bytes, ram_bytes)
    assert (found is None) == (not fitting)
    if found is not None:
        assert flash_bytes(found, code_bytes) <= limits.flash
        assert ram_bytes(found) <= limits.ram
        assert sum(lowered.instructions for _, lowered in found) == min(fitting)
    descended = _descend(layers, limits.flash, code_bytes)
    assert descended is None or flash_bytes(descended, code_bytes) <= limits.flash


def test_a_board_that_is_short_of_flash_gets_the_fastest_plan_that_fits() -> None:
    graph, board = small_network(), m4()
    fast = BACKEND.estimate(graph, board, BackendOptions())
    short = replace(board, flash=Memory(0, fast.total.flash - 200))
    found = BACKEND.estimate(graph, short, BackendOptions())
    assert found.fits
    assert found.total.cycles > fast.total.cycles
    assert make_plan(graph, short) is make_plan(graph, short)


def test_a_format_that_nothing_stores_is_an_error_of_that_layer() -> None:
    graph = small_network()
    with pytest.raises(ModelError, match=r"conv2d_1.*its weights cannot be stored as huffman"):
        BACKEND.validate(graph, m4(), BackendOptions(weights={"conv2d_1": "huffman"}))


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"conv2d_9": "int8"}, r"no layer with weights is called 'conv2d_9'"),
        ({"conv2d_1": "int9"}, r"there is no weight format 'int9' \(asked for 'conv2d_1'\)"),
        ({"": "int8"}, r"several layers are called ''"),
    ],
)
def test_what_is_forced_must_exist(weights: dict[str, str], text: str) -> None:
    with pytest.raises(UsageError, match=text):
        BACKEND.validate(small_network(), m4(), BackendOptions(weights=weights))


def test_a_pattern_forces_every_layer_it_fits_and_a_name_goes_before_it() -> None:
    layers = [name for name, _ in forced_formats(small_network(), {"*": "int8"})]
    assert len(layers) > 1
    found = dict(forced_formats(small_network(), {"conv2d_1": "csr", "*": "int8", "*1*": "block"}))
    assert [found[name] for name in layers] == ["csr" if "conv2d_1" in name else "int8" for name in layers]
    assert forced_formats(small_network(), {"*": "auto"}) == ()


def test_forcing_what_is_chosen_anyway_changes_nothing() -> None:
    graph = small_network()
    free = BACKEND.emit(graph, m4(), BackendOptions())
    forced = BACKEND.emit(graph, m4(), BackendOptions(weights={"/conv2d_1/Conv2D": "int8", "dense_3": "auto"}))
    assert free.digest == forced.digest
