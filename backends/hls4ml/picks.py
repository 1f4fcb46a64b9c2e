"""Values taken by constant indices of rows, columns and channels: slices, gathers, resizing, zero-stuffing."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from boardfit.errors import InternalError
from boardfit.ir import Graph, Node
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs
from boardfit.ops.gather import GatherAttrs
from boardfit.ops.resize import ResizeAttrs
from boardfit.ops.slice import SliceAttrs

from .layer import plain_shape

ZERO = -1
"""Index of a value that is not taken from anywhere: zero."""


@dataclass(frozen=True, slots=True)
class Picks:
    """Source index of each row, column and channel of the result; tensors of lower rank are images of height 1."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    channels: tuple[int, ...]

    @property
    def streams(self) -> bool:
        """Whether one row of the input is all that has to be kept."""
        used = [row for row in self.rows if row != ZERO]
        return all(a <= b for a, b in pairwise(used))


def refuse_picks(node: Node, graph: Graph, streams: bool) -> str | None:
    """Why the values a node takes cannot be picked, or None."""
    shape = graph.types[node.inputs[0]].shape
    if len(plain_shape(graph, node.inputs[0])) > 3:
        return f"{node.op} of {len(shape) - 1} axes is not supported"
    if len(shape) > 1 and graph.types[node.outputs[0]].shape[0] != shape[0]:
        return "the batch axis cannot be picked from"
    return "reading rows backwards needs io_parallel" if streams and not picks_of(node, graph).streams else None


def picks_of(node: Node, graph: Graph) -> Picks:
    """The indices of a Slice, Gather or Resize node."""
    shape = graph.types[node.inputs[0]].shape
    taken = [tuple(range(length)) for length in shape]
    attrs = node.attrs
    if isinstance(attrs, SliceAttrs):
        parts = zip(attrs.starts, attrs.sizes, attrs.steps, strict=True)
        taken = [tuple(start + step * i for i in range(size)) for start, size, step in parts]
    elif isinstance(attrs, GatherAttrs):
        taken[attrs.axis] = attrs.indices
    elif isinstance(attrs, ResizeAttrs):
        taken[1:3] = [attrs.rows, attrs.columns]
    else:
        raise InternalError(f"{node.op} '{node.name}' picks nothing")
    rank = len(plain_shape(graph, node.inputs[0]))
    rows, columns, channels = [(0,)] * (3 - rank) + taken[len(taken) - rank :]
    return Picks(rows, columns, channels)


def stuffed_picks(attrs: ConvTranspose2DAttrs, weights: tuple[int, ...], image: tuple[int, int, int]) -> Picks:
    """The zero-stuffed, padded and cropped image whose plain convolution is the transposed one.

    Args:
        attrs: geometry.
        weights: shape (out, height, width, in / groups).
        image: height, width and channels of the input.
    """
    tables: list[tuple[int, ...]] = []
    for axis in (0, 1):
        reach = attrs.dilations[axis] * (weights[1 + axis] - 1)
        stride, length = attrs.strides[axis], image[axis]
        full = (length - 1) * stride + 1 + 2 * reach + attrs.output_padding[axis]
        places = (i - reach for i in range(attrs.pads[axis], full - attrs.pads[axis + 2]))
        inside = range(0, (length - 1) * stride + 1, stride)
        tables.append(tuple(place // stride if place in inside else ZERO for place in places))
    return Picks(tables[0], tables[1], tuple(range(image[2])))
