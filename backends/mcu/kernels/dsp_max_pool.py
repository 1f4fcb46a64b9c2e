"""Maximum pooling of int8 images for cores with the DSP extension: four channels at a time by SSUB8 and SEL."""

from __future__ import annotations

from dataclasses import replace

from boardfit.ops.max_pool2d import MaxPool2DAttrs

from ..kernel import Function, Kernel, Lowered, Site
from ..storage import S8
from .common import CLIP
from .dsp_convolution import NEEDS, SUPPORT
from .pooling import MAX_POOL

FUNCTION = Function("max_pool_words", "dsp/max_pool.c.j2", {}, (SUPPORT, CLIP), code_bytes=366, stack_bytes=120)


def _refuse(site: Site) -> str | None:
    reason = MAX_POOL.refuse(site)
    if reason is None and (site.x_storage() != S8 or site.y_storage != S8):
        return "its tensors are not int8"
    if reason is None and site.x().shape[3] % 4:
        return "the number of channels is no multiple of four"
    return reason


def _lower(site: Site) -> Lowered:
    """The portable kernel's calls and geometry with the other function."""
    lowered = MAX_POOL.lower(site)
    kh, kw = site.attrs(MaxPool2DAttrs).kernel
    _, height, width, channels = site.y.shape
    words = site.x().shape[0] * height * width * channels // 4
    return replace(
        lowered,
        calls=tuple(replace(call, function=FUNCTION) for call in lowered.calls),
        records=tuple(replace(record, c_type=f"{FUNCTION.name}_shape") for record in lowered.records),
        instructions=words * (kh * kw * 6 + kh * 7 + 14) + words * 4 // channels * 75,
    )


KERNELS = (Kernel("max_pool2d/dsp", "MaxPool2D", _refuse, _lower, NEEDS),)
