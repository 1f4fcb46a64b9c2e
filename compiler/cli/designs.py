"""`boardfit estimate | compile`: what a design costs, and the design."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .groups import with_option_groups
from .options import (
    BoardOption,
    DesignGroup,
    JsonOption,
    ModelArgument,
    NetworkGroup,
    OptionalBoardOption,
    OptionalModelArgument,
    ProjectOption,
    SourcesGroup,
    api_options,
)
from .printing import print_json, print_tables


@with_option_groups
def estimate(
    *,
    model: OptionalModelArgument = None,
    board: OptionalBoardOption = None,
    network: NetworkGroup,
    design: DesignGroup,
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
    from .. import api
    from ..tables import estimate_tables

    found = api.estimate(model, board, **api_options(network, design))
    if as_json:
        print_json(found)
    else:
        print_tables(estimate_tables(found))


@with_option_groups
def compile(
    *,
    model: ModelArgument,
    board: BoardOption,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write.", show_default="./MODEL-BOARD")
    ] = None,
    network: NetworkGroup,
    sources: SourcesGroup,
    design: DesignGroup,
    project: ProjectOption = None,
    dump_ir: Annotated[
        Path | None,
        typer.Option("--dump-ir", help="Folder for the graph after each pass.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compile a model for a board: C sources for a microcontroller, an hls4ml project for an FPGA."""
    from .. import api
    from ..board import find_board
    from ..tables import compilation_tables

    asked = {"single_header": sources.single_header, "format": sources.project_format, "project": project}
    options = api_options(network, design, **asked)
    target = find_board(board)
    folder = output or Path(f"{Path(model).stem}-{target.name}")
    made = api.compile(model, target, output=folder, dump_ir=dump_ir, **options)
    if as_json:
        print_json({"folder": str(folder), "digest": made.artifact.digest, "estimate": made.estimate})
    else:
        print_tables(compilation_tables(made))


def _estimate_table(table: Path, output: Path, as_json: bool) -> None:
    from ..estimate.fpga.table import predict_table, rows_as_json, summary, write_table

    result = predict_table(table)
    write_table(result, output)
    if as_json:
        typer.echo(rows_as_json(result), nl=False)
        return
    print_tables(summary(result))
    typer.echo(f"{result.designs} designs predicted, {len(result.rows)} rows written to {output}")
