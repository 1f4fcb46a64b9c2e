"""The table of forms: its cache, and what the forms of a layer share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import boardfit.solver.table as table_module
from boardfit.backend import find_backend
from boardfit.board import find_board
from boardfit.compress.chains import placed_sources
from boardfit.compress.factoring import Factoring
from boardfit.compress.layers import weight_layers
from boardfit.compress.reconstruction import LayerProblem
from boardfit.compress.schemes import Scheme
from boardfit.options import BackendOptions, ImportOptions, QuantizeOptions
from boardfit.prepare import Prepared, lower_for_board, prepare
from boardfit.solver.forms import PLAIN, Form, make_form
from boardfit.solver.search import apply_forms, choose_forms
from boardfit.solver.table import FormTable, make_table

EXAMPLES = Path(__file__).parents[2] / "examples"
BOARD = find_board("nucleo-l4r5zi")
FORMS = (PLAIN, Form(8, 0.5, 4), Form(4, 0.5))


@pytest.fixture(scope="module")
def digits() -> Prepared:
    return prepare(
        EXAMPLES / "digits.onnx",
        BOARD,
        EXAMPLES / "digits_calibration.npz",
        imports=ImportOptions(),
        quantize=QuantizeOptions(),
        backend=BackendOptions(),
    )


def table(prepared: Prepared, cache: Path, forms: tuple[Form, ...] = FORMS, drop: float | None = None) -> FormTable:
    quantize = QuantizeOptions(max_drop=drop)
    backend = find_backend("mcu")
    return make_table(prepared.floating, prepared.data, BOARD, backend, BackendOptions(), quantize, forms, cache)


def contents(made: FormTable) -> list[tuple[Form, float, int]]:
    return [(entry.form, entry.loss, entry.resources.flash) for row in made.entries for entry in row]


def test_a_second_table_is_taken_from_the_cache(
    digits: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = table(digits, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(table_module, "make_form", lambda *_: pytest.fail("the cache was not used"))
        assert contents(table(digits, tmp_path)) == contents(first)
        assert contents(table(digits, tmp_path, drop=1.0)) == contents(first)  # a bound changes no cost
    for entry in (tmp_path / "forms").iterdir():
        entry.write_text("[1, 2]")  # damaged: made again
    assert contents(table(digits, tmp_path)) == contents(first)


def test_only_new_forms_are_made(digits: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table(digits, tmp_path, FORMS[:2])
    made: list[Form] = []

    def spy(problem: LayerProblem, form: Form) -> object:
        made.append(form)
        return make_form(problem, form)

    monkeypatch.setattr(table_module, "make_form", spy)
    assert [entry.form for entry in table(digits, tmp_path).entries[0]] == list(FORMS)
    assert set(made) == {FORMS[2]}


def test_other_data_is_another_table(digits: Prepared, tmp_path: Path) -> None:
    table(digits, tmp_path, FORMS[:2])
    few = {name: values[:20] for name, values in digits.data.items()}
    table(replace(digits, data=few), tmp_path, FORMS[:2])
    assert len(list((tmp_path / "forms").iterdir())) == 2


def test_forms_of_a_layer_share_what_its_inputs_say(digits: Prepared) -> None:
    layer = weight_layers(digits.floating)[0]
    inputs = np.random.default_rng(1).standard_normal((16, *digits.floating.types[layer.node.inputs[0]].shape))
    problem = LayerProblem(layer, inputs.astype(np.float32), inputs.astype(np.float32))
    halved = replace(layer, weights=layer.weights / 2)
    gram, damped = problem.gram, problem.damped
    other = problem.with_layer(halved)
    assert other.damped is damped and np.array_equal(other.gram, gram)
    assert np.allclose(other.target[:, :-1], problem.target[:, :-1] / 2)  # what the weights say is
    fresh = replace(problem, layer=halved)
    assert np.array_equal(fresh.target, other.target) and np.array_equal(fresh.damped, other.damped)


def test_layers_with_another_structure_are_forms_among_others(digits: Prepared, tmp_path: Path) -> None:
    """The largest layer in factors, and in factors of 4 bits; what does not get cheaper is not offered."""
    small = Form(structure=Factoring(Scheme.SVD, 0.25))
    forms = (PLAIN, small, Form(4), replace(small, width=4), Form(structure=Factoring(Scheme.SVD, 0.99)))
    made = table(digits, tmp_path, forms)
    assert contents(table(digits, tmp_path, forms)) == contents(made)  # from the cache
    largest = max(made.entries, key=lambda row: row[0].resources.flash)
    flash = {entry.form: entry.resources.flash for entry in largest}
    assert flash[forms[3]] < flash[small] < flash[PLAIN] and flash[forms[3]] < flash[Form(4)]
    assert not any(
        entry.form == forms[4] and entry.resources.flash >= row[0].resources.flash
        for row in made.entries
        for entry in row
    )
    limit = sum(row[0].resources.flash for row in made.entries) - flash[PLAIN] + flash[forms[3]]
    chosen = choose_forms(made, {"flash": float(limit)})
    assert chosen is not None
    backend = find_backend("mcu")
    found = apply_forms(
        digits.floating,
        digits.data,
        made,
        chosen,
        lambda graph: lower_for_board(graph, BOARD, digits.data, QuantizeOptions()),
        lambda graph: backend.estimate(graph, BOARD, BackendOptions()),
    )
    structures = {name for name, form in found.forms.items() if form.structure is not None}
    assert structures and structures.isdisjoint(layer.name for layer in weight_layers(found.graph))
    for name, row, form in zip(made.layers, made.entries, chosen, strict=True):
        told = next(entry.resources.flash for entry in row if entry.form == form)
        share = found.estimate.share(placed_sources(digits.floating, found.graph, name)).flash
        assert abs(share - told) < 0.05 * told
