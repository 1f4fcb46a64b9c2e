"""QOperator forms (QLinearConv, ...) rewritten to DequantizeLinear, the float operator, QuantizeLinear.

After this rewrite the rest of the compiler knows one quantized form only. The float operator between exact
dequantization and one rounding is what onnxruntime's integer kernels compute (onnxruntime documentation,
ContribOperators.md, and the ONNX operator specification).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

MICROSOFT = "com.microsoft"


class Expander:
    """Collects the nodes and constants a graph gets in place of its QOperator nodes."""

    def __init__(self, graph: GraphProto, file: str) -> None:
        from onnx import helper, numpy_helper

        self.file = file
        self.nodes: list[NodeProto] = []
        self.added: dict[str, np.ndarray] = {}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self.constants[node.output[0]] = attribute.t
        self._to_array = numpy_helper.to_array
        self._make_node = helper.make_node

    def values(self, node: NodeProto, index: int, what: str) -> np.ndarray:
        """A constant operand.

        Raises:
            ModelError: absent or computed.
        """
        name = node.input[index] if index < len(node.input) else ""
        if name not in self.constants:
            problem = f"{what} '{name}' is computed from the network's inputs" if name else f"{what} is missing"
            raise self.error(node, problem, "quantize the model statically, with calibration data")
        return self._to_array(self.constants[name])

    def error(self, node: NodeProto, problem: str, hint: str | None = None) -> ModelError:
        """An error about a node, to be raised by the caller."""
        return ModelError(problem, file=self.file, node=node.name, op_type=node.op_type, hint=hint)

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add an initializer."""
        self.added[name] = values
        return name

    def add(self, source: NodeProto, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node of the standard domain in place of (part of) `source`; its own operator keeps its name."""
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        name = source.name if op not in ("DequantizeLinear", "QuantizeLinear", "Transpose") else f"{output}/{op}"
        self.nodes.append(self._make_node(op, inputs, [output], name=name, **attributes))
        return output

    def dequantized(self, node: NodeProto, index: int, stem: str, axis: int = 0) -> str:
        """Real value of the operand triple (x, scale, zero point) at `index`."""
        operands = [_operand(node, index + i) for i in range(3)]
        return self.add(node, "DequantizeLinear", operands, f"{node.output[0]}/{stem}", axis=axis)

    def quantized(self, node: NodeProto, real: str, index: int) -> None:
        """Quantize `real` to the node's output; scale and zero point are the operands at `index`."""
        operands = [real, _operand(node, index), _operand(node, index + 1)]
        self.add(node, "QuantizeLinear", operands, node.output[0])


def _operand(node: NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


def _attributes(node: NodeProto, *dropped: str) -> dict[str, Any]:
    from onnx import helper

    return {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name not in dropped}


def _result(node: NodeProto) -> str:
    return f"{node.output[0]}/real"


def _integer_bias(e: Expander, node: NodeProto, index: int, scales: tuple[int, int], factor: float = 1.0) -> str:
    """Real value of a 32-bit bias, whose scale is the product of the two operand scales at `scales`."""
    if not _operand(node, index):
        return ""
    product = factor * e.values(node, scales[0], "the input's scale").astype(np.float64).reshape(-1)
    product = product * e.values(node, scales[1], "the weights' scale").astype(np.float64).reshape(-1)
    scale = product.astype(np.float32) if product.size > 1 else product.astype(np.float32).reshape(())
    name = e.constant(f"{node.output[0]}/bias_scale", scale)
    axis = e.values(node, index, "the bias").ndim - 1
    operands = [node.input[index], name]
    return e.add(node, "DequantizeLinear", operands, f"{node.output[0]}/bias", axis=max(axis, 0))


def _layout(e: Expander, node: NodeProto, x: str) -> tuple[str, bool]:
    """`x` channels-first, and whether it was not (onnxruntime's channels_last attribute)."""
    if not _attributes(node).get("channels_last", 0):
        return x, False
    return e.add(node, "Transpose", [x], f"{x}/channels_first", perm=[0, 3, 1, 2]), True


def _restored(e: Expander, node: NodeProto, y: str, moved: bool) -> str:
    return e.add(node, "Transpose", [y], f"{y}/channels_last", perm=[0, 2, 3, 1]) if moved else y


def _qlinear_conv(e: Expander, node: NodeProto) -> None:
    x, moved = _layout(e, node, e.dequantized(node, 0, "x"))
    operands = [x, e.dequantized(node, 3, "w"), _integer_bias(e, node, 8, (1, 4))]
    y = e.add(node, "Conv", operands, _result(node), **_attributes(node, "channels_last"))
    e.quantized(node, _restored(e, node, y, moved), 6)


def _qlinear_matmul(e: Expander, node: NodeProto) -> None:
    operands = [e.dequantized(node, 0, "a"), e.dequantized(node, 3, "b", axis=-1)]
    e.quantized(node, e.add(node, "MatMul", operands, _result(node)), 6)


def _qgemm(e: Expander, node: NodeProto) -> None:
    attributes = _attributes(node)
    axis = 0 if attributes.get("transB", 0) else 1
    bias = _integer_bias(e, node, 6, (1, 4), float(attributes.get("alpha", 1.0)))
    operands = [e.dequantized(node, 0, "a"), e.dequantized(node, 3, "b", axis=axis), bias]
    if _operand(node, 7):
        e.quantized(node, e.add(node, "Gemm", operands, _result(node), **attributes), 7)
    else:  # without an output scale the result stays real
        e.add(node, "Gemm", operands, node.output[0], **attributes)


def _binary(op: str) -> Callable[[Expander, NodeProto], None]:
    def expand(e: Expander, node: NodeProto) -> None:
        operands = [e.dequantized(node, 0, "a"), e.dequantized(node, 3, "b")]
        e.quantized(node, e.add(node, op, operands, _result(node)), 6)

    return expand


def _unary(op: str) -> Callable[[Expander, NodeProto], None]:
    def expand(e: Expander, node: NodeProto) -> None:
        x, moved = _layout(e, node, e.dequantized(node, 0, "x"))
        y = e.add(node, op, [x], _result(node), **_attributes(node, "channels_last", "opset"))
        e.quantized(node, _restored(e, node, y, moved), 3)

    return expand


def _qlinear_softmax(e: Expander, node: NodeProto) -> None:
    if _attributes(node).get("axis", -1) != -1 and _attributes(node).get("opset", 13) < 13:
        raise e.error(node, "softmax over several axes (opset below 13) is not supported in QOperator form")
    _unary("Softmax")(e, node)


def _qlinear_concat(e: Expander, node: NodeProto) -> None:
    operands = [e.dequantized(node, index, f"x{index}") for index in range(2, len(node.input), 3)]
    e.quantized(node, e.add(node, "Concat", operands, _result(node), **_attributes(node)), 0)


def _integer_product(op: str, axis: int) -> Callable[[Expander, NodeProto], None]:
    """ConvInteger and MatMulInteger: the real product of both operands less their zero points, scale 1."""

    def expand(e: Expander, node: NodeProto) -> None:
        operands: list[str] = []
        for index, stem in ((0, "a"), (1, "b")):
            zero = _operand(node, 2 + index)
            size = e.values(node, 2 + index, "the zero point").size if zero else 1
            ones = np.ones(size, np.float32) if size > 1 else np.float32(1.0)
            scale = e.constant(f"{node.output[0]}/{stem}_one", np.asarray(ones))
            inputs = [node.input[index], scale, zero]
            operands.append(e.add(node, "DequantizeLinear", inputs, f"{node.output[0]}/{stem}", axis=axis))
        e.add(node, op, operands, node.output[0], **_attributes(node))

    return expand


def _same_in_standard(e: Expander, node: NodeProto) -> None:
    """onnxruntime's own QuantizeLinear and DequantizeLinear: the standard operator for more integer types."""
    e.add(node, node.op_type, list(node.input), node.output[0], **_attributes(node))


def _refuse_dynamic(e: Expander, node: NodeProto) -> None:
    raise e.error(
        node,
        "dynamic quantization computes scales at run time",
        "quantize the model statically, with calibration data, or give boardfit the float model",
    )


@dataclass(frozen=True, slots=True)
class Expansion:
    """How one operator is rewritten.

    Attributes:
        expand: emits the nodes in its place.
        operator: the operator that does its arithmetic.
        quantizes: whether its result is quantized.
    """

    expand: Callable[[Expander, NodeProto], None]
    operator: str
    quantizes: bool = True


EXPANSIONS: Mapping[str, Expansion] = {
    "QLinearConv": Expansion(_qlinear_conv, "Conv"),
    "QLinearMatMul": Expansion(_qlinear_matmul, "MatMul"),
    "ConvInteger": Expansion(_integer_product("Conv", 0), "Conv", False),
    "MatMulInteger": Expansion(_integer_product("MatMul", -1), "MatMul", False),
    f"{MICROSOFT}::QLinearConv": Expansion(_qlinear_conv, "Conv"),
    f"{MICROSOFT}::QGemm": Expansion(_qgemm, "Gemm"),
    f"{MICROSOFT}::QLinearAdd": Expansion(_binary("Add"), "Add"),
    f"{MICROSOFT}::QLinearMul": Expansion(_binary("Mul"), "Mul"),
    f"{MICROSOFT}::QLinearAveragePool": Expansion(_unary("AveragePool"), "AveragePool"),
    f"{MICROSOFT}::QLinearGlobalAveragePool": Expansion(_unary("GlobalAveragePool"), "GlobalAveragePool"),
    f"{MICROSOFT}::QLinearSigmoid": Expansion(_unary("Sigmoid"), "Sigmoid"),
    f"{MICROSOFT}::QLinearLeakyRelu": Expansion(_unary("LeakyRelu"), "LeakyRelu"),
    f"{MICROSOFT}::QLinearSoftmax": Expansion(_qlinear_softmax, "Softmax"),
    f"{MICROSOFT}::QLinearConcat": Expansion(_qlinear_concat, "Concat"),
    f"{MICROSOFT}::QuantizeLinear": Expansion(_same_in_standard, "QuantizeLinear", False),
    f"{MICROSOFT}::DequantizeLinear": Expansion(_same_in_standard, "DequantizeLinear", False),
}

REFUSED = {
    "DynamicQuantizeLinear": _refuse_dynamic,
    f"{MICROSOFT}::DynamicQuantizeMatMul": _refuse_dynamic,
    f"{MICROSOFT}::MatMulIntegerToFloat": _refuse_dynamic,
}


def expand_qoperators(graph: GraphProto, file: str) -> GraphProto:
    """`graph` without QOperator nodes: itself if it has none, else a copy.

    Raises:
        ModelError: a quantization parameter is not constant, or scales are computed at run time.
    """
    from onnx import GraphProto as Graph
    from onnx import numpy_helper

    known = {name: entry.expand for name, entry in EXPANSIONS.items()} | REFUSED
    if not any(_key(node) in known for node in graph.node):
        return graph
    expander = Expander(graph, file)
    for node in graph.node:
        expand = known.get(_key(node))
        if expand is None:
            expander.nodes.append(node)
        else:
            expand(expander, _named(node))
    expanded = Graph()
    expanded.CopyFrom(graph)
    del expanded.node[:]
    expanded.node.extend(expander.nodes)
    expanded.initializer.extend(numpy_helper.from_array(values, name) for name, values in expander.added.items())
    return expanded


def _key(node: NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"


def _named(node: NodeProto) -> NodeProto:
    """A node with a name; one without is called after its output, as everywhere."""
    if node.name or not node.output:
        return node
    named = type(node)()
    named.CopyFrom(node)
    named.name = node.output[0]
    return named
