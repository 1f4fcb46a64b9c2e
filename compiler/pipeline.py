"""Runs passes: verifies the graph after each, compares outputs, times, dumps, and writes a reproducer on failure.

The runner does this, not the pass: a pass is only the rewrite.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import InternalError
from .interp import run
from .ir.graph import Graph
from .ir.text import format_graph
from .ir.verify import verify_graph
from .passes.base import Pass, Preserves
from .passes.fold_scale import FoldScale
from .passes.fuse_activation import FuseActivation
from .passes.layout import CanonicalLayout

FLOAT_TOLERANCE = 1e-4
"""Largest difference, relative to the output range, that an exact pass may make by reordering float additions."""


@dataclass(frozen=True, slots=True)
class PassRecord:
    """What one pass did."""

    name: str
    seconds: float
    nodes_before: int
    nodes_after: int
    difference: float | None
    """Largest output difference relative to the output range; None if not compared."""


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """How passes are run.

    Attributes:
        compare: inputs (see `interp.run`) on which outputs before and after each pass are compared.
        dump: folder for one text file per pass.
    """

    compare: Mapping[str, np.ndarray] | None = None
    dump: Path | None = None


@dataclass(slots=True)
class PipelineResult:
    """The final graph and what each pass did."""

    graph: Graph
    records: list[PassRecord] = field(default_factory=list)


def run_passes(graph: Graph, passes: Sequence[Pass], options: PipelineOptions | None = None) -> PipelineResult:
    """Run passes in order.

    Raises:
        InternalError: a pass broke the graph or changed outputs it promised to keep.
    """
    options = options or PipelineOptions()
    result = PipelineResult(graph)
    _dump(options, 0, "input", graph)
    before = None if options.compare is None else run(graph, options.compare)
    for index, step in enumerate(passes, start=1):
        start = time.perf_counter()
        try:
            after_graph = step(result.graph)
            verify_graph(after_graph)
        except InternalError as problem:
            where = _reproducer(options, step.name, result.graph)
            raise InternalError(f"pass {step.name}: {problem}{where}") from problem
        seconds = time.perf_counter() - start
        difference = None
        if options.compare is not None and before is not None:
            after = run(after_graph, options.compare)
            difference = _difference(result.graph, before, after_graph, after)
            limit = FLOAT_TOLERANCE if after_graph.types[after_graph.outputs[0]].is_float else 0.0
            if step.preserves is Preserves.EXACT and difference > limit:
                where = _reproducer(options, step.name, result.graph)
                raise InternalError(f"pass {step.name} changed the outputs by {difference:.3g} of their range{where}")
            before = after
        record = PassRecord(step.name, seconds, len(result.graph.nodes), len(after_graph.nodes), difference)
        result.records.append(record)
        result.graph = after_graph
        _dump(options, index, step.name, after_graph)
    return result


def _difference(left: Graph, before: Mapping[str, np.ndarray], right: Graph, after: Mapping[str, np.ndarray]) -> float:
    """Largest difference over all outputs, relative to each output's range."""
    worst = 0.0
    for old, new in zip(left.outputs, right.outputs, strict=True):
        a = before[old].astype(np.float64)
        b = after[new].astype(np.float64).reshape(a.shape)
        span = float(np.ptp(a)) or 1.0
        worst = max(worst, float(np.abs(a - b).max(initial=0.0)) / span)
    return worst


def _dump(options: PipelineOptions, index: int, name: str, graph: Graph) -> None:
    if options.dump is not None:
        options.dump.mkdir(parents=True, exist_ok=True)
        (options.dump / f"{index:02d}-{name}.txt").write_text(format_graph(graph))


def _reproducer(options: PipelineOptions, name: str, graph: Graph) -> str:
    if options.dump is None:
        return " (run again with --dump-ir DIR for a reproducer)"
    options.dump.mkdir(parents=True, exist_ok=True)
    path = options.dump / f"reproducer-{name}.txt"
    path.write_text(format_graph(graph))
    return f" (the graph before the pass is in {path})"


def canonical_passes(*, fuse: bool) -> tuple[Pass, ...]:
    """The passes every model goes through; `fuse` puts clamps into the layers before them (firmware, not hls4ml)."""
    layout, fold = CanonicalLayout(), FoldScale()
    return (layout, fold, layout, FuseActivation()) if fuse else (layout, fold, layout)


def canonicalize(graph: Graph, *, fuse: bool = True, options: PipelineOptions | None = None) -> Graph:
    """A float graph in canonical form: channels-last, constants folded into layers, activations fused."""
    return run_passes(graph, canonical_passes(fuse=fuse), options).graph
