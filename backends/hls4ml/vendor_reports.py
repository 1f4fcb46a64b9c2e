"""Reports of Vivado HLS (2019, 2020), Vitis HLS (2021 to 2024) and Vivado, read back from an output folder.

The layouts are those of UG902 and UG1399 (synthesis and co-simulation reports), UG835 (report_utilization) and UG906
(report_timing_summary).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from boardfit.errors import OutputError
from boardfit.vendor_report import StageReport

from . import csim

COLUMNS = {"BRAM_18K": "bram18", "DSP48E": "dsp", "DSP": "dsp", "FF": "ff", "LUT": "lut", "URAM": "uram"}
"""Column of an HLS report -> resource."""

SITES = {
    "Slice LUTs": ("lut", 1),
    "CLB LUTs": ("lut", 1),
    "Slice Registers": ("ff", 1),
    "CLB Registers": ("ff", 1),
    "Block RAM Tile": ("bram18", 2),
    "URAM": ("uram", 1),
    "DSPs": ("dsp", 1),
}
"""Row of report_utilization -> resource, and how many of it one of them is."""

HIERARCHY = {
    "Total LUTs": ("lut", 1),
    "FFs": ("ff", 1),
    "RAMB36": ("bram18", 2),
    "RAMB18": ("bram18", 1),
    "URAM": ("uram", 1),
    "DSP Blocks": ("dsp", 1),
    "DSP48 Blocks": ("dsp", 1),
}
"""Column of report_utilization -hierarchical -> the same."""

CONFIG = re.compile(r"config(\d+)(?!\d)")
"""hls4ml numbers its layers in the names of their functions."""


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of a text table, with the headings above it, such as ('Latency', 'Detail', 'Instance')."""

    section: str
    path: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def find_reports(folder: Path) -> tuple[StageReport, ...]:
    """Every report in an output folder, in the order of the flow.

    Raises:
        OutputError: there are none yet, or one is not what its name says.
    """
    facts = csim.interface(folder)
    project = facts["project"]
    layers = {int(index): name for name, index in facts["layers"].items()}
    found: list[StageReport] = []
    solutions = [folder / f"{project}{kind}_prj" / "solution1" for kind in ("", "_axi")]
    readers: tuple[tuple[str, list[Path], Callable[[str], StageReport]], ...] = (
        ("hls", [s / "syn/report" / f"{project}_csynth.rpt" for s in solutions], lambda text: read_hls(text, layers)),
        ("hls", [s / "syn/report" / f"{project}_csynth.xml" for s in solutions], read_hls_xml),
        ("cosim", [solutions[0] / "sim/report" / f"{project}_cosim.rpt"], read_cosim),
        ("synthesis", [folder / "vivado_synth.rpt"], read_utilization),
        (
            "implementation",
            [folder / "reports/impl_utilization_hierarchical.rpt"],
            lambda text: read_hierarchy(text, project),
        ),
    )
    for stage, places, reader in readers:
        path = next((place for place in places if place.is_file()), None)
        if path is None or any(report.stage == stage for report in found):
            continue
        read = reader(path.read_text(encoding="utf-8", errors="replace"))
        if not read.found:
            raise OutputError("is not the report its name says, or the tool has not finished it", file=str(path))
        slack = _slack(folder / "reports/impl_timing.rpt") if stage == "implementation" else None
        place = path.relative_to(folder).as_posix()
        found.append(StageReport(stage, place, read.found, read.layers, slack))
    if not found:
        command = (
            "vivado_hls -f build_prj.tcl" if facts["tool"] == "vivado" else "vitis-run --mode hls --tcl build_prj.tcl"
        )
        raise OutputError(
            "holds no reports of the vendor's tool yet",
            file=str(folder),
            hint=f"run '{command}' there, then 'vivado -mode batch -source vivado_synth.tcl'",
        )
    return tuple(found)


def read_hls(text: str, layers: Mapping[int, str]) -> StageReport:
    """A synthesis report (`<top>_csynth.rpt`) of Vivado HLS or Vitis HLS.

    Args:
        text: the report.
        layers: hls4ml's number of a layer -> its name.
    """
    totals: dict[str, float] = {}
    parts: dict[str, dict[str, float]] = {}
    for table in tables(text):
        if table.section == "Performance Estimates" and table.path[:1] == ("Latency",):
            if table.path[-1] == "Summary":
                totals |= _cycles(table.rows[-1])
            elif table.path[-1] == "Instance":
                for row in table.rows:
                    _add(parts, layers, row[:2], _cycles(row[2:]), largest=True)
        elif table.section == "Utilization Estimates":
            columns = next((row for row in table.rows if "LUT" in row), ())
            for row in table.rows:
                amounts = {
                    COLUMNS[column]: _number(cell)
                    for column, cell in zip(columns, row, strict=False)
                    if column in COLUMNS and _is_number(cell)
                }
                if table.path == ("Summary",) and row[0] == "Total":
                    totals |= amounts
                elif table.path[-1] == "Instance" and row[0] != "Total":
                    _add(parts, layers, row[:2], amounts, largest=False)
    return StageReport("hls", "", totals if "lut" in totals else {}, parts)


def read_hls_xml(text: str) -> StageReport:
    """The same totals from `<top>_csynth.xml`, for folders that keep only that."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return StageReport("hls", "", {})
    found: dict[str, float] = {}
    overall = root.find("./PerformanceEstimates/SummaryOfOverallLatency")
    for tag, name in (("Worst-caseLatency", "cycles"), ("Interval-max", "interval")):
        value = overall.findtext(tag, "") if overall is not None else ""
        if _is_number(value):
            found[name] = _number(value)
    for child in root.findall("./AreaEstimates/Resources/*"):
        if child.tag in COLUMNS and _is_number(child.text or ""):
            found[COLUMNS[child.tag]] = _number(child.text or "")
    return StageReport("hls", "", found if "lut" in found else {})


def read_cosim(text: str) -> StageReport:
    """A co-simulation report: cycles and interval of the language that was simulated."""
    found: dict[str, float] = {}
    for table in tables(text):
        for row in table.rows:
            if row[0] in ("Verilog", "VHDL") and len(row) > 7 and row[1].lower() == "pass":
                for name, cell in (("cycles", row[4]), ("interval", row[7])):
                    if _is_number(cell):
                        found[name] = _number(cell)
    return StageReport("cosim", "", found)


def read_utilization(text: str) -> StageReport:
    """`report_utilization` of Vivado after synthesis or implementation."""
    found: dict[str, float] = {}
    for table in tables(text):
        for row in table.rows:
            site = SITES.get(row[0].rstrip("*").strip())
            if site is not None and len(row) > 1 and _is_number(row[1]):
                found.setdefault(site[0], site[1] * _number(row[1]))
    return StageReport("synthesis", "", found if "lut" in found else {})


def read_hierarchy(text: str, project: str) -> StageReport:
    """The network's share in `report_utilization -hierarchical`: its row is the first of its module's name."""
    for table in tables(text):
        columns = next((row for row in table.rows if "Total LUTs" in row), None)
        if columns is None:
            continue
        row = next((row for row in table.rows if _is_network(row[0], row[1], project)), None)
        if row is not None:
            found: dict[str, float] = {}
            for column, cell in zip(columns, row, strict=False):
                if column in HIERARCHY and _is_number(cell.split("(")[0]):
                    name, factor = HIERARCHY[column]
                    found[name] = found.get(name, 0) + factor * _number(cell.split("(")[0])
            return StageReport("implementation", "", found)
    return StageReport("implementation", "", {})


def tables(text: str) -> Iterator[Table]:
    """The tables of a report; a line with one word between stars or pluses and a colon is a heading."""
    section, headings = "", list[tuple[int, str]]()
    rows: list[tuple[str, ...]] = []
    for line in (*text.splitlines(), ""):
        stripped = line.strip()
        if stripped.startswith("|") and stripped.endswith("|"):
            rows.append(tuple(cell.strip() for cell in stripped[1:-1].split("|")))
            continue
        if rows and not re.match(r"[+|]-", stripped):
            yield Table(section, tuple(title for _, title in headings), tuple(rows))
            rows = []
        if stripped.startswith("== "):
            section, headings = stripped[3:].strip(), []
        heading = re.match(r"(\s*)[*+] ([A-Za-z]+)[^:|]*:\s*$", line)
        if heading:
            depth = len(heading[1])
            headings = [(other, title) for other, title in headings if other < depth]
            headings.append((depth, heading[2]))


def _cycles(cells: tuple[str, ...]) -> dict[str, float]:
    """Latency and interval of `min max [min max in time] min max type`, the larger one of each."""
    found = {"cycles": cells[1], "interval": cells[-2]} if len(cells) >= 5 else {}
    return {name: _number(cell) for name, cell in found.items() if _is_number(cell)}


def _add(
    parts: dict[str, dict[str, float]],
    layers: Mapping[int, str],
    names: tuple[str, ...],
    amounts: Mapping[str, float],
    *,
    largest: bool,
) -> None:
    """Put the figures of an instance to its layer's; a layer may have several."""
    match = next((match for match in map(CONFIG.search, reversed(names)) if match), None)
    layer = layers.get(int(match[1])) if match else None
    if layer is None:
        return
    found = parts.setdefault(layer, {})
    for name, amount in amounts.items():
        before = found.get(name, 0.0)
        found[name] = max(before, amount) if largest else before + amount


def _is_network(instance: str, module: str, project: str) -> bool:
    """Whether a row is the network's: in a block design the module has the design's name in front."""
    return instance == f"{project}_U0" or module == project or module.endswith(f"_0_{project}")


def _slack(path: Path) -> float | None:
    """Worst negative slack of `report_timing_summary`, or None."""
    if not path.is_file():
        return None
    lines = iter(path.read_text(encoding="utf-8", errors="replace").splitlines())
    for line in lines:
        if line.split()[:1] == ["WNS(ns)"]:
            next(lines, "")
            first = next(lines, "").split()[:1]
            return float(first[0]) if first and _is_number(first[0]) else None
    return None


def _is_number(text: str) -> bool:
    return re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", text) is not None


def _number(text: str) -> float:
    return float(text)
