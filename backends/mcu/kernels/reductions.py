"""Ops along axes, in portable C: softmax, arg max, mean, and the product of two computed matrices."""

from __future__ import annotations

import math

import numpy as np

from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.matmul import matmul_requantization
from boardfit.ops.reduce_mean import ReduceMeanAttrs, mean_requantization
from boardfit.ops.softmax import SoftmaxAttrs, exp_table, output_factor

from ..axes import WALK_AXES, Walk, broadcast_strides, contiguous, merged
from ..kernel import Call, Const, Function, Input, Kernel, Lowered, Output, Record, Site, Table
from .common import (
    INT32_MAX,
    REQUANTIZATION_BYTES,
    WALK,
    affine_refusal,
    array,
    initialisers,
    literals,
    requantization_literal,
    requantizer,
    suffix,
)


def _split(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """Elements before the axis, along it, and after it."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


def _refuse_arg_max(site: Site) -> str | None:
    return affine_refusal(site, 0)


def _lower_arg_max(site: Site) -> Lowered:
    attrs = site.attrs(ArgMaxAttrs)
    storage = site.x_storage()
    name = f"arg_max_{'last_' if attrs.last else ''}{storage.tag}"
    context = {
        "x_type": storage.c_type,
        "sign": ">=" if attrs.last else ">",
        "which": "last" if attrs.last else "first",
    }
    function = Function(name, "arg_max.c.j2", context)
    sizes = _split(site.x().shape, attrs.axis)
    return Lowered(calls=(Call(function, (Input(), Output(), *literals(*sizes))),), instructions=site.x().elements * 8)


def _refuse_softmax(site: Site) -> str | None:
    reason = affine_refusal(site, 0)
    if reason is None and site.x().shape[site.attrs(SoftmaxAttrs).axis] > 1 << 16:
        reason = "its axis has more than 65,536 entries"
    if reason is None and output_factor(site.y_affine) >= 1 << 32:
        reason = "its output scale is too small"
    return reason


def _lower_softmax(site: Site) -> Lowered:
    x, y = site.x_affine(), site.y_affine
    outer, length, inner = _split(site.x().shape, site.attrs(SoftmaxAttrs).axis)
    table = exp_table(x).astype(np.uint16)
    storages = (site.x_storage(), site.y_storage)
    function = Function(
        f"softmax_{suffix(storages)}", "softmax.c.j2", {"x_type": storages[0].c_type, "y_type": storages[1].c_type}
    )
    bits = max((y.maximum - y.zero_point[0]).bit_length(), 1)
    fields = initialisers(
        outer=outer,
        length=length,
        inner=inner,
        entries=len(table),
        factor=f"{output_factor(y)}u",
        bits=bits,
        zero=y.zero_point[0],
        high=y.maximum,
    )
    return Lowered(
        calls=(Call(function, (Input(), Output(), Const("table"), Const("shape"))),),
        tables=(Table("table", table, "round(65535 exp(-d * scale)), d = 0, 1, ...", parameter=False),),
        records=(Record("shape", f"{function.name}_shape", fields, 8 * 4),),
        in_place=(0,) if site.x_storage() is site.y_storage else (),
        instructions=site.x().elements * (60 + 9 * bits),
    )


def _mean_walks(site: Site) -> tuple[Walk, Walk]:
    axes = site.attrs(ReduceMeanAttrs).axes
    shape = site.x().shape
    strides = contiguous(shape)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    return (
        merged([shape[a] for a in kept], [strides[a] for a in kept]),
        merged([shape[a] for a in axes], [strides[a] for a in axes]),
    )


def _refuse_mean(site: Site) -> str | None:
    reason = affine_refusal(site, 0)
    if reason is None and max(walk.rank for walk in _mean_walks(site)) > WALK_AXES:
        reason = f"it has more than {WALK_AXES} axes"
    count = math.prod(site.x().shape[axis] for axis in site.attrs(ReduceMeanAttrs).axes)
    x = site.x_affine()
    if reason is None and count * max(abs(x.minimum), x.maximum) * 2 > INT32_MAX:
        reason = "its sums do not fit 32 bits"
    return reason


def _lower_mean(site: Site) -> Lowered:
    attrs = site.attrs(ReduceMeanAttrs)
    to = mean_requantization(attrs, site.x(), site.x_affine(), site.y_affine)
    kept, reduced = _mean_walks(site)
    count = math.prod(reduced.sizes)
    requantize = requantizer(to)
    storages = (site.x_storage(), site.y_storage)
    function = Function(
        f"reduce_mean_{suffix(storages, requantize)}",
        "reduce_mean.c.j2",
        {"x_type": storages[0].c_type, "y_type": storages[1].c_type, "requantize": requantize.name},
        (WALK, requantize),
    )
    fields = initialisers(
        kept=kept.rank,
        kept_sizes=array(kept.sizes),
        kept_jumps=array(kept.steps(0)),
        reduced=reduced.rank,
        reduced_sizes=array(reduced.sizes),
        reduced_jumps=array(reduced.steps(0)),
        offset=-site.x_affine().zero_point[0] * count,
        multiplier=to.multiplier[0],
        to=requantization_literal(to),
    )
    size = (4 + 4 * WALK_AXES) * 4 + REQUANTIZATION_BYTES
    return Lowered(
        calls=(Call(function, (Input(), Output(), Const("shape"))),),
        records=(Record("shape", f"{function.name}_shape", fields, size),),
        instructions=site.x().elements * 14 + site.y.elements * 40,
    )


def _batches(site: Site) -> Walk:
    lead = site.y.shape[:-2]
    a, b = site.x(0).shape, site.x(1).shape
    matrices = (math.prod(a[-2:]), math.prod(b[-2:]), math.prod(site.y.shape[-2:]))
    strides = (
        [s * matrices[0] for s in broadcast_strides(a[:-2], lead)],
        [s * matrices[1] for s in broadcast_strides(b[:-2], lead)],
        [s * matrices[2] for s in contiguous(lead)],
    )
    return merged(lead, *strides)


def _refuse_matmul(site: Site) -> str | None:
    reason = affine_refusal(site, 0, 1)
    if reason is not None:
        return reason
    reach = 1
    for index in (0, 1):
        x = site.x_affine(index)
        reach *= max(x.maximum - x.zero_point[0], x.zero_point[0] - x.minimum)
    return "its sums do not fit 32 bits" if reach * site.x(0).shape[-1] > INT32_MAX else None


def _lower_matmul(site: Site) -> Lowered:
    a, b, y = site.x_affine(0), site.x_affine(1), site.y_affine
    to = matmul_requantization(a, b, y)
    requantize = requantizer(to)
    storages = (site.x_storage(0), site.x_storage(1), site.y_storage)
    function = Function(
        f"matrix_product_{suffix(storages, requantize)}",
        "matrix_product.c.j2",
        {
            "a_type": storages[0].c_type,
            "b_type": storages[1].c_type,
            "y_type": storages[2].c_type,
            "requantize": requantize.name,
        },
        (requantize,),
    )
    rows, depth = site.x(0).shape[-2:]
    columns = site.y.shape[-1]
    walk = _batches(site)
    count, steps = walk.inner
    fields = initialisers(
        batches=count,
        rows=rows,
        depth=depth,
        columns=columns,
        a_stride=steps[0],
        b_stride=steps[1],
        a_zero=a.zero_point[0],
        b_zero=b.zero_point[0],
        multiplier=to.multiplier[0],
        to=requantization_literal(to),
    )
    calls = []
    for position in np.ndindex(walk.sizes[:-1]):
        offset = [sum(p * s for p, s in zip(position, strides[:-1], strict=True)) for strides in walk.strides]
        calls.append(Call(function, (Input(0, offset[0]), Input(1, offset[1]), Output(0, offset[2]), Const("shape"))))
    return Lowered(
        calls=tuple(calls),
        records=(Record("shape", f"{function.name}_shape", fields, 36 + REQUANTIZATION_BYTES),),
        instructions=site.y.elements * (depth * 8 + 24),
    )


KERNELS = (
    Kernel("arg_max/portable", "ArgMax", _refuse_arg_max, _lower_arg_max),
    Kernel("softmax/portable", "Softmax", _refuse_softmax, _lower_softmax),
    Kernel("reduce_mean/portable", "ReduceMean", _refuse_mean, _lower_mean),
    Kernel("matmul/portable", "MatMul", _refuse_matmul, _lower_matmul),
)
