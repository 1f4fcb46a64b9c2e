"""Geometry shared by the pooling ops."""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.graph import Attrs
from ..ir.types import TensorType
from .spec import Types, attrs_as, required
from .windows import Pads, Pair, output_size


@dataclass(frozen=True, slots=True)
class PoolAttrs(Attrs):
    """Window geometry; pads are top, left, bottom, right.

    `overhang` (bottom, right) is what ceil mode adds beyond the pads: never counted, never read.
    """

    kernel: Pair
    strides: Pair
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    overhang: Pair = (0, 0)

    @property
    def all_pads(self) -> Pads:
        """Pads with the overhang."""
        top, left, bottom, right = self.pads
        return top, left, bottom + self.overhang[0], right + self.overhang[1]


def infer_pool(attrs: Attrs, inputs: Types) -> list[TensorType]:
    """Output type of a pooling op."""
    a = attrs_as(attrs, PoolAttrs)
    x = required(inputs, 0)
    if x.rank != 4:
        raise ValueError(f"expected a 4-D input, not {x.shape}")
    top, left, bottom, right = a.all_pads
    height = output_size(x.shape[1], a.kernel[0], a.strides[0], top, bottom, a.dilations[0])
    width = output_size(x.shape[2], a.kernel[1], a.strides[1], left, right, a.dilations[1])
    return [TensorType((x.shape[0], height, width, x.shape[3]), x.element)]
