"""Post-training quantization for microcontrollers: 8-bit activations and weights, chosen from calibration data.

The result is still a float graph: Quantize and Dequantize stand after every activation that will be stored, so that
its float meaning is the network with rounded values. `passes.lower_quantized` makes integer ops of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import UsageError
from ..ir.affine import ACTIVATION_BITS, WEIGHT_BITS, activation_type, natural_range, symmetric_type
from ..ir.encoding import Compressed, Tie
from ..ir.graph import Graph, Node, Source
from ..ir.rewrite import GraphEditor
from ..ir.types import Affine
from ..numerics import quantize_affine
from ..ops.quantize import DequantizeAttrs, QuantizeAttrs
from ..options import CalibrationMethod, QuantizeOptions
from ..passes.elementwise_regions import function_roots, inner_tensors
from ..passes.lowering import storage_dtype
from ..passes.quantized_types import derived_types, parameter_tensors, refuse_per_channel, stated_types
from .calibrate import calibrated_range, collect
from .type_groups import Range, group_types

LINEAR = ("Conv2D", "ConvTranspose2D", "Dense")
"""Ops with weights, one scale for each output channel (axis 0)."""

SCALE_BITS = 16
"""Width of ScaleBias factors: one scale serves all channels, so they get more bits than weights."""


BIAS_BITS = 22
"""Biases stay below 2**BIAS_BITS accumulator units: see `_bias_floor`."""


def quantize_for_mcu(graph: Graph, data: Mapping[str, np.ndarray] | None, options: QuantizeOptions) -> Graph:
    """Insert Quantize/Dequantize so that the whole graph can be lowered to 8-bit integers.

    Tensors and weights that are quantized already keep their types.

    Args:
        graph: float, quantized or partly quantized graph, folded and with activations fused.
        data: graph input -> (S, *shape), real values for float inputs, raw integers for integer inputs; None if
            the graph brings all types.

    Raises:
        UsageError: a tensor needs calibration and there is no data.
        ModelError: a tensor is not finite on this data, or activations are quantized per channel.
    """
    refuse_per_channel(graph)
    types = activation_types(graph, data, options)
    editor = GraphEditor(graph)
    for name, element in types.items():
        if graph.types[name].is_float:
            insert_quantizer(editor, graph, name, element)
    _quantize_constants(editor)
    return editor.finish()


def activation_types(
    graph: Graph, data: Mapping[str, np.ndarray] | None, options: QuantizeOptions
) -> dict[str, Affine]:
    """Affine type of every activation tensor that will be stored."""
    parameters = parameter_tensors(graph)
    fixed = stated_types(graph)
    stored = _stored(graph, parameters, fixed)
    wanted = [name for name in stored if name not in fixed]
    producers = graph.producers()
    ranges: dict[str, Range] = {}
    for name in wanted:
        natural = natural_range(producers[name].op) if name in producers else None
        if natural is not None:
            ranges[name] = natural
    measured = [name for name in wanted if name not in ranges]
    if measured and data is None:
        if not _all_derived(graph, stored, fixed, parameters):
            raise _no_data(graph, producers.get(measured[0]), measured[0])
        measured = []
    if measured and data is not None:
        histogram = options.method is not CalibrationMethod.MIN_MAX
        for name, statistics in collect(graph, data, measured, histogram=histogram).items():
            ranges[name] = calibrated_range(statistics, options.method, ACTIVATION_BITS)
    return group_types(graph, ranges, fixed, parameters, ACTIVATION_BITS)


def _all_derived(graph: Graph, stored: Sequence[str], fixed: Mapping[str, Affine], parameters: frozenset[str]) -> bool:
    """Whether every stored tensor has a type that follows from those the graph states."""
    inner = inner_tensors(graph, fixed, function_roots(graph, parameters, fixed))
    types = derived_types(graph, fixed, inner)
    return all(name in types for name in stored)


def _no_data(graph: Graph, node: Node | None, tensor: str) -> UsageError:
    quantized = any(node.op == "Quantize" for node in graph.nodes)
    state = "only part of the model is quantized" if quantized else "the model is not quantized"
    return UsageError(
        f"tensor '{tensor}' has no quantization: {state}",
        file=node.source.model or None if node else None,
        node=node.source.node if node else None,
        op_type=node.source.op_type if node else None,
        hint="give calibration data: --calibration data.npz (a few hundred inputs, no labels needed)",
    )


def _stored(graph: Graph, parameters: frozenset[str], fixed: Mapping[str, Affine]) -> list[str]:
    """Float activation tensors that exist in the integer network: not those inside an element-wise region."""
    inner = inner_tensors(graph, fixed, function_roots(graph, parameters, fixed))
    return [n for n, kind in graph.types.items() if kind.is_float and n not in parameters and n not in inner]


def insert_quantizer(editor: GraphEditor, graph: Graph, name: str, element: Affine) -> None:
    """Put Quantize and Dequantize behind a float tensor, unless what stands there does that already."""
    readers = [node for node in editor.nodes if name in node.inputs]
    producer = graph.producer(name)
    if producer is not None and producer.op == "Dequantize":
        return
    if readers and all(reader.op == "Quantize" for reader in readers) and name not in graph.outputs:
        return
    source = producer.source if producer is not None else Source("", name, "")
    is_output, label = name in editor.outputs, editor.labels.get(name, name)
    quantized = editor.add_node("Quantize", [name], QuantizeAttrs(element), source, name=f"{name}_quantize")
    real = editor.add_node("Dequantize", quantized.outputs, DequantizeAttrs(), source, name=f"{name}_dequantize")
    for reader in readers:
        if reader.op != "Quantize":
            inputs = tuple(real.outputs[0] if i == name else i for i in reader.inputs)
            editor.update(reader, inputs=inputs)
    if is_output:
        editor.outputs = [real.outputs[0] if output == name else output for output in editor.outputs]
        editor.labels.pop(name, None)
        editor.labels[real.outputs[0]] = label


def _quantize_constants(editor: GraphEditor) -> None:
    """Give every float constant an integer form where an op needs one; biases stay real until lowering."""
    made: dict[tuple[str, tuple[int, bool]], str] = {}
    for node in list(editor.nodes):
        inputs = list(node.inputs)
        for index, name in enumerate(node.inputs):
            if name not in editor.constants or not editor.types[name].is_float:
                continue
            kind = _constant_kind(node, index)
            if kind is None:
                continue
            encoding = editor.constants[name].encoding
            if kind[1] and isinstance(encoding, Compressed):  # shared weights stay shared only under one scale
                kind = encoding.width, encoding.clusters is None
            key = (name, kind)
            if key not in made:
                floor = _bias_floor(editor, node) if kind[1] else None
                made[key] = _quantized_constant(editor, node, name, *kind, floor)
            inputs[index] = made[key]
        if tuple(inputs) != node.inputs:
            editor.update(node, inputs=tuple(inputs))


def _constant_kind(node: Node, index: int) -> tuple[int, bool] | None:
    """(width, per channel) of a constant input's integer form, or None if it stays real."""
    if node.op in LINEAR:
        return (8, True) if index == 1 else None
    if node.op == "ScaleBias":
        return (SCALE_BITS, False) if index == 1 else None
    if node.op in ("Add", "Sub", "Mul", "Div", "Min", "Max", "MatMul", "PRelu"):
        return 8, False
    return None


def _bias_floor(editor: GraphEditor, node: Node) -> np.ndarray | None:
    """Smallest weight magnitude to assume in every output channel, or None if there is no bias to look at.

    A channel that has died in training has weights near zero under an ordinary bias. In units of such weights the
    bias takes 30 bits, the sums leave no room for kernels that keep two of them in a register, and nothing is gained:
    the channel is all but constant. With the floor, a weight is rounded to |bias| / (input scale * 2**22) at worst.
    """
    if len(node.inputs) < 3 or node.inputs[2] not in editor.constants:
        return None
    producer = next((n for n in editor.nodes if node.inputs[0] in n.outputs), None)
    element = editor.types[producer.inputs[0]].element if producer and producer.op == "Dequantize" else None
    bias = editor.constants[node.inputs[2]].values
    if not isinstance(element, Affine) or element.axis is not None or not editor.types[node.inputs[2]].is_float:
        return None
    top = (1 << (WEIGHT_BITS - 1)) - 1
    floor: np.ndarray = np.abs(bias).reshape(-1) * top / (element.scale[0] * (1 << BIAS_BITS))
    return floor


def common_magnitudes(magnitudes: np.ndarray, tie: Tie) -> np.ndarray:
    """(channels,) with one magnitude, the largest, for all channels that share a weight: tied weights round alike."""
    channels = np.repeat(np.arange(len(magnitudes)), tie.indices.size // len(magnitudes))
    common = np.asarray(magnitudes, np.float64)
    while True:  # sharing is passed on: two turns are usual
        largest = np.zeros(tie.count)
        np.maximum.at(largest, tie.indices, common[channels])
        found = np.zeros(len(common))
        np.maximum.at(found, channels, largest[tie.indices])
        if np.array_equal(found, common):
            return common
        common = found


def _quantized_constant(
    editor: GraphEditor, node: Node, name: str, width: int, per_channel: bool, floor: np.ndarray | None
) -> str:
    values = editor.constants[name].values
    if per_channel:
        magnitudes = np.abs(values).reshape(len(values), -1).max(axis=1)
        if floor is not None and floor.shape == magnitudes.shape:
            magnitudes = np.maximum(magnitudes, floor)
        encoding = editor.constants[name].encoding
        if isinstance(encoding, Compressed):
            magnitudes = encoding.by_block_row(magnitudes)
            if encoding.tie is not None:
                magnitudes = common_magnitudes(magnitudes, encoding.tie)
        element = symmetric_type(magnitudes, width, axis=0)
    elif node.op in ("ScaleBias", "PRelu", *LINEAR):
        element = symmetric_type(np.abs(values).max(), width)
    else:
        element = activation_type(float(values.min()), float(values.max()), width)
    raw = editor.add_constant(
        f"{name}_int{width}",
        quantize_affine(values, element).astype(storage_dtype(element)),
        element,
        editor.constants[name].encoding,
    )
    return editor.add_node("Dequantize", [raw], DequantizeAttrs(), node.source, name=f"{name}_real").outputs[0]
