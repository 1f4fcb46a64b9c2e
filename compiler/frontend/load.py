"""ONNX file to float IR graph: shapes resolved at batch 1, constants folded, every node imported or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from ..ir.graph import Graph, Source
from ..ir.types import FLOAT32, Affine, ElementType, TensorType
from ..ops.reshape import ReshapeAttrs
from .averages import quantized_averages
from .context import ImportContext, OnnxNode, Parameter
from .folding import fold_node
from .onnx_file import default_opset, read_model
from .registry import importer_of

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto


def load_model(path: str | Path, input_shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """Import an ONNX file as it comes from an exporter.

    Args:
        path: the .onnx file.
        input_shapes: full shape (batch axis included) for inputs whose shape the file leaves open.

    Returns:
        A float graph; batch 1; images channels-last inside, interface as in the file.

    Raises:
        ModelError: the file, its shapes or one of its nodes cannot be imported.
    """
    path = Path(path)
    return import_model(read_model(path), path.name, path.stem, input_shapes or {})


def import_model(
    model: ModelProto, file: str, name: str, input_shapes: Mapping[str, Sequence[int]] | None = None
) -> Graph:
    """Import an ONNX model held in memory; `file` is what messages call it."""
    from onnx import helper, numpy_helper

    from .qoperator import expand_qoperators
    from .shapes import resolve_inputs

    context = ImportContext(file, name)
    stated = _inlined(model, file).graph
    context.averages = quantized_averages(stated)  # before QOperator forms get this form too: they state integers
    graph = expand_qoperators(stated, file)
    _refuse_subgraphs(graph, file)
    for tensor in graph.initializer:
        context.parameters[tensor.name] = Parameter(numpy_helper.to_array(tensor))
    opset = default_opset(model)
    versions = {entry.domain: int(entry.version) for entry in model.opset_import}
    resolved = resolve_inputs(graph, file, input_shapes or {})
    for value, shape in resolved.shapes.items():
        element = _interface_element(value, graph, context)
        context.bind(value, context.editor.add_input(value, TensorType(shape, element)))
    for index, proto in enumerate(graph.node):
        node_name = proto.name or (proto.output[0] if proto.output else f"{proto.op_type}_{index}")
        node = OnnxNode(
            name=node_name,
            op_type=proto.op_type,
            domain=proto.domain,
            opset=opset if proto.domain in ("", "ai.onnx") else versions.get(proto.domain, 1),
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes={a.name: helper.get_attribute_value(a) for a in proto.attribute},
            source=Source(file, node_name, proto.op_type),
            proto=proto,
        )
        _import_node(context, node, resolved.old_batch)
    for output in graph.output:
        _bind_output(context, output, file)
    return context.editor.finish()


def _inlined(model: ModelProto, file: str) -> ModelProto:
    """The model with its local functions inlined."""
    if not model.functions:
        return model
    from onnx.inliner import inline_local_functions

    try:
        return inline_local_functions(model)
    except Exception as problem:  # the exception type depends on the onnx version
        raise ModelError(f"its local functions cannot be inlined ({problem})", file=file) from problem


def _import_node(context: ImportContext, node: OnnxNode, old_batch: int | None) -> None:
    for name in node.inputs:
        if name and name not in context.tensors and name not in context.parameters:
            raise context.error(node, f"reads '{name}', which no node before it makes")
    for name in node.outputs:
        if name and (name in context.tensors or name in context.parameters):
            raise context.error(node, f"makes '{name}', which exists already")
    if fold_node(context, node):
        return
    importer = importer_of(node)
    if importer is None:
        where = f" of domain '{node.domain}'" if node.domain else ""
        raise context.error(
            node,
            f"the operator {node.op_type}{where} is not supported",
            hint="'boardfit operators' lists what is; replace the operator before exporting, or open an issue",
        )
    context.old_batch = old_batch
    importer(context, node)


def _bind_output(context: ImportContext, output: ValueInfoProto, file: str) -> None:
    if output.name in context.truths:
        raise ModelError(f"output '{output.name}' is a truth value", file=file, hint="choose numbers by a Where")
    if output.name in context.tensors:
        tensor = context.tensors[output.name]
    elif output.name in context.parameters:
        raise ModelError(
            f"output '{output.name}' does not depend on any input", file=file, hint="remove it from the model"
        )
    else:
        raise ModelError(f"output '{output.name}' is made by no node", file=file)
    if tensor in context.editor.inputs or tensor in context.editor.outputs:  # every output is a tensor of its own
        source = Source(file, output.name, "Identity")
        shape = context.type(tensor).shape
        tensor = context.editor.add_node("Reshape", [tensor], ReshapeAttrs(shape), source).outputs[0]
    context.editor.outputs.append(tensor)
    if tensor != output.name:
        context.editor.labels[tensor] = output.name


def _interface_element(name: str, graph: GraphProto, context: ImportContext) -> ElementType:
    """Element type of a graph input: float, or the integers a DequantizeLinear right behind it explains."""
    from onnx import TensorProto, helper

    declared = next(value for value in graph.input if value.name == name).type.tensor_type.elem_type
    integer: dict[int, tuple[bool, int]] = {TensorProto.INT8: (True, 8), TensorProto.UINT8: (False, 8)}
    integer |= {TensorProto.INT16: (True, 16), TensorProto.UINT16: (False, 16), TensorProto.INT32: (True, 32)}
    if declared in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return FLOAT32
    if declared not in integer:
        raise ModelError(
            f"input '{name}' has element type {helper.tensor_dtype_to_string(declared)}",
            file=context.file,
            hint="boardfit takes float and 8- to 32-bit integer inputs",
        )
    signed, width = integer[declared]
    scale, zero = _input_quantization(name, graph, context)
    return Affine(signed, width, (scale,), (zero,))


PASSING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity")


def _input_quantization(name: str, graph: GraphProto, context: ImportContext) -> tuple[float, int]:
    """Scale and zero point of the DequantizeLinear that reads an integer input, through reshapes."""
    reached = {name}
    for node in graph.node:
        if not reached & set(node.input[:1]):
            continue
        if node.op_type in PASSING:
            reached.add(node.output[0])
        if node.op_type == "DequantizeLinear":
            numbers: list[Any] = []
            for index, default in ((1, 1.0), (2, 0)):
                given = node.input[index] if index < len(node.input) else ""
                numbers.append(context.parameters[given].values if given in context.parameters else default)
            if np.size(numbers[0]) == 1:
                return float(np.reshape(numbers[0], ())), int(np.reshape(numbers[1], ()))
    return 1.0, 0


def _refuse_subgraphs(graph: GraphProto, file: str) -> None:
    for node in graph.node:
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            raise ModelError(
                "control flow (a subgraph) is not supported",
                file=file,
                node=node.name,
                op_type=node.op_type,
                hint="export the model with fixed control flow (tracing, constant loop counts)",
            )
