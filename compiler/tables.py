"""What the command line prints, as rich tables and lines of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .board import Board, McuBoard

if TYPE_CHECKING:
    from .api import Compilation
    from .estimate.report import Estimate
    from .inspection import Inspection
    from .recipe import Compressed, Recipe
    from .solver.design import Curve, Point
    from .solver.width_curve import WidthCurve
    from .vendor_report import Comparison, Report
    from .verification import RunResult, Verification

Printable = Table | str

HEADINGS = {
    "lut": "LUT",
    "ff": "FF",
    "dsp": "DSP",
    "bram18": "BRAM18",
    "uram": "URAM",
    "flash": "flash",
    "ram": "RAM",
    "cycles": "cycles",
}
"""Resource -> heading."""

FPGA_COLUMNS = ("lut", "ff", "dsp", "bram18", "uram", "cycles")
MCU_COLUMNS = ("flash", "ram", "cycles")


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose columns are right-aligned where every cell is a number; cells are plain text."""
    cells = [tuple(row) for row in rows]
    made = Table(title=escape(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        numeric = bool(cells) and all(_is_number(row[index]) for row in cells)
        made.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        made.add_row(*map(Text, row))
    return made


def size(count: int) -> str:
    """Bytes with a unit of 1024: '2 MB', '640 KB', '270336'."""
    for unit, factor in (("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= factor and count % factor == 0:
            return f"{count // factor} {unit}"
    return f"{count:,}"


def boards_table(boards: Iterable[Board]) -> Table:
    """Name, kind, part or core, clock, budget."""
    rows: list[tuple[str, ...]] = []
    for board in boards:
        if isinstance(board, McuBoard):
            chip = f"{board.device} ({board.core})"
            budget = f"flash {size(board.budget.flash)}, RAM {size(board.budget.ram)}"
        else:
            chip = board.part
            budget = ", ".join(f"{HEADINGS[name]} {amount:,}" for name, amount in board.budget.items() if amount)
        rows.append((board.name, board.kind, board.title, chip, f"{board.clock_mhz:g} MHz", budget))
    return table("", ("name", "kind", "board", "part or core", "clock", "budget"), rows)


def board_facts(board: Board) -> dict[str, Any]:
    """What `boards --json` says about one board."""
    return {"kind": board.kind, **asdict(board), "clock_mhz": board.clock_mhz, "budget": asdict(board.budget)}


def inspection_tables(found: Inspection) -> list[Printable]:
    """Interface, layers, and the reasons of every refusal in full."""
    names = list(found.layers[0].refusals) if found.layers else []
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for layer in found.layers:
        marks = ["yes" if layer.refusals[name] is None else "no" for name in names]
        shapes = ", ".join("x".join(map(str, shape)) for shape in layer.shapes)
        rows.append(
            (
                short_name(layer.node),
                layer.op_type,
                layer.op,
                shapes,
                f"{layer.parameters:,}",
                f"{layer.macs:,}",
                *marks,
            )
        )
        for name, reason in layer.refusals.items():
            if reason is not None:
                notes.append(f"{name}: node '{layer.node}' ({layer.op_type}): {reason}")
    told = [f"input {name}: {kind}" for name, kind in found.inputs.items()]
    told += [f"output {name}: {kind}" for name, kind in found.outputs.items()]
    headings = ("node", "ONNX operator", "becomes", "output shape", "parameters", "MACs", *names)
    total = f"{len(found.layers)} layers, {found.parameters:,} parameters, {found.macs:,} MACs"
    head = f"{found.model}  sha256 {found.sha256[:16]}\n" + "\n".join(told)
    return [head, table("", headings, rows), total, *notes]


NAME_WIDTH = 48
"""Longest node name shown in a table; errors and JSON have names in full."""


def short_name(name: str) -> str:
    """A node name for a table: the first of names a converter joined, its end if it is long."""
    first = name.split(";")[0]
    return first if len(first) <= NAME_WIDTH else f"…{first[1 - NAME_WIDTH :]}"


def estimate_tables(found: Estimate) -> list[Printable]:
    """Total against budget, then layer by layer."""
    columns = FPGA_COLUMNS if found.budget.lut else MCU_COLUMNS
    parts: list[Printable] = [_budget_table(found, columns)]
    rows = [
        (
            short_name(layer.node),
            layer.op,
            *(f"{getattr(layer.resources, name):,}" for name in columns),
            f"{layer.interval:,}",
            layer.choice,
        )
        for layer in found.layers
    ]
    headings = ("node", "operator", *(HEADINGS[name] for name in columns), "interval", "implementation")
    parts.append(table("", headings, rows))
    parts += [_speed(found), *found.notes]
    if not found.fits:
        short = ", ".join(HEADINGS[shortage.resource] for shortage in found.shortages)
        parts.append(f"does not fit: {short}")
    return parts


def compilation_tables(made: Compilation) -> list[Printable]:
    """What was written, what it costs, how to go on."""
    columns = FPGA_COLUMNS if made.board.kind == "fpga" else MCU_COLUMNS
    parts: list[Printable] = [_budget_table(made.estimate, columns), _speed(made.estimate), *made.estimate.notes]
    if made.folder is not None:
        files = f"{len(made.artifact.files)} files; start with {made.artifact.entry}"
        parts.append(f"wrote {made.folder} ({files})\nnext: boardfit verify {made.folder}")
    return parts


def verification_tables(found: Verification) -> list[Printable]:
    """One line per run."""
    parts: list[Printable] = [f"{found.folder}: {found.backend} for {found.board}"]
    rows = [
        (run.runner, f"{run.samples:,}", f"{run.values:,}", f"{run.different:,}", _verdict(run)) for run in found.runs
    ]
    parts.append(table("", ("runner", "inferences", "values", "different", "verdict"), rows))
    if found.footprint:
        sizes = [(f.name, f"{f.estimated:,}", f"{f.measured:,}", f"{100 * f.error:+.2f} %") for f in found.footprint]
        parts.append(table("", ("bytes", "estimated", "measured", "error"), sizes))
    parts += [f"not run: {runner}: {reason}" for runner, reason in found.skipped.items()]
    parts += [f"edited since it was written: {path}" for path in found.edited]
    return parts


def compression_tables(made: Compressed) -> list[Printable]:
    """What compression did layer by layer, and what it cost."""
    on_board = made.estimate is not None
    headings = ["layer", "operator", "weights", "not zero", "distinct", "bits", "share of error"]
    rows = [
        (
            short_name(layer.node),
            layer.op,
            f"{layer.values:,}",
            f"{100 * layer.density:.1f} %",
            f"{layer.distinct}",
            f"{layer.bits}",
            f"{100 * layer.share:.1f} %",
            *((f"{layer.bytes:,}", f"{layer.cycles:,}", layer.storage) if on_board else ()),
        )
        for layer in made.layers
    ]
    headings += ["bytes", "cycles", "stored and computed as"] if on_board else []
    parts: list[Printable] = [table("", headings, rows)]
    if made.estimate is not None:
        parts.append(_budget_table(made.estimate, MCU_COLUMNS))
    found = made.fidelity
    unit = {"accuracy": " %", "snr": " dB"}.get(found.measure, "")
    base = "" if found.float_value is None else f" (float {found.float_value:.4g}{unit})"
    parts.append(f"{found.measure} {found.value:.4g}{unit}{base} on {found.samples} samples set aside")
    if made.folder is not None:
        parts.append(f"wrote {made.folder}: model.onnx, report.html, report.json")
    return parts


def recipes_table(found: Sequence[Recipe]) -> Table:
    """Name and purpose of each recipe."""
    rows = [(recipe.name, "yes" if recipe.trains else "no", recipe.description) for recipe in found]
    return table("", ("recipe", "trains", "what it does"), rows)


def width_curve_tables(curve: WidthCurve) -> list[Printable]:
    """The points of an FPGA's trade-off curve, and the best that fits."""
    rows = []
    for point in curve.points:
        total, (resource, share) = point.estimate.total, point.fullest
        widths = sorted(point.weights.values())
        rows.append(
            (
                *(f"{amount:,}" for amount in (total.lut, total.ff, total.dsp, total.bram18)),
                f"{HEADINGS[resource]} {share:.0%}",
                f"{total.cycles:,}",
                f"{point.estimate.interval:,}",
                _measure(curve.measure, point.value),
                _between(widths[0], widths[-1]) if widths else "",
                _between(*point.values),
                "yes" if point.estimate.fits else "no",
            )
        )
    headings = ("LUT", "FF", "DSP", "BRAM18", "fullest", "cycles", "interval")
    told = (MEASURES[curve.measure], "bits of weights", "bits of values", "fits")
    best = curve.best
    if best is None:
        last = "nothing fits"
    else:
        last = f"best that fits: {best.fullest[1]:.0%} of the board, {_measure(curve.measure, best.value)}"
    return [table(f"{curve.model} on {curve.board}", (*headings, *told), rows), last]


MEASURES = {"accuracy": "accuracy against float", "agreement": "agreement with float", "snr": "SNR"}


def _measure(measure: str, value: float) -> str:
    return f"{value:.2f} dB" if measure == "snr" else f"{100 * value:.2f} %"


def _between(least: int, most: int) -> str:
    return f"{least}" if least == most else f"{least} to {most}"


def curve_tables(curve: Curve) -> list[Printable]:
    """The points of a trade-off curve, and the best that fits."""
    rows = [
        (
            f"{point.estimate.total.flash:,}",
            f"{point.estimate.total.ram:,}",
            f"{point.estimate.total.cycles:,}",
            _measure(curve.measure, point.value),
            f"{point.predicted_loss:.4f}",
            "yes" if point.estimate.fits else "no",
            _forms(point),
        )
        for point in curve.points
    ]
    headings = ("flash", "RAM", "cycles", MEASURES[curve.measure], "predicted loss", "fits", "weights of the layers")
    parts: list[Printable] = [table(f"{curve.model} on {curve.board}", headings, rows)]
    best = curve.best
    if best is None:
        parts.append("nothing fits")
    else:
        told = _measure(curve.measure, best.value)
        parts.append(f"best that fits: {best.estimate.total.flash:,} bytes of flash, {told}")
    smallest = curve.points[0]
    parts.append(
        table(
            f"forms of the smallest design, {smallest.estimate.total.flash:,} bytes",
            ("layer", "form", "bytes, plain", "bytes", "cycles, plain", "cycles", "loss alone", "why"),
            [
                (
                    short_name(reason.layer),
                    str(reason.form),
                    f"{reason.plain_flash:,}",
                    f"{reason.flash:,}",
                    f"{reason.plain_cycles:,}",
                    f"{reason.cycles:,}",
                    f"{reason.loss:.4f}",
                    str(reason),
                )
                for reason in smallest.reasons
            ],
        )
    )
    return parts


def _forms(point: Point) -> str:
    """How many layers have which form, the most frequent first."""
    counts: dict[str, int] = {}
    for form in point.forms.values():
        counts[str(form)] = counts.get(str(form), 0) + 1
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return "; ".join(f"{count} x {form}" for form, count in ordered)


STAGES = {"hls": "HLS", "cosim": "co-simulation", "synthesis": "synthesis", "implementation": "implementation"}
"""Stage of the vendor's flow -> what it is called."""


def report_tables(found: Report) -> list[Printable]:
    """The whole design, then layer by layer, then what is missing."""
    headings = ("report", "figure", "predicted", "in 4 cases of 5", "actual", "error")
    rows = [(STAGES[figure.stage], *_figure_cells(figure)) for figure in found.figures]
    parts: list[Printable] = [table(f"{found.folder}: {found.board}", headings, rows)]
    if found.layers:
        names = list(dict.fromkeys(figure.name for layer in found.layers for figure in layer.figures))
        cells: list[tuple[str, ...]] = []
        for layer in found.layers:
            figures = {figure.name: figure for figure in layer.figures}
            pairs = (f"{f.predicted:,.0f} / {f.actual:,.0f}" if (f := figures.get(name)) else "" for name in names)
            cells.append((layer.layer, short_name(layer.node), *pairs))
        titles = ("layer", "node", *(HEADINGS.get(name, name) for name in names))
        parts.append(table("HLS report, predicted / actual", titles, cells))
    if found.slack_ns is not None:
        verdict = "timing is met" if found.slack_ns >= 0 else "timing is NOT met"
        parts.append(f"worst slack {found.slack_ns:g} ns: {verdict}")
    parts += [f"read {path}" for path in found.files.values()]
    if found.unlisted:
        parts.append(f"not listed by the HLS report: {', '.join(found.unlisted)}")
    return parts


def _figure_cells(figure: Comparison) -> tuple[str, ...]:
    band = "" if figure.low is None or figure.high is None else f"{figure.low:,.0f} to {figure.high:,.0f}"
    error = "" if figure.error is None else f"{100 * figure.error:+.1f} %"
    return HEADINGS.get(figure.name, figure.name), f"{figure.predicted:,.0f}", band, f"{figure.actual:,.0f}", error


def _verdict(run: RunResult) -> str:
    if run.first is None:
        return "equal to the reference, every value"
    place = ", ".join(map(str, run.first.index))
    where = f"output '{run.first.output}', inference {run.first.sample}, index ({place})"
    return f"differs first at {where}: {run.first.found:g}, not {run.first.expected:g}"


def _budget_table(found: Estimate, columns: Sequence[str]) -> Table:
    rows: list[tuple[str, ...]] = []
    for name in columns:
        if name == "cycles":
            continue
        need, have = getattr(found.total, name), getattr(found.budget, name)
        used = f"{100 * need / have:.1f} %" if have else ""
        low, high = found.bands.get(name, (need, need))
        rows.append((HEADINGS[name], f"{need:,}", f"{have:,}", used, f"{low:,} to {high:,}" if low < high else ""))
    headings = ("resource", "needs", "has", "used", "in 4 cases of 5")
    return table(
        found.board, headings if found.bands else headings[:4], [row[: 5 if found.bands else 4] for row in rows]
    )


def _speed(found: Estimate) -> str:
    milliseconds = 1e3 * found.latency_seconds
    text = f"{found.total.cycles:,} cycles, {milliseconds:.4g} ms at {found.clock_mhz:g} MHz"
    return text if found.interval == found.total.cycles else f"{text}; a new inference every {found.interval:,} cycles"


def _is_number(cell: str) -> bool:
    return not cell or cell.translate(str.maketrans("", "", ",.% -+")).isdigit()
