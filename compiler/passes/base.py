"""What a pass is."""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Protocol

from ..ir.graph import Graph


class Preserves(Enum):
    """What a pass promises about the outputs of a graph."""

    EXACT = "exact"  # integer outputs stay bit for bit; float outputs up to the order of additions
    LOSSY = "lossy"  # outputs may change; the runner reports by how much


class Pass(Protocol):
    """A rewrite: a frozen dataclass whose fields are its options."""

    name: ClassVar[str]
    preserves: ClassVar[Preserves]

    def __call__(self, graph: Graph) -> Graph:
        """The rewritten graph."""
        ...
