"""`boardfit estimate --from-table`: the command around the prediction."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from boardfit.cli import app
from boardfit.errors import UsageError

LAYER = {
    "kind": "dense",
    "n_in": 16,
    "n_out": 8,
    "reuse_factor": 16,
    "strategy": "resource",
    "weight_precision": "ap_fixed<16,6>",
}


def write(path: Path) -> None:
    columns = {
        "repo": "r",
        "design_id": "d",
        "stage": "csynth",
        "part": "xc7z020-clg400-1",
        "clock_target_ns": "10",
        "io_type": "io_parallel",
        "strategy": "resource",
        "layers_json": json.dumps([LAYER]),
        "dsp": "8",
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns))
        writer.writeheader()
        writer.writerow(columns)
        writer.writerow({**columns, "layers_json": ""})


def test_table_is_predicted_and_skips_are_told(tmp_path: Path) -> None:
    write(tmp_path / "designs.csv")
    output = tmp_path / "estimator.json"
    answer = CliRunner().invoke(app, ["estimate", "--from-table", str(tmp_path / "designs.csv"), "-o", str(output)])
    assert answer.exit_code == 0, answer.output
    assert "skipped 1 rows: no layers listed" in answer.output
    assert "1 designs predicted" in answer.output
    dsp = next(row for row in json.loads(output.read_text(encoding="utf-8")) if row["resource"] == "dsp")
    assert dsp["predicted"] == dsp["actual"] == 8
    assert dsp["source"] == "r/d/csynth"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["estimate"], "needs a model and --board"),
        (["estimate", "--from-table", "t.csv", "--board", "pynq-z2"], "takes neither a model nor a board"),
        (["estimate", "m.onnx", "--board", "pynq-z2", "-o", "x"], "--output goes with --from-table"),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    answer = CliRunner().invoke(app, arguments)
    assert isinstance(answer.exception, UsageError)
    assert message in str(answer.exception)
