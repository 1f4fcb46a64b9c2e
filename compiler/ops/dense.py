"""Dense: y = activation(x @ w.T + b)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..ir.graph import Attrs, Graph, Node
from ..ir.types import TensorType
from ..numerics import exact_matmul
from .accumulator import absolute_bound
from .activation import NONE, Activation
from .linear import centred_weights, finish_fixed, linear_requantization
from .spec import Invocation, OpSpec, Types, required


@dataclass(frozen=True, slots=True)
class DenseAttrs(Attrs):
    """Fused activation."""

    activation: Activation = NONE


def _infer(attrs: Attrs, inputs: Types) -> list[TensorType]:
    x, w = required(inputs, 0), required(inputs, 1)
    if w.rank != 2 or x.rank < 1 or x.shape[-1] != w.shape[1]:
        raise ValueError(f"weights of shape {w.shape} do not match an input of shape {x.shape}")
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None and bias.shape != (w.shape[0],):
        raise ValueError(f"bias of shape {bias.shape} for {w.shape[0]} outputs")
    return [TensorType((*x.shape[:-1], w.shape[0]), x.element)]


def _float(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(DenseAttrs)
    y = np.matmul(call.array(0), call.array(1)[0].T)
    bias = call.optional(2)
    if bias is not None:
        y = y + bias[0]
    return [attrs.activation.apply(y)]


def _affine(call: Invocation) -> list[np.ndarray]:
    attrs = call.attrs(DenseAttrs)
    weights = centred_weights(call.array(1)[0], call.affine(1))
    x = call.array(0) - call.affine(0).zero_point[0]
    acc = exact_matmul(x, weights.T, absolute_bound(weights, call.affine(0)))
    bias = call.optional(2)
    if bias is not None:
        acc = acc + bias[0]
    requantize = linear_requantization(call.type(0), call.type(1), call.output_types[0], attrs.activation)
    return [requantize.apply(acc)]


def _fixed(call: Invocation) -> list[np.ndarray]:
    weights = call.array(1)[0]
    acc = exact_matmul(call.array(0), weights.T, absolute_bound(weights, call.fixed(0)))
    bias = call.optional(2)
    frac = call.fixed(0).frac + call.fixed(1).frac
    bias_frac = call.fixed(2).frac if bias is not None else 0
    return [finish_fixed(acc, frac, None if bias is None else bias[0], bias_frac, call.fixed_out)]


def _macs(node: Node, graph: Graph) -> int:
    w = graph.types[node.inputs[1]]
    return math.prod(graph.types[node.outputs[0]].shape[:-1]) * w.elements


DENSE = OpSpec(
    name="Dense",
    attrs=DenseAttrs,
    doc="y[..., o] = activation(sum_i x[..., i] * w[o, i] + b[o]); weights (out, in), optional bias (out,).",
    infer=_infer,
    run_float=_float,
    run_affine=_affine,
    run_fixed=_fixed,
    macs=_macs,
)
