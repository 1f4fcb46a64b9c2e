"""Students: cut out of the model or brought along, taught by one network or several."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from boardfit.cli.application import app
from boardfit.errors import UsageError
from boardfit.export import export_model
from boardfit.recipe import compress_model, find_recipe
from boardfit.recipe.compress import default_recipe
from boardfit.recipe.networks import load_floating, load_teachers, make_student, students
from boardfit.recipe.recipe import parse_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL, DATA = EXAMPLES / "digits.onnx", EXAMPLES / "digits_calibration.npz"
SHORT = parse_recipe(
    "steps: [{train: {options: {epochs: 30, batch: 16, learning_rate: 0.003}, imitation: {}}}]", "short", "short.yaml"
)


def calibration() -> dict[str, np.ndarray]:
    model = load_floating(MODEL)
    with np.load(DATA) as archive:
        return {model.inputs[0]: archive["x"].astype(np.float32).reshape(-1, *model.types[model.inputs[0]].shape)}


def test_a_student_cut_out_of_the_model_learns_from_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    made = compress_model(MODEL, SHORT, student="auto:0.5", train=DATA, output=tmp_path / "small")
    assert made.fidelity.measure == "agreement" and made.fidelity.value > 0.8
    assert sum(layer.values for layer in made.layers) < 0.6 * load_floating(MODEL).parameters
    assert '"student"' in (tmp_path / "small" / "report.json").read_text()


def test_a_student_from_a_file_learns_from_an_ensemble(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    model = load_floating(MODEL)
    small = tmp_path / "small.onnx"
    small.write_bytes(export_model(make_student(model, "auto:0.5", calibration())).SerializeToString())
    made = compress_model(MODEL, SHORT, student=small, teachers=[MODEL, MODEL], train=DATA)
    assert made.fidelity.value > 0.8


def test_several_teachers_answer_with_the_mean_of_their_logits() -> None:
    from boardfit.interp import run

    model = load_floating(MODEL)
    both = load_teachers(model, [MODEL, MODEL])
    data = calibration()
    ours, theirs = run(model, data)[model.outputs[0]], run(both, data)[both.outputs[0]]
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)


def test_a_bound_tries_the_smallest_student_first() -> None:
    model = load_floating(MODEL)
    sizes = [graph.parameters for graph in students(model, "auto", calibration(), several=True)]
    assert sizes == sorted(sizes) and len(sizes) > 3
    (only,) = students(model, "auto", calibration(), several=False)
    assert only.parameters < model.parameters
    assert list(students(model, None, {}, several=True)) == [model]


@pytest.mark.parametrize("text", ["auto:0", "auto:2", "auto:half", "auto:0.5x2"])
def test_what_is_no_student(text: str) -> None:
    with pytest.raises(UsageError, match="is no student"):
        make_student(load_floating(MODEL), text, calibration())


def test_a_student_has_to_be_trained() -> None:
    with pytest.raises(UsageError, match="does not train, and a student has to"):
        compress_model(MODEL, "int4", student="auto", calibration=DATA)


def test_the_command_line_takes_the_recipe_for_students() -> None:
    assert find_recipe(default_recipe("auto:0.5", ())).name == "distil-hints"
    assert find_recipe(default_recipe("auto:0.5", [MODEL])).name == default_recipe("small.onnx", ()) == "distil"
    assert default_recipe(None, ()) == "int4"
    result = CliRunner().invoke(app, ["compress", str(MODEL), "--student", "auto:0.5", "-o", "unused"])
    assert result.exit_code != 0 and "there is no training data" in str(result.exception)
