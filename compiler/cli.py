"""The command line: `boardfit boards | operators | inspect | estimate | compile | verify | report`.

Everything heavy is imported inside the commands, so that `boardfit --help` answers at once. A BoardfitError and
a usage error end with their text on stderr and exit code 2; a failed verification ends with exit code 1.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__
from .errors import EXIT_CODE, BoardfitError, UsageError
from .options import (
    BackendOptions,
    CalibrationMethod,
    Goal,
    HlsTool,
    ImportOptions,
    IoType,
    Optimize,
    ProjectFormat,
    ProjectKind,
    QuantizeOptions,
    SoftmaxMode,
    Strategy,
)

if TYPE_CHECKING:
    from rich.console import Console

NOT_EQUAL = 1
"""Exit code of a verification that found a difference."""

app = typer.Typer(
    name="boardfit",
    help="Compile a trained ONNX network to a small board: verified C firmware or a verified hls4ml project.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"boardfit {__version__}")
        raise typer.Exit


ModelArgument = Annotated[Path, typer.Argument(help="ONNX file, as the exporter wrote it.", show_default=False)]
BoardOption = Annotated[
    str,
    typer.Option("--board", "-b", help="Name of a board ('boardfit boards') or a board file.", show_default=False),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option("--calibration", "-c", help="A few hundred inputs, .npz or .npy, no labels.", show_default=False),
]
ShapesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=1,2,3",
        help="Shape of an input the file leaves open, batch axis included; repeatable.",
        show_default=False,
    ),
]
MethodOption = Annotated[
    CalibrationMethod, typer.Option("--calibration-method", help="How ranges are taken from the data.")
]
WidthOption = Annotated[
    int | None,
    typer.Option("--width", help="FPGA: bits of a value.", show_default="16, or what it takes to fit"),
]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        help="FPGA: narrow values until this much agreement with float (accuracy, with labels) is lost.",
        show_default=False,
    ),
]
MinSnrOption = Annotated[
    float | None,
    typer.Option(
        "--min-snr", metavar="DB", help="FPGA: narrow values down to this signal-to-noise ratio.", show_default=False
    ),
]
ChannelsLastOption = Annotated[
    bool, typer.Option("--channels-last-io", help="Take images of a channels-first model channels-last.")
]
SingleHeaderOption = Annotated[
    bool, typer.Option("--single-header", help="Microcontroller: one self-contained header.")
]
FormatOption = Annotated[
    ProjectFormat, typer.Option("--format", help="Microcontroller: project the sources are laid out for.")
]
ToolOption = Annotated[HlsTool, typer.Option("--backend-tool", help="FPGA: tool the project is for.")]
IoTypeOption = Annotated[
    IoType | None,
    typer.Option("--io-type", help="FPGA: wires or FIFOs between layers.", show_default="chosen by the planner"),
]
ReuseOption = Annotated[
    int | None,
    typer.Option(
        "--reuse-factor",
        help="FPGA: multiplications per multiplier, all layers.",
        show_default="chosen by the planner",
    ),
]
StrategyOption = Annotated[
    Strategy | None,
    typer.Option("--strategy", help="FPGA: how layers multiply.", show_default="chosen by the planner"),
]
SoftmaxOption = Annotated[
    SoftmaxMode,
    typer.Option("--softmax", help="A softmax at the output: on the device, dropped, or in host code (FPGA)."),
]
ClockOption = Annotated[
    float | None, typer.Option("--clock-ns", help="FPGA: clock period.", show_default="the board's")
]
ProjectOption = Annotated[
    ProjectKind | None,
    typer.Option(
        "--project", help="FPGA: the network alone, or with AXI streams, block design, driver.", show_default="by board"
    ),
]
OptimizeOption = Annotated[
    Optimize, typer.Option("--optimize", help="Microcontroller: what the firmware is to be best at.")
]
GoalOption = Annotated[Goal, typer.Option("--goal", help="FPGA: what the planner makes as small as the board allows.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")]
VersionOption = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]


@app.callback()
def _options(version: VersionOption = False) -> None:
    pass


@app.command()
def boards(as_json: JsonOption = False) -> None:
    """List the boards: name, kind, part or core, clock, budget."""
    from .board import shipped_boards
    from .tables import board_facts, boards_table

    if as_json:
        _print_json([board_facts(board) for board in shipped_boards()])
    else:
        _console().print(boards_table(shipped_boards()))


@app.command()
def operators(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/operators.md.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the ONNX operators and which backend can do them."""
    from .support import support_cells, support_page, support_table
    from .tables import table

    if markdown:
        typer.echo(support_page(), nl=False)
    elif as_json:
        _print_json(support_table())
    else:
        _console().print(table("", *support_cells(support_table())))


@app.command()
def inspect(model: ModelArgument, input_shape: ShapesOption = None, as_json: JsonOption = False) -> None:
    """Show layers, shapes, parameters, MACs, and what each backend can do with each node."""
    from . import api
    from .tables import inspection_tables

    found = api.inspect(model, input_shapes=_shapes(input_shape))
    if as_json:
        _print_json(found)
    else:
        _print_tables(inspection_tables(found))


@app.command()
def estimate(
    model: Annotated[
        Path | None, typer.Argument(help="ONNX file, as the exporter wrote it.", show_default=False)
    ] = None,
    board: Annotated[
        str | None,
        typer.Option("--board", "-b", help="Name of a board ('boardfit boards') or a board file.", show_default=False),
    ] = None,
    calibration: CalibrationOption = None,
    input_shape: ShapesOption = None,
    calibration_method: MethodOption = CalibrationMethod.MIN_MAX,
    width: WidthOption = None,
    max_drop: MaxDropOption = None,
    min_snr: MinSnrOption = None,
    channels_last_io: ChannelsLastOption = False,
    backend_tool: ToolOption = HlsTool.VITIS,
    io_type: IoTypeOption = None,
    reuse_factor: ReuseOption = None,
    strategy: StrategyOption = None,
    softmax: SoftmaxOption = SoftmaxMode.KEEP,
    clock_ns: ClockOption = None,
    optimize: OptimizeOption = Optimize.SPEED,
    goal: GoalOption = Goal.LATENCY,
    from_table: Annotated[
        Path | None,
        typer.Option(
            "--from-table",
            metavar="DESIGNS.CSV",
            help="FPGA: predict every design of a table of hls4ml reports in place of a model.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="With --from-table: file to write.", show_default="estimator.json"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate what a model costs on a board, per layer and against its budget; nothing is written.

    With --from-table, predict the designs of a table and write one row per figure.
    """
    if from_table is not None:
        if model is not None or board is not None:
            raise UsageError("--from-table takes neither a model nor a board")
        _estimate_table(from_table, output or Path("estimator.json"), as_json)
        return
    if model is None or board is None:
        raise UsageError(
            "estimate needs a model and --board",
            hint="boardfit estimate MODEL.onnx --board BOARD, or boardfit estimate --from-table DESIGNS.CSV",
        )
    if output is not None:
        raise UsageError("--output goes with --from-table", hint="to write a design: boardfit compile")
    from . import api
    from .tables import estimate_tables

    found = api.estimate(
        model,
        board,
        calibration,
        imports=ImportOptions(_shapes(input_shape), channels_last_io),
        quantize=QuantizeOptions(calibration_method, width, max_drop, min_snr),
        backend=BackendOptions(
            tool=backend_tool,
            io_type=io_type,
            reuse_factor=reuse_factor,
            strategy=strategy,
            softmax=softmax,
            clock_ns=clock_ns,
            optimize=optimize,
            goal=goal,
        ),
    )
    if as_json:
        _print_json(found)
    else:
        _print_tables(estimate_tables(found))


@app.command()
def compile(
    model: ModelArgument,
    board: BoardOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", show_default=False)],
    calibration: CalibrationOption = None,
    input_shape: ShapesOption = None,
    calibration_method: MethodOption = CalibrationMethod.MIN_MAX,
    width: WidthOption = None,
    max_drop: MaxDropOption = None,
    min_snr: MinSnrOption = None,
    channels_last_io: ChannelsLastOption = False,
    single_header: SingleHeaderOption = False,
    project_format: FormatOption = ProjectFormat.C,
    backend_tool: ToolOption = HlsTool.VITIS,
    io_type: IoTypeOption = None,
    reuse_factor: ReuseOption = None,
    strategy: StrategyOption = None,
    softmax: SoftmaxOption = SoftmaxMode.KEEP,
    clock_ns: ClockOption = None,
    optimize: OptimizeOption = Optimize.SPEED,
    goal: GoalOption = Goal.LATENCY,
    project: ProjectOption = None,
    dump_ir: Annotated[
        Path | None,
        typer.Option("--dump-ir", help="Folder for the graph after each pass.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compile a model for a board: C sources for a microcontroller, an hls4ml project for an FPGA."""
    from . import api
    from .tables import compilation_tables

    made = api.compile(
        model,
        board,
        calibration,
        output=output,
        imports=ImportOptions(_shapes(input_shape), channels_last_io),
        quantize=QuantizeOptions(calibration_method, width, max_drop, min_snr),
        backend=BackendOptions(
            single_header=single_header,
            format=project_format,
            tool=backend_tool,
            io_type=io_type,
            reuse_factor=reuse_factor,
            strategy=strategy,
            softmax=softmax,
            clock_ns=clock_ns,
            optimize=optimize,
            goal=goal,
            project=project,
        ),
        dump_ir=dump_ir,
    )
    if as_json:
        _print_json({"folder": str(output), "digest": made.artifact.digest, "estimate": made.estimate})
    else:
        _print_tables(compilation_tables(made))


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="What 'boardfit compile' wrote.", show_default=False)],
    runner: Annotated[
        str | None,
        typer.Option("--runner", help="One way to run it.", show_default="all there are"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run an output folder and compare every value with the integer reference."""
    from . import api
    from .tables import verification_tables

    found = api.verify(folder, runner)
    if as_json:
        _print_json(found)
    else:
        _print_tables(verification_tables(found))
    if not found.equal:
        raise typer.Exit(NOT_EQUAL)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="What 'boardfit compile' wrote for an FPGA.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Put the reports of the vendor's tools beside what was predicted."""
    from . import api
    from .tables import report_tables

    found = api.report(folder)
    if as_json:
        _print_json(found)
    else:
        _print_tables(report_tables(found))


def _estimate_table(table: Path, output: Path, as_json: bool) -> None:
    from .estimate.fpga.table import predict_table, rows_as_json, summary, write_table

    result = predict_table(table)
    write_table(result, output)
    if as_json:
        typer.echo(rows_as_json(result), nl=False)
        return
    _print_tables(summary(result))
    typer.echo(f"{result.designs} designs predicted, {len(result.rows)} rows written to {output}")


def _shapes(given: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`--input-shape NAME=1,2,3` options as a mapping; the name may itself contain '='."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in given or ():
        name, equals, numbers = text.rpartition("=")
        try:
            shape = tuple(int(number) for number in numbers.replace("x", ",").split(","))
        except ValueError:
            shape = ()
        if not equals or not name or not shape or min(shape) < 1:
            raise UsageError(f"--input-shape '{text}' is not NAME=1,2,3", hint="write --input-shape input=1,3,32,32")
        if name in shapes:
            raise UsageError(f"--input-shape gives '{name}' twice")
        shapes[name] = shape
    return shapes


def _console() -> Console:
    """A console as wide as the terminal; into a file or a pipe, wide enough that no cell is folded."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(width=200, highlight=False)


def _print_tables(tables: list[Any]) -> None:
    console = _console()
    for table in tables:
        if isinstance(table, str):
            typer.echo(table)
        else:
            console.print(table)


def _print_json(facts: Any) -> None:
    from .manifest import plain

    typer.echo(json.dumps(plain(facts), indent=2))


def _interrupted(number: int, _frame: object) -> None:
    """Unwind on SIGTERM as on Ctrl-C, so that temporary folders are removed."""
    sys.exit(128 + number)


def main() -> None:
    """Entry point of the `boardfit` command."""
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        app()
    except BoardfitError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
