"""Dense: y = activation(x @ w.T + b)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..ir.graph import Attrs, Graph, Node
from ..ir.types import Affine, TensorType
from ..numerics import exact_matmul
from .activation import NONE, Activation
from .linear import linear_runs
from .spec import Invocation, OpSpec, Types, required

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode, Parameter


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


def _sums(call: Invocation, x: np.ndarray, weights: np.ndarray, bound: int | None) -> np.ndarray:
    return np.matmul(x, weights.T) if bound is None else exact_matmul(x, weights.T, bound)


RUN_FLOAT, RUN_AFFINE, RUN_FIXED = linear_runs(_sums, lambda call: call.attrs(DenseAttrs).activation)


def _macs(node: Node, graph: Graph) -> int:
    w = graph.types[node.inputs[1]]
    return math.prod(graph.types[node.outputs[0]].shape[:-1]) * w.elements


def scaled_parameter(parameter: Parameter, factor: float) -> Parameter:
    """The parameter times a factor; a positive factor scales the quantization, so integers stay."""
    from ..frontend.context import Parameter

    if factor == 1.0:
        return parameter
    if isinstance(parameter.element, Affine) and factor > 0:
        return Parameter(
            parameter.values, replace(parameter.element, scale=tuple(s * factor for s in parameter.element.scale))
        )
    return Parameter((parameter.real * factor).astype(np.float32))


def _add_scaled(context: ImportContext, node: OnnxNode, y: str, index: int, beta: float) -> str:
    """y + beta * input, element-wise."""
    from .add import AddAttrs

    if context.is_constant(node.inputs[index]):
        scaled = scaled_parameter(context.parameter(node, index, "C"), beta)
        addend = context.add_parameter(f"{node.name}/addend", scaled)
    else:
        addend = context.tensor(node, index)
        if beta != 1.0:
            raise context.error(node, f"beta {beta} with a computed C is not supported", hint="use beta = 1")
    return context.emit(node, "Add", [y, addend], AddAttrs(), suffix="add")


def import_gemm(context: ImportContext, node: OnnxNode) -> None:
    """ONNX Gemm: y = alpha * A' B' + beta * C with constant B."""
    from ..frontend.context import Parameter

    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    x = context.tensor(node, 0)
    if node.integer("transA", 0):
        x = context.transpose(node, x, (1, 0), "transpose_a")
    weights = context.parameter(node, 1, "the matrix B")
    if not node.integer("transB", 0):
        weights = weights.transposed((1, 0))
    if alpha != 1.0:
        weights = scaled_parameter(weights, alpha)
    inputs = [x, context.add_parameter(f"{node.name}/weights", weights)]
    outputs = weights.values.shape[0]
    fused = False
    if node.has_input(2) and context.is_constant(node.inputs[2]):
        bias = scaled_parameter(context.parameter(node, 2, "C"), beta)
        if bias.values.size == outputs and bias.values.shape in ((outputs,), (1, outputs)):
            inputs.append(context.add_parameter(f"{node.name}/bias", bias.reshaped((outputs,))))
            fused = True
        elif bias.values.size == 1:
            inputs.append(
                context.add_parameter(f"{node.name}/bias", Parameter(np.full(outputs, bias.real.item(), np.float32)))
            )
            fused = True
    y = context.emit(node, "Dense", inputs, DenseAttrs())
    if node.has_input(2) and not fused:
        y = _add_scaled(context, node, y, 2, beta)
    context.bind(node.outputs[0], y)


def import_matmul(context: ImportContext, node: OnnxNode) -> None:
    """ONNX MatMul: Dense if B is a constant matrix, else the product of two activations."""
    from .matmul import MatMulAttrs

    if context.is_constant(node.inputs[1]) and not context.is_constant(node.inputs[0]):
        weights = context.parameter(node, 1, "the matrix B")
        if weights.values.ndim == 2:
            kernel = context.add_parameter(f"{node.name}/weights", weights.transposed((1, 0)))
            context.result(node, "Dense", [context.tensor(node, 0), kernel], DenseAttrs())
            return
    context.result(node, "MatMul", [context.tensor(node, 0), context.tensor(node, 1)], MatMulAttrs())


DENSE = OpSpec(
    name="Dense",
    attrs=DenseAttrs,
    doc="y[..., o] = activation(sum_i x[..., i] * w[o, i] + b[o]); weights (out, in), optional bias (out,).",
    infer=_infer,
    run_float=RUN_FLOAT,
    run_affine=RUN_AFFINE,
    run_fixed=RUN_FIXED,
    macs=_macs,
    importers={"Gemm": import_gemm, "MatMul": import_matmul},
)
