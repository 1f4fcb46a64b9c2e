"""The networks beside the model that a recipe may start from or imitate: students and teachers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..data import Samples
from ..errors import UsageError
from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor

AUTO = "auto"
WIDTHS = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875)
"""Shares of the channels that are tried where a bound on the loss decides."""

Shapes = Mapping[str, tuple[int, ...]] | None


def load_floating(path: str | Path, input_shapes: Shapes = None) -> Graph:
    """A model as a float canonical graph.

    Raises:
        ModelError: it cannot be imported.
    """
    from ..frontend import load_model
    from ..pipeline import canonical_passes, run_passes

    return run_passes(load_model(path, dict(input_shapes or {})), list(canonical_passes(fuse=True))).graph


def is_cut(student: str | Path) -> bool:
    """Whether this says how to cut a student out of the model, and is no file."""
    return str(student).partition(":")[0].partition("x")[0] == AUTO and not Path(student).exists()


def make_student(model: Graph, student: str | Path, calibration: Samples, input_shapes: Shapes = None) -> Graph:
    """The network training starts from: cut out of the model (`auto...`), or another file.

    Raises:
        UsageError: not a specification, or inputs and outputs that are not the model's.
        ModelError: the file cannot be imported.
    """
    from ..compress.students import Multipliers, cut_student

    text = str(student)
    if is_cut(student):
        return cut_student(model, calibration, Multipliers.parse(text))
    found = load_floating(student, input_shapes)
    _check(model, found, "student", text)
    return _named_alike(model, found)


def students(
    model: Graph, student: str | Path | None, calibration: Samples, input_shapes: Shapes = None, *, several: bool
) -> Iterator[Graph]:
    """The networks a recipe is tried on, the smallest first; the model itself without a student.

    Args:
        several: `auto` stands for all of `WIDTHS`, not for one.
    """
    if student is None:
        yield model
    elif several and str(student) == AUTO:
        for width in WIDTHS:
            yield make_student(model, f"{AUTO}:{width}", calibration)
    else:
        yield make_student(model, student, calibration, input_shapes)


def load_teachers(model: Graph, files: Sequence[str | Path], input_shapes: Shapes = None) -> Graph:
    """The networks of some files as one teacher.

    Raises:
        UsageError: inputs or outputs that are not the model's.
        ModelError: a file cannot be imported.
    """
    from ..train.teachers import ensemble

    found = [load_floating(path, input_shapes) for path in files]
    for path, graph in zip(files, found, strict=True):
        _check(model, graph, "teacher", str(path))
    return ensemble([_named_alike(model, graph) for graph in found])


def _check(model: Graph, other: Graph, what: str, file: str) -> None:
    for place in ("inputs", "outputs"):
        ours, theirs = ([graph.types[name].shape for name in getattr(graph, place)] for graph in (model, other))
        if ours != theirs:
            raise UsageError(f"the {what} has {place} of shapes {theirs}, the model of {ours}", file=Path(file).name)


def _named_alike(model: Graph, other: Graph) -> Graph:
    """The graph with the model's names for its inputs: data are given by name."""
    if other.inputs == model.inputs:
        return other
    editor = GraphEditor(other)
    taken = {ours for ours, theirs in zip(model.inputs, other.inputs, strict=True) if ours != theirs}
    for name in taken & set(other.types):  # the model's name stands for something else here
        _rename(editor, name, editor.fresh(name))
    for ours, theirs in zip(model.inputs, tuple(editor.inputs), strict=True):
        if ours != theirs:
            _rename(editor, theirs, ours)
    return editor.finish()


def _rename(editor: GraphEditor, old: str, new: str) -> None:
    """Another name for a tensor, everywhere."""

    def named(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(new if name == old else name for name in names)

    editor.types[new] = editor.types.pop(old)
    if old in editor.constants:
        editor.constants[new] = editor.constants.pop(old)
    if old in editor.labels:
        editor.labels[new] = editor.labels.pop(old)
    editor.inputs, editor.outputs = list(named(editor.inputs)), list(named(editor.outputs))
    editor.nodes = [replace(node, inputs=named(node.inputs), outputs=named(node.outputs)) for node in editor.nodes]
