"""MatMul: product of two activations (neither is constant)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs, Graph, Node
from ..ir.types import Affine, TensorType
from ..numerics import Requantization, cast_fixed, exact_matmul, requantization
from .accumulator import input_range
from .spec import Invocation, OpSpec, Types, required


@dataclass(frozen=True, slots=True)
class MatMulAttrs(Attrs):
    """No attributes."""


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    a, b = required(inputs, 0), required(inputs, 1)
    if a.rank < 2 or b.rank < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matrices of shape {a.shape} and {b.shape} cannot be multiplied")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return [TensorType((*lead, a.shape[-2], b.shape[-1]), a.element)]


def _aligned(call: Invocation) -> tuple[np.ndarray, np.ndarray]:
    a, b = call.array(0), call.array(1)
    rank = max(a.ndim, b.ndim)
    a = a.reshape(a.shape[0], *[1] * (rank - a.ndim), *a.shape[1:])
    return a, b.reshape(b.shape[0], *[1] * (rank - b.ndim), *b.shape[1:])


def _float(call: Invocation) -> list[np.ndarray]:
    a, b = _aligned(call)
    return [np.matmul(a, b)]


def matmul_requantization(a: Affine, b: Affine, y: Affine) -> Requantization:
    """Requantization of the product of two activations."""
    return requantization([a.scale[0] * b.scale[0] / y.scale[0]], y)


def _affine(call: Invocation) -> list[np.ndarray]:
    a, b = _aligned(call)
    left, right = call.affine(0), call.affine(1)
    reach = max(map(abs, input_range(left))) * max(map(abs, input_range(right)))
    acc = exact_matmul(a - left.zero_point[0], b - right.zero_point[0], reach * a.shape[-1])
    return [matmul_requantization(left, right, call.affine_out).apply(acc)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    a, b = _aligned(call)
    left, right = call.fixed(0), call.fixed(1)
    reach = max(map(abs, input_range(left))) * max(map(abs, input_range(right)))
    acc = exact_matmul(a, b, reach * a.shape[-1])
    return [cast_fixed(acc, left.frac + right.frac, call.fixed_out)]


def _macs(node: Node, graph: Graph) -> int:
    y = graph.types[node.outputs[0]]
    return math.prod(y.shape) * graph.types[node.inputs[0]].shape[-1]


MATMUL = OpSpec(
    name="MatMul",
    attrs=MatMulAttrs,
    doc="y[..., i, j] = sum_k a[..., i, k] * b[..., k, j], leading axes broadcast.",
    infer=_infer,
    run_float=_float,
    run_affine=_affine,
    run_fixed=_fixed,
    macs=_macs,
)
