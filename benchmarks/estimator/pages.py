"""Tables of pages about the estimator: errors on repositories that neither prices nor intervals have seen."""

from __future__ import annotations

from typing import Any

from ..results import markdown, results

TARGETS = {
    ("synthesis", "dsp"): "<= 8 %",
    ("synthesis", "lut"): "<= 25 %",
    ("synthesis", "ff"): "<= 25 %",
    ("synthesis", "bram18"): "<= 20 %",
    ("hls", "latency"): "<= 10 %",
    ("hls", "ii"): ">= 90 % exact",
}
NAMES = {"dsp": "DSP", "lut": "LUT", "ff": "FF", "bram18": "BRAM18", "latency": "latency", "ii": "interval"}
HEAD = ("figure", "rows", "median error", "exact", "in 80 % interval", "aim")


def overview() -> str:
    """After synthesis, and cycles of HLS reports."""
    shown = {
        ("synthesis", "all"): "after synthesis",
        ("hls", "all"): "HLS",
        ("hls", "whole projects"): "HLS, without the sweep of single layers",
    }
    rows = []
    for row in _summary():
        report = shown.get((row["stage"], row["group"]))
        if report and (row["stage"], row["resource"]) in TARGETS:
            rows.append([report, *_figures(row)])
    return markdown(["report", *HEAD], rows)


def synthesis() -> str:
    """Every repository with synthesis reports."""
    return _by_group("synthesis")


def reports() -> str:
    """HLS reports: whole projects, and one repository's sweep of single layers."""
    return _by_group("hls")


def layers() -> str:
    """Rows of layers in HLS reports, by kind: median error, share exact, share in the 80 % interval."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for row in _summary():
        if row["stage"] == "layer":
            groups.setdefault(row["group"], {})[row["resource"]] = row
    lines = []
    for group, figures in groups.items():
        first = next(iter(figures.values()))
        cells = [_short(figures.get(name)) for name in NAMES]
        lines.append([group, str(first["rows"]), str(first["repositories"]), *cells])
    return markdown(["layers", "rows", "repositories", *NAMES.values()], lines)


def _by_group(stage: str) -> str:
    rows = [[row["group"], str(row["repositories"]), *_figures(row)] for row in _summary() if row["stage"] == stage]
    return markdown(["rows of", "repositories", *HEAD], rows)


def _short(row: dict[str, Any] | None) -> str:
    return f"{row['median_error']:.1%}, {row['exact']:.0%}, {row['inside']:.0%}" if row else ""


def _figures(row: dict[str, Any]) -> list[str]:
    aim = TARGETS.get((row["stage"], row["resource"]), "") if row["group"] == "all" else ""
    shares = [f"{row['median_error']:.1%}", f"{row['exact']:.0%}", f"{row['inside']:.0%}"]
    return [NAMES[row["resource"]], str(row["rows"]), *shares, aim]


def _summary() -> list[dict[str, Any]]:
    return results("estimator_summary")
