"""Element-wise sums of int8 tensors for cores that saturate in one instruction: four elements to a word."""

from __future__ import annotations

from collections.abc import Callable

from boardfit.ops.elementwise import ElementwiseAttrs, SumRequantization, sum_requantization

from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Site
from ..storage import S8
from .common import INT32_MAX, affine_refusal, initialisers
from .dsp_convolution import SUPPORT

NEEDS = frozenset({"saturate", "unaligned"})
SUM = Function("sum_words", "dsp/sum.c.j2", {}, (SUPPORT,), code_bytes=202, stack_bytes=40)
SHAPE_BYTES = 5 * 4


def _parameters(site: Site, sign: int) -> tuple[SumRequantization, int]:
    """Multipliers, and the constant with all zero points and one half."""
    a, b = site.x_affine(0), site.x_affine(1)
    to = sum_requantization(a, b, site.y_affine, site.attrs(ElementwiseAttrs).activation, sign)
    offset = (1 << (to.shift - 1)) - a.zero_point[0] * to.left - b.zero_point[0] * to.right
    return to, offset + (to.zero_point << to.shift)


def _refuse(sign: int) -> Callable[[Site], str | None]:
    def refuse(site: Site) -> str | None:
        reason = affine_refusal(site, 0, 1)
        if reason:
            return reason
        if {site.x_storage(0), site.x_storage(1), site.y_storage} != {S8}:
            return "its tensors are not int8"
        if not site.x(0).shape == site.x(1).shape == site.y.shape:
            return "its operands are of different shapes"
        to, offset = _parameters(site, sign)
        if (to.low, to.high) != (-128, 127):
            return "the activation clamps inside the int8 range"
        if abs(offset) + 128 * (abs(to.left) + abs(to.right)) > INT32_MAX:
            return "its sums do not fit 32 bits"
        return None

    return refuse


def _lower(sign: int) -> Callable[[Site], Lowered]:
    def lower(site: Site) -> Lowered:
        to, offset = _parameters(site, sign)
        count = site.y.elements
        shape = Record(
            "shape",
            f"{SUM.name}_shape",
            initialisers(count=count, left=to.left, right=to.right, offset=offset, shift=to.shift),
            SHAPE_BYTES,
        )
        return Lowered(
            calls=(Call(SUM, (Input(0), Input(1), Output(), Const("shape"))),),
            records=(shape,),
            in_place=(0, 1),
            overlap={0: 0, 1: 0},
            instructions=9 * count + 30,
        )

    return lower


KERNELS = (
    Kernel("add/words", "Add", _refuse(1), _lower(1), NEEDS),
    Kernel("sub/words", "Sub", _refuse(-1), _lower(-1), NEEDS),
)
