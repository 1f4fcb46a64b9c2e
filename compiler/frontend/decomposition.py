"""Operators that become several ops of the IR."""

from __future__ import annotations

from dataclasses import dataclass

from ..ops.spec import Importer


@dataclass(frozen=True, slots=True)
class Decomposition:
    """An importer and the ops it may emit, besides Transpose and Reshape (for the operator table)."""

    importer: Importer
    ops: tuple[str, ...]
