"""Making a design fit: narrower values (FPGA) or compressed weights (microcontroller), where the user allows a loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .backend import Backend
from .board import Board
from .compress.width_search import NoWidths, PlansWidths, WidthSearch, search_widths
from .estimate.report import Estimate
from .options import BackendOptions, QuantizeOptions
from .prepare import Prepared


@dataclass(frozen=True, slots=True)
class Fitted:
    """A graph made ready for a board, what it costs, and how its widths were found (None: as they were given).

    `tried` says which narrower values were tried if that did not help.
    """

    prepared: Prepared
    estimate: Estimate
    search: WidthSearch | None = None
    tried: str = ""


def fit(
    prepared: Prepared, board: Board, backend: Backend, quantize: QuantizeOptions, options: BackendOptions
) -> Fitted:
    """Validate, estimate, and search narrower values if a bound is given or the design does not fit without.

    Without calibration data of the user nothing is narrowed: what it would cost could not be measured.

    Raises:
        ModelError, UsageError: see `Backend.validate`.
        BudgetError: a bound was given that cannot be held.
    """
    from .compress.fidelity import make_bound

    backend.validate(prepared.graph, board, options)
    if not isinstance(backend, PlansWidths):
        cost = backend.estimate(prepared.graph, board, options)
        if cost.fits or not quantize.bounded or not prepared.calibrated:
            return Fitted(prepared, cost)
        return _compressed(prepared, board, backend, quantize, options)
    bound = make_bound(prepared.floating, quantize, prepared.labels)
    if not quantize.bounded:
        given = quantize.width is not None or not prepared.calibrated
        if given or backend.fits(prepared.graph, board, options):
            return Fitted(prepared, backend.estimate(prepared.graph, board, options))
    found = search_widths(prepared.floating, prepared.data, backend, board, quantize, options, bound, prepared.labels)
    if found is None:
        return Fitted(prepared, backend.estimate(prepared.graph, board, options))
    if isinstance(found, NoWidths):
        narrow = prepared if found.smallest is None else replace(prepared, graph=found.smallest.graph)
        return Fitted(narrow, backend.estimate(narrow.graph, board, options), tried=str(found))
    narrow = replace(prepared, graph=found.graph)
    backend.validate(narrow.graph, board, options)
    return Fitted(narrow, backend.estimate(narrow.graph, board, options), found)


def _compressed(
    prepared: Prepared, board: Board, backend: Backend, quantize: QuantizeOptions, options: BackendOptions
) -> Fitted:
    """Weights pruned, shared and narrowed until the design fits."""
    from .solver.design import fit_by_compression

    graph, _ = fit_by_compression(prepared, board, backend, quantize, options)
    small = replace(prepared, graph=graph)
    return Fitted(small, backend.estimate(graph, board, options))
