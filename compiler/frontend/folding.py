"""Folding of nodes whose inputs are all known: by the ONNX reference implementation, so every operator folds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..ir.types import FLOAT32, Affine
from .context import ImportContext, OnnxNode, Parameter

if TYPE_CHECKING:
    from onnx import ModelProto

NEVER = ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Multinomial", "Bernoulli")
"""Not functions of their inputs."""


def fold_node(context: ImportContext, node: OnnxNode) -> bool:
    """Evaluate a node at compile time if all it reads is known; returns whether it was.

    `Shape` and `Size` of any tensor are known too. A DequantizeLinear of a constant keeps its integers.

    Raises:
        ModelError: the operator's reference implementation rejects the node.
    """
    if node.op_type in ("Shape", "Size") and node.domain in ("", "ai.onnx") and node.inputs[0] in context.tensors:
        shape = np.asarray(context.type(context.tensors[node.inputs[0]]).shape, np.int64)
        if node.op_type == "Size":
            shape = np.asarray(int(np.prod(shape)), np.int64)
        else:
            shape = shape[
                slice(node.integer("start", 0), None if "end" not in node.attributes else node.integer("end", 0))
            ]
        context.parameters[node.outputs[0]] = Parameter(shape)
        return True
    if node.op_type in NEVER or any(name and name not in context.parameters for name in node.inputs):
        return False
    if node.domain not in ("", "ai.onnx"):
        return False
    if "sparse_value" in node.attributes:
        raise context.error(node, "a sparse constant is not supported", hint="export the model with dense weights")
    kept = _keep_quantized(context, node)
    if kept is not None:
        context.parameters[node.outputs[0]] = kept
        return True
    for name, values in zip(node.outputs, _evaluate(context, node), strict=False):
        if name:
            context.parameters[name] = Parameter(np.asarray(values))
    return True


def _keep_quantized(context: ImportContext, node: OnnxNode) -> Parameter | None:
    """Constants that stay integers with a scale: DequantizeLinear, and moves of its result."""
    if node.op_type == "DequantizeLinear":
        return dequantized(context, node)
    if not node.inputs:
        return None
    first = context.parameters.get(node.inputs[0])
    if first is None or first.element == FLOAT32:
        return None
    if node.op_type == "Identity":
        return first
    if node.op_type == "Transpose":
        return first.transposed(node.integer_list("perm") or list(range(first.values.ndim))[::-1])
    if node.op_type in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
        real = _evaluate(context, node)[0]
        return first.reshaped(np.asarray(real).shape)
    return None


def dequantized(context: ImportContext, node: OnnxNode) -> Parameter | None:
    """Integers and quantization of a DequantizeLinear of a constant, or None if it has another form (blocked)."""
    values = context.parameters[node.inputs[0]].values
    if values.dtype.kind not in "iu" or node.integer("block_size", 0):
        return None
    scale = context.constant(node, 1, "the scale").astype(np.float64).reshape(-1)
    zero = np.zeros(1, np.int64)
    if node.has_input(2):
        zero = context.constant(node, 2, "the zero point").astype(np.int64).reshape(-1)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise context.error(node, "scales must be positive and finite")
    signed, width = values.dtype.kind == "i", values.dtype.itemsize * 8
    if len(scale) == 1:
        element = Affine(signed, width, (float(scale[0]),), (int(zero[0]),))
        return Parameter(values.astype(np.int64), element)
    axis = node.integer("axis", 1) % max(values.ndim, 1)
    zero = np.broadcast_to(zero, scale.shape)
    if values.shape[axis] != len(scale):
        raise context.error(node, f"{len(scale)} scales for an axis of {values.shape[axis]}")
    element = Affine(signed, width, tuple(map(float, scale)), tuple(map(int, zero)), axis)
    return Parameter(values.astype(np.int64), element)


def _evaluate(context: ImportContext, node: OnnxNode) -> list[np.ndarray]:
    from onnx.reference import ReferenceEvaluator

    feeds = {name: context.parameters[name].real for name in node.inputs if name}
    try:
        results = ReferenceEvaluator(_single_node_model(node, feeds)).run(None, feeds)
    except Exception as problem:  # the reference implementation raises whatever numpy raises
        raise context.error(node, f"cannot be evaluated at compile time: {problem}") from problem
    return [np.asarray(result) for result in results]


def _single_node_model(node: OnnxNode, feeds: dict[str, np.ndarray]) -> ModelProto:
    from onnx import helper

    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)
        for name, values in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
    graph = helper.make_graph([node.proto], "fold", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", max(node.opset, 7))])
