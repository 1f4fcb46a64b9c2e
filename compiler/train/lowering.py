"""Float ops of the IR as differentiable TensorFlow functions, one for each op.

Tensors have a leading sample axis, as in the interpreter: (B, *shape), constants (1, *shape). The meaning is that of
`OpSpec.run_float`; tests compare the two for every op. Quantize and Dequantize pass gradients straight through the
rounding (Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons"), so that quantized
graphs are trainable as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..ir.graph import Attrs, Graph, Node
from ..ir.types import Affine, TensorType
from ..ops.activation import Activation
from ..ops.arg_max import ArgMaxAttrs
from ..ops.clamp import ClampAttrs
from ..ops.concat import ConcatAttrs
from ..ops.elementwise import ElementwiseAttrs
from ..ops.elu import EluAttrs
from ..ops.gather import GatherAttrs
from ..ops.hard_sigmoid import HardSigmoidAttrs
from ..ops.leaky_relu import LeakyReluAttrs
from ..ops.pad import PadAttrs
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
from .images import average_pool, convolution, max_pool, transposed_convolution
from .runtime import tensorflow

Tensor = Any
A = TypeVar("A", bound=Attrs)


@dataclass(frozen=True, slots=True)
class Call:
    """One node at work on TensorFlow tensors; an absent optional input is None."""

    node: Node
    inputs: Sequence[Tensor]
    input_types: Sequence[TensorType | None]
    output_type: TensorType

    def attrs(self, kind: type[A]) -> A:
        """The node's attributes, which must be of class `kind`."""
        return attrs_as(self.node.attrs, kind)

    def optional(self, index: int) -> Tensor:
        """An optional input."""
        return self.inputs[index] if index < len(self.inputs) else None


Lowering = Callable[[Call], Tensor]


def call_of(graph: Graph, node: Node, inputs: Sequence[Tensor]) -> Call:
    """The call of a node with one output."""
    return Call(node, inputs, graph.input_types(node), graph.types[node.outputs[0]])


def activate(values: Tensor, activation: Activation) -> Tensor:
    """The fused activation: a clamp."""
    tf = tensorflow()
    if activation.is_none:
        return values
    if (activation.low, activation.high) == (0.0, float("inf")):
        return tf.nn.relu(values)
    return tf.clip_by_value(values, activation.low, activation.high)


def round_straight_through(values: Tensor) -> Tensor:
    """Round half to even; the gradient is that of the identity."""
    tf = tensorflow()
    return values + tf.stop_gradient(tf.round(values) - values)


def _unary(function: Callable[[Any, Tensor, Attrs], Tensor]) -> Lowering:
    return lambda call: function(tensorflow(), call.inputs[0], call.node.attrs)


def _elementwise(function: Callable[[Any, Tensor, Tensor], Tensor]) -> Lowering:
    def run(call: Call) -> Tensor:
        y = function(tensorflow(), *_aligned(call))
        return activate(y, call.attrs(ElementwiseAttrs).activation)

    return run


def _aligned(call: Call) -> tuple[Tensor, Tensor]:
    """Both operands with the rank of the larger one behind the sample axis."""
    tf = tensorflow()
    rank = max(len(x.shape) for x in call.inputs[:2] if x is not None)
    shapes = [[*x.shape[:1], *[1] * (rank - len(x.shape)), *x.shape[1:]] for x in call.inputs[:2] if x is not None]
    shapes = [[-1 if d is None else d for d in shape] for shape in shapes]
    return tf.reshape(call.inputs[0], shapes[0]), tf.reshape(call.inputs[1], shapes[1])


def _dense(call: Call) -> Tensor:
    from ..ops.dense import DenseAttrs

    tf = tensorflow()
    x, weights = call.inputs[0], call.inputs[1]
    columns = weights.shape[-1]
    y = tf.linalg.matmul(tf.reshape(x, [-1, columns]), weights[0], transpose_b=True)
    if call.optional(2) is not None:
        y = y + call.inputs[2]
    y = tf.reshape(y, [-1, *call.output_type.shape])
    return activate(y, call.attrs(DenseAttrs).activation)


def _matmul(call: Call) -> Tensor:
    return tensorflow().linalg.matmul(*_aligned(call))


def _scale_bias(call: Call) -> Tensor:
    y = call.inputs[0] * call.inputs[1]
    if call.optional(2) is not None:
        y = y + call.inputs[2]
    return activate(y, call.attrs(ScaleBiasAttrs).activation)


def _prelu(call: Call) -> Tensor:
    x, slope = _aligned(call)
    return tensorflow().where(x >= 0, x, x * slope)


def _elu(tf: Any, x: Tensor, attrs: Attrs) -> Tensor:
    return tf.where(x >= 0, x, attrs_as(attrs, EluAttrs).alpha * tf.math.expm1(tf.minimum(x, 0.0)))


def _selu(tf: Any, x: Tensor, attrs: Attrs) -> Tensor:
    a = attrs_as(attrs, SeluAttrs)
    return a.gamma * tf.where(x > 0, x, a.alpha * tf.math.expm1(tf.minimum(x, 0.0)))


def _leaky_relu(tf: Any, x: Tensor, attrs: Attrs) -> Tensor:
    return tf.where(x >= 0, x, attrs_as(attrs, LeakyReluAttrs).alpha * x)


def _hard_sigmoid(tf: Any, x: Tensor, attrs: Attrs) -> Tensor:
    a = attrs_as(attrs, HardSigmoidAttrs)
    return tf.clip_by_value(a.alpha * x + a.beta, 0.0, 1.0)


def _bipolar(tf: Any, x: Tensor, attrs: Attrs) -> Tensor:
    """Sign, with the gradient of a clamp to [-1, 1] (Hubara et al. 2016, binarized networks)."""
    clamped = tf.clip_by_value(x, -1.0, 1.0)
    return clamped + tf.stop_gradient(tf.where(x >= 0, 1.0, -1.0) - clamped)


def _softmax(call: Call) -> Tensor:
    return tensorflow().nn.softmax(call.inputs[0], axis=call.attrs(SoftmaxAttrs).axis + 1)


def _reduce_mean(call: Call) -> Tensor:
    tf = tensorflow()
    attrs = call.attrs(ReduceMeanAttrs)
    mean = tf.reduce_mean(call.inputs[0], axis=[axis + 1 for axis in attrs.axes])
    return tf.reshape(mean, [-1, *call.output_type.shape])


def _arg_max(call: Call) -> Tensor:
    """The index, which has no gradient."""
    tf = tensorflow()
    attrs = call.attrs(ArgMaxAttrs)
    x, axis = call.inputs[0], attrs.axis + 1
    index = tf.argmax(tf.reverse(x, [axis]) if attrs.last else x, axis=axis)
    if attrs.last:
        index = x.shape[axis] - 1 - index
    return tf.cast(tf.reshape(index, [-1, *call.output_type.shape]), tf.float32)


def _reshape(call: Call) -> Tensor:
    return tensorflow().reshape(call.inputs[0], [-1, *call.attrs(ReshapeAttrs).shape])


def _transpose(call: Call) -> Tensor:
    perm = [0, *(axis + 1 for axis in call.attrs(TransposeAttrs).perm)]
    return tensorflow().transpose(call.inputs[0], perm)


def _concat(call: Call) -> Tensor:
    tf = tensorflow()
    samples = tf.reduce_max(tf.stack([tf.shape(x)[0] for x in call.inputs]))
    parts = [tf.broadcast_to(x, tf.concat([[samples], x.shape[1:]], 0)) for x in call.inputs if x is not None]
    return tf.concat(parts, axis=call.attrs(ConcatAttrs).axis + 1)


def _slice(call: Call) -> Tensor:
    tf = tensorflow()
    attrs = call.attrs(SliceAttrs)
    x = call.inputs[0]
    for axis, (start, size, step) in enumerate(zip(attrs.starts, attrs.sizes, attrs.steps, strict=True)):
        if (start, size, step) != (0, x.shape[axis + 1], 1):
            x = tf.gather(x, [start + step * i for i in range(size)], axis=axis + 1)
    return x


def _gather(call: Call) -> Tensor:
    attrs = call.attrs(GatherAttrs)
    return tensorflow().gather(call.inputs[0], list(attrs.indices), axis=attrs.axis + 1)


def _resize(call: Call) -> Tensor:
    tf = tensorflow()
    attrs = call.attrs(ResizeAttrs)
    return tf.gather(tf.gather(call.inputs[0], list(attrs.rows), axis=2), list(attrs.columns), axis=3)


def _pad(call: Call) -> Tensor:
    attrs = call.attrs(PadAttrs)
    element = call.output_type.element
    fill = attrs.value
    if isinstance(element, Affine):
        fill = round(attrs.value / element.scale[0]) + element.zero_point[0]
    pairs = [[0, 0], *([b, a] for b, a in zip(attrs.before, attrs.after, strict=True))]
    return tensorflow().pad(call.inputs[0], pairs, constant_values=float(fill))


def quantize_affine(values: Tensor, element: Affine, rank: int) -> Tensor:
    """Raw integers (as float32) of an affine type; gradients pass where nothing saturates."""
    tf = tensorflow()
    scale = tf.constant(element.scale_for(rank), tf.float32)
    zero = tf.constant(element.zero_for(rank), tf.float32)
    raw = tf.clip_by_value(values / scale + zero, float(element.minimum), float(element.maximum))
    return round_straight_through(raw)


def _quantize(call: Call) -> Tensor:
    element = call.attrs(QuantizeAttrs).element
    if not isinstance(element, Affine):
        raise TypeError(element)
    return quantize_affine(call.inputs[0], element, call.output_type.rank)


def _dequantize(call: Call) -> Tensor:
    tf = tensorflow()
    kind = call.input_types[0]
    if kind is None or not isinstance(kind.element, Affine):
        raise TypeError(kind)
    scale = tf.constant(kind.element.scale_for(kind.rank), tf.float32)
    return (call.inputs[0] - tf.constant(kind.element.zero_for(kind.rank), tf.float32)) * scale


LOWERINGS: dict[str, Lowering] = {
    "Abs": _unary(lambda tf, x, attrs: tf.abs(x)),
    "Add": _elementwise(lambda tf, a, b: a + b),
    "ArgMax": _arg_max,
    "AveragePool2D": average_pool,
    "Bipolar": _unary(_bipolar),
    "Clamp": lambda call: activate(call.inputs[0], call.attrs(ClampAttrs).activation),
    "Concat": _concat,
    "Conv2D": convolution,
    "ConvTranspose2D": transposed_convolution,
    "Dense": _dense,
    "Dequantize": _dequantize,
    "Div": _elementwise(lambda tf, a, b: a / b),
    "Elu": _unary(_elu),
    "Erf": _unary(lambda tf, x, attrs: tf.math.erf(x)),
    "Exp": _unary(lambda tf, x, attrs: tf.exp(x)),
    "Gather": _gather,
    "HardSigmoid": _unary(_hard_sigmoid),
    "HardSwish": _unary(lambda tf, x, attrs: x * tf.clip_by_value(x / 6.0 + 0.5, 0.0, 1.0)),
    "LeakyRelu": _unary(_leaky_relu),
    "Log": _unary(lambda tf, x, attrs: tf.math.log(x)),
    "MatMul": _matmul,
    "Max": _elementwise(lambda tf, a, b: tf.maximum(a, b)),
    "MaxPool2D": max_pool,
    "Min": _elementwise(lambda tf, a, b: tf.minimum(a, b)),
    "Mul": _elementwise(lambda tf, a, b: a * b),
    "PRelu": _prelu,
    "Pad": _pad,
    "Quantize": _quantize,
    "ReduceMean": _reduce_mean,
    "Reshape": _reshape,
    "Resize": _resize,
    "ScaleBias": _scale_bias,
    "Selu": _unary(_selu),
    "Sigmoid": _unary(lambda tf, x, attrs: tf.sigmoid(x)),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _unary(lambda tf, x, attrs: tf.nn.softplus(x)),
    "Softsign": _unary(lambda tf, x, attrs: x / (1.0 + tf.abs(x))),
    "Sqrt": _unary(lambda tf, x, attrs: tf.sqrt(x)),
    "Sub": _elementwise(lambda tf, a, b: a - b),
    "Tanh": _unary(lambda tf, x, attrs: tf.tanh(x)),
    "Transpose": _transpose,
}
"""Op name to its TensorFlow form."""

NOT_TRAINABLE: dict[str, str] = {
    "Lookup": "a table of one integer, which only lowered integer graphs have",
    "Requantize": "a change of integer type, which only lowered integer graphs have",
}
"""Ops without a TensorFlow form, and why."""
