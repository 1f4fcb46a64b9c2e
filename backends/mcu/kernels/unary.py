"""One-input element-wise ops in portable C: clamp, requantize, table lookup, and the borders to real values."""

from __future__ import annotations

from boardfit.ir import Affine, Float32
from boardfit.numerics import Requantization
from boardfit.ops.activation import NONE
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.requantize import requantize_ratio

from ..kernel import Argument, Call, Const, Function, Input, Kernel, Literal, Lowered, Output, Record, Site, Table
from ..render import float_literal
from .common import (
    REQUANTIZATION_BYTES,
    affine_refusal,
    initialisers,
    literals,
    requantization_literal,
    requantizer,
    suffix,
)


def _requantization(site: Site) -> Requantization:
    activation = site.attrs(ClampAttrs).activation if site.node.op == "Clamp" else NONE
    return requantize_ratio(site.x_affine(), site.y_affine, activation)


def _refuse(site: Site) -> str | None:
    return affine_refusal(site, 0)


def _lower_convert(site: Site) -> Lowered:
    to = _requantization(site)
    requantize = requantizer(to)
    storages = (site.x_storage(), site.y_storage)
    function = Function(
        f"convert_{suffix(storages, requantize)}",
        "convert.c.j2",
        {"x_type": storages[0].c_type, "y_type": storages[1].c_type, "requantize": requantize.name},
        (requantize,),
    )
    fields = initialisers(
        count=site.y.elements,
        x_zero=site.x_affine().zero_point[0],
        multiplier=to.multiplier[0],
        to=requantization_literal(to),
    )
    return Lowered(
        calls=(Call(function, (Input(), Output(), Const("shape"))),),
        records=(Record("shape", f"{function.name}_shape", fields, 12 + REQUANTIZATION_BYTES),),
        in_place=(0,),
        instructions=round(site.y.elements * (13.0 if requantize.name == "requantize" else 24.0)),
    )


def _refuse_clamp(site: Site) -> str | None:
    """A plain comparison is enough where the output has the input's scale and zero point."""
    reason = affine_refusal(site, 0)
    if reason is not None:
        return reason
    to = _requantization(site)
    same = site.x_storage() is site.y_storage and site.x_affine().zero_point == site.y_affine.zero_point
    return None if same and to.multiplier[0] == 1 << to.shift else "the output has another scale"


def _lower_clamp(site: Site) -> Lowered:
    to = _requantization(site)
    if to.low <= site.x_affine().minimum and to.high >= site.x_affine().maximum:
        return Lowered(calls=(), alias=0)
    storage = site.x_storage()
    function = Function(f"clamp_{storage.tag}", "clamp.c.j2", {"x_type": storage.c_type})
    return Lowered(
        calls=(Call(function, (Input(), Output(), *literals(site.y.elements, to.low, to.high))),),
        in_place=(0,),
        instructions=site.y.elements * 8,
    )


def _refuse_lookup(site: Site) -> str | None:
    if site.constant(1) is None:
        return "its table is not constant"
    return affine_refusal(site, 0)


def _lower_lookup(site: Site) -> Lowered:
    storages = (site.x_storage(), site.y_storage)
    function = Function(
        f"lookup_{suffix(storages)}", "lookup.c.j2", {"x_type": storages[0].c_type, "y_type": storages[1].c_type}
    )
    table = site.required_constant(1).astype(storages[1].dtype)
    arguments: tuple[Argument, ...] = (
        Input(),
        Output(),
        Const("table"),
        *literals(site.y.elements, site.x_affine().minimum),
    )
    return Lowered(
        calls=(Call(function, arguments),),
        tables=(Table("table", table, "the function's value for every input", parameter=False),),
        in_place=(0,),
        instructions=site.y.elements * 6,
    )


def _refuse_quantize(site: Site) -> str | None:
    element = site.y.element
    if not isinstance(site.x().element, Float32):
        return "its input is not real-valued"
    if not isinstance(element, Affine) or element.axis is not None or element.width > 16:
        return "only 8- and 16-bit tensors with one scale are quantized on the device"
    return None


def _lower_quantize(site: Site) -> Lowered:
    y, storage = site.y_affine, site.y_storage
    function = Function(f"quantize_{storage.tag}", "quantize.c.j2", {"y_type": storage.c_type})
    arguments: tuple[Argument, ...] = (
        Input(),
        Output(),
        *literals(site.y.elements),
        Literal(float_literal(y.scale[0])),
        *literals(y.zero_point[0], y.minimum, y.maximum),
    )
    return Lowered(calls=(Call(function, arguments),), in_place=(0,), instructions=site.y.elements * 36)


def _refuse_dequantize(site: Site) -> str | None:
    element = site.x().element
    if not isinstance(element, Affine) or element.axis is not None or element.width > 16:
        return "only 8- and 16-bit tensors with one scale are dequantized on the device"
    return None


def _lower_dequantize(site: Site) -> Lowered:
    x, storage = site.x_affine(), site.x_storage()
    function = Function(f"dequantize_{storage.tag}", "dequantize.c.j2", {"x_type": storage.c_type})
    arguments: tuple[Argument, ...] = (
        Input(),
        Output(),
        *literals(site.y.elements),
        Literal(float_literal(x.scale[0])),
        *literals(x.zero_point[0]),
    )
    return Lowered(calls=(Call(function, arguments),), instructions=site.y.elements * 9)


KERNELS = (
    Kernel("clamp/compare", "Clamp", _refuse_clamp, _lower_clamp),
    Kernel("clamp/convert", "Clamp", _refuse, _lower_convert),
    Kernel("requantize/copy", "Requantize", _refuse_clamp, _lower_clamp),
    Kernel("requantize/convert", "Requantize", _refuse, _lower_convert),
    Kernel("lookup/portable", "Lookup", _refuse_lookup, _lower_lookup),
    Kernel("quantize/portable", "Quantize", _refuse_quantize, _lower_quantize),
    Kernel("dequantize/portable", "Dequantize", _refuse_dequantize, _lower_dequantize),
)
