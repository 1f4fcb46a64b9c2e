"""`boardfit report`: what the vendor's tools found beside what was predicted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .artifact import read_manifest
from .backend import find_backend
from .errors import OutputError, UsageError

PREDICTED_AS = {"hls": "hls", "cosim": "hls", "synthesis": "synthesis", "implementation": "synthesis"}
"""Stage of the vendor's flow -> stage of the estimate it is compared with."""


@dataclass(frozen=True, slots=True)
class StageReport:
    """What one report says.

    Attributes:
        stage: 'hls', 'synthesis', 'implementation' or 'cosim'.
        file: path inside the output folder.
        found: 'lut', 'ff', 'dsp', 'bram18', 'uram', 'cycles', 'interval' -> amount, as far as the report lists them.
        layers: layer of the project -> the same, for reports that list instances.
        slack_ns: worst slack after implementation, or None.
    """

    stage: str
    file: str
    found: Mapping[str, float]
    layers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    slack_ns: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure: predicted, with the interval that holds four of five results, and found; intervals may be unknown."""

    stage: str
    name: str
    predicted: float
    low: float | None
    high: float | None
    actual: float

    @property
    def error(self) -> float | None:
        """Relative error of the prediction; None where nothing was found."""
        return (self.predicted - self.actual) / self.actual if self.actual else None


@dataclass(frozen=True, slots=True)
class LayerComparison:
    """The figures of one layer in the HLS report."""

    layer: str
    node: str
    figures: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The result of `boardfit report`.

    Attributes:
        folder, board: what was read.
        files: reports that were found, stage -> path.
        figures: the whole design, stage by stage.
        layers: layer by layer, where the HLS report lists them.
        unlisted: layers that were predicted and are not in the HLS report: fused, or under another name.
        slack_ns: worst slack after implementation, or None.
    """

    folder: str
    board: str
    files: Mapping[str, str]
    figures: tuple[Comparison, ...]
    layers: tuple[LayerComparison, ...]
    unlisted: tuple[str, ...]
    slack_ns: float | None


def report_folder(folder: str | Path) -> Report:
    """Read the vendor's reports in an output folder and compare them with the manifest's predictions.

    Raises:
        OutputError: not an output of boardfit, no reports yet, or one that cannot be read.
        UsageError: an output for a microcontroller.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest["board"]["kind"] != "fpga":
        raise UsageError(
            f"{folder} is firmware: no vendor's tool reports on it",
            hint=f"'boardfit verify {folder}' measures flash and RAM",
        )
    predictions = manifest["estimate"].get("predictions")
    if not predictions:
        raise OutputError(
            "the manifest holds no predictions", file=str(folder), hint="compile the model again with this boardfit"
        )
    reports = find_backend(manifest["board"]["kind"]).reports(folder)
    figures: list[Comparison] = []
    for report in reports:
        figures += _compare(report.stage, predictions[PREDICTED_AS[report.stage]], report.found)
    listed = {name: found for report in reports for name, found in report.layers.items()}
    planned = {entry["layer"]: entry for entry in manifest["plan"] if entry.get("layer")}
    layers = tuple(
        LayerComparison(name, entry["node"], tuple(_compare("hls", entry["hls"], listed[name])))
        for name, entry in planned.items()
        if name in listed
    )
    return Report(
        str(folder),
        manifest["board"]["name"],
        {report.stage: report.file for report in reports},
        tuple(figures),
        layers,
        tuple(name for name in planned if name not in listed) if listed else (),
        next((report.slack_ns for report in reports if report.slack_ns is not None), None),
    )


def _compare(stage: str, predicted: Mapping[str, Any], found: Mapping[str, float]) -> list[Comparison]:
    rows: list[Comparison] = []
    for name, actual in found.items():
        if name in predicted:
            value = predicted[name]
            figure, low, high = value if isinstance(value, list) else (value, None, None)
            rows.append(Comparison(stage, name, figure, low, high, actual))
    return rows
