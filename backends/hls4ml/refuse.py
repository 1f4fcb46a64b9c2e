"""What hls4ml cannot do, said before anything is emitted."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from boardfit.compress.fixed import is_function
from boardfit.compress.fixed_form import quantizer_type
from boardfit.errors import ModelError
from boardfit.ir import Graph, Node
from boardfit.ops import OPS
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.pooling import PoolAttrs
from boardfit.ops.reduce_mean import ReduceMeanAttrs
from boardfit.ops.resize import ResizeAttrs, integer_factors
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.spec import attrs_as
from boardfit.ops.transpose import TransposeAttrs
from boardfit.ops.unary import infer_unary
from boardfit.plan.fpga import UNROLL_LIMIT

from .layer import plain_shape
from .picks import refuse_picks
from .words import refuse_word

Reason = str | None
Check = Callable[[Node, Graph, bool], Reason]
"""(node, graph, whether tensors are streamed) -> why not."""


def refuse_op(op: str) -> Reason:
    """Why no node of an IR op can be done, or None: there is a layer, or it is a function of one value."""
    return None if op in CHECKS or OPS[op].infer is infer_unary else f"hls4ml has no {op} layer"


def refuse(node: Node, graph: Graph, streams: bool | None = None) -> Reason:
    """Why hls4ml cannot do a node, or None.

    Args:
        node: a node of a float or fixed-point graph.
        graph: its graph.
        streams: whether tensors travel through FIFOs; None asks whether neither way works.
    """
    check = CHECKS.get(node.op)
    if check is None:
        return None if is_function(node) else refuse_op(node.op) or f"{node.op} of several values is not supported"
    if streams is not None:
        return check(node, graph, streams)
    reason = check(node, graph, True)
    return reason and check(node, graph, False)


def too_many_registers(node: Node, graph: Graph, streams: bool) -> Reason:
    """Arrays that hls4ml partitions completely, and words of streams, must stay below the tools' limits."""
    if streams:
        tensors = (name for name in (*node.inputs, *node.outputs) if name not in graph.constants)
        reason = next(filter(None, (refuse_word(name, graph) for name in tensors)), None)
        if reason is not None:
            return reason
    if not streams:
        largest = max(graph.types[name].elements for name in (*node.inputs[:1], *node.outputs))
        what = "a tensor that is wired in parallel"
    elif node.op == "Dense":
        largest, what = max(graph.types[node.inputs[1]].shape), "a vector of a dense layer"
    elif isinstance(node.attrs, Conv2DAttrs | ConvTranspose2DAttrs):
        _, height, width, _ = graph.types[node.inputs[1]].shape
        down, across = node.attrs.dilations
        window = ((height - 1) * down + 1) * ((width - 1) * across + 1)
        largest, what = window * graph.types[node.inputs[0]].shape[3], "the window of a convolution"
    else:
        return None
    return f"{what} has {largest} values, the tools stop at {UNROLL_LIMIT}" if largest > UNROLL_LIMIT else None


def _free(node: Node, graph: Graph, streams: bool) -> Reason:
    return None


def _weights(node: Node, graph: Graph, streams: bool) -> Reason:
    if graph.constant(node.inputs[1]) is None:
        return "the weights are not constant"
    positions = plain_shape(graph, node.outputs[0])[:-1]
    if node.op == "Dense" and len(positions) > 2 and int(np.prod(positions)) != 1:
        return f"a dense layer over {len(positions)} axes of positions is not supported"
    return _rows_of_a_stream(node, graph) if streams and isinstance(node.attrs, Conv2DAttrs) else None


def _rows_of_a_stream(node: Node, graph: Graph) -> Reason:
    """hls4ml's kernels of height 1 do not count rows; only its small pointwise kernel does."""
    attrs = attrs_as(node.attrs, Conv2DAttrs)
    weights = graph.types[node.inputs[1]]
    height, width = weights.shape[1:3]
    rows = graph.types[node.inputs[0]].shape[1] + attrs.pads[0] + attrs.pads[2]
    if height != 1 or attrs.strides[0] == 1 or rows == 1:
        return None
    pointwise = width == 1 and attrs.groups == 1 and weights.elements <= UNROLL_LIMIT
    return None if pointwise else "a kernel of height 1 with a vertical stride needs io_parallel"


def _constants(node: Node, graph: Graph, streams: bool) -> Reason:
    return None if graph.constant(node.inputs[1]) is not None else "the second input is not constant"


def _merge(node: Node, graph: Graph, streams: bool) -> Reason:
    constant = [graph.constant(name) is not None for name in node.inputs[:2]]
    output = graph.types[node.outputs[0]].shape
    shapes = [graph.types[name].shape for name in node.inputs[:2]]
    if any(constant):
        if node.op in ("Min", "Max"):
            return f"{node.op} with a constant is not supported; use Clip"
        if shapes[constant.index(False)] != output:
            return "a constant may not enlarge the tensor it is combined with"
        return None
    if streams:
        return None if shapes[0] == shapes[1] else "inputs of different shapes cannot be streamed together"
    for shape in shapes:
        trimmed = shape[next((i for i, d in enumerate(shape) if d != 1), len(shape)) :]
        if trimmed != output[len(output) - len(trimmed) :]:
            return f"shapes {shapes[0]} and {shapes[1]}: only leading axes can be broadcast"
    return None


def _pool(node: Node, graph: Graph, streams: bool) -> Reason:
    attrs = attrs_as(node.attrs, PoolAttrs)
    if attrs.dilations != (1, 1):
        return "dilated pooling is not supported"
    if isinstance(attrs, AveragePool2DAttrs) and attrs.count_pads and any(attrs.overhang):
        return "average pooling in ceil mode that counts padding is not supported"
    if attrs.kernel == graph.types[node.inputs[0]].shape[1:3] and not any(attrs.all_pads):
        return None
    if streams and any(attrs.all_pads):
        return "padded pooling needs io_parallel"
    if streams and attrs.strides != attrs.kernel:
        return "pooling with overlapping or spaced windows needs io_parallel"
    return None


def _softmax(node: Node, graph: Graph, streams: bool) -> Reason:
    axis = attrs_as(node.attrs, SoftmaxAttrs).axis
    return None if axis == graph.types[node.inputs[0]].rank - 1 else "softmax is only supported over the last axis"


def _pad(node: Node, graph: Graph, streams: bool) -> Reason:
    attrs = attrs_as(node.attrs, PadAttrs)
    if attrs.value != 0.0:
        return f"padding with {attrs.value:g} is not supported, only with zero"
    if len(attrs.before) != 4 or attrs.before[0] or attrs.after[0] or attrs.before[3] or attrs.after[3]:
        return "only height and width of an image can be padded"
    return None if min(*attrs.before, *attrs.after) >= 0 else "negative padding is not supported"


def refuse_resize(node: Node, graph: Graph, streams: bool) -> Reason:
    """Why hls4ml's own layer cannot resize; boardfit's takes any positions."""
    attrs = attrs_as(node.attrs, ResizeAttrs)
    shape = graph.types[node.inputs[0]].shape
    if integer_factors(attrs, shape) is not None:
        return None
    if streams:
        return "whole-number factors only"
    for indices, size in ((attrs.rows, shape[1]), (attrs.columns, shape[2])):
        ratio = (size << 16) // len(indices) + 1
        if indices != tuple((i * ratio) >> 16 for i in range(len(indices))):
            return "asymmetric, floor only"
    return None


def _arg_max(node: Node, graph: Graph, streams: bool) -> Reason:
    attrs = attrs_as(node.attrs, ArgMaxAttrs)
    if attrs.axis != graph.types[node.inputs[0]].rank - 1:
        return "ArgMax is only supported over the last axis"
    after = [node]
    for other in after:
        users = [reader for reader in graph.nodes if other.outputs[0] in reader.inputs]
        if any(user.op not in ("Reshape", "Dequantize") for user in users):
            return "ArgMax is only supported at an output"
        after += users
    return None


def _transpose(node: Node, graph: Graph, streams: bool) -> Reason:
    if attrs_as(node.attrs, TransposeAttrs).perm[0] != 0:
        return "the batch axis cannot be transposed"
    shape = plain_shape(graph, node.inputs[0])
    return None if 2 <= len(shape) <= 3 else f"a transposition of {len(shape)} axes is not supported"


def _concat(node: Node, graph: Graph, streams: bool) -> Reason:
    if any(name in graph.constants for name in node.inputs):
        return "joining with a constant is not supported"
    shape = plain_shape(graph, node.outputs[0])
    return None if len(shape) <= 3 else f"joining tensors of {len(shape)} axes is not supported"


def _reduce_mean(node: Node, graph: Graph, streams: bool) -> Reason:
    attrs = attrs_as(node.attrs, ReduceMeanAttrs)
    if attrs.axes == (1, 2) and attrs.keep_dims and graph.types[node.inputs[0]].rank == 4:
        return None
    return f"a mean over axes {attrs.axes} is not supported, only over height and width"


def _quantizer(node: Node, graph: Graph, streams: bool) -> Reason:
    try:
        quantizer_type(graph, node)
    except ModelError as error:
        return error.problem
    return None


CHECKS: dict[str, Check] = {
    "Add": _merge,
    "ArgMax": _arg_max,
    "AveragePool2D": _pool,
    "Bipolar": _free,
    "Clamp": _free,
    "Concat": _concat,
    "Conv2D": _weights,
    "ConvTranspose2D": _weights,
    "Dense": _weights,
    "Dequantize": _free,
    "Gather": refuse_picks,
    "LeakyRelu": _free,
    "Lookup": _constants,
    "Max": _merge,
    "MaxPool2D": _pool,
    "Min": _merge,
    "Mul": _merge,
    "PRelu": _constants,
    "Pad": _pad,
    "Quantize": _quantizer,
    "ReduceMean": _reduce_mean,
    "Requantize": _free,
    "Reshape": _free,
    "Resize": refuse_picks,
    "ScaleBias": _constants,
    "Slice": refuse_picks,
    "Softmax": _softmax,
    "Sub": _merge,
    "Transpose": _transpose,
}
"""IR op -> check; element-wise functions of one value become tables and need none."""
