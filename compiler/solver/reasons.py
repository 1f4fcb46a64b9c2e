"""Why a form won a layer: what it saves against the plain form, and which other form came next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..ir.graph import Graph
from .forms import Form
from .table import Entry, FormTable


@dataclass(frozen=True, slots=True)
class Reason:
    """One layer of a choice.

    Attributes:
        layer: its name in the model's file.
        form: the form chosen for it.
        flash, cycles: of the layer in that form.
        plain_flash, plain_cycles: of the layer as it is.
        loss: divergence of the outputs when only this layer is changed.
        rival: the form of least loss among the others that take no more flash; None if there is none.
        rival_loss: its loss; 0 without a rival.
    """

    layer: str
    form: Form
    flash: int
    cycles: int
    plain_flash: int
    plain_cycles: int
    loss: float
    rival: Form | None
    rival_loss: float

    def __str__(self) -> str:
        if self.form.is_plain:
            return "loses nothing"
        if self.rival is None:
            return "nothing else is as small"
        if self.rival_loss >= self.loss:
            return f"as small: {self.rival} loses {self.rival_loss:.4f}"
        return f"{self.rival} loses {self.rival_loss:.4f}, but takes more of what was short, or more cycles"


def reasons(floating: Graph, table: FormTable, forms: Mapping[str, Form]) -> tuple[Reason, ...]:
    """A reason for each layer of a table.

    Args:
        floating: the graph the table was made of.
        forms: layer -> form chosen for it.
    """
    found: list[Reason] = []
    for name, entries in zip(table.layers, table.entries, strict=True):
        won = next(entry for entry in entries if entry.form == forms[name])
        others = [e for e in entries if e is not won and e.resources.flash <= won.resources.flash]
        rival: Entry | None = min(others, key=lambda entry: entry.loss, default=None)
        plain = entries[0].resources
        found.append(
            Reason(
                floating.node(name).source.node,
                won.form,
                won.resources.flash,
                won.resources.cycles,
                plain.flash,
                plain.cycles,
                won.loss,
                None if rival is None else rival.form,
                0.0 if rival is None else rival.loss,
            )
        )
    return tuple(found)
