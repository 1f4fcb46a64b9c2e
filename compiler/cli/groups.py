"""Options that several commands share, declared once: a dataclass whose fields are the options.

A command takes such a group as one parameter; the command line sees the group's fields in its place. Typer reads
commands from their signatures, so the signature is what is rewritten.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose dataclass parameters are spread into the fields of the dataclass, in their place.

    Every field needs a default and an annotation with a `typer.Option`, and no two groups of a command may share a
    name.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {}
    seen: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = hints[name]
            types = get_type_hints(hints[name], include_extras=True)
            spread = {field.name: (types[field.name], field.default) for field in fields(hints[name])}
        else:
            spread = {name: (hints[name], parameter.default)}
        for option, (annotation, default) in spread.items():
            if option in seen:
                raise TypeError(f"{command.__name__} has two options '{option}'")
            seen[option] = inspect.Parameter(
                option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )

    @functools.wraps(command)
    def spread_command(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    spread_command.__signature__ = inspect.Signature(list(seen.values()))  # type: ignore[attr-defined]  # PEP 362
    spread_command.__annotations__ = {name: parameter.annotation for name, parameter in seen.items()}
    return spread_command
