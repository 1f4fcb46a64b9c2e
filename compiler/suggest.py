"""Hints of messages about unknown names: few names, short ones, the likely ones first."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

SHOWN = 8
LENGTH = 60
"""Characters of a name that are shown: converters join the names of all nodes they fuse."""


def listed(names: Sequence[str], wanted: str = "") -> str:
    """Names for a hint, separated by commas.

    Args:
        names: all there are.
        wanted: what was asked for; names alike come first.

    Returns:
        At most `SHOWN` names, long ones cut in the middle, and how many more there are.
    """
    close = difflib.get_close_matches(wanted, names, n=3) if wanted else []
    order = [*close, *(name for name in names if name not in close)]
    more = f" and {len(order) - SHOWN} more" if len(order) > SHOWN else ""
    return ", ".join(_cut(name) for name in order[:SHOWN]) + more


def _cut(name: str) -> str:
    if len(name) <= LENGTH:
        return name
    half = (LENGTH - 3) // 2
    return f"{name[:half]}...{name[-half:]}"
