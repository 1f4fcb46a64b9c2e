"""Text from the templates in `boardfit.templates`."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any


@functools.cache
def _environment() -> Any:
    import jinja2

    def load(name: str) -> str:
        return (files("boardfit.templates") / "hls4ml" / name).read_text(encoding="utf-8")

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(load),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def render(template: str, **values: Any) -> str:
    """A template of this backend with its values filled in."""
    return str(_environment().get_template(template).render(**values))
