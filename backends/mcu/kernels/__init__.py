"""The kernel variants: one file for each family, registered here."""

from __future__ import annotations

from ..kernel import Kernel
from . import convolution, elementwise, linear, moves, pooling, reductions, reshape, transposed, unary

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
)
"""Every variant; of equal predicted cost the first one wins."""


def variants_of(op: str) -> tuple[Kernel, ...]:
    """The variants that compute an op."""
    return tuple(kernel for kernel in KERNELS if kernel.op == op)
