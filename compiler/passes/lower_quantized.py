"""LowerQuantized: real-valued ops between Dequantize and Quantize become integer ops of the same name.

Models that carry Quantize/Dequantize and boardfit's own post-training quantization take this one road. After it no
float tensor is left: Quantize at an input and Dequantize at an output become the types of the interface.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..ir.graph import Graph, Node, Source
from ..ir.types import Affine, TensorType
from ..numerics import quantize_affine
from ..ops.accumulator import input_range
from ..ops.average_pool2d import BINARY32_COUNT, BINARY32_SCALES, AveragePool2DAttrs, MeanArithmetic
from ..ops.lookup import LookupAttrs
from ..ops.reduce_mean import ReduceMeanAttrs
from ..ops.reshape import ReshapeAttrs
from ..ops.spec import attrs_as
from .base import Preserves
from .elementwise_regions import TABLE_BITS, region, tabulate
from .lower_linear import check_accumulator, check_ratio, lower_linear, lower_scale_bias
from .lowering import Lowering
from .quantized_types import is_mover, parameter_values, refuse_per_channel

OPERAND_RATIO_BITS = 20
"""Multipliers of sums have 21 bits (see `ops.elementwise.OPERAND_BITS`)."""

Rule = Callable[[Lowering, Node, Affine], str]


@dataclass(frozen=True, slots=True)
class LowerQuantized:
    """The pass; results differ from the float meaning of the same graph by single roundings (docs/semantics.md)."""

    name: ClassVar[str] = "lower-quantized"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The integer graph.

        Raises:
            ModelError: something has no quantization, or cannot be computed in 32-bit integers.
        """
        refuse_per_channel(graph)
        lowering = Lowering(graph)
        for name in graph.inputs:
            tensor_type = graph.types[name]
            element = lowering.types.get(name)
            if element is None:
                raise lowering.missing(name, next(iter(graph.consumers()[name]), None))
            lowering.values[name] = lowering.editor.add_input(name, TensorType(tensor_type.shape, element))
        for node in graph.nodes:
            _lower_node(lowering, node)
        for name in graph.outputs:
            _bind_output(lowering, name)
        return lowering.editor.finish()


def _lower_node(lowering: Lowering, node: Node) -> None:
    output = node.outputs[0]
    if output in lowering.parameters:
        return
    if node.op == "Quantize":
        element = lowering.graph.types[output].element
        if not isinstance(element, Affine):
            raise lowering.error(node, f"quantizes to {element}, not to an affine type")
        lowering.values[output] = _quantized_again(lowering, node, element) or lowering.converted(
            lowering.operand(node, 0), element, node
        )
        return
    if node.op == "Dequantize":
        if node.inputs[0] in lowering.values:
            lowering.values[output] = lowering.values[node.inputs[0]]
        return
    y = lowering.types.get(output)
    if y is None:
        return  # inside an element-wise region, or an error when something asks for it
    if not lowering.graph.types[output].is_float and node.op != "ArgMax":
        _copy_integer(lowering, node)
        return
    root = lowering.roots[output]
    inside = region(lowering.graph, lowering.producers, root, output) if root != output else []
    if inside and lowering.types.get(root) is not None and not (len(inside) == 1 and node.op == "Clamp"):
        lowering.values[output] = _lookup(lowering, node, inside, root, y)
    else:
        rule = _move if is_mover(node) else RULES.get(node.op)
        if rule is None:
            raise lowering.error(
                node, f"{node.op} has no integer form for these inputs", "an 8-bit input could be done by a table"
            )
        lowering.values[output] = rule(lowering, node, y)


def _copy_integer(lowering: Lowering, node: Node) -> None:
    """A node that is integer already (a graph lowered before, or the integer part of a model)."""
    inputs: list[str] = []
    for index, name in enumerate(node.inputs):
        if name in lowering.graph.constants:
            inputs.append(_copied_constant(lowering, name))
        else:
            inputs.append(lowering.operand(node, index) if name else "")
    element = lowering.graph.types[node.outputs[0]].element
    if not isinstance(element, Affine):
        raise lowering.error(node, f"its result has type {element}, not an affine one")
    lowering.values[node.outputs[0]] = lowering.emit(node, inputs, element)


def _copied_constant(lowering: Lowering, name: str) -> str:
    if name not in lowering.editor.types:
        lowering.editor.types[name] = lowering.graph.types[name]
        lowering.editor.constants[name] = lowering.graph.constants[name]
    return name


def _lookup(lowering: Lowering, node: Node, inside: list[Node], root: str, y: Affine) -> str:
    x = lowering.types[root]
    if x.width > TABLE_BITS:
        raise lowering.error(
            node,
            f"{node.op} of a {x.width}-bit tensor needs a table of {1 << x.width} entries",
            "quantize its input to 8 bits",
        )
    return _table(lowering, node, inside, root, node.outputs[0], y)


def _table(lowering: Lowering, node: Node, inside: list[Node], root: str, tensor: str, y: Affine) -> str:
    table = tabulate(lowering.graph, inside, root, lowering.types[root], tensor, y)
    name = lowering.constant(f"{node.outputs[0]}_table", table, y)
    attrs = LookupAttrs(" then ".join(part.op for part in inside))
    return lowering.emit(node, [lowering.values[root], name], y, op="Lookup", attrs=attrs)


def _quantized_again(lowering: Lowering, node: Node, y: Affine) -> str | None:
    """A further Quantize of an element-wise region's result: a table of its own, which rounds once."""
    tensor = node.inputs[0]
    root = lowering.roots.get(tensor, tensor)
    if lowering.types.get(tensor) in (None, y) or root == tensor or root not in lowering.types:
        return None
    inside = region(lowering.graph, lowering.producers, root, tensor)
    if lowering.types[root].width > TABLE_BITS or all(part.op == "Clamp" for part in inside):
        return None
    return _table(lowering, node, inside, root, tensor, y)


def _move(lowering: Lowering, node: Node, y: Affine) -> str:
    """Ops that only move values: in the output's type, with any conversion where fewer values pass."""
    if node.op == "Concat":
        return lowering.emit(node, [_operand_as(lowering, node, i, y) for i in range(len(node.inputs))], y)
    x = lowering.operand(node, 0)
    element = lowering.element(x)
    sizes = [lowering.graph.types[name].elements for name in (node.inputs[0], node.outputs[0])]
    if element == y or sizes[0] <= sizes[1]:
        return lowering.emit(node, [lowering.converted(x, y, node)], y)
    return lowering.converted(lowering.emit(node, [x], element), y, node)


def _operand_as(lowering: Lowering, node: Node, index: int, y: Affine) -> str:
    """An input in the output's type; constants are quantized to it directly."""
    name = node.inputs[index]
    if name not in lowering.parameters:
        return lowering.converted(lowering.operand(node, index), y, node)
    values = parameter_values(lowering.graph, name)
    return lowering.constant(lowering.parameter_name(name), quantize_affine(values, y), y)


def _sum(lowering: Lowering, node: Node, y: Affine) -> str:
    inputs = [lowering.operand(node, 0), lowering.operand(node, 1)]
    for name in inputs:
        element = lowering.element(name)
        check_ratio(lowering, node, element.scale[0] / y.scale[0], OPERAND_RATIO_BITS)
        if element.width > TABLE_BITS:
            raise lowering.error(node, f"sums of {element.width}-bit tensors leave 32 bits", "quantize to 8 bits")
    return lowering.emit(node, inputs, y)


def _product(lowering: Lowering, node: Node, y: Affine) -> str:
    inputs = [lowering.operand(node, 0), lowering.operand(node, 1)]
    a, b = (lowering.element(name) for name in inputs)
    count = lowering.graph.types[node.inputs[0]].shape[-1] if node.op == "MatMul" else 1
    reach = max(map(abs, input_range(a))) * max(map(abs, input_range(b))) * count
    check_accumulator(lowering, node, -reach, reach)
    check_ratio(lowering, node, a.scale[0] * b.scale[0] / y.scale[0])
    return lowering.emit(node, inputs, y)


def _division(lowering: Lowering, node: Node, y: Affine) -> str:
    inputs = [lowering.operand(node, 0), lowering.operand(node, 1)]
    a, b = (lowering.element(name) for name in inputs)
    check_ratio(lowering, node, a.scale[0] / (b.scale[0] * y.scale[0]))
    return lowering.emit(node, inputs, y)


def _same_scale(lowering: Lowering, node: Node, y: Affine) -> str:
    """Min, Max and Clamp: every operand is requantized to the output on its own."""
    inputs = [lowering.operand(node, i) for i in range(len(node.inputs))]
    for name in inputs:
        check_ratio(lowering, node, lowering.element(name).scale[0] / y.scale[0])
    return lowering.emit(node, inputs, y)


def _prelu(lowering: Lowering, node: Node, y: Affine) -> str:
    inputs = [lowering.operand(node, 0), lowering.operand(node, 1)]
    x, slope = (lowering.element(name) for name in inputs)
    check_ratio(lowering, node, max(x.scale[0], x.scale[0] * slope.scale[0]) / y.scale[0])
    return lowering.emit(node, inputs, y)


def _average(lowering: Lowering, node: Node, y: Affine) -> str:
    x = lowering.operand(node, 0)
    shape = lowering.graph.types[node.inputs[0]].shape
    if node.op == "AveragePool2D":
        count = math.prod(attrs_as(node.attrs, AveragePool2DAttrs).kernel)
    else:
        count = math.prod(shape[axis] for axis in attrs_as(node.attrs, ReduceMeanAttrs).axes)
    low, high = input_range(lowering.element(x))
    if isinstance(node.attrs, AveragePool2DAttrs) and node.attrs.arithmetic is MeanArithmetic.BINARY32:
        for element in (lowering.element(x), y):
            if not BINARY32_SCALES[0] <= element.scale[0] <= BINARY32_SCALES[1]:
                raise lowering.error(node, f"its scale {element.scale[0]:g} leaves the normal numbers of binary32")
        if count > BINARY32_COUNT:
            raise lowering.error(node, f"its windows have {count} values, more than {BINARY32_COUNT}")
        return lowering.emit(node, [x], y)
    check_accumulator(lowering, node, low * count, high * count)
    check_ratio(lowering, node, lowering.element(x).scale[0] / y.scale[0])
    return lowering.emit(node, [x], y)


def _softmax(lowering: Lowering, node: Node, y: Affine) -> str:
    x = lowering.operand(node, 0)
    if lowering.element(x).width > TABLE_BITS:
        raise lowering.error(node, "softmax needs an 8-bit input", "quantize its input to 8 bits")
    return lowering.emit(node, [x], y)


def _arg_max(lowering: Lowering, node: Node, y: Affine) -> str:
    return lowering.emit(node, [lowering.operand(node, 0)], y)


RULES: Mapping[str, Rule] = {
    "Conv2D": lower_linear,
    "ConvTranspose2D": lower_linear,
    "Dense": lower_linear,
    "ScaleBias": lower_scale_bias,
    "Add": _sum,
    "Sub": _sum,
    "Mul": _product,
    "MatMul": _product,
    "Div": _division,
    "Min": _same_scale,
    "Max": _same_scale,
    "Clamp": _same_scale,
    "PRelu": _prelu,
    "AveragePool2D": _average,
    "ReduceMean": _average,
    "Softmax": _softmax,
    "ArgMax": _arg_max,
}
"""Ops with an integer form of their own; functions of one number become tables, moves stay moves."""


def _bind_output(lowering: Lowering, name: str) -> None:
    """Make the integer tensor behind `name` a graph output, under the label the model gives it."""
    if name not in lowering.values:
        raise lowering.missing(name, None)
    editor, tensor = lowering.editor, lowering.values[name]
    if tensor in editor.outputs or tensor in editor.inputs:  # every output is a tensor of its own
        tensor = editor.add_node(
            "Reshape",
            [tensor],
            ReshapeAttrs(editor.types[tensor].shape),
            Source("", name, "Identity"),
            name=lowering.fresh(f"{name}_copy"),
            outputs=[lowering.fresh(f"{name}_copy_out")],
            types=[editor.types[tensor]],
        ).outputs[0]
    editor.labels.setdefault(tensor, editor.labels.pop(name, name))
    editor.outputs.append(tensor)
