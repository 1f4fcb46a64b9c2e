"""What every form of every layer costs on the board and in accuracy: the table the solver chooses from.

Losses are measured, one layer changed at a time, as the divergence of the outputs from those of the float network
(Kullback-Leibler for classes, relative squared error otherwise); costs are the backend's own estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..backend import Backend
from ..board import Board
from ..compress.fidelity import is_classifier
from ..compress.layers import NewWeights, replace_weights, weight_layers
from ..compress.reconstruction import LayerProblem, compress_layers
from ..estimate.report import Estimate
from ..interp import run
from ..ir.graph import Graph
from ..options import BackendOptions
from ..resources import Resources
from .forms import FORMS, PLAIN, Form, make_form

MOST_SAMPLES = 256
"""Samples that losses are measured on."""


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
    data: Mapping[str, np.ndarray],
    board: Board,
    backend: Backend,
    options: BackendOptions,
    lower: Callable[[Graph], Graph],
    forms: Sequence[Form] = FORMS,
) -> FormTable:
    """Measure every form of every layer.

    Args:
        floating: float canonical graph.
        data: graph input -> (S, *shape), unlabelled.
        lower: makes the integer graph of a float graph, as compilation does.
        forms: what is tried; the plain form is always there.
    """
    made: dict[str, dict[Form, NewWeights]] = {}

    def every_form(problem: LayerProblem) -> None:
        found = {form: make_form(problem, form) for form in forms if not form.is_plain}
        made[problem.layer.name] = {form: new for form, new in found.items() if new is not None}

    few = {name: values[:MOST_SAMPLES] for name, values in data.items()}
    compress_layers(floating, few, every_form, asymmetric=False)
    names = tuple(layer.name for layer in weight_layers(floating))
    judge = Divergence(floating, few)
    plain = backend.estimate(lower(floating), board, options)
    entries: dict[str, list[Entry]] = {name: [Entry(PLAIN, 0.0, _share(plain, floating, name))] for name in names}
    for form in forms:
        if form.is_plain:
            continue
        changed = {name: new[form] for name, new in made.items() if form in new}
        cost = backend.estimate(lower(replace_weights(floating, changed)), board, options)
        for name, new in changed.items():
            loss = judge(replace_weights(floating, {name: new}))
            entries[name].append(Entry(form, loss, _share(cost, floating, name)))
    own = Resources()
    for name in names:
        own = own + entries[name][0].resources
    return FormTable(names, tuple(tuple(entries[name]) for name in names), plain.total - own, plain)


def _share(estimate: Estimate, graph: Graph, name: str) -> Resources:
    """Resources of one layer: nodes are told by the name in the model's file."""
    source = graph.node(name).source.node
    found = Resources()
    for layer in estimate.layers:
        if layer.node == source:
            found = found + layer.resources
    return found


class Divergence:
    """How far the outputs of a changed network are from those of the float one."""

    def __init__(self, floating: Graph, data: Mapping[str, np.ndarray]) -> None:
        self._data = data
        self._classes = is_classifier(floating)
        last = floating.producer(floating.outputs[0])
        self._scores = last is None or last.op != "Softmax"
        self._reference = self._outputs(floating)

    def __call__(self, graph: Graph) -> float:
        """Mean divergence over the samples, not negative."""
        outputs = self._outputs(graph)
        if self._classes:
            reference = self._reference
            ratio = np.log(np.maximum(reference, 1e-12)) - np.log(np.maximum(outputs, 1e-12))
            return max(float((reference * ratio).sum(axis=1).mean()), 0.0)
        return float(((outputs - self._reference) ** 2).mean() / max(float(self._reference.var()), 1e-30))

    def _outputs(self, graph: Graph) -> np.ndarray:
        found = run(graph, {name: self._data[name] for name in graph.inputs})
        parts = [np.asarray(found[name], np.float64).reshape(len(found[name]), -1) for name in graph.outputs]
        outputs = np.concatenate(parts, axis=1)
        if self._classes and self._scores:
            shifted = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            outputs = shifted / shifted.sum(axis=1, keepdims=True)
        return outputs
