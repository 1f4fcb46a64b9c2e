"""The research corpus as samples: what a report says, and the analysis of the design it belongs to."""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from boardfit.estimate.fpga.coefficients import Coefficients
from boardfit.estimate.fpga.description import RECURRENT_KINDS, DesignDescription, LayerDescription
from boardfit.estimate.fpga.designs import read_design
from boardfit.estimate.fpga.model import Analysis
from boardfit.estimate.fpga.rows import Unreadable, read_layer

CORPUS_VARIABLE = "BOARDFIT_CORPUS"
RESOURCES = ("lut", "ff", "bram18", "dsp")


@dataclass(frozen=True, slots=True)
class Sample:
    """One report row: `level` design or layer, `stage` hls or synthesis, actual figures by column name."""

    level: str
    stage: str
    repository: str
    identity: str
    analysis: Analysis
    actual: Mapping[str, float]


def corpus_folder() -> Path:
    """Folder of the report tables, from $BOARDFIT_CORPUS (default ../shared beside the checkout)."""
    root = Path(os.environ.get(CORPUS_VARIABLE, str(Path(__file__).resolve().parents[2].parent / "shared")))
    return root / "research" / "hls-reports"


def read_rows(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file; fields hold whole JSON texts, so the limit of the csv module is raised."""
    csv.field_size_limit(1 << 30)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _actual(row: Mapping[str, str]) -> dict[str, float]:
    columns = {"lut": "lut", "ff": "ff", "bram18": "bram18", "dsp": "dsp", "latency": "latency_max", "ii": "ii_max"}
    figures: dict[str, float] = {}
    for name, column in columns.items():
        try:
            figures[name] = float(row.get(column) or "")
        except ValueError:
            continue
    return figures


def is_usable(row: Mapping[str, str]) -> bool:
    """Described stock-template rows whose sources agree with the report."""
    return row["described"] == "1.0" and row["stock_template"] == "1.0" and row["desc_match"] not in ("0", "0.0")


def design_samples(rows: list[dict[str, str]], coefficients: Coefficients, skipped: Counter[str]) -> Iterator[Sample]:
    """Usable design rows; reasons of the others are counted in `skipped`."""
    reports = {(row["repo"], row["design_id"]): row for row in rows if row["stage"] == "csynth"}
    for row in rows:
        if not is_usable(row):
            skipped["not a described stock-template row"] += 1
            continue
        design = read_design(row, reports.get((row["repo"], row["paired_csynth_id"])))
        if isinstance(design, Unreadable):
            skipped[design.summary] += 1
            continue
        yield Sample(
            "design",
            "hls" if row["stage"] == "csynth" else "synthesis",
            row["repo"],
            row["design_id"],
            Analysis(design, coefficients),
            {name: value for name, value in _actual(row).items() if design.timed or name not in ("latency", "ii")},
        )


def layer_samples(
    rows: list[dict[str, str]], designs: list[dict[str, str]], coefficients: Coefficients, skipped: Counter[str]
) -> Iterator[Sample]:
    """Stock layer rows of HLS reports, repeats left out."""
    multipliers = {(d["repo"], d["design_id"]): d["mul_impl"] for d in designs if d["stage"] == "csynth"}
    for row in rows:
        if row["stock_template"] != "1" or row["desc_match"] in ("0", "0.0") or row["repeat"] == "1":
            skipped["not a stock layer, or a repeat"] += 1
            continue
        if not row["input_precision"] or not row["lut"]:
            skipped["no input precision or no result"] += 1
            continue
        merged = {**row, "mul_impl": multipliers.get((row["repo"], row["design_id"]), "")}
        layer = read_layer(merged, io_type=row["io_type"] or "io_parallel")
        if isinstance(layer, LayerDescription) and layer.kind in RECURRENT_KINDS:
            layer = Unreadable("recurrent layer")
        if isinstance(layer, Unreadable):
            skipped[layer.summary] += 1
            continue
        clock = float(row["clock_target_ns"] or 5.0)
        design = DesignDescription(row["layer"], (layer,), row["part"], clock, layer.io_type, row["tool"])
        yield Sample(
            "layer",
            "hls",
            row["repo"],
            f"{row['design_id']}/{row['layer']}",
            Analysis(design, coefficients),
            {name: value for name, value in _actual(row).items() if design.timed or name not in ("latency", "ii")},
        )
