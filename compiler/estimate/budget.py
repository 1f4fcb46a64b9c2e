"""The message when a design does not fit: need and have, the heaviest nodes, what would help most."""

from __future__ import annotations

from collections.abc import Iterable

from ..board import Board, shipped_boards
from ..errors import BudgetError
from ..resources import Resources, Shortage
from .report import Estimate, LayerEstimate, Saving

HEAVIEST = 3
LABELS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM18", "uram": "URAM", "flash": "flash", "ram": "RAM"}
IN_BYTES = ("flash", "ram")


def check_budget(estimate: Estimate, board: Board, model: str, tried: str = "") -> None:
    """Refuse a design that does not fit.

    Args:
        tried: what was done already to make it fit.

    Raises:
        BudgetError: need and have of every resource that is short, the heaviest nodes, and the change that would
            save most.
    """
    if estimate.fits:
        return
    shortages = estimate.shortages
    worst = max(shortages, key=_overload)
    lines = [f"does not fit {board.title}"]
    lines += [_need_and_have(shortage) for shortage in shortages]
    lines.append(f"the heaviest nodes in {_label(worst.resource)}:")
    lines += [_share(layer, worst.resource) for layer in heaviest(estimate.layers, worst.resource)]
    lines += [tried] if tried else []
    raise BudgetError("\n  ".join(lines), file=model, hint=_hint(estimate, board))


def heaviest(layers: Iterable[LayerEstimate], resource: str) -> list[LayerEstimate]:
    """The layers that need most of a resource, most first."""
    using = [layer for layer in layers if getattr(layer.resources, resource) > 0]
    return sorted(using, key=lambda layer: -int(getattr(layer.resources, resource)))[:HEAVIEST]


def best_saving(estimate: Estimate) -> Saving | None:
    """The change after which the design comes nearest to fitting (or fits with most room); None if none helps."""
    helping = [
        s for s in estimate.savings if overload(s.total, estimate.budget) < overload(estimate.total, estimate.budget)
    ]
    return min(helping, key=lambda saving: overload(saving.total, estimate.budget), default=None)


def overload(need: Resources, budget: Resources) -> float:
    """Largest need relative to what there is, over all capacities."""
    ratios = [
        amount / getattr(budget, name) if getattr(budget, name) else float("inf")
        for name, amount in need.items()
        if name != "cycles" and amount
    ]
    return max(ratios, default=0.0)


def _overload(shortage: Shortage) -> float:
    return shortage.need / shortage.have if shortage.have else float("inf")


def _label(resource: str) -> str:
    return LABELS[resource]


def _need_and_have(shortage: Shortage) -> str:
    unit = " bytes" if shortage.resource in IN_BYTES else ""
    times = f" ({_overload(shortage):.1f} times)" if shortage.have else ""
    return f"{_label(shortage.resource)}: needs {shortage.need:,}{unit}, has {shortage.have:,}{times}"


def _share(layer: LayerEstimate, resource: str) -> str:
    choice = f" [{layer.choice}]" if layer.choice else ""
    return f"  {layer.node} ({layer.op}): {getattr(layer.resources, resource):,}{choice}"


def _hint(estimate: Estimate, board: Board) -> str:
    saving = best_saving(estimate)
    if saving is not None and saving.total.fits_in(estimate.budget):
        return f"{saving.change}; then it fits"
    roomy = [
        other
        for other in shipped_boards()
        if other.kind == board.kind and other.name != board.name and estimate.total.fits_in(other.budget)
    ]
    roomy.sort(key=lambda other: overload(estimate.total, other.budget), reverse=True)
    larger = f"take a larger board: it would fit {roomy[0].name}" if roomy else ""
    if saving is None:
        return larger or "make the model smaller: fewer or narrower layers"
    after = ", ".join(f"{_label(s.resource)} {s.need:,}" for s in saving.total.over(estimate.budget))
    return f"{saving.change} saves most (then still short: {after})" + (f", or {larger}" if larger else "")
