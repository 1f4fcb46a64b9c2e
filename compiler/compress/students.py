"""Smaller networks cut from a teacher, to be distilled from it: fewer channels, fewer stages, or both.

A student that is cut out of its teacher starts from the teacher's weights: channels are removed with the readers
refitted (`PruneUnits`), stages whose output has the shape of their input are left out. Distillation does the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..interp import run
from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor
from ..ops import OPS
from .layers import COMPRESSED_OPS
from .prune_units import PruneUnits

HALF = 0.5
"""Multiply-accumulates of `auto` without a width, as a share of the teacher's."""

MOST_SAMPLES = 64
"""Samples on which it is measured what leaving out a stage costs."""

STEPS = 16
"""Widths tried for `auto`: multiples of 1 / STEPS."""

_SPECIFICATION = re.compile(r"auto(?::(?P<width>[0-9.]+))?(?:x(?P<depth>[0-9.]+))?")


@dataclass(frozen=True, slots=True)
class Multipliers:
    """How much of a teacher a student keeps.

    Attributes:
        width: share of the channels and neurons of every layer; None for the largest with at most half of the
            multiply-accumulates.
        depth: share of the stages that can be left out.
    """

    width: float | None = None
    depth: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Multipliers:
        """`auto`, `auto:WIDTH` or `auto:WIDTHxDEPTH`.

        Raises:
            UsageError: anything else, or a share outside 0 .. 1.
        """
        found = _SPECIFICATION.fullmatch(text)
        width, depth = None, 1.0
        try:
            if found is not None:
                width = None if found["width"] is None else float(found["width"])
                depth = 1.0 if found["depth"] is None else float(found["depth"])
        except ValueError:
            found = None
        if found is None or not 0.0 < (1.0 if width is None else width) <= 1.0 or not 0.0 <= depth <= 1.0:
            raise UsageError(
                f"'{text}' is no student",
                hint="an ONNX file, auto, auto:0.5 (half of the channels) or auto:0.5x0.75 (and of the stages)",
            )
        return cls(width, depth)


def cut_student(teacher: Graph, data: Mapping[str, np.ndarray], multipliers: Multipliers, multiple: int = 4) -> Graph:
    """A narrower, shallower copy of a network.

    Args:
        teacher: float canonical graph.
        data: graph input -> (S, *shape), unlabelled: readers of removed channels are refitted on it.
        multiple: channels are kept in multiples of that (kernels work on 2 or 4 at a time).

    Raises:
        UsageError: nothing can be left out.
    """
    student = shallower(teacher, data, multipliers.depth) if multipliers.depth < 1.0 else teacher
    if multipliers.width is not None:
        if multipliers.width == 1.0:
            return student
        return PruneUnits(data, 1.0 - multipliers.width, multiple)(student)
    few = {name: values[:MOST_SAMPLES] for name, values in data.items()}
    for step in range(STEPS - 1, 0, -1):  # costs depend on the shapes alone: few samples are enough to find the width
        width = step / STEPS
        if macs(PruneUnits(few, 1.0 - width, multiple)(student)) <= HALF * macs(teacher):
            return PruneUnits(data, 1.0 - width, multiple)(student)
    raise UsageError(
        "no width of this network has half of its multiply-accumulates",
        hint="give a student as an ONNX file, or a width: auto:0.25",
    )


def macs(graph: Graph) -> int:
    """Multiply-accumulates of one inference."""
    return sum(OPS[node.op].macs(node, graph) for node in graph.nodes)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the graph with one way in and one way out, of one shape: it can be left out.

    Attributes:
        entry, exit: tensors.
        layers: names of the layers with weights inside.
    """

    entry: str
    exit: str
    layers: tuple[str, ...]


def waists(graph: Graph) -> list[str]:
    """Tensors through which every path from the inputs to the outputs goes, in topological order."""
    computed = {*graph.inputs}
    last_use: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        if any(name in computed for name in node.inputs):
            computed.update(node.outputs)
            for name in node.inputs:
                last_use[name] = index
    for name in graph.outputs:
        last_use[name] = len(graph.nodes)
    open_tensors = set(graph.inputs)
    found = list(graph.inputs) if len(graph.inputs) == 1 else []
    for index, node in enumerate(graph.nodes):
        if node.outputs[0] not in computed:
            continue
        open_tensors.update(name for name in node.outputs if last_use.get(name, -1) > index)
        open_tensors -= {name for name in node.inputs if last_use.get(name, -1) <= index}
        if len(open_tensors) == 1:
            found += sorted(open_tensors - set(found))
    return found


def stages(graph: Graph) -> list[Stage]:
    """The smallest parts with weights that can be left out; they do not overlap."""
    order = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs}
    places = waists(graph)
    found: list[Stage] = []
    start = 0
    while start < len(places):
        for end in range(start + 1, len(places)):
            entry, leave = places[start], places[end]
            inside = graph.nodes[order.get(entry, -1) + 1 : order[leave] + 1]
            layers = tuple(node.name for node in inside if node.op in COMPRESSED_OPS)
            if layers and graph.types[entry] == graph.types[leave] and leave not in graph.outputs:
                found.append(Stage(entry, leave, layers))
                start = end - 1
                break
        start += 1
    return found


def shallower(graph: Graph, data: Mapping[str, np.ndarray], depth: float) -> Graph:
    """The network without the stages whose absence moves the outputs least, one after the other.

    Args:
        depth: share of the stages that stays.

    Raises:
        UsageError: no stage can be left out.
    """
    few = {name: values[:MOST_SAMPLES] for name, values in data.items()}
    reference = _outputs(graph, few)
    count = len(stages(graph))
    if not count:
        raise UsageError("no stage of this network has an output of the shape of its input: it cannot be shallower")
    for _ in range(count - max(round(depth * count), 0)):
        shorter = [_without(graph, stage) for stage in stages(graph)]
        errors = [float(((_outputs(made, few) - reference) ** 2).mean()) for made in shorter]
        graph = shorter[int(np.argmin(errors))]
    return graph


def _without(graph: Graph, stage: Stage) -> Graph:
    editor = GraphEditor(graph)
    editor.replace_uses(stage.exit, stage.entry)
    return editor.finish()


def _outputs(graph: Graph, data: Mapping[str, np.ndarray]) -> np.ndarray:
    found = run(graph, {name: data[name] for name in graph.inputs})
    parts = [np.asarray(found[name], np.float64).reshape(len(found[name]), -1) for name in graph.outputs]
    return np.concatenate(parts, axis=1)
