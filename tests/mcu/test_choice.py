"""The choice of kernel variants, and the estimate and budget that follow from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from boardfit.backends.mcu import variants
from boardfit.backends.mcu.backend import BACKEND
from boardfit.backends.mcu.choice import choose
from boardfit.backends.mcu.kernel import Bound, Kernel, Lowered, Site, Table
from boardfit.backends.mcu.plan import make_plan
from boardfit.board import Memory
from boardfit.errors import BudgetError, ModelError
from boardfit.estimate.budget import check_budget
from boardfit.ir import FLOAT32
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.sigmoid import SigmoidAttrs
from boardfit.options import BackendOptions, Optimize

from .builders import Builder, s8
from .host import m4
from .test_project import small_network


def candidate(name: str, instructions: int, scratch: int = 0, table: int = 0) -> tuple[Kernel, Lowered]:
    def refuse(site: Site) -> str | None:
        return None

    def lower(site: Site) -> Lowered:
        return found

    tables = (Table("weights", np.zeros(table, np.int8)),) if table else ()
    found = Lowered((), tables, instructions=instructions, scratch_bytes=scratch)
    return Kernel(name, "Dense", refuse, lower), found


def names(chosen: list[tuple[Kernel, Lowered]]) -> list[str]:
    return [kernel.name for kernel, _ in chosen]


def test_each_aim_gets_what_it_asks_for() -> None:
    fast = candidate("fast", 1000, scratch=500, table=4000)
    small = candidate("small", 1500, scratch=500, table=1000)
    lean = candidate("lean", 1400, scratch=0, table=4000)
    layers = [[fast, small, lean]] * 2

    def picked(aim: Optimize) -> list[str]:
        return names(
            choose(
                layers, aim, lambda lowered: {}, lambda chosen: 1000 + max(found.scratch_bytes for _, found in chosen)
            )
        )

    assert picked(Optimize.SPEED) == ["fast", "fast"]
    assert picked(Optimize.SIZE) == ["small", "small"]
    assert picked(Optimize.RAM) == ["lean", "lean"]


def test_a_shared_function_is_paid_once() -> None:
    own = candidate("own", 1000)
    shared = candidate("shared", 1020)
    code = {id(own[1]): {"own": 900}, id(shared[1]): {"shared": 100}}
    chosen = choose([[own, shared]] * 3, Optimize.SIZE, lambda lowered: code[id(lowered)], lambda chosen: 100)
    assert names(chosen) == ["shared"] * 3


def test_size_takes_less_flash_than_speed() -> None:
    graph, board = small_network(), m4()
    found = {aim: BACKEND.estimate(graph, board, BackendOptions(optimize=aim)).total for aim in Optimize}
    assert found[Optimize.SIZE].flash < found[Optimize.SPEED].flash
    assert found[Optimize.SPEED].cycles <= found[Optimize.SIZE].cycles
    assert found[Optimize.RAM].ram <= found[Optimize.SPEED].ram


def test_ram_is_arena_and_stack() -> None:
    graph = small_network()
    found = BACKEND.estimate(graph, m4(), BackendOptions())
    assert found.details["arena"] == make_plan(graph, m4()).arena.bytes
    assert found.total.ram == found.details["arena"] + found.details["stack"]
    assert found.total.flash == found.details["constants"] + found.details["code"]
    assert found.total.cycles == pytest.approx(sum(layer.resources.cycles for layer in found.layers), abs=8)


def test_a_network_too_large_names_its_heaviest_nodes_and_a_saving() -> None:
    board = replace(m4(), flash=Memory(0, 2000), ram=Memory(0, 300))
    estimate = BACKEND.estimate(small_network(), board, BackendOptions())
    assert not estimate.fits
    assert {saving.change for saving in estimate.savings} == {"give --optimize size", "give --optimize ram"}
    with pytest.raises(BudgetError, match=r"does not fit .*\n.*flash: needs .*\n(.*\n)*.*/conv2d_1/Conv2D \(Conv2D\)"):
        check_budget(estimate, board, "small.onnx")


def test_what_no_kernel_can_do_is_told_by_its_node() -> None:
    build = Builder("refused")
    x = build.input((1, 4), s8())
    weights = build.input((3, 4), s8())
    graph = build.finish(build.node("Dense", [x, weights], DenseAttrs(), s8()))
    with pytest.raises(ModelError, match=r"node '/dense_1/Dense' \(Dense\): .*weights are not constant"):
        BACKEND.validate(graph, m4(), BackendOptions())
    assert BACKEND.refuse(graph.nodes[0], graph) == "its weights are not constant"


def test_float_graphs_are_judged_by_what_quantization_makes_of_them() -> None:
    build = Builder("float")
    x = build.input((1, 4), FLOAT32)
    graph = build.finish(build.node("Sigmoid", [x], SigmoidAttrs()))
    assert BACKEND.refuse(graph.nodes[0], graph) is None
    with pytest.raises(ModelError, match="no microcontroller code for Sigmoid"):
        BACKEND.validate(graph, m4(), BackendOptions())


@pytest.mark.parametrize(("aim", "instructions", "expected"), [
    (Optimize.SPEED, 10**6, False),
    (Optimize.SPEED, 100, True),
    (Optimize.SIZE, 2000, True),
])  # fmt: skip
def test_what_takes_long_is_laid_out_only_where_it_may_be_chosen(
    monkeypatch: pytest.MonkeyPatch, aim: Optimize, instructions: int, expected: bool
) -> None:
    build = Builder("one layer")
    x = build.input((1, 4), s8())
    weights = build.constant(np.ones((3, 4), np.int8), s8())
    graph = build.finish(build.node("Dense", [x, weights], DenseAttrs(), s8()))
    plain = candidate("plain", 1000, table=400)[0]
    slow = replace(candidate("slow", instructions, table=10)[0], bound=lambda site: Bound(instructions, 10, 0))
    monkeypatch.setattr(variants, "variants_of", lambda op: (plain, slow))
    site = Site(graph.nodes[0], graph, m4().features)
    (found,) = variants.promising(graph, {graph.nodes[0].name: site}, aim, ())
    assert ("slow" in names(found)) == expected
    assert names(variants.candidates(site)) == ["plain", "slow"]  # a board that is short of flash sees all
    again = variants.candidates(site)
    assert [lowered for _, lowered in again] == [lowered for _, lowered in variants.candidates(site)]


def test_variants_of_one_name_for_different_cores_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    build = Builder("one layer")
    x = build.input((1, 4), s8())
    graph = build.finish(build.node("Dense", [x, build.constant(np.ones((3, 4), np.int8), s8())], DenseAttrs(), s8()))
    other_core = replace(candidate("tile", 10)[0], needs=frozenset({"no such feature"}))
    monkeypatch.setattr(variants, "variants_of", lambda op: (candidate("tile", 1000)[0], other_core))
    found = variants.candidates(Site(graph.nodes[0], graph, m4().features))
    assert [lowered.instructions for _, lowered in found] == [1000]
