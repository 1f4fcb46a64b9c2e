"""The options of every command, against golden texts: taken from the commands' signatures, so that no terminal
or release of a library matters.

`BOARDFIT_UPDATE_GOLDEN=1 pytest tests/test_help.py` writes them anew.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import pytest
import typer
from typer.testing import CliRunner

from boardfit.cli import COMMANDS
from boardfit.cli.groups import with_option_groups

GOLDEN = Path(__file__).parent / "golden" / "help"
NAMES = [command.__name__ for command in COMMANDS]


def _described(name: str, kind: Any, default: Any) -> str:
    """One option or argument, from its annotation: `Annotated[type, typer.Option(...)]`."""
    plain, option = get_args(kind)
    enums = [part for part in (plain, *get_args(plain)) if isinstance(part, type) and issubclass(part, Enum)]
    choices = [str(member.value) for enum in enums for member in enum]
    shown = option.show_default if isinstance(option.show_default, str) else getattr(default, "value", default)
    names = [option.default, *(option.param_decls or ())]  # in an annotation Typer takes the first for a default
    facts = [", ".join(names) if isinstance(names[0], str) else name, option.metavar or "|".join(choices)]
    facts.append("required" if default is inspect.Parameter.empty else f"[{shown}]")
    return f"{' '.join(fact for fact in facts if fact)}\n    {option.help}\n"


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_help(command: Callable[..., None]) -> None:
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters
    lines = [_described(name, hints[name], parameter.default) for name, parameter in parameters.items()]
    found = f"{inspect.getdoc(command)}\n\n{''.join(lines)}"
    golden = GOLDEN / f"{command.__name__}.txt"
    if os.environ.get("BOARDFIT_UPDATE_GOLDEN"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(found)
    assert found == golden.read_text()


def test_no_golden_text_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(NAMES)


@dataclass(frozen=True)
class _Size:
    width: Annotated[int, typer.Option("--width")] = 3
    height: Annotated[int, typer.Option("--height")] = 4


def test_a_group_arrives_as_one_value() -> None:
    @with_option_groups
    def area(*, times: int = 1, size: _Size, name: str = "") -> None:
        typer.echo(f"{name}{times * size.width * size.height}")

    application = typer.Typer()
    application.command()(area)
    done = CliRunner().invoke(application, ["--height", "5", "--name", "a=", "--times", "2"])
    assert done.output == "a=30\n"


def test_an_option_twice_is_refused() -> None:
    with pytest.raises(TypeError, match="two options 'width'"):

        @with_option_groups
        def area(*, width: int = 1, size: _Size) -> None:
            pass
