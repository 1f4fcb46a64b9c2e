"""A float or QDQ graph as an ONNX model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InternalError, ModelError, OutputError
from ..ir.graph import Graph, Node
from ..ir.types import Affine, Float32, TensorType
from ..ops import OPS
from .operators import EXPORTERS, NOT_EXPORTED
from .writer import Writer, storage

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

IR_VERSION = 10
"""Of the ONNX file format: the one of opset 21, old enough for tools of 2024."""

PRODUCER = "boardfit"


def export_model(graph: Graph) -> ModelProto:
    """The graph in ONNX operators: float operators, Quantize and Dequantize as QuantizeLinear and DequantizeLinear.

    Interface names and shapes are those of the file the graph came from; a model that keeps its batch axis apart
    gets a symbolic one, so that other tools can run many samples at once.

    Raises:
        ModelError: a node has no ONNX form.
    """
    from onnx import checker, helper

    writer = Writer(graph)
    for name in graph.inputs:
        writer.bind(name, graph.labels.get(name, name))
    for node in graph.nodes:
        export = EXPORTERS.get(node.op)
        if export is None:
            reason = NOT_EXPORTED.get(node.op, "no exporter")
            raise ModelError(
                f"cannot be written as ONNX: {reason}", file=node.source.model, node=node.name, op_type=node.op
            )
        if _integer_arithmetic(graph, node):
            raise ModelError(
                "cannot be written as ONNX: it computes with integers",
                file=node.source.model,
                node=node.name,
                op_type=node.op,
                hint="export the graph before it is lowered: its integers are then QuantizeLinear and DequantizeLinear",
            )
        writer.begin(node)
        export(writer, node)
    apart = _batch_apart(graph)
    outputs = []
    for name in graph.outputs:
        label = graph.labels.get(name, name)
        writer.add("Identity", [writer.value(name)], output=label)
        outputs.append(_value_info(label, graph.types[name], apart))
    inputs = [_value_info(graph.labels.get(name, name), graph.types[name], apart) for name in graph.inputs]
    made = helper.make_graph(writer.nodes, graph.name, inputs, outputs, writer.initializers)
    model = helper.make_model(
        made, producer_name=PRODUCER, opset_imports=[helper.make_opsetid("", writer.opset)], ir_version=IR_VERSION
    )
    try:
        checker.check_model(model)
    except checker.ValidationError as problem:
        raise InternalError(f"exported an invalid model: {problem}") from problem
    return model


def write_model(graph: Graph, path: str | Path) -> Path:
    """Write the graph as an ONNX file: whole or not at all.

    Raises:
        ModelError: a node has no ONNX form.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    data = export_model(graph).SerializeToString(deterministic=True)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot write: {error.strerror or error}", file=str(path)) from error
    return path


def _integer_arithmetic(graph: Graph, node: Node) -> bool:
    """Whether a node computes with integers, which ONNX's float operators do not."""
    spec = OPS[node.op]
    if spec.moves_only or spec.crosses or node.op == "Clamp":
        return False
    return any(kind is not None and not kind.is_float for kind in graph.input_types(node))


def _value_info(name: str, kind: TensorType, batch_apart: bool) -> ValueInfoProto:
    from onnx import TensorProto, helper

    element = kind.element
    if isinstance(element, Float32):
        code = TensorProto.FLOAT
    elif isinstance(element, Affine):
        code = helper.np_dtype_to_tensor_dtype(np.dtype(storage(element)))
    else:
        raise ModelError(f"tensor '{name}' of type {element} has no ONNX form")
    return helper.make_tensor_value_info(name, code, ["batch", *kind.shape[1:]] if batch_apart else list(kind.shape))


def _batch_apart(graph: Graph) -> bool:
    """Whether axis 0 of every tensor between nodes is the batch."""
    fixed = set(graph.constants)
    for node in graph.nodes:
        if node.op == "Dequantize" and node.inputs[0] in fixed:
            fixed.update(node.outputs)
            continue
        shapes = [graph.types[name].shape for name in (*node.inputs, *node.outputs) if name and name not in fixed]
        if any(not shape or shape[0] != 1 for shape in shapes):
            return False
        perm = getattr(node.attrs, "perm", (0,))
        axes = {getattr(node.attrs, "axis", 1), *getattr(node.attrs, "axes", ())}
        if perm[0] != 0 or 0 in axes or node.op == "MatMul":
            return False
    return all(graph.types[name].shape[:1] == (1,) for name in (*graph.inputs, *graph.outputs))
