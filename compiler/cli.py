"""The command line: `boardfit boards | inspect | estimate | compile | verify`.

Everything heavy is imported inside the commands, so that `boardfit --help` answers at once. A BoardfitError and
a usage error end with their text on stderr and exit code 2.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import __version__
from .errors import EXIT_CODE, BoardfitError

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    name="boardfit",
    help="Compile a trained ONNX network to a small board: verified C firmware or a verified hls4ml project.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"boardfit {__version__}")
        raise typer.Exit


VersionOption = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]


@app.callback()
def _options(version: VersionOption = False) -> None:
    pass


@app.command()
def boards(as_json: JsonOption = False) -> None:
    """List the boards: name, kind, part or core, clock, budget."""
    from .board import shipped_boards

    if as_json:
        _print_json([board_facts(board) for board in shipped_boards()])
        return
    from .tables import boards_table

    _console().print(boards_table(shipped_boards()))


def board_facts(board: Any) -> dict[str, Any]:
    """What `boards --json` says about one board."""
    from dataclasses import asdict

    facts = asdict(board)
    facts = {key: sorted(value) if isinstance(value, frozenset) else value for key, value in facts.items()}
    return {"kind": board.kind, **facts, "clock_mhz": board.clock_mhz, "budget": asdict(board.budget)}


def _console() -> Console:
    """A console as wide as the terminal; into a file or a pipe, wide enough that no cell is folded."""
    from rich.console import Console

    return Console(soft_wrap=False) if sys.stdout.isatty() else Console(width=200)


def _print_json(facts: Any) -> None:
    typer.echo(json.dumps(facts, indent=2))


def main() -> None:
    """Entry point of the `boardfit` command."""
    try:
        app()
    except BoardfitError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_CODE)


if __name__ == "__main__":
    main()
