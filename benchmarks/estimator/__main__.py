"""Judge the FPGA estimator: `python -m benchmarks.estimator` (make bench-estimator).

Leave-one-repository-out: every row is predicted by prices and intervals that have not seen its repository. Prints the
tables and writes benchmarks/results/estimator.json, rows {source, resource, predicted, actual, low, high}, and the
errors alone to estimator_summary.json: the rows quote reports that are not part of this project, so git ignores them.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from boardfit.estimate.fpga.intervals import interval_of

from ..results import Row, Value, write_rows
from .corpus import Sample, corpus_folder
from .fit import leave_one_out, load_samples
from .pages import TARGETS
from .spread import key_of, outcomes, spread_factors

RESULTS = Path(__file__).resolve().parents[1] / "results" / "estimator.json"
SUMMARY = "estimator_summary"
"""Name of the results that are kept under version control: errors, but no figure of any report."""
FIGURES = ("dsp", "lut", "ff", "bram18", "latency", "ii")
# rule4ml 0.2.0 (graph network, default) on the jets model 16-64-32-32-5, <16,6>, U250, reuse 1, Latency; the report is
# part 1 of the hls4ml tutorial. Both as measured for the survey of the peers, not run here.
PEER = (("dsp", 1120, 2118), ("latency", 55, 12), ("lut", 57382, 109753), ("ff", 40458, 12562), ("bram18", 0.7, 4))


@dataclass(frozen=True, slots=True)
class Judged:
    """One predicted figure beside the real one."""

    sample: Sample
    resource: str
    predicted: float
    actual: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Absolute relative error; a real zero counts as one."""
        return abs(self.predicted - self.actual) / max(self.actual, 1.0)

    @property
    def inside(self) -> bool:
        """Whether the 80 % interval holds the real figure."""
        return self.low <= self.actual <= self.high


def judge(samples: Sequence[Sample]) -> list[Judged]:
    """Predict every sample without its repository, intervals included."""
    held_out = leave_one_out(samples)
    known = outcomes(held_out)
    judged: list[Judged] = []
    for repository in sorted({sample.repository for sample in samples}):
        factors = spread_factors([row for row in known if row.repository != repository])
        for sample, predicted in held_out:
            if sample.repository != repository:
                continue
            for name in FIGURES:
                if name not in sample.actual:
                    continue
                spread = factors[key_of(sample, name)]
                figure = interval_of(predicted[name], spread)
                judged.append(Judged(sample, name, figure.value, sample.actual[name], figure.low, figure.high))
    return judged


def summary_table(title: str, groups: Mapping[str, Sequence[Judged]], stage: str) -> Table:
    """One line per group and figure: rows, repositories, median error, share exact, coverage."""
    table = Table(title=title, title_justify="left")
    for column in ("rows of", "figure", "rows", "repos", "median error", "exact", "in interval", "target"):
        table.add_column(column, justify="left" if column in ("rows of", "figure") else "right")
    for group, judged in groups.items():
        for name in FIGURES:
            rows = [row for row in judged if row.resource == name]
            if not rows:
                continue
            exact = sum(row.predicted == row.actual for row in rows) / len(rows)
            table.add_row(
                group,
                name,
                str(len(rows)),
                str(len({row.sample.repository for row in rows})),
                f"{median(row.error for row in rows):.1%}",
                f"{exact:.0%}",
                f"{sum(row.inside for row in rows) / len(rows):.0%}",
                TARGETS.get((stage, name), "") if group == "all" else "",
            )
    return table


def summary_rows(stage: str, groups: Mapping[str, Sequence[Judged]]) -> list[Row]:
    """The lines of `summary_table` as {stage, group, resource, rows, repositories, median_error, exact, inside}."""
    found: list[Row] = []
    for group, judged in groups.items():
        for name in FIGURES:
            rows = [row for row in judged if row.resource == name]
            if rows:
                line: dict[str, Value] = {"stage": stage, "group": group, "resource": name, "rows": len(rows)}
                line["repositories"] = len({row.sample.repository for row in rows})
                line["median_error"] = round(median(row.error for row in rows), 4)
                line["exact"] = round(sum(row.predicted == row.actual for row in rows) / len(rows), 4)
                line["inside"] = round(sum(row.inside for row in rows) / len(rows), 4)
                found.append(line)
    return found


def _grouped(judged: Sequence[Judged], key: Callable[[Judged], str]) -> dict[str, list[Judged]]:
    groups: dict[str, list[Judged]] = {"all": list(judged)}
    for row in judged:
        groups.setdefault(key(row), []).append(row)
    return groups


def peer_table(judged: Sequence[Judged]) -> Table:
    """The jets model: rule4ml's prediction and ours (without the tutorial repositories' own rows) against reports."""
    table = Table(title="Jets model 16-64-32-32-5, 16 bit, reuse 1, Latency, io_parallel", title_justify="left")
    for column in ("estimator", "figure", "predicted", "report", "error"):
        table.add_column(column, justify="left" if column == "estimator" else "right")
    for name, predicted, actual in PEER:
        table.add_row("rule4ml", name, f"{predicted:g}", f"{actual:g}", f"{abs(predicted - actual) / actual:.0%}")
    shape = [(16, 64), (64, 32), (32, 32), (32, 5)]
    seen: set[str] = set()
    for row in judged:
        layers = [layer for layer in row.sample.analysis.design.layers if layer.kind == "dense"]
        same = [(layer.n_in, layer.n_out) for layer in layers] == shape
        plain = all(
            layer.weight_precision.width == 16 and layer.reuse_factor == 1 and layer.strategy == "latency"
            for layer in layers
        )
        if not (same and plain and row.sample.stage == "hls" and row.resource in ("dsp", "latency", "lut")):
            continue
        name = row.sample.repository.split("/")[-1]
        if row.sample.identity in seen or len(seen) < 4:
            seen.add(row.sample.identity)
            table.add_row(
                f"boardfit on {name}", row.resource, f"{row.predicted:g}", f"{row.actual:g}", f"{row.error:.0%}"
            )
    return table


def as_json(judged: Sequence[Judged]) -> str:
    """Rows {source, resource, predicted, actual, low, high}, one per line."""
    lines = []
    for row in judged:
        stage = "csynth" if row.sample.stage == "hls" else "vsynth"
        source = f"{row.sample.level}:{row.sample.repository}/{row.sample.identity}/{stage}"
        entry = {
            "source": source,
            "resource": row.resource,
            "predicted": row.predicted,
            "actual": row.actual,
            "low": row.low,
            "high": row.high,
        }
        lines.append(json.dumps(entry))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def main() -> int:
    """Print the tables, write the results; 1 if the corpus is not there."""
    console = Console(width=118)
    if not (corpus_folder() / "designs.csv").is_file():
        console.print(f"no corpus at {corpus_folder()}: set BOARDFIT_CORPUS to the folder that holds research/")
        return 1
    skipped: Counter[str] = Counter()
    judged = judge(load_samples(skipped))
    designs = [row for row in judged if row.sample.level == "design"]
    built = [row for row in designs if row.sample.stage == "synthesis" and row.resource != "latency"]
    reported = [row for row in designs if row.sample.stage == "hls"]
    layers = [row for row in judged if row.sample.level == "layer"]
    sweep, hls4ml = "Dendendelen/wa-hls4ml-search", "fastmachinelearning/hls4ml"

    def repository(row: Judged) -> str:
        return row.sample.repository.split("/")[-1][:24]

    def origin(row: Judged) -> str:
        return "one-layer sweep" if row.sample.repository == sweep else "whole projects"

    def layer_kind(row: Judged) -> str:
        layer = row.sample.analysis.design.layers[0]
        matrix = layer.kind in ("dense", "conv", "depthwise", "pointwise")
        return f"{layer.kind} {layer.io_type[3:]}" + (f" {layer.strategy}" if matrix else "")

    whole = [row for row in reported if row.sample.repository != sweep]
    tests = [row for row in whole if row.sample.repository == hls4ml]
    by_origin = {
        **_grouped(reported, origin),
        "of these, hls4ml's own tests": tests,
        "of these, users' projects": [row for row in whole if row.sample.repository != hls4ml],
    }
    tables = {
        "synthesis": ("After Vivado synthesis, per design", _grouped(built, repository)),
        "hls": ("HLS report, per design", by_origin),
        "layer": ("HLS report, per layer", _grouped(layers, layer_kind)),
    }
    for stage, (title, groups) in tables.items():
        console.print(summary_table(title, groups, stage))
    console.print(peer_table(designs))
    console.print("Rows not judged: " + "; ".join(f"{reason}: {count}" for reason, count in skipped.most_common()))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(as_json(designs), encoding="utf-8")
    write_rows(SUMMARY, [row for stage, (_, groups) in tables.items() for row in summary_rows(stage, groups)])
    console.print(f"{len(designs)} rows written to benchmarks/results/{RESULTS.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
