"""`boardfit verify | report`: what became of a folder `boardfit compile` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import JsonOption
from .printing import print_json, print_tables

NOT_EQUAL = 1
"""Exit code of a verification that found a difference."""


def verify(
    folder: Annotated[Path, typer.Argument(help="What 'boardfit compile' wrote.", show_default=False)],
    runner: Annotated[
        str | None,
        typer.Option("--runner", help="One way to run it.", show_default="all there are"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run an output folder and compare every value with the integer reference."""
    from .. import api
    from ..tables import verification_tables

    found = api.verify(folder, runner)
    if as_json:
        print_json(found)
    else:
        print_tables(verification_tables(found))
    if not found.equal:
        raise typer.Exit(NOT_EQUAL)


def report(
    folder: Annotated[Path, typer.Argument(help="What 'boardfit compile' wrote for an FPGA.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Put the reports of the vendor's tools beside what was predicted."""
    from .. import api
    from ..tables import report_tables

    found = api.report(folder)
    if as_json:
        print_json(found)
    else:
        print_tables(report_tables(found))
