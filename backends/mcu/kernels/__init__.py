"""The kernel variants: one file for each family, registered here."""

from __future__ import annotations

from ..kernel import Kernel
from . import (
    circulant,
    coded,
    convolution,
    dsp_convolution,
    dsp_dense,
    dsp_depthwise,
    dsp_max_pool,
    dsp_mean,
    dsp_stored,
    dsp_sum,
    dsp_sums,
    dsp_transferred,
    elementwise,
    expanded,
    huffman,
    linear,
    moves,
    mve_depthwise,
    mve_elementwise,
    mve_linear,
    pooling,
    reductions,
    reshape,
    signs,
    stored,
    stored_transferred,
    thumb,
    tile,
    transposed,
    unary,
    walsh,
)

KERNELS: tuple[Kernel, ...] = (
    *linear.KERNELS,
    *convolution.KERNELS,
    *pooling.KERNELS,
    *reshape.KERNELS,
    *elementwise.KERNELS,
    *unary.KERNELS,
    *moves.KERNELS,
    *reductions.KERNELS,
    *transposed.KERNELS,
    *dsp_convolution.KERNELS,
    *dsp_depthwise.KERNELS,
    *dsp_dense.KERNELS,
    *dsp_sum.KERNELS,
    *dsp_mean.KERNELS,
    *dsp_max_pool.KERNELS,
    *dsp_stored.KERNELS,
    *dsp_transferred.KERNELS,
    *dsp_sums.KERNELS,
    *mve_linear.KERNELS,
    *mve_depthwise.KERNELS,
    *mve_elementwise.KERNELS,
    *thumb.KERNELS,
    *tile.KERNELS,
    *huffman.KERNELS,
    *stored.KERNELS,
    *stored_transferred.KERNELS,
    *expanded.KERNELS,
    *coded.KERNELS,
    *circulant.KERNELS,
    *walsh.KERNELS,
    *signs.KERNELS,
)
"""Every variant; of equal predicted cost the first one wins."""


def variants_of(op: str) -> tuple[Kernel, ...]:
    """The variants that compute an op."""
    return tuple(kernel for kernel in KERNELS if kernel.op == op)
