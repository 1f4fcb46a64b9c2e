"""What dense and convolution share: the integer matrix product and its requantization."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import InternalError
from ..ir.graph import Graph, Node
from ..ir.types import Affine, FixedPoint, TensorType
from ..numerics import Requantization, cast_fixed, requantization, signed_bits
from .accumulator import absolute_bound, accumulator_range
from .activation import Activation
from .spec import Invocation, Run, as_affine, as_fixed


def linear_ratios(x: Affine, w: Affine, y: Affine, channels: int) -> list[float]:
    """Real factor sx * sw[c] / sy of every output channel (one entry if the weights are per tensor)."""
    scales = w.scale if w.axis is not None else (w.scale[0],)
    if len(scales) not in (1, channels):
        raise InternalError(f"{len(scales)} weight scales for {channels} output channels")
    return [x.scale[0] * s / y.scale[0] for s in scales]


def linear_requantization(x: TensorType, w: TensorType, y: TensorType, activation: Activation) -> Requantization:
    """Requantization of a dense or convolution layer, the same for interpreter and backends."""
    out = as_affine(y.element)
    ratios = linear_ratios(as_affine(x.element), as_affine(w.element), out, w.shape[0])
    return requantization(ratios, out, activation.low, activation.high)


def centred_weights(values: np.ndarray, element: Affine) -> np.ndarray:
    """Raw weights less their zero points (int64)."""
    return values.astype(np.int64) - element.zero_for(values.ndim)


@dataclass(frozen=True, slots=True)
class FixedAccumulator:
    """Exact fixed-point accumulator of a linear layer: type and the shift that aligns the bias."""

    element: FixedPoint
    bias_shift: int


def fixed_accumulator(
    x: FixedPoint, w: FixedPoint, weights: np.ndarray, b: FixedPoint | None, bias: np.ndarray | None
) -> FixedAccumulator:
    """The smallest signed ap_fixed that holds every partial sum exactly (width computed from the weights).

    Args:
        weights: (out, K) raw weights.
        bias: (out,) raw bias or None.
    """
    frac = x.frac + w.frac
    if b is not None:
        frac = max(frac, b.frac)
    up = frac - (x.frac + w.frac)
    bias_shift = 0 if b is None else frac - b.frac
    low, high = accumulator_range(
        weights.astype(np.int64) << up, None if bias is None else bias.astype(np.int64) << bias_shift, x
    )
    return FixedAccumulator(FixedPoint(True, max(signed_bits(low, high), 2), frac), bias_shift)


def finish_fixed(
    accumulator: np.ndarray, frac: int, bias: np.ndarray | None, bias_frac: int, out: FixedPoint
) -> np.ndarray:
    """Add the bias exactly, then the one cast to the result type."""
    if bias is not None:
        top = max(frac, bias_frac)
        accumulator = (accumulator << (top - frac)) + (bias << (top - bias_frac))
        frac = top
    return cast_fixed(accumulator, frac, out)


def linear_accumulator_bits(graph: Graph, node: Node) -> int:
    """Signed width the accumulator of an Affine dense or convolution node needs."""
    x, w = graph.types[node.inputs[0]], graph.types[node.inputs[1]]
    weights = graph.constant(node.inputs[1])
    if weights is None:
        raise InternalError(f"'{node.name}' has no constant weights")
    bias = graph.constant(node.input(2)) if node.input(2) else None
    if isinstance(w.element, Affine):
        flat = centred_weights(weights, w.element).reshape(len(weights), -1)
        return signed_bits(*accumulator_range(flat, bias, x.element))
    flat = weights.reshape(len(weights), -1)
    bias_type = as_fixed(graph.types[node.input(2)].element) if bias is not None else None
    return fixed_accumulator(as_fixed(x.element), as_fixed(w.element), flat, bias_type, bias).element.width


Sums = Callable[[Invocation, np.ndarray, np.ndarray, "int | None"], np.ndarray]
"""(call, x, weights, bound) -> sums of products without bias, channels last.

x and weights are less their zero points; `bound` is None for float32, else a bound on the absolute integer sums, and
the result is int64.
"""


def linear_runs(sums: Sums, activation: Callable[[Invocation], Activation]) -> tuple[Run, Run, Run]:
    """(run_float, run_affine, run_fixed) of an op that is a sum of products, a bias and an activation."""

    def shaped(call: Invocation, y: np.ndarray) -> list[np.ndarray]:
        return [y.reshape(call.array(0).shape[0], *call.output_types[0].shape)]

    def run_float(call: Invocation) -> list[np.ndarray]:
        y = sums(call, call.array(0), call.array(1)[0], None)
        bias = call.optional(2)
        if bias is not None:
            y = y + bias[0]
        return shaped(call, activation(call).apply(y))

    def run_affine(call: Invocation) -> list[np.ndarray]:
        weights = centred_weights(call.array(1)[0], call.affine(1))
        x = call.array(0) - call.affine(0).zero_point[0]
        acc = sums(call, x, weights, absolute_bound(weights.reshape(len(weights), -1), call.affine(0)))
        bias = call.optional(2)
        if bias is not None:
            acc = acc + bias[0]
        requantize = linear_requantization(call.type(0), call.type(1), call.output_types[0], activation(call))
        return shaped(call, requantize.apply(acc))

    def run_fixed(call: Invocation) -> list[np.ndarray]:
        weights = call.array(1)[0]
        acc = sums(call, call.array(0), weights, absolute_bound(weights.reshape(len(weights), -1), call.fixed(0)))
        bias = call.optional(2)
        frac = call.fixed(0).frac + call.fixed(1).frac
        bias_frac = call.fixed(2).frac if bias is not None else 0
        return shaped(call, finish_fixed(acc, frac, None if bias is None else bias[0], bias_frac, call.fixed_out))

    return run_float, run_affine, run_fixed
