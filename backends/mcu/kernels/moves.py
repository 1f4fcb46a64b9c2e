"""Ops that only move values, in portable C: concat, slice, pad, transpose, gather, resize. They copy bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from boardfit.ir import Affine
from boardfit.numerics import quantize
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.gather import GatherAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.resize import ResizeAttrs
from boardfit.ops.slice import SliceAttrs
from boardfit.ops.transpose import TransposeAttrs

from ..axes import WALK_AXES, Walk, contiguous, merged
from ..kernel import Argument, Call, Const, Function, Input, Kernel, Lowered, Output, Record, Site, Table
from .common import WALK, affine_refusal, array, initialisers, literals

COPY = Function("copy", "copy.c.j2", {}, (WALK,))
GATHER = Function("gather", "gather.c.j2")
RESIZE = Function("resize", "resize.c.j2")
MEMCPY = Function("memcpy", "", headers=("string.h",))
COPY_BYTES = (5 + 3 * WALK_AXES) * 4
WORD = 4
"""Every tensor starts at a multiple of it: kernels may load whole words."""
VIEWS = ("Reshape", "Transpose", "Slice", "Concat")
"""Ops whose outputs may be parts of other tensors' memory."""
RUN_LIMIT = 1 << 16
"""Index tables hold 16-bit numbers."""


def _walk(sizes: Sequence[int], source: Sequence[int], target: Sequence[int], bytes_each: int) -> tuple[Walk, int]:
    """Copy as a walk over runs of bytes: (walk with strides in bytes, bytes of a run)."""
    walk = merged(sizes, source, target)
    run = 1
    sizes, strides = list(walk.sizes), [list(s) for s in walk.strides]
    if sizes and strides[0][-1] == strides[1][-1] == 1:
        run = sizes.pop()
        strides = [s[:-1] for s in strides]
    in_bytes = tuple(tuple(stride * bytes_each for stride in s) for s in strides)
    return Walk(tuple(sizes), in_bytes), run * bytes_each


def _copy(stem: str, walk: Walk, run: int, source: Argument, target: Argument) -> tuple[Call, Record | None, int]:
    """One copy: the call, its record, and its instructions."""
    moved = math.prod(walk.sizes) * run
    if not walk.sizes:
        return Call(MEMCPY, (target, source, *literals(run))), None, 40 + run * 3
    count, steps = walk.inner
    fields = initialisers(
        rank=walk.rank - 1,
        sizes=array(walk.sizes[:-1]),
        from_jumps=array(walk.jumps(0)),
        to_jumps=array(walk.jumps(1)),
        count=count,
        from_step=steps[0],
        to_step=steps[1],
        run=run,
    )
    record = Record(stem, "copy_shape", fields, COPY_BYTES)
    return Call(COPY, (source, target, Const(stem))), record, moved * 5 + (moved // run) * 8


def _single(site: Site, walk: Walk, run: int, source: int = 0) -> Lowered:
    call, record, instructions = _copy("shape", walk, run, Input(0, source), Output())
    return Lowered(calls=(call,), records=(record,) if record else (), instructions=instructions)


def _refuse_walk(make: Callable[[Site], Walk]) -> Callable[[Site], str | None]:
    def refuse(site: Site) -> str | None:
        if make(site).rank > WALK_AXES + 1:
            return f"it moves more than {WALK_AXES + 1} axes"
        return None

    return refuse


def _transpose_walk(site: Site) -> tuple[Walk, int]:
    perm = site.attrs(TransposeAttrs).perm
    strides = contiguous(site.x().shape)
    source = [strides[axis] for axis in perm]
    return _walk(site.y.shape, source, contiguous(site.y.shape), site.x_storage().bytes)


def _lower_transpose(site: Site) -> Lowered:
    walk, run = _transpose_walk(site)
    if not walk.sizes:
        return Lowered(calls=(), alias=0)
    return _single(site, walk, run)


def _slice_walk(site: Site) -> tuple[Walk, int]:
    attrs = site.attrs(SliceAttrs)
    strides = contiguous(site.x().shape)
    source = [stride * step for stride, step in zip(strides, attrs.steps, strict=True)]
    return _walk(site.y.shape, source, contiguous(site.y.shape), site.x_storage().bytes)


def _lower_slice(site: Site) -> Lowered:
    attrs = site.attrs(SliceAttrs)
    walk, run = _slice_walk(site)
    if site.x().elements == site.y.elements and not walk.sizes:
        return Lowered(calls=(), alias=0)
    start = sum(s * stride for s, stride in zip(attrs.starts, contiguous(site.x().shape), strict=True))
    return _single(site, walk, run, start)


def _view_offset(site: Site) -> int | None:
    """Byte offset of a slice that is one piece of its input, or None."""
    attrs = site.attrs(SliceAttrs)
    cut = [axis for axis, (size, length) in enumerate(zip(attrs.sizes, site.x().shape, strict=True)) if size != length]
    axis = cut[0] if cut else 0
    if len(cut) > 1 or attrs.steps[axis] != 1 or math.prod(site.x().shape[:axis]) != 1:
        return None
    if any(step < 0 for step, size in zip(attrs.steps, attrs.sizes, strict=True) if size > 1):
        return None
    return attrs.starts[axis] * math.prod(site.x().shape[axis + 1 :]) * site.x_storage().bytes


def _refuse_view(site: Site) -> str | None:
    offset = _view_offset(site)
    if offset is None:
        return "it is not one piece of its input"
    if offset % WORD:
        return "it does not start at a word"
    return "its input is constant" if site.constant(0) is not None else None


def _lower_view(site: Site) -> Lowered:
    return Lowered(calls=(), alias=0, alias_offset=_view_offset(site) or 0)


def _part_offsets(site: Site) -> tuple[int, ...]:
    """Byte offset of every input of a join in its output, for a join along the outermost axis."""
    found, offset = [], 0
    for index in range(len(site.node.inputs)):
        found.append(offset)
        offset += site.x(index).elements * site.x_storage(index).bytes
    return tuple(found)


def _refuse_assembly(site: Site) -> str | None:
    graph, inputs = site.graph, site.node.inputs
    if math.prod(site.y.shape[: site.attrs(ConcatAttrs).axis]) != 1:
        return "its inputs are interleaved in the output"
    if any(offset % WORD for offset in _part_offsets(site)):
        return "a part does not start at a word"
    producers, consumers = graph.producers(), graph.consumers()
    for name in inputs:
        maker = producers.get(name)
        shared = inputs.count(name) > 1 or len(consumers.get(name, ())) != 1 or name in graph.outputs
        if maker is None or maker.op in VIEWS or shared:
            return "an input has a place of its own"
    return _refuse_concat(site)


def _assemble(site: Site) -> Lowered:
    return Lowered(calls=(), assembled=_part_offsets(site))


def _lower_concat(site: Site) -> Lowered:
    axis = site.attrs(ConcatAttrs).axis
    each = site.y_storage.bytes
    inner = math.prod(site.y.shape[axis + 1 :])
    outer = math.prod(site.y.shape[:axis])
    calls: list[Call] = []
    records: list[Record] = []
    instructions, offset = 0, 0
    for index in range(len(site.node.inputs)):
        length = site.x(index).shape[axis] * inner
        walk, run = _walk((outer, length), (length, 1), (site.y.shape[axis] * inner, 1), each)
        call, record, cost = _copy(f"shape_{index + 1}", walk, run, Input(index), Output(0, offset))
        calls.append(call)
        records += [record] if record else []
        instructions += cost
        offset += length
    return Lowered(calls=tuple(calls), records=tuple(records), instructions=instructions)


def _refuse_concat(site: Site) -> str | None:
    for index in range(len(site.node.inputs)):
        if site.x(index).element != site.y.element:
            return "its inputs have different scales"
    return None


def _pad_walk(site: Site) -> tuple[Walk, int]:
    source, target = contiguous(site.x().shape), contiguous(site.y.shape)
    return _walk(site.x().shape, source, target, site.x_storage().bytes)


def _lower_pad(site: Site) -> Lowered:
    attrs = site.attrs(PadAttrs)
    element = site.y_affine
    fill = element.zero_point[0] if attrs.value == 0.0 else int(quantize(np.float32(attrs.value), element))
    walk, run = _pad_walk(site)
    if site.x().elements == site.y.elements:
        return Lowered(calls=(), alias=0)
    start = sum(b * stride for b, stride in zip(attrs.before, contiguous(site.y.shape), strict=True))
    storage = site.y_storage
    function = Function(f"fill_{storage.tag}", "fill.c.j2", {"y_type": storage.c_type})
    call, record, cost = _copy("shape", walk, run, Input(), Output(0, start))
    return Lowered(
        calls=(Call(function, (Output(), *literals(fill, site.y.elements))), call),
        records=(record,) if record else (),
        instructions=cost + site.y.elements * 4,
    )


def _refuse_pad(site: Site) -> str | None:
    if not isinstance(site.y.element, Affine):
        return "its tensor is not an integer one"
    return affine_refusal(site, 0) or _refuse_walk(lambda s: _pad_walk(s)[0])(site)


def _refuse_gather(site: Site) -> str | None:
    return "its axis is too long" if site.x().shape[site.attrs(GatherAttrs).axis] > RUN_LIMIT else None


def _lower_gather(site: Site) -> Lowered:
    attrs = site.attrs(GatherAttrs)
    shape = site.x().shape
    run = math.prod(shape[attrs.axis + 1 :]) * site.x_storage().bytes
    outer = math.prod(shape[: attrs.axis])
    sizes = literals(outer, shape[attrs.axis], len(attrs.indices), run)
    return Lowered(
        calls=(Call(GATHER, (Input(), Output(), Const("indices"), *sizes)),),
        tables=(Table("indices", np.array(attrs.indices, np.uint16), "entries picked", parameter=False),),
        instructions=outer * len(attrs.indices) * (run * 5 + 10),
    )


def _refuse_resize(site: Site) -> str | None:
    return "its image is too large" if max(site.x().shape[1:3]) > RUN_LIMIT else None


def _lower_resize(site: Site) -> Lowered:
    attrs = site.attrs(ResizeAttrs)
    batch, height, width, channels = site.x().shape
    run = channels * site.x_storage().bytes
    sizes = literals(len(attrs.rows), len(attrs.columns), width, run)
    image_in, image_out = height * width * channels, math.prod(site.y.shape[1:])
    calls = tuple(
        Call(
            RESIZE,
            (Input(0, image * image_in), Output(0, image * image_out), Const("rows"), Const("columns"), *sizes),
        )
        for image in range(batch)
    )
    return Lowered(
        calls=calls,
        tables=(
            Table("rows", np.array(attrs.rows, np.uint16), "source row of each row", parameter=False),
            Table("columns", np.array(attrs.columns, np.uint16), "source column of each column", parameter=False),
        ),
        instructions=site.y.elements // channels * (run * 5 + 10),
    )


KERNELS = (
    Kernel("transpose/copy", "Transpose", _refuse_walk(lambda site: _transpose_walk(site)[0]), _lower_transpose),
    Kernel("slice/view", "Slice", _refuse_view, _lower_view),
    Kernel("slice/copy", "Slice", _refuse_walk(lambda site: _slice_walk(site)[0]), _lower_slice),
    Kernel("concat/in_place", "Concat", _refuse_assembly, _assemble),
    Kernel("concat/copy", "Concat", _refuse_concat, _lower_concat),
    Kernel("pad/copy", "Pad", _refuse_pad, _lower_pad),
    Kernel("gather/copy", "Gather", _refuse_gather, _lower_gather),
    Kernel("resize/copy", "Resize", _refuse_resize, _lower_resize),
)
