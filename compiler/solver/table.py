"""What every form of every layer costs on the board and in accuracy: the table the solver chooses from.

Losses are measured, one layer changed at a time, as the divergence of the outputs from those of the float network
(Kullback-Leibler for classes, relative squared error otherwise); costs are the backend's own estimates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import Backend
from ..board import Board
from ..cache import Store
from ..compress.chains import Change, placed_sources, replace_layers
from ..compress.layers import weight_layers
from ..compress.reconstruction import LayerProblem, compress_layers
from ..compress.resource_rule import cheaper
from ..compress.sensitivity import Sensitivity
from ..data import Samples
from ..estimate.report import Estimate
from ..ir.graph import Graph
from ..options import BackendOptions, QuantizeOptions
from ..prepare import lower_for_board
from ..resources import Resources
from .forms import FORMS, PLAIN, Form, make_form

MOST_SAMPLES = 256
"""Samples that forms are fitted to."""


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One form of one layer.

    Attributes:
        form: what is done.
        loss: divergence of the outputs when only this layer is changed.
        resources: of this layer on the board.
    """

    form: Form
    loss: float
    resources: Resources


@dataclass(frozen=True, slots=True, eq=False)
class FormTable:
    """Forms of each layer, layers in topological order, and what does not depend on them.

    Attributes:
        layers: names of the layers.
        entries: of each layer, the plain form first.
        fixed: resources of everything else in the plain design.
        plain: the estimate of the plain design.
    """

    layers: tuple[str, ...]
    entries: tuple[tuple[Entry, ...], ...]
    fixed: Resources
    plain: Estimate


def make_table(
    floating: Graph,
    data: Samples,
    board: Board,
    backend: Backend,
    options: BackendOptions,
    quantize: QuantizeOptions,
    forms: Sequence[Form] = FORMS,
    cache: str | Path | None = None,
) -> FormTable:
    """Measure every form of every layer, or take from the cache what was measured before.

    Args:
        floating: float canonical graph.
        data: graph input -> (S, *shape), unlabelled; calibrates too.
        forms: what is tried; the plain form is always there.
        cache: folder; None takes the variable BOARDFIT_CACHE, else the user's cache folder.

    Raises:
        OutputError: the cache cannot be written.
    """
    names = tuple(layer.name for layer in weight_layers(floating))
    plain = backend.estimate(lower_for_board(floating, board, data, quantize), board, options)
    entries: dict[str, list[Entry]] = {
        name: [Entry(PLAIN, 0.0, plain.share([floating.node(name).source.node]))] for name in names
    }
    unbounded = replace(quantize, max_drop=None, min_snr=None)  # a bound changes no entry
    store = Store.open("forms", [floating, data, board, backend.name, options, unbounded], cache)
    tried = [form for form in forms if not form.is_plain]
    rows = {form: _read(form, store.get(form)) for form in tried}
    made = _make_forms(floating, data, [form for form in tried if rows[form] is None])
    sensitivity = Sensitivity(floating, data, cache)
    for form in tried:
        row = rows[form]
        if row is None:
            changed = {name: new[form] for name, new in made.items() if form in new}
            graph = replace_layers(floating, changed)
            cost = backend.estimate(lower_for_board(graph, board, data, quantize), board, options)
            row = {
                name: Entry(
                    form,
                    sensitivity.cost_of_weights({name: new}).divergence,
                    cost.share(placed_sources(floating, graph, name)),
                )
                for name, new in changed.items()
            }
            store.put(form, {name: [entry.loss, asdict(entry.resources)] for name, entry in row.items()})
        for name, entry in row.items():
            if form.structure is None or _gains(entry, entries[name], board):
                entries[name].append(entry)
    own = Resources()
    for name in names:
        own = own + entries[name][0].resources
    return FormTable(names, tuple(tuple(entries[name]) for name in names), plain.total - own, plain)


def _make_forms(
    floating: Graph, data: Mapping[str, np.ndarray], forms: Sequence[Form]
) -> dict[str, dict[Form, Change]]:
    """The weights of each layer in each form that changes them."""
    made: dict[str, dict[Form, Change]] = {}

    def every_form(problem: LayerProblem) -> None:
        found = {form: make_form(problem, form) for form in forms}
        made[problem.layer.name] = {form: new for form, new in found.items() if new is not None}

    if forms:
        few = {name: values[:MOST_SAMPLES] for name, values in data.items()}
        compress_layers(floating, few, every_form, asymmetric=False)
    return made


def _read(form: Form, found: Any) -> dict[str, Entry] | None:
    """What was kept of a form; None if nothing was, or it is damaged."""
    try:
        return {name: Entry(form, float(loss), Resources(**amounts)) for name, (loss, amounts) in found.items()}
    except (AttributeError, TypeError, ValueError):
        return None


def _gains(entry: Entry, others: Sequence[Entry], board: Board) -> bool:
    """Whether a change of structure makes a layer cheaper than the same widths and zeros without it."""
    same = [other for other in others if other.form == entry.form.unstructured]
    return cheaper(entry.resources, (same or others)[0].resources, board.kind)
