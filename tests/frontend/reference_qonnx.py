"""An independent reading of QONNX models: their operators rewritten into standard ONNX for onnxruntime.

Nothing here uses boardfit. Quantizers become Div, Round, Clip, Sub and Mul; channels-last operators become the
standard ones between two Transposes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

QUANTIZERS = ("onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general")
CHANNELS_LAST = "qonnx.custom_op.channels_last"


def standard_model(model: ModelProto) -> ModelProto:
    """The same network in standard operators, with an opset and IR version onnxruntime reads."""
    old = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in old.initializer}
    rewriter = _Rewriter(constants)
    for node in old.node:
        if node.domain in QUANTIZERS:
            rewriter.quantizer(node)
        elif node.domain == CHANNELS_LAST:
            rewriter.channels_last(node)
        else:
            rewriter.nodes.append(node)
    graph = GraphProto()
    graph.CopyFrom(old)
    del graph.node[:]
    graph.node.extend(rewriter.nodes)
    graph.initializer.extend(rewriter.added)
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in initializers]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    version = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)


class _Rewriter:
    def __init__(self, constants: dict[str, np.ndarray]) -> None:
        self.constants = constants
        self.nodes: list[NodeProto] = []
        self.added: list[TensorProto] = []

    def number(self, name: str, value: float) -> str:
        self.added.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))
        return output

    def quantizer(self, node: NodeProto) -> None:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        y = node.output[0]
        if node.op_type == "BipolarQuant":
            zero = self.number(f"{y}/zero", 0.0)
            self.add("GreaterOrEqual", [node.input[0], zero], f"{y}/side")
            plus, minus = self.number(f"{y}/plus", 1.0), self.number(f"{y}/minus", -1.0)
            self.add("Where", [f"{y}/side", plus, minus], f"{y}/sign")
            self.add("Mul", [f"{y}/sign", node.input[1]], y)
            return
        if node.op_type == "Trunc":
            self.trunc(node, attributes)
            return
        if node.op_type not in ("Quant", "IntQuant") or attributes.get("rounding_mode", b"ROUND") != b"ROUND":
            raise NotImplementedError(f"{node.op_type} {attributes}")
        bits = float(self.constants[node.input[3]])
        signed, narrow = bool(attributes.get("signed", 1)), bool(attributes.get("narrow", 0))
        low = -(2 ** (bits - 1)) + narrow if signed else 0.0
        high = 2 ** (bits - 1) - 1 if signed else 2**bits - 1 - narrow
        x, scale, zero = node.input[:3]
        self.add("Div", [x, scale], f"{y}/divided")
        self.add("Add", [f"{y}/divided", zero], f"{y}/shifted")
        limits = [self.number(f"{y}/low", low), self.number(f"{y}/high", high)]
        self.add("Clip", [f"{y}/shifted", *limits], f"{y}/clipped")
        self.add("Round", [f"{y}/clipped"], f"{y}/rounded")
        self.add("Sub", [f"{y}/rounded", zero], f"{y}/centred")
        self.add("Mul", [f"{y}/centred", scale], y)

    def trunc(self, node: NodeProto, attributes: dict[str, Any]) -> None:
        """Versions 1 (five inputs) and 2 (six), zero point 0."""
        y, (x, scale) = node.output[0], node.input[:2]
        second = len(node.input) > 5
        bits = float(self.constants[node.input[3]] - self.constants[node.input[-1]])
        self.add("Div", [x, scale], f"{y}/divided")
        self.add("Round", [f"{y}/divided"], f"{y}/integer")
        self.add("Mul", [f"{y}/integer", self.number(f"{y}/power", 2.0**-bits)], f"{y}/short")
        if second:
            width = float(self.constants[node.input[5]])
            limits = [self.number(f"{y}/low", -(2 ** (width - 1))), self.number(f"{y}/high", 2 ** (width - 1) - 1)]
            self.add("Clip", [f"{y}/short", *limits], f"{y}/clipped")
        rounding = {b"FLOOR": "Floor", b"CEIL": "Ceil", b"ROUND": "Round"}[attributes.get("rounding_mode", b"FLOOR")]
        self.add(rounding, [f"{y}/clipped" if second else f"{y}/short"], f"{y}/rounded")
        self.add("Mul", [f"{y}/rounded", node.input[4] if second else scale], y)

    def channels_last(self, node: NodeProto) -> None:
        y = node.output[0]
        inputs = list(node.input)
        for index in range(2 if node.op_type == "Conv" else 1):
            inputs[index] = self.add("Transpose", [inputs[index]], f"{y}/first{index}", perm=[0, 3, 1, 2])
        made = NodeProto()
        made.CopyFrom(node)
        made.domain = ""
        del made.input[:], made.output[:]
        made.input.extend(inputs)
        made.output.append(f"{y}/first")
        self.nodes.append(made)
        self.add("Transpose", [f"{y}/first"], y, perm=[0, 2, 3, 1])
