"""The same network for inputs of another size: what a fully convolutional graph allows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from .graph import Attrs, Graph, Node
from .types import TensorType

SMALLEST = 16
"""Rows and columns below which an image is not made smaller: most of it would be border."""

IMAGE_AXES = ((1, 2), (2, 3))
"""Where an input may have its rows and columns: channels last, or first."""


def for_inputs(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """`graph` with inputs of these shapes; the graph itself if they are its own.

    Windows that cover their whole image, and images that are enlarged by whole factors, do so at the new size too.

    Raises:
        ValueError: a layer has its size written down (a dense layer, a reshape, another resize).
    """
    from ..ops import OPS

    types = dict(graph.types)
    for name in graph.inputs:
        types[name] = replace(types[name], shape=shapes[name])
    if types == graph.types:
        return graph
    nodes: list[Node] = []
    for node in graph.nodes:
        known = [types[name] if name else None for name in node.inputs]
        before = graph.types[node.inputs[0]] if node.inputs and node.inputs[0] else None
        after = known[0] if known else None
        attrs = node.attrs if before is None or after is None else _resized(node.attrs, before, after)
        for name, found in zip(node.outputs, OPS[node.op].infer(attrs, known), strict=True):
            types[name] = replace(types[name], shape=found.shape)
        nodes.append(node if attrs is node.attrs else replace(node, attrs=attrs))
    return replace(graph, nodes=tuple(nodes), types=types)


def smaller(graph: Graph) -> Iterator[Graph]:
    """The graph for images of half the rows and columns, again and again, as long as its layers allow it."""
    while True:
        found = _halved(graph)
        if found is None:
            return
        graph = found
        yield graph


def _halved(graph: Graph) -> Graph | None:
    for axes in IMAGE_AXES:
        shapes: dict[str, tuple[int, ...]] = {}
        for name in graph.inputs:
            shape = graph.types[name].shape
            if len(shape) != 4 or any(shape[axis] % 2 or shape[axis] < 2 * SMALLEST for axis in axes):
                break
            shapes[name] = tuple(size // 2 if axis in axes else size for axis, size in enumerate(shape))
        else:
            try:
                return for_inputs(graph, shapes)
            except ValueError:
                continue
    return None


def _resized(attrs: Attrs, before: TensorType, after: TensorType) -> Attrs:
    """Attributes of a node whose first input changes its shape."""
    from ..ops.pooling import PoolAttrs
    from ..ops.resize import ResizeAttrs, integer_factors

    if before.shape == after.shape:
        return attrs
    if isinstance(attrs, PoolAttrs) and attrs.kernel == before.shape[1:3]:
        return replace(attrs, kernel=(after.shape[1], after.shape[2]))
    if isinstance(attrs, ResizeAttrs):
        factors = integer_factors(attrs, before.shape)
        if factors is None:
            raise ValueError(f"a resize of {before.shape} that is no enlargement by whole factors")
        up, across = factors
        rows = tuple(row for row in range(after.shape[1]) for _ in range(up))
        return ResizeAttrs(rows, tuple(column for column in range(after.shape[2]) for _ in range(across)))
    return attrs
