"""Templates to text: numbers, arrays, structs and calls are formatted here, never in a template."""

from __future__ import annotations

import functools
import textwrap
from collections.abc import Mapping
from importlib import resources

import jinja2
import numpy as np

from .kernel import Function, Record

WIDTH = 116
"""Longest line of generated C."""


@functools.cache
def environment() -> jinja2.Environment:
    """Templates of this backend: strict, block tags leave no empty lines."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_load),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def _load(name: str) -> str:
    place = resources.files("boardfit.templates").joinpath("mcu")
    for part in name.split("/"):
        place = place.joinpath(part)
    return place.read_text(encoding="utf-8")


def render(name: str, context: Mapping[str, object]) -> str:
    """The text of a template below `templates/mcu/`."""
    return environment().get_template(name).render(context)


def function_text(function: Function) -> str:
    """C of one kernel function."""
    return render(f"kernels/{function.template}", {**function.context, "name": function.name}).strip() + "\n"


def numbers(values: np.ndarray, indent: str = "    ") -> str:
    """Comma-separated integers in lines of limited width."""
    text = ", ".join(map(_integer, values.reshape(-1).tolist()))
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _integer(value: int) -> str:
    # -2147483648 is not a C constant: the minus is applied to a number that does not fit
    return "(-2147483647 - 1)" if value == -(1 << 31) else str(value)


def array_definition(declaration: str, values: np.ndarray) -> str:
    """`declaration = {...};`"""
    return f"{declaration} = {{\n{numbers(values)}\n}};"


def record_definition(name: str, record: Record) -> str:
    """A constant struct with one member on each line."""
    members = "".join(f"    .{member} = {value},\n" for member, value in record.fields)
    return f"static const {record.c_type} {name} = {{\n{members}}};"


def call_statement(function: str, arguments: list[str], indent: str = "    ") -> str:
    """A call, broken after commas where it is too long."""
    text = f"{function}({', '.join(arguments)});"
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def comment_text(text: str) -> str:
    """Text that is safe inside a C comment: printable ASCII without the end mark."""
    clean = "".join(c if " " <= c <= "~" else "?" for c in text)
    return clean.replace("*/", "*-/").replace("/*", "/-*").replace("\\", "/").replace("?", "_")


def float_literal(value: float) -> str:
    """The binary32 nearest to `value`, exactly, as a C constant."""
    text = repr(float(np.float32(value)))
    return (text if "." in text or "e" in text else text + ".0") + "f"
