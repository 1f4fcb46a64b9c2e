"""What each option costs each layer: the table that a solver chooses from.

Only one layer is changed at a time; the cost is what the outputs of the whole network feel of it, on unlabelled data.
Entries are kept in a cache, named by the content of everything they depend on.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OutputError
from ..interp import run
from ..ir.graph import Graph
from ..ir.text import format_graph
from ..passes.base import Pass
from .fidelity import is_classifier
from .layers import weight_layers
from .reconstruction import check_inputs

CACHE_VARIABLE = "BOARDFIT_CACHE"
"""Environment variable that names the cache folder."""

VERSION = 1
"""Part of every key; raised when a figure is computed in another way."""

SAMPLES = 256
"""Samples the outputs are compared on."""


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that can be done to a layer.

    Attributes:
        name: for tables.
        make: layer name -> the pass that changes that layer alone.
    """

    name: str
    make: Callable[[str], Pass]


@dataclass(frozen=True, slots=True)
class Cost:
    """What an option costs the outputs.

    Attributes:
        divergence: mean Kullback-Leibler divergence of the class probabilities from the original ones, in nats; for
            networks that do not classify, the relative squared error.
        relative: squared error of the outputs relative to their power.
        disagreement: share of samples with another class; 0 for networks that do not classify.
    """

    divergence: float
    relative: float
    disagreement: float


@dataclass(frozen=True, slots=True)
class SensitivityTable:
    """Costs by layer and option name; all layers have all options, in the given order."""

    costs: Mapping[str, Mapping[str, Cost]]


def sensitivity_table(
    graph: Graph,
    options: Sequence[Option],
    data: Mapping[str, np.ndarray],
    *,
    layers: Sequence[str] | None = None,
    cache: str | Path | None = None,
    told: Callable[[str, str, Cost], None] | None = None,
) -> SensitivityTable:
    """Measure every option on every layer.

    Args:
        graph: float canonical graph.
        data: graph input -> (S, *shape), unlabelled; the outputs are compared on at most 256 of them.
        layers: names of layers, or None for all with weights.
        cache: folder; None takes the variable BOARDFIT_CACHE, else the user's cache folder.
        told: called with layer, option and cost as they are known (for a progress bar).

    Raises:
        DataError: no data, or data of another shape.
        OutputError: the cache cannot be written.
    """
    samples = check_inputs(graph, data)
    few = np.arange(min(samples, SAMPLES)) * samples // min(samples, SAMPLES)
    inputs = {name: np.asarray(data[name][few], np.float32) for name in graph.inputs}
    folder = cache_folder(cache) / "sensitivity"
    base = fingerprint([VERSION, graph, inputs])
    reference: dict[str, np.ndarray] = {}
    table: dict[str, dict[str, Cost]] = {}
    for layer in layers if layers is not None else [layer.name for layer in weight_layers(graph)]:
        table[layer] = {}
        for option in options:
            step = option.make(layer)
            path = folder / f"{fingerprint([base, layer, step])}.json"
            cost = _read(path)
            if cost is None:
                reference = reference or run(graph, inputs)
                cost = compare_outputs(graph, run(step(graph), inputs), reference)
                _write(path, cost)
            table[layer][option.name] = cost
            if told is not None:
                told(layer, option.name, cost)
    return SensitivityTable(table)


def compare_outputs(graph: Graph, outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> Cost:
    """The cost of outputs (a changed network may name them differently: the order counts) against the original's."""
    pairs = [
        (b.reshape(len(b), -1).astype(np.float64), a.reshape(len(a), -1).astype(np.float64))
        for a, b in zip(outputs.values(), reference.values(), strict=True)
    ]
    lost = sum(float(np.square(a - b).sum()) for b, a in pairs)
    power = sum(float(np.square(b).sum()) for b, _ in pairs)
    relative = lost / power if power > 0.0 else float(lost > 0.0)
    if not is_classifier(graph):
        return Cost(relative, relative, 0.0)
    (before, after), producer = pairs[0], graph.producer(graph.outputs[0])
    softmax = producer is not None and producer.op == "Softmax"
    p, q = (_log_chances(rows, softmax) for rows in (before, after))
    divergence = float((np.exp(p) * (p - q)).sum(axis=1).mean())
    return Cost(max(divergence, 0.0), relative, float((before.argmax(axis=1) != after.argmax(axis=1)).mean()))


def _log_chances(rows: np.ndarray, softmax: bool) -> np.ndarray:
    if softmax:
        return np.log(np.maximum(rows, 1e-9))
    shifted = rows - rows.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def cache_folder(cache: str | Path | None = None) -> Path:
    """The folder results are cached in: the given one, that of BOARDFIT_CACHE, or the user's cache folder."""
    if cache is not None:
        return Path(cache)
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("boardfit")


def fingerprint(value: Any) -> str:
    """A digest that is equal for equal content: graphs, arrays, dataclasses, mappings, sequences, plain values."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Graph):
        digest.update(format_graph(value).encode())
        for name in sorted(value.constants):
            _feed(digest, [name, value.constants[name].values])
    elif isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Enum):
        digest.update(f"{type(value).__name__}.{value.name} ".encode())
    elif is_dataclass(value) and not isinstance(value, type):
        digest.update(f"{type(value).__name__}( ".encode())
        for part in fields(value):
            _feed(digest, [part.name, getattr(value, part.name)])
        digest.update(b") ")
    elif isinstance(value, Mapping):
        _feed(digest, sorted(value.items()))
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)} ".encode())
        for item in value:
            _feed(digest, item)
    elif value is None or isinstance(value, (str, bytes, int, float, bool, Path)):
        digest.update(f"{type(value).__name__} {value!r} ".encode())
    else:
        raise TypeError(f"no fingerprint of a {type(value).__name__}")


def _read(path: Path) -> Cost | None:
    """A cached cost; None if there is none or it is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        cost = Cost(float(found["divergence"]), float(found["relative"]), float(found["disagreement"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return cost if all(math.isfinite(number) for number in (cost.divergence, cost.relative)) else None


def _write(path: Path, cost: Cost) -> None:
    """Whole or not at all: written beside its place, then renamed."""
    text = json.dumps({part.name: getattr(cost, part.name) for part in fields(cost)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(draft).replace(path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"the cache cannot be written: {error.strerror or error}",
            file=str(path.parent),
            hint=f"set {CACHE_VARIABLE} to a folder that can be written",
        ) from error
