"""A teacher that looks at each image several times: mirrored and shifted, and answers with the mean.

Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural networks" (2012), section 4.1:
the mean over a middle crop, four corner crops and their mirror images is right more often than one look. A student that
is distilled from it sees an image once, so what the views know costs nothing on the device. No label is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UsageError
from ..ir.graph import Graph, Node
from ..ir.rewrite import GraphEditor
from ..ops.add import AddAttrs
from ..ops.mul import MulAttrs
from ..ops.resize import ResizeAttrs
from .losses import logits_tensors


@dataclass(frozen=True, slots=True)
class View:
    """How an image is looked at.

    Attributes:
        down, right: pixels it is moved by; the border is repeated.
        mirrored: left to right.
    """

    down: int = 0
    right: int = 0
    mirrored: bool = False

    def attrs(self, height: int, width: int) -> ResizeAttrs:
        """The rows and columns that are looked at."""
        rows = np.clip(np.arange(height) - self.down, 0, height - 1)
        columns = np.clip(np.arange(width) - self.right, 0, width - 1)
        if self.mirrored:
            columns = columns[::-1]
        return ResizeAttrs(tuple(rows.tolist()), tuple(columns.tolist()))


def ten_views(reach: int = 3) -> tuple[View, ...]:
    """The middle, four corners `reach` pixels off, and the mirror images of them."""
    places = ((0, 0), (-reach, -reach), (-reach, reach), (reach, -reach), (reach, reach))
    return tuple(View(down, right, mirrored) for mirrored in (False, True) for down, right in places)


def over_views(graph: Graph, views: Sequence[View], tensor: str = "") -> Graph:
    """The graph with a tensor that is the mean over views of its only input; what follows it is computed once.

    Args:
        graph: takes an image (1, height, width, channels).
        tensor: whose mean is taken; by default the logits.

    Raises:
        UsageError: several inputs or outputs, no image, no views, a view that is moved off the image, no such tensor,
            or one that not everything behind the image passes through.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1 or len(graph.types[graph.inputs[0]].shape) != 4:
        raise UsageError("views are looked at by networks that take one image and have one output")
    tensor = tensor or logits_tensors(graph)[0]
    last = graph.producer(tensor)
    if last is None or not views:
        raise UsageError("no views are given" if last is not None else f"no node computes '{tensor}'")
    (image,) = graph.inputs
    _, height, width, _ = graph.types[image].shape
    for view in views:
        if abs(view.down) >= height or abs(view.right) >= width:
            raise UsageError(f"a view moved by {view.down} and {view.right} pixels sees nothing of {height} x {width}")
    before = _needed(graph, last)
    _check_passage(graph, before, tensor)
    editor = GraphEditor(graph)
    for node in before:
        editor.remove_node(node)
    looks: list[str] = []
    for number, view in enumerate(views):
        seen = editor.add_node("Resize", [image], view.attrs(height, width), before[0].source, name="view").outputs[0]
        names = {image: seen}
        for node in before:
            inputs = [names.get(name, name) for name in node.inputs]
            types = [graph.types[name] for name in node.outputs]
            outputs = [editor.fresh(f"v{number}_{name}") for name in node.outputs]
            name = f"v{number}_{node.name}"
            editor.add_node(node.op, inputs, node.attrs, node.source, name=name, outputs=outputs, types=types)
            names.update(zip(node.outputs, outputs, strict=True))
        looks.append(names[tensor])
    total = looks[0]
    for look in looks[1:]:
        total = editor.add_node("Add", [total, look], AddAttrs(), last.source, name="sum").outputs[0]
    share = editor.add_constant("share", np.full(1, 1.0 / len(looks), np.float32))
    editor.add_node(
        "Mul", [total, share], MulAttrs(), last.source, name="mean", outputs=[tensor], types=[graph.types[tensor]]
    )
    return replace(editor.finish(), name=f"{graph.name} over {len(looks)} views")


def _check_passage(graph: Graph, before: Sequence[Node], tensor: str) -> None:
    """Refuse a tensor that something goes around: what is computed before it is there once for each view."""
    inner = {*graph.inputs, *(name for node in before for name in node.outputs)} - {tensor}
    known = {node.name for node in before}
    readers = {node.name: node.inputs for node in graph.nodes if node.name not in known}
    for reader, inputs in {**readers, "the outputs": graph.outputs}.items():
        around = inner & set(inputs)
        if around:
            raise UsageError(
                f"'{min(around)}' goes around '{tensor}' to '{reader}', and has no mean over views",
                hint="name a tensor that everything passes through, such as the logits",
            )


def _needed(graph: Graph, last: Node) -> list[Node]:
    """The nodes a node depends on and itself, in the graph's order."""
    wanted = set(last.inputs)
    found = [last]
    for node in reversed(graph.nodes):
        if node is not last and wanted & set(node.outputs):
            wanted.update(node.inputs)
            found.append(node)
    return found[::-1]
