"""Two-input element-wise ops in portable C: one inline function for each op, a flat loop and a broadcasting walk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from boardfit.numerics import Requantization, clamp_bounds
from boardfit.ops.div import division_multiplier
from boardfit.ops.elementwise import ElementwiseAttrs, sum_requantization
from boardfit.ops.linear import centred_weights
from boardfit.ops.mul import product_requantization
from boardfit.ops.prelu import prelu_multipliers
from boardfit.ops.requantize import requantize_ratio
from boardfit.ops.scale_bias import ScaleBiasAttrs, scale_bias_requantization

from ..axes import WALK_AXES, Walk, broadcast_strides, merged
from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Site, Table
from ..storage import storage_for
from .common import (
    INT32_MAX,
    REQUANTIZATION_BYTES,
    WALK,
    affine_refusal,
    array,
    initialisers,
    requantization_literal,
    requantizer,
    suffix,
)

FLAT_BYTES = 3 * 4
WALK_BYTES = (4 + 3 * WALK_AXES) * 4


@dataclass(frozen=True, slots=True)
class Combination:
    """An inline C function of two values and its parameters: initialiser, size in bytes, instructions."""

    function: Function
    literal: str
    bytes: int
    instructions: float


def _braces(*values: int | str) -> str:
    return "{" + ", ".join(map(str, values)) + "}"


def _inline(name: str, template: str, **context: str) -> Function:
    return Function(name, template, context, code_bytes=0, stack_bytes=0)


SUM = _inline("sum", "sum.c.j2")
SUM_WIDE = _inline("sum_wide", "sum_wide.c.j2")
QUOTIENT = _inline("quotient", "quotient.c.j2")
LEAKY = _inline("leaky", "leaky.c.j2")


def _reach(site: Site, index: int) -> int:
    """Largest |x - zero point| of an input."""
    x = site.x_affine(index)
    return max(x.maximum - x.zero_point[0], x.zero_point[0] - x.minimum)


def _sum(sign: int) -> Callable[[Site], Combination]:
    def combine(site: Site) -> Combination:
        a, b = site.x_affine(0), site.x_affine(1)
        activation = site.attrs(ElementwiseAttrs).activation
        to = sum_requantization(a, b, site.y_affine, activation, sign)
        offset = (1 << (to.shift - 1)) - a.zero_point[0] * to.left - b.zero_point[0] * to.right
        largest = abs(offset)
        for element, factor in ((a, to.left), (b, to.right)):
            largest += max(abs(element.minimum), abs(element.maximum)) * abs(factor)
        if largest <= INT32_MAX:
            values = (to.left, to.right, offset, to.shift, to.zero_point, to.low, to.high)
            return Combination(SUM, _braces(*values), 28, 14.0)
        zeros = (a.zero_point[0], b.zero_point[0])
        rest = (to.left, to.right, to.shift, to.zero_point, to.low, to.high)
        return Combination(SUM_WIDE, _braces(*zeros, *rest), 32, 30.0)

    return combine


def _product(site: Site) -> Combination:
    a, b = site.x_affine(0), site.x_affine(1)
    to = product_requantization(a, b, site.y_affine, site.attrs(ElementwiseAttrs).activation)
    requantize = requantizer(to)
    name = "product" + requantize.name.removeprefix("requantize")
    function = Function(
        name, "product.c.j2", {"requantize": requantize.name}, (requantize,), code_bytes=0, stack_bytes=0
    )
    literal = _braces(a.zero_point[0], b.zero_point[0], to.multiplier[0], requantization_literal(to))
    return Combination(function, literal, 12 + REQUANTIZATION_BYTES, 18.0)


def _quotient(site: Site) -> Combination:
    a, b, y = site.x_affine(0), site.x_affine(1), site.y_affine
    multiplier, shift = division_multiplier(a, b, y)
    activation = site.attrs(ElementwiseAttrs).activation
    low, high = clamp_bounds(y, activation.low, activation.high)
    values = (a.zero_point[0], b.zero_point[0], multiplier, shift, y.zero_point[0], low, high)
    return Combination(QUOTIENT, _braces(*values), 28, 160.0)


def _extremum(word: str, sign: str) -> Callable[[Site], Combination]:
    def combine(site: Site) -> Combination:
        a, b = site.x_affine(0), site.x_affine(1)
        activation = site.attrs(ElementwiseAttrs).activation
        left = requantize_ratio(a, site.y_affine, activation)
        right = requantize_ratio(b, site.y_affine, activation)
        first, second = requantizer(left), requantizer(right)
        tag = {("requantize", "requantize"): "", ("requantize_wide", "requantize_wide"): "_wide"}.get(
            (first.name, second.name), "_narrow_wide" if second.name == "requantize_wide" else "_wide_narrow"
        )
        function = Function(
            word + tag,
            "extremum.c.j2",
            {"word": word, "sign": sign, "a_requantize": first.name, "b_requantize": second.name},
            (first, second),
            code_bytes=0,
            stack_bytes=0,
        )
        literal = _braces(
            a.zero_point[0],
            left.multiplier[0],
            requantization_literal(left),
            b.zero_point[0],
            right.multiplier[0],
            requantization_literal(right),
        )
        return Combination(function, literal, 16 + 2 * REQUANTIZATION_BYTES, 34.0)

    return combine


def _leaky(site: Site) -> Combination:
    x, slope, y = site.x_affine(0), site.x_affine(1), site.y_affine
    positive, negative, shift = prelu_multipliers(x, slope, y)
    values = (x.zero_point[0], slope.zero_point[0], positive, negative, shift, y.zero_point[0], y.minimum, y.maximum)
    return Combination(LEAKY, _braces(*values), 32, 24.0)


def _walk(site: Site) -> Walk:
    target = site.y.shape
    return merged(target, *(broadcast_strides(site.x(index).shape, target) for index in (0, 1)))


def _refuse(products: bool) -> Callable[[Site], str | None]:
    def refuse(site: Site) -> str | None:
        reason = affine_refusal(site, 0, 1)
        if reason is None and _walk(site).rank > WALK_AXES + 1:
            reason = f"its broadcast has more than {WALK_AXES + 1} axes"
        if reason is None and products and _reach(site, 0) * _reach(site, 1) > INT32_MAX:
            reason = "its products do not fit 32 bits"
        return reason

    return refuse


def _lower(combine: Callable[[Site], Combination]) -> Callable[[Site], Lowered]:
    def lower(site: Site) -> Lowered:
        combination = combine(site)
        walk = _walk(site)
        count, steps = walk.inner
        storages = (site.x_storage(0), site.x_storage(1), site.y_storage)
        flat = walk.rank <= 1
        name = combination.function.name
        context = {
            "a_type": storages[0].c_type,
            "b_type": storages[1].c_type,
            "y_type": storages[2].c_type,
            "combine": name,
        }
        if flat:
            function = Function(f"{name}_flat_{suffix(storages)}", "binary_flat.c.j2", context, (combination.function,))
            fields = initialisers(count=count, a_step=steps[0], b_step=steps[1], to=combination.literal)
        else:
            function = Function(
                f"{name}_broadcast_{suffix(storages)}", "binary.c.j2", context, (WALK, combination.function)
            )
            fields = initialisers(
                rank=walk.rank - 1,
                sizes=array(walk.sizes[:-1]),
                a_jumps=array(walk.jumps(0)),
                b_jumps=array(walk.jumps(1)),
                count=count,
                a_step=steps[0],
                b_step=steps[1],
                to=combination.literal,
            )
        size = (FLAT_BYTES if flat else WALK_BYTES) + combination.bytes
        full = tuple(index for index in (0, 1) if site.x(index).elements == site.y.elements)
        return Lowered(
            calls=(Call(function, (Input(0), Input(1), Output(), Const("shape"))),),
            records=(Record("shape", f"{function.name}_shape", fields, size),),
            in_place=full,
            instructions=round(site.y.elements * (combination.instructions + 6.0)),
        )

    return lower


def _refuse_scale_bias(site: Site) -> str | None:
    reason = affine_refusal(site, 0)
    if reason is not None:
        return reason
    if site.constant(1) is None or (site.has(2) and site.constant(2) is None):
        return "its scales are not constant"
    if site.x_affine(1).axis is not None:
        return "its scales have a scale each"
    scale, bias = _scale_and_bias(site)
    x = site.x_affine(0)
    reach = max(abs(x.minimum), abs(x.maximum))
    if int((np.abs(scale) * reach + np.abs(bias)).max(initial=0)) > INT32_MAX:
        return "its sums do not fit 32 bits"
    return None


def _scale_and_bias(site: Site) -> tuple[np.ndarray, np.ndarray]:
    scale = centred_weights(site.required_constant(1), site.x_affine(1))
    bias = site.constant(2)
    folded = (0 if bias is None else bias.astype(np.int64)) - site.x_affine(0).zero_point[0] * scale
    return scale, folded


def _lower_scale_bias(site: Site) -> Lowered:
    to: Requantization = scale_bias_requantization(
        site.x_affine(0), site.x_affine(1), site.y_affine, site.attrs(ScaleBiasAttrs).activation
    )
    scale, bias = _scale_and_bias(site)
    requantize = requantizer(to)
    weights = storage_for(scale)
    storages = (site.x_storage(), weights, site.y_storage)
    function = Function(
        f"scale_bias_{suffix(storages, requantize)}",
        "scale_bias.c.j2",
        {
            "x_type": storages[0].c_type,
            "w_type": weights.c_type,
            "y_type": storages[2].c_type,
            "requantize": requantize.name,
        },
        (requantize,),
    )
    channels = len(scale)
    fields = initialisers(
        rows=site.y.elements // channels,
        channels=channels,
        multiplier=to.multiplier[0],
        to=requantization_literal(to),
    )
    return Lowered(
        calls=(Call(function, (Input(), Output(), Const("scale"), Const("bias"), Const("shape"))),),
        tables=(
            Table("scale", scale.astype(weights.dtype), "scales"),
            Table("bias", bias.astype(np.int32), "bias, the input's zero point folded in"),
        ),
        records=(Record("shape", f"{function.name}_shape", fields, 12 + REQUANTIZATION_BYTES),),
        in_place=(0,),
        instructions=round(site.y.elements * 22.0),
    )


KERNELS = (
    Kernel("add/portable", "Add", _refuse(False), _lower(_sum(1))),
    Kernel("sub/portable", "Sub", _refuse(False), _lower(_sum(-1))),
    Kernel("mul/portable", "Mul", _refuse(True), _lower(_product)),
    Kernel("div/portable", "Div", _refuse(False), _lower(_quotient)),
    Kernel("min/portable", "Min", _refuse(False), _lower(_extremum("minimum", "<"))),
    Kernel("max/portable", "Max", _refuse(False), _lower(_extremum("maximum", ">"))),
    Kernel("prelu/portable", "PRelu", _refuse(True), _lower(_leaky)),
    Kernel("scale_bias/portable", "ScaleBias", _refuse_scale_bias, _lower_scale_bias),
)
