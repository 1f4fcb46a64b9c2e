"""The Python interface: inspect, estimate, compile, fit, verify, report. The command line is a thin layer over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import fit as fitting
from .artifact import Artifact, check_output
from .backend import find_backend
from .board import Board, find_board
from .errors import UsageError
from .estimate.budget import check_budget
from .estimate.report import Estimate
from .inspection import Inspection, inspect_model
from .ir.graph import Graph
from .manifest import manifest_facts
from .options import BackendOptions, ImportOptions, QuantizeOptions
from .prepare import Calibration, prepare
from .reference import make_reference
from .vendor_report import Report, report_folder
from .verification import Verification, verify_folder

if TYPE_CHECKING:
    from .solver.design import Curve
    from .solver.width_curve import WidthCurve

REFERENCE_SAMPLES = {"mcu": 32, "fpga": 128}
"""Reference inputs kept with an output, by kind of board."""


@dataclass(frozen=True, slots=True)
class Compilation:
    """What `compile` made.

    Attributes:
        graph: the integer graph; `boardfit.interp.run` executes it, the files compute the same.
        floating: the float graph with the same interface.
        board: what it was made for.
        estimate: what it costs.
        artifact: the files, manifest and reference vectors included.
        folder: where they were written, or None.
    """

    graph: Graph
    floating: Graph
    board: Board
    estimate: Estimate
    artifact: Artifact
    folder: Path | None


def inspect(model: str | Path, *, input_shapes: Mapping[str, tuple[int, ...]] | None = None) -> Inspection:
    """Layers, shapes, parameters, multiply-accumulates, and what each backend can do with each node.

    Raises:
        ModelError: the model cannot be imported.
    """
    return inspect_model(model, input_shapes or {})


def estimate(
    model: str | Path,
    board: str | Board,
    calibration: Calibration | None = None,
    *,
    imports: ImportOptions | None = None,
    quantize: QuantizeOptions | None = None,
    backend: BackendOptions | None = None,
) -> Estimate:
    """What a model costs on a board. Does not raise when it does not fit: see `Estimate.fits`.

    Without calibration data the ranges are guessed from random inputs; costs hardly depend on them.

    Raises:
        BoardfitError: the model, the board, the data or the options are wrong.
    """
    target = find_board(board) if isinstance(board, str) else board
    options = backend or BackendOptions()
    prepared = prepare(
        model,
        target,
        calibration,
        imports=imports or ImportOptions(),
        quantize=quantize or QuantizeOptions(),
        backend=options,
        guess=True,
    )
    return fitting.fit(prepared, target, find_backend(target.kind), quantize or QuantizeOptions(), options).estimate


def compile(
    model: str | Path,
    board: str | Board,
    calibration: Calibration | None = None,
    *,
    output: str | Path | None = None,
    imports: ImportOptions | None = None,
    quantize: QuantizeOptions | None = None,
    backend: BackendOptions | None = None,
    dump_ir: str | Path | None = None,
) -> Compilation:
    """Compile a model for a board.

    Args:
        model: ONNX file.
        board: name of a board, path of a board file, or a board.
        calibration: a few hundred inputs without labels; not needed for a model that brings its own quantization.
        output: folder to write; None keeps the files in memory.
        imports, quantize, backend: options of the stages.
        dump_ir: folder for the graph after each pass.

    Raises:
        BudgetError: the design does not fit the board.
        BoardfitError: the model, the board, the data, the options or the output folder are wrong.
    """
    target = find_board(board) if isinstance(board, str) else board
    if output is not None:
        check_output(output)
    options = backend or BackendOptions()
    quantization = quantize or QuantizeOptions()
    import_options = imports or ImportOptions()
    prepared = prepare(
        model,
        target,
        calibration,
        imports=import_options,
        quantize=quantization,
        backend=options,
        dump=None if dump_ir is None else Path(dump_ir),
    )
    maker = find_backend(target.kind)
    fitted = fitting.fit(prepared, target, maker, quantization, options)
    prepared, cost = fitted.prepared, fitted.estimate
    check_budget(cost, target, prepared.model, fitted.tried)
    artifact = maker.emit(prepared.graph, target, options)
    reference = make_reference(prepared.graph, prepared.data, REFERENCE_SAMPLES[target.kind])
    artifact = artifact.with_files(maker.reference_files(prepared.graph, reference.inputs, reference.outputs))
    artifact = artifact.with_files(reference.files())
    artifact = artifact.with_manifest(
        manifest_facts(prepared, target, cost, maker.name, import_options, quantization, options)
    )
    folder = None if output is None else artifact.write(output)
    return Compilation(prepared.graph, prepared.floating, target, cost, artifact, folder)


def fit(
    model: str | Path,
    board: str | Board,
    calibration: Calibration | None,
    *,
    imports: ImportOptions | None = None,
    quantize: QuantizeOptions | None = None,
    backend: BackendOptions | None = None,
    points: int = 8,
    plot: str | Path | None = None,
) -> Curve | WidthCurve:
    """The trade-off curve of a model on a board, each point chosen by the solver.

    On a microcontroller: flash against loss, by compressed weights. On an FPGA: its fullest resource against loss, by
    narrower values.

    Args:
        calibration: a few hundred inputs; one half steers the choice, the losses are told on the other half. With
            labels (`y` in the file) and `quantize.max_drop`, accuracy is told, else agreement with float.
        points: budgets of flash to solve for; on an FPGA the noise budgets are fixed.
        plot: picture to draw.

    Raises:
        BoardfitError: the model, the board, the data or the options are wrong.
    """
    from .compress.width_search import PlansWidths
    from .solver.design import draw_curve, fit_curve
    from .solver.width_curve import draw_width_curve, width_curve

    target = find_board(board) if isinstance(board, str) else board
    options, quantization = backend or BackendOptions(), quantize or QuantizeOptions()
    prepared = prepare(
        model, target, calibration, imports=imports or ImportOptions(), quantize=quantization, backend=options
    )
    if not prepared.calibrated:
        raise UsageError("the losses are measured on data, and there is none", hint="give --calibration data.npz")
    maker = find_backend(target.kind)
    if isinstance(maker, PlansWidths):
        maker.validate(prepared.graph, target, options)
        widths = width_curve(prepared, target, maker, quantization, options)
        if plot is not None:
            draw_width_curve(widths, Path(plot))
        return widths
    curve = fit_curve(prepared, target, maker, quantization, options, points)
    if plot is not None:
        draw_curve(curve, Path(plot))
    return curve


def report(folder: str | Path) -> Report:
    """Read the reports of the vendor's tools in an output folder beside what was predicted.

    Raises:
        BoardfitError: not an FPGA output of boardfit, no reports yet, or one that cannot be read.
    """
    return report_folder(folder)


def verify(folder: str | Path, runner: str | None = None) -> Verification:
    """Run an output folder on its reference inputs and compare every value with the interpreter's.

    Raises:
        BoardfitError: not an output of boardfit, no such runner, or a tool is missing.
    """
    return verify_folder(folder, runner)
