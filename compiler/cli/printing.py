"""What all commands print with."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """A console as wide as the terminal; into a file or a pipe, wide enough that no cell is folded."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(width=200, highlight=False)


def print_tables(tables: list[Any]) -> None:
    """Tables and lines of text, in order."""
    to = console()
    for table in tables:
        if isinstance(table, str):
            typer.echo(table)
        else:
            to.print(table)


def print_json(facts: Any) -> None:
    from ..manifest import plain

    typer.echo(json.dumps(plain(facts), indent=2))
