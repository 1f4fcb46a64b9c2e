"""How each op of the IR is written in ONNX operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..frontend.averages import ARITHMETIC
from ..ir.graph import Node
from ..ir.types import FLOAT32, Affine, ElementType, Float32
from ..numerics import quantize
from ..ops.activation import Activation
from ..ops.arg_max import ArgMaxAttrs
from ..ops.average_pool2d import AveragePool2DAttrs
from ..ops.clamp import ClampAttrs
from ..ops.concat import ConcatAttrs
from ..ops.conv2d import Conv2DAttrs
from ..ops.conv_transpose2d import ConvTranspose2DAttrs
from ..ops.dense import DenseAttrs
from ..ops.elementwise import ElementwiseAttrs
from ..ops.elu import EluAttrs
from ..ops.gather import GatherAttrs
from ..ops.hard_sigmoid import HardSigmoidAttrs
from ..ops.leaky_relu import LeakyReluAttrs
from ..ops.pad import PadAttrs
from ..ops.pooling import PoolAttrs
from ..ops.quantize import QuantizeAttrs
from ..ops.reduce_mean import ReduceMeanAttrs
from ..ops.reshape import ReshapeAttrs
from ..ops.resize import ResizeAttrs
from ..ops.scale_bias import ScaleBiasAttrs
from ..ops.selu import SeluAttrs
from ..ops.slice import SliceAttrs
from ..ops.softmax import SoftmaxAttrs
from ..ops.spec import attrs_as
from ..ops.transpose import TransposeAttrs
from .writer import FULL_WIDTHS, OPSET_DILATED_AVERAGE, TO_FIRST, Writer, storage

Exporter = Callable[[Writer, Node], None]


def _activated(writer: Writer, name: str, activation: Activation, element: ElementType = FLOAT32) -> str:
    """`name`, which holds values of type `element`, behind the clamp of a fused activation."""
    if activation.is_none:
        return name
    if isinstance(element, Float32) and (activation.low, activation.high) == (0.0, np.inf):
        return writer.add("Relu", [name])
    bounds = [name]
    for stem, bound in (("low", activation.low), ("high", activation.high)):
        kind = storage(element) if isinstance(element, Affine) else np.float32
        values = quantize(np.asarray(bound, np.float32), element).astype(kind) if np.isfinite(bound) else None
        bounds.append("" if values is None else writer.constant(values.reshape(()), stem))
    return writer.add("Clip", bounds[:2] if not bounds[2] else bounds)


def _conv(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, Conv2DAttrs)
    inputs = [writer.first(node.inputs[0]), writer.permuted(node.inputs[1], TO_FIRST), *_bias(writer, node)]
    made = writer.add(
        "Conv", inputs, kernel_shape=list(writer.type(node.inputs[1]).shape[1:3]), strides=list(attrs.strides),
        pads=list(attrs.pads), dilations=list(attrs.dilations), group=attrs.groups,
    )  # fmt: skip
    writer.bind_first(node.outputs[0], _activated(writer, made, attrs.activation))


def _conv_transpose(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, ConvTranspose2DAttrs)
    weights = writer.permuted(node.inputs[1], (3, 0, 1, 2), attrs.groups)
    inputs = [writer.first(node.inputs[0]), weights, *_bias(writer, node)]
    made = writer.add(
        "ConvTranspose", inputs, kernel_shape=list(writer.type(node.inputs[1]).shape[1:3]),
        strides=list(attrs.strides), pads=list(attrs.pads), dilations=list(attrs.dilations),
        output_padding=list(attrs.output_padding), group=attrs.groups,
    )  # fmt: skip
    writer.bind_first(node.outputs[0], _activated(writer, made, attrs.activation))


def _bias(writer: Writer, node: Node) -> list[str]:
    return [writer.value(node.input(2))] if node.input(2) else []


def _dense(writer: Writer, node: Node) -> None:
    x = writer.value(node.inputs[0])
    if writer.type(node.inputs[0]).rank == 2:
        made = writer.add("Gemm", [x, writer.permuted(node.inputs[1], (0, 1)), *_bias(writer, node)], transB=1)
    else:
        made = writer.add("MatMul", [x, writer.permuted(node.inputs[1], (1, 0))])
        if node.input(2):
            made = writer.add("Add", [made, writer.value(node.input(2))])
    writer.bind(node.outputs[0], _activated(writer, made, attrs_as(node.attrs, DenseAttrs).activation))


def _pool(operator: str) -> Exporter:
    def export(writer: Writer, node: Node) -> None:
        attrs = attrs_as(node.attrs, PoolAttrs)
        if operator == "AveragePool" and attrs.dilations != (1, 1):
            writer.opset = max(writer.opset, OPSET_DILATED_AVERAGE)
        further: dict[str, Any] = {}
        if attrs.dilations != (1, 1):
            further["dilations"] = list(attrs.dilations)
        if isinstance(attrs, AveragePool2DAttrs):
            further["count_include_pad"] = int(attrs.count_pads)
        made = writer.add(
            operator, [writer.first(node.inputs[0])], kernel_shape=list(attrs.kernel), strides=list(attrs.strides),
            pads=list(attrs.pads), ceil_mode=int(any(attrs.overhang)), **further,
        )  # fmt: skip
        if isinstance(attrs, AveragePool2DAttrs):  # where quantizers surround it, the wiring alone would decide
            writer.note(ARITHMETIC, attrs.arithmetic.value)
        writer.bind_first(node.outputs[0], made)

    return export


def _anywhere(writer: Writer, node: Node, apply: Callable[[str], str]) -> None:
    """An op without regard to layout: done in the layout that exists."""
    x = node.inputs[0]
    if writer.only_first(x):
        writer.bind_first(node.outputs[0], apply(writer.first(x)))
    else:
        writer.bind(node.outputs[0], apply(writer.value(x)))


def _unary(operator: str) -> Exporter:
    return lambda writer, node: _anywhere(writer, node, lambda x: writer.add(operator, [x]))


def _elu(writer: Writer, node: Node) -> None:
    alpha = attrs_as(node.attrs, EluAttrs).alpha
    _anywhere(writer, node, lambda x: writer.add("Elu", [x], alpha=alpha))


def _selu(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, SeluAttrs)
    _anywhere(writer, node, lambda x: writer.add("Selu", [x], alpha=attrs.alpha, gamma=attrs.gamma))


def _hard_sigmoid(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, HardSigmoidAttrs)
    _anywhere(writer, node, lambda x: writer.add("HardSigmoid", [x], alpha=attrs.alpha, beta=attrs.beta))


def _leaky_relu(writer: Writer, node: Node) -> None:
    alpha = attrs_as(node.attrs, LeakyReluAttrs).alpha
    _anywhere(writer, node, lambda x: writer.add("LeakyRelu", [x], alpha=alpha))


def _clamp(writer: Writer, node: Node) -> None:
    activation, element = attrs_as(node.attrs, ClampAttrs).activation, writer.type(node.inputs[0]).element
    _anywhere(writer, node, lambda x: _activated(writer, x, activation, element))


def _bipolar(writer: Writer, node: Node) -> None:
    def apply(x: str) -> str:
        zero = writer.constant(np.zeros((), np.float32), "zero")
        one, minus = (writer.constant(np.full((), v, np.float32), "one") for v in (1.0, -1.0))
        return writer.add("Where", [writer.add("GreaterOrEqual", [x, zero]), one, minus])

    _anywhere(writer, node, apply)


def _quantize(writer: Writer, node: Node) -> None:
    element = attrs_as(node.attrs, QuantizeAttrs).element
    if not isinstance(element, Affine):
        raise writer.error(node, f"values of type {element} have no ONNX form")
    if element.axis is not None:
        x, rank = writer.value(node.inputs[0]), writer.type(node.inputs[0]).rank
        if element.width not in FULL_WIDTHS or element.narrow:
            scale, zero = element.scale_for(rank), element.zero_for(rank)
            for operator, bound in (("Max", element.minimum), ("Min", element.maximum)):
                limit = ((bound - zero) * scale).astype(np.float32)
                x = writer.add(operator, [x, writer.constant(limit, "bound")])
        inputs = [x, *writer.scale_and_zero(element, node.outputs[0])]
        writer.bind(node.outputs[0], writer.add("QuantizeLinear", inputs, axis=element.axis))
        return

    def apply(x: str) -> str:
        if element.width not in FULL_WIDTHS or element.narrow:  # ONNX saturates to the storage type only
            low, high = (bound - element.zero_point[0] for bound in (element.minimum, element.maximum))
            x = _activated(writer, x, Activation(low * element.scale[0], high * element.scale[0]))
        return writer.add("QuantizeLinear", [x, *writer.scale_and_zero(element, node.outputs[0])])

    _anywhere(writer, node, apply)


def _dequantize(writer: Writer, node: Node) -> None:
    element = writer.type(node.inputs[0]).element
    if writer.is_parameter(node.outputs[0]):
        return  # written where it is read, in the order of axes the reader wants
    if not isinstance(element, Affine):
        raise writer.error(node, f"values of type {element} have no ONNX form")
    parameters = writer.scale_and_zero(element, node.outputs[0])
    if element.axis is not None:
        inputs = [writer.value(node.inputs[0]), *parameters]
        writer.bind(node.outputs[0], writer.add("DequantizeLinear", inputs, axis=element.axis))
        return
    _anywhere(writer, node, lambda x: writer.add("DequantizeLinear", [x, *parameters]))


def _binary(operator: str) -> Exporter:
    def export(writer: Writer, node: Node) -> None:
        activation = attrs_as(node.attrs, ElementwiseAttrs).activation
        a, b = node.inputs
        images = writer.type(a).shape == writer.type(b).shape and all(map(writer.only_first, (a, b)))
        if images:
            made = writer.add(operator, [writer.first(a), writer.first(b)])
            writer.bind_first(node.outputs[0], _activated(writer, made, activation))
        else:
            made = writer.add(operator, [writer.value(a), writer.value(b)])
            writer.bind(node.outputs[0], _activated(writer, made, activation))

    return export


def _matmul(writer: Writer, node: Node) -> None:
    writer.bind(node.outputs[0], writer.add("MatMul", [writer.value(name) for name in node.inputs]))


def _prelu(writer: Writer, node: Node) -> None:
    writer.bind(node.outputs[0], writer.add("PRelu", [writer.value(name) for name in node.inputs]))


def _scale_bias(writer: Writer, node: Node) -> None:
    made = writer.add("Mul", [writer.value(node.inputs[0]), writer.value(node.inputs[1])])
    if node.input(2):
        made = writer.add("Add", [made, writer.value(node.inputs[2])])
    writer.bind(node.outputs[0], _activated(writer, made, attrs_as(node.attrs, ScaleBiasAttrs).activation))


def _concat(writer: Writer, node: Node) -> None:
    axis = attrs_as(node.attrs, ConcatAttrs).axis
    if writer.type(node.outputs[0]).rank == 4 and all(map(writer.only_first, node.inputs)):
        made = writer.add("Concat", [writer.first(name) for name in node.inputs], axis=TO_FIRST.index(axis))
        writer.bind_first(node.outputs[0], made)
    else:
        writer.bind(node.outputs[0], writer.add("Concat", [writer.value(n) for n in node.inputs], axis=axis))


def _reshape(writer: Writer, node: Node) -> None:
    shape = list(attrs_as(node.attrs, ReshapeAttrs).shape)
    if shape and shape[0] == writer.type(node.inputs[0]).shape[0]:
        shape[0] = 0  # whatever the batch is
    target = writer.constant(np.asarray(shape, np.int64), "shape")
    writer.bind(node.outputs[0], writer.add("Reshape", [writer.value(node.inputs[0]), target]))


def _transpose(writer: Writer, node: Node) -> None:
    x, perm = node.inputs[0], attrs_as(node.attrs, TransposeAttrs).perm
    if perm == TO_FIRST:  # a channels-first tensor of the file
        writer.bind(node.outputs[0], writer.first(x))
    elif perm == (0, 2, 3, 1):
        writer.bind_first(node.outputs[0], writer.value(x))
    else:
        writer.bind(node.outputs[0], writer.add("Transpose", [writer.value(x)], perm=list(perm)))


def _pad(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, PadAttrs)
    pads = writer.constant(np.asarray([*attrs.before, *attrs.after], np.int64), "pads")
    value = writer.constant(np.float32(attrs.value).reshape(()), "value")
    writer.bind(node.outputs[0], writer.add("Pad", [writer.value(node.inputs[0]), pads, value]))


def _slice(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, SliceAttrs)
    shape = writer.type(node.inputs[0]).shape
    ends = [start + step * size for start, size, step in zip(attrs.starts, attrs.sizes, attrs.steps, strict=True)]
    ends = [end if end >= 0 else -(length + 1) for end, length in zip(ends, shape, strict=True)]
    axes = [
        axis for axis, (size, step) in enumerate(zip(attrs.sizes, attrs.steps, strict=True))
        if size != shape[axis] or step != 1
    ]  # fmt: skip
    picked = [[values[axis] for axis in axes] for values in (attrs.starts, ends, range(len(shape)), attrs.steps)]
    names = [writer.constant(np.asarray(values, np.int64), "slice") for values in picked]
    writer.bind(node.outputs[0], writer.add("Slice", [writer.value(node.inputs[0]), *names]))


def _pick(writer: Writer, x: str, axis: int, indices: tuple[int, ...]) -> str:
    return writer.add("Gather", [x, writer.constant(np.asarray(indices, np.int64), "indices")], axis=axis)


def _gather(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, GatherAttrs)
    writer.bind(node.outputs[0], _pick(writer, writer.value(node.inputs[0]), attrs.axis, attrs.indices))


def _resize(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, ResizeAttrs)
    rows = _pick(writer, writer.first(node.inputs[0]), 2, attrs.rows)
    writer.bind_first(node.outputs[0], _pick(writer, rows, 3, attrs.columns))


def _reduce_mean(writer: Writer, node: Node) -> None:
    attrs = attrs_as(node.attrs, ReduceMeanAttrs)
    made = writer.add(
        "ReduceMean", [writer.value(node.inputs[0])], axes=list(attrs.axes), keepdims=int(attrs.keep_dims)
    )
    writer.bind(node.outputs[0], made)


def _softmax(writer: Writer, node: Node) -> None:
    axis = attrs_as(node.attrs, SoftmaxAttrs).axis
    writer.bind(node.outputs[0], writer.add("Softmax", [writer.value(node.inputs[0])], axis=axis))


def _arg_max(writer: Writer, node: Node) -> None:
    from onnx import TensorProto

    attrs = attrs_as(node.attrs, ArgMaxAttrs)
    made = writer.add(
        "ArgMax", [writer.value(node.inputs[0])], axis=attrs.axis, keepdims=int(attrs.keep_dims),
        select_last_index=int(attrs.last),
    )  # fmt: skip
    writer.bind(node.outputs[0], writer.add("Cast", [made], to=TensorProto.INT32))


EXPORTERS: dict[str, Exporter] = {
    "Abs": _unary("Abs"),
    "Add": _binary("Add"),
    "ArgMax": _arg_max,
    "AveragePool2D": _pool("AveragePool"),
    "Bipolar": _bipolar,
    "Clamp": _clamp,
    "Concat": _concat,
    "Conv2D": _conv,
    "ConvTranspose2D": _conv_transpose,
    "Dense": _dense,
    "Dequantize": _dequantize,
    "Div": _binary("Div"),
    "Elu": _elu,
    "Erf": _unary("Erf"),
    "Exp": _unary("Exp"),
    "Gather": _gather,
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _unary("HardSwish"),
    "LeakyRelu": _leaky_relu,
    "Log": _unary("Log"),
    "MatMul": _matmul,
    "Max": _binary("Max"),
    "MaxPool2D": _pool("MaxPool"),
    "Min": _binary("Min"),
    "Mul": _binary("Mul"),
    "PRelu": _prelu,
    "Pad": _pad,
    "Quantize": _quantize,
    "ReduceMean": _reduce_mean,
    "Reshape": _reshape,
    "Resize": _resize,
    "ScaleBias": _scale_bias,
    "Selu": _selu,
    "Sigmoid": _unary("Sigmoid"),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _unary("Softplus"),
    "Softsign": _unary("Softsign"),
    "Sqrt": _unary("Sqrt"),
    "Sub": _binary("Sub"),
    "Tanh": _unary("Tanh"),
    "Transpose": _transpose,
}
"""Op of the IR -> how it is written."""

NOT_EXPORTED = {
    "Lookup": "a table of raw integers has no float form; graphs are exported before they are lowered to integers",
    "Requantize": "as Lookup: it exists between integers only",
}
"""Ops without a way to ONNX, and why."""
