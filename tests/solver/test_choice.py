"""The solver's choice against every possible choice, and against uniform settings."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from boardfit.compress.circulant import CirculantBlocks
from boardfit.compress.grids import GridKind
from boardfit.compress.layers import NewWeights, weight_layers
from boardfit.compress.reconstruction import LayerProblem
from boardfit.estimate.report import Estimate
from boardfit.ir.circulant import Circulant
from boardfit.resources import Resources
from boardfit.solver.forms import FORMS, Form, make_form
from boardfit.solver.search import choose_forms, predicted_loss, trade_off
from boardfit.solver.table import Entry, FormTable
from tests.train.networks import dense_network


def random_table(seed: int, layers: int, forms: int) -> FormTable:
    """Losses and sizes that fall and rise with the form, layer by layer differently."""
    random = np.random.default_rng(seed)
    entries: list[tuple[Entry, ...]] = []
    for _ in range(layers):
        sizes = np.sort(random.integers(100, 5000, forms))[::-1]
        losses = np.cumsum(random.exponential(1.0, forms)) * random.exponential(1.0)
        losses[0] = 0.0
        row = [Entry(FORMS[i], float(losses[i]), Resources(flash=int(sizes[i]), cycles=1000)) for i in range(forms)]
        entries.append(tuple(row))
    plain = Resources(flash=1000, cycles=1)
    for made in entries:
        plain = plain + made[0].resources
    estimate = Estimate("board", Resources(flash=10**6), plain, (), 1, 100.0)
    return FormTable(tuple(f"layer{i}" for i in range(layers)), tuple(entries), Resources(flash=1000), estimate)


@pytest.mark.parametrize("seed", range(8))
def test_best_of_all(seed: int) -> None:
    table = random_table(seed, layers=4, forms=5)
    sizes = [sum(e.resources.flash for e in row) / 5 for row in table.entries]
    limit = float(sum(sizes))
    chosen = choose_forms(table, {"flash": limit})
    assert chosen is not None
    best = min(
        sum(entry.loss for entry in choice)
        for choice in itertools.product(*table.entries)
        if sum(entry.resources.flash for entry in choice) <= limit
    )
    assert predicted_loss(table, chosen) == pytest.approx(best, rel=1e-3)


def test_impossible_limits_are_proven() -> None:
    table = random_table(1, layers=3, forms=4)
    least = sum(min(e.resources.flash for e in row) for row in table.entries)
    assert choose_forms(table, {"flash": float(least)}) is not None
    assert choose_forms(table, {"flash": float(least - 1)}) is None


@pytest.mark.parametrize("seed", range(4))
def test_never_worse_than_a_uniform_setting(seed: int) -> None:
    """Over a grid of ten budgets: the same form for every layer is one of the solver's choices."""
    table = random_table(seed, layers=6, forms=8)
    curve = trade_off(table, "flash", 10)
    assert curve[-1][1] == tuple(FORMS[:1]) * 6
    for limit, forms in curve:
        loss = predicted_loss(table, forms)
        for index in range(8):
            uniform = [row[index] for row in table.entries]
            if sum(entry.resources.flash for entry in uniform) + table.fixed.flash <= limit:
                assert loss <= sum(entry.loss for entry in uniform) + 1e-5


def test_forms_say_what_they_are() -> None:
    assert str(Form()) == "8 bits"
    assert str(Form(8, 0.5, 4)) == "8 bits, 50 % zero in 1x4 blocks"
    assert str(Form(8, 0.9, clusters=16)) == "16 values, 90 % zero"
    assert str(Form(1, grid=GridKind.BINARY)) == "binary" and str(Form(2, grid=GridKind.TERNARY)) == "ternary"
    assert str(Form(structure=CirculantBlocks(8))) == "circulant blocks of 8, 8 bits"
    assert len(set(map(str, FORMS))) == len(FORMS)
    assert FORMS[0].is_plain


def test_circulant_forms_are_made_where_two_blocks_fit() -> None:
    x = np.random.default_rng(0).standard_normal((60, 1, 12)).astype(np.float32)
    layer = weight_layers(dense_network(16))[0]
    made = make_form(LayerProblem(layer, x, x), Form(structure=CirculantBlocks(4)))
    assert isinstance(made, NewWeights)
    assert Circulant(4).holds(made.values)
    assert make_form(LayerProblem(layer, x, x), Form(structure=CirculantBlocks(8))) is None


def test_one_and_two_bit_forms_have_as_many_values() -> None:
    layer, x = weight_layers(dense_network(16))[0], np.random.default_rng(1).normal(size=(40, 1, 12)).astype(np.float32)
    for form, values in ((Form(1, grid=GridKind.BINARY), 2), (Form(2, grid=GridKind.TERNARY), 3)):
        made = make_form(LayerProblem(layer, x, x), form)
        assert isinstance(made, NewWeights) and made.element is not None
        assert len(np.unique(made.values)) == values
