"""The command line: `boardfit boards | operators | inspect | estimate | compile | compress | fit | verify | ...`.

Everything heavy is imported inside the commands, so that `boardfit --help` answers at once. A BoardfitError and
a usage error end with their text on stderr and exit code 2; a failed verification ends with exit code 1.

A command is a function whose name is in `COMMANDS`; options that several commands share are groups in `options.py`.
"""

from __future__ import annotations

import gc
import signal
import sys

import typer

from ..errors import EXIT_CODE, BoardfitError
from .application import app
from .compression import compress, fit, recipes
from .designs import compile, estimate
from .facts import boards, inspect, operators
from .results import NOT_EQUAL, report, verify

__all__ = ["NOT_EQUAL", "app", "main"]

COMMANDS = (boards, operators, inspect, estimate, compile, compress, fit, recipes, verify, report)
"""In the order `--help` lists them."""

COLLECTED_AFTER = 50_000
"""Objects made until Python looks for cycles: at its 700 that is 8 % of an estimate, and commands end soon."""

for _command in COMMANDS:
    app.command()(_command)


def _interrupted(number: int, _frame: object) -> None:
    """Unwind on SIGTERM as on Ctrl-C, so that temporary folders are removed."""
    sys.exit(128 + number)


def main() -> None:
    """Entry point of the `boardfit` command."""
    gc.set_threshold(COLLECTED_AFTER)
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        app()
    except BoardfitError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_CODE)
