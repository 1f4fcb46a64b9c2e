"""Several teachers as one: a graph that holds all of them and answers with the mean of their logits.

The mean of the logits is the geometric mean of the answers (Hinton, Vinyals, Dean 2015, section 1). An ensemble is an
ordinary graph, so everything that takes a teacher takes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import UsageError
from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor
from ..ir.types import Float32
from ..ops.add import AddAttrs
from ..ops.mul import MulAttrs
from ..ops.softmax import SoftmaxAttrs
from .losses import logits_tensors


def ensemble(teachers: Sequence[Graph]) -> Graph:
    """One graph of several with the same inputs and outputs.

    Tensors of teacher number n (from 0) are called `tn_` and their name. The outputs are means, before the closing
    softmax where there is one. Inputs are matched by their place.

    Raises:
        UsageError: inputs or outputs do not match, or only some end in a softmax.
    """
    if not teachers:
        raise UsageError("an ensemble needs a teacher")
    first = teachers[0]
    if len(teachers) == 1:
        return first
    for other in teachers[1:]:
        _check(first, other)
    editor = GraphEditor.empty("ensemble of " + ", ".join(teacher.name for teacher in teachers))
    for name in first.inputs:
        editor.add_input(name, first.types[name])
    logits: list[tuple[str, ...]] = []
    for number, teacher in enumerate(teachers):
        names = _copied(editor, first.inputs, teacher, f"t{number}_")
        logits.append(tuple(names[name] for name in logits_tensors(teacher)))
    editor.outputs = []
    for place, output in enumerate(first.outputs):
        source = (first.producer(output) or first.nodes[-1]).source
        total = logits[0][place]
        for other_logits in logits[1:]:
            total = editor.add_node("Add", [total, other_logits[place]], AddAttrs(), source, name="sum").outputs[0]
        share = editor.add_constant("share", np.full(1, 1.0 / len(teachers), np.float32))
        mean = editor.add_node("Mul", [total, share], MulAttrs(), source, name="mean").outputs[0]
        if _ends_in_softmax(first, output):
            axis = len(editor.types[mean].shape) - 1
            mean = editor.add_node("Softmax", [mean], SoftmaxAttrs(axis), source, name="answer").outputs[0]
        editor.outputs.append(mean)
    return editor.finish()


def _ends_in_softmax(graph: Graph, output: str) -> bool:
    place = graph.outputs.index(output)
    return logits_tensors(graph)[place] != output


def _check(first: Graph, other: Graph) -> None:
    ours, theirs = ([graph.types[name].shape for name in graph.inputs] for graph in (first, other))
    if ours != theirs:
        raise UsageError(f"teachers '{first.name}' and '{other.name}' have inputs of shapes {ours} and {theirs}")
    ours, theirs = ([graph.types[name].shape for name in logits_tensors(graph)] for graph in (first, other))
    if ours != theirs:
        raise UsageError(f"teachers '{first.name}' and '{other.name}' have outputs of shapes {ours} and {theirs}")
    closed = [[_ends_in_softmax(graph, name) for name in graph.outputs] for graph in (first, other)]
    if closed[0] != closed[1]:
        raise UsageError(
            f"of the teachers '{first.name}' and '{other.name}' one ends in a softmax, the other does not",
            hint="leave the softmax out of both, or export both with it",
        )
    kinds = {type(graph.types[name].element) for graph in (first, other) for name in logits_tensors(graph)}
    if kinds != {Float32}:
        raise UsageError("teachers are float networks", hint="give the models before quantization")


def _copied(editor: GraphEditor, inputs: tuple[str, ...], teacher: Graph, prefix: str) -> dict[str, str]:
    """Copy a graph's constants and nodes under prefixed names; the new name of each tensor."""
    names = dict(zip(teacher.inputs, inputs, strict=True))
    for name, constant in teacher.constants.items():
        names[name] = editor.fresh(prefix + name)
        editor.types[names[name]] = teacher.types[name]
        editor.constants[names[name]] = constant
    for node in teacher.nodes:
        for name in node.outputs:
            names[name] = editor.fresh(prefix + name)
            editor.types[names[name]] = teacher.types[name]
        editor.nodes.append(
            replace(
                node,
                name=editor.fresh(prefix + node.name),
                inputs=tuple(names[name] if name else "" for name in node.inputs),
                outputs=tuple(names[name] for name in node.outputs),
            )
        )
    return names
