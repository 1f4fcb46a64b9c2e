"""Recipes: what files may say, what comes out, and that nothing is left half-written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import boardfit
from boardfit.errors import BudgetError, UsageError
from boardfit.interp import run
from boardfit.recipe import compress_model, find_recipe, recipe_names
from boardfit.recipe.context import Context
from boardfit.recipe.recipe import parse_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL, DATA = EXAMPLES / "digits.onnx", EXAMPLES / "digits_calibration.npz"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_is_shipped_is_sound(name: str) -> None:
    recipe = find_recipe(name)
    assert recipe.description
    pytest.importorskip("tensorflow") if recipe.trains else None
    imported = boardfit.compile(MODEL, "nucleo-l4r5zi", DATA).floating
    for setting in range(len(recipe.settings)):
        assert recipe.make_steps(setting, Context(imported, {}))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("steps: []", "a recipe needs a list of steps"),
        ("- prune", "a recipe needs a list of steps"),
        ("steps: [prune]\nstep: 3", "a recipe has no 'step'"),
        ("steps: [prune]\nsettings: 3", "settings are a list of mappings"),
        ("steps: [prune]\ndefault: 4", "default 4 is no index of a setting"),
        ("steps: [[prune]]", "is no step"),
        ("steps: [prune: 3]", "is no step"),
        ("steps: [", "not a YAML file"),
    ],
)
def test_bad_recipe_files(text: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse_recipe(text, "mine", "mine.yaml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("steps: [purne]", "no step is called 'purne'\nhint: did you mean 'prune'"),
        ("steps: [{prune: {sparsty: 0.5}}]", "step 'prune' has no option 'sparsty'\nhint: did you mean 'sparsity'"),
        ("steps: [{prune: {sparsity: half}}]", "step 'prune': "),
        ("steps: [{prune: {sparsity: $share}}]", "recipe 'mine' has no setting 'share'"),
        ("steps: [{prune: {pattern: {blok: 4}}}]", "step 'prune': option 'pattern' cannot be {'blok': 4}"),
        ("steps: [{prune: {data: 4}}]", "step 'prune' has no option 'data'"),
    ],
)
def test_bad_steps(text: str, problem: str) -> None:
    recipe = parse_recipe(text, "mine", "mine.yaml")
    with pytest.raises(UsageError) as raised:
        recipe.make_steps(0, Context(boardfit.compile(MODEL, "nucleo-l4r5zi", DATA).floating, {}))
    assert problem in str(raised.value)


def test_unknown_recipe() -> None:
    with pytest.raises(UsageError, match="did you mean 'int4'"):
        find_recipe("int-4")


def test_output_is_a_model_that_compiles_to_the_same_integers(tmp_path: Path) -> None:
    made = compress_model(MODEL, "int4", calibration=DATA, board="nucleo-l4r5zi", output=tmp_path / "small")
    report = json.loads((tmp_path / "small" / "report.json").read_text())
    assert [layer["bits"] for layer in report["layers"]] == [4, 4, 4]
    assert sum(layer["share"] for layer in report["layers"]) == pytest.approx(1.0)
    assert "<svg" in (tmp_path / "small" / "report.html").read_text()
    compiled = boardfit.compile(tmp_path / "small" / "model.onnx", "nucleo-l4r5zi")
    ours = {tuple(c.values.reshape(-1)) for c in made.integer.constants.values()}
    theirs = {tuple(c.values.reshape(-1)) for c in compiled.graph.constants.values()}
    assert ours == theirs
    again = compress_model(MODEL, "int4", calibration=DATA, board="nucleo-l4r5zi")
    assert again.artifact.digest == made.artifact.digest


def test_ranks_are_chosen_for_the_board(tmp_path: Path) -> None:
    """Factored layers are layers of the compressed file, which compiles to what was measured, and costs less."""
    recipe = parse_recipe("steps: [{choose-ranks: {share: 0.8}}]", "ranks", "ranks.yaml")
    made = compress_model(MODEL, recipe, calibration=DATA, board="nucleo-l4r5zi", output=tmp_path / "small")
    names = [layer.node for layer in made.layers]
    assert any(name.endswith(("/in", "/vertical")) for name in names)
    compiled = boardfit.compile(tmp_path / "small" / "model.onnx", "nucleo-l4r5zi")
    plain = boardfit.compile(MODEL, "nucleo-l4r5zi", DATA)
    assert compiled.estimate.total.cycles < 0.9 * plain.estimate.total.cycles
    x = np.zeros((1, 1, *compiled.graph.types[compiled.graph.inputs[0]].shape[1:]), np.int64)
    ours, theirs = (run(graph, {graph.inputs[0]: x}) for graph in (made.integer, compiled.graph))
    assert all(np.array_equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))
    with pytest.raises(UsageError, match="what they cost on a board"):
        compress_model(MODEL, recipe, calibration=DATA)


def test_the_strongest_setting_that_holds_is_taken() -> None:
    loose = compress_model(MODEL, "prune", calibration=DATA, max_drop=60.0)
    tight = compress_model(MODEL, "prune", calibration=DATA, max_drop=8.0)
    assert loose.setting["sparsity"] > tight.setting["sparsity"]  # type: ignore[operator]
    density = [np.mean([layer.density for layer in made.layers]) for made in (loose, tight)]
    assert density[0] < density[1]


def test_a_bound_that_no_setting_holds(tmp_path: Path) -> None:
    recipe = parse_recipe("steps: [{prune: {sparsity: 0.97}}]", "hard", "hard.yaml")
    with pytest.raises(BudgetError, match="no setting of recipe 'hard' keeps an agreement"):
        compress_model(MODEL, recipe, calibration=DATA, max_drop=0.5, output=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_asks_too_much_gives_way_to_the_next() -> None:
    text = (
        "settings: [{share: 0.35}, {share: 0.95}]\ndefault: 0\nsteps: [{choose-ranks: {share: $share, cost: cycles}}]"
    )
    board = "nucleo-l4r5zi"
    recipe = parse_recipe(text, "ranks", "ranks.yaml")
    made = compress_model(MODEL, recipe, calibration=DATA, max_drop=60.0, board=board)
    assert made.setting == {"share": 0.95}
    with pytest.raises(BudgetError, match="no choice of ranks leaves 35 % of the cycles"):
        compress_model(MODEL, recipe, calibration=DATA, board=board)
    hopeless = parse_recipe(text.replace("0.95", "0.01"), "ranks", "ranks.yaml")
    with pytest.raises(BudgetError, match="no choice of ranks leaves 1 % of the cycles"):
        compress_model(MODEL, hopeless, calibration=DATA, max_drop=60.0, board=board)


def test_training_needs_data() -> None:
    with pytest.raises(UsageError, match="there is no training data"):
        compress_model(MODEL, "deep-compression")


def test_the_report_tells_what_was_refused_for_the_board(tmp_path: Path) -> None:
    recipe = parse_recipe("steps: [{share-filters: {transforms: [mirror], copies: 0.5}}]", "mine", "mine.yaml")
    made = compress_model(MODEL, recipe, calibration=DATA, board="nucleo-l4r5zi", output=tmp_path / "small")
    report = json.loads((tmp_path / "small" / "report.json").read_text())
    assert report["refused"] and all(" where " in text and "cycles" in text for text in report["refused"])
    assert [node.name for node in made.integer.nodes if node.op == "Conv2D"]
    negated = parse_recipe("steps: [{share-filters: {copies: 0.5}}]", "mine", "mine.yaml")
    assert compress_model(MODEL, negated, calibration=DATA).layers
