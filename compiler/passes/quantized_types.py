"""Which affine type each real-valued tensor of a quantized graph has, read from its Quantize and Dequantize nodes.

A Quantize after a tensor and a Dequantize before one give it a type. From there types spread over ops that
only move values, where that is exact: quantization is monotone and works value by value, so it commutes with
reshaping, picking, joining, taking maxima and clamping.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import numpy as np

from ..errors import InternalError, ModelError
from ..ir.affine import ACTIVATION_BITS, activation_type, covers, natural_range, real_range
from ..ir.graph import Graph, Node
from ..ir.types import Affine, FixedPoint
from ..numerics import dequantize
from ..ops import OPS
from ..ops.unary import infer_unary

KEEPS_RANGE = ("AveragePool2D", "ReduceMean", "Clamp")
"""Ops whose output values lie within the range of their input (and of zero): its type serves them too."""


def is_mover(node: Node) -> bool:
    """Whether values pass the op unchanged, so that inputs and output can share one type."""
    return OPS[node.op].moves_only


def is_function(node: Node) -> bool:
    """Whether the op is a function of one number that has no integer form but a table."""
    spec = OPS[node.op]
    return spec.infer is infer_unary and spec.run_affine is None


def parameter_values(graph: Graph, tensor: str) -> np.ndarray:
    """Real values of a parameter (see `parameter_tensors`)."""
    if tensor not in graph.constants:
        producer = graph.producer(tensor)
        if producer is None or producer.inputs[0] not in graph.constants:
            raise InternalError(f"'{tensor}' is not a parameter")
        tensor = producer.inputs[0]
    return dequantize(graph.constants[tensor].values, graph.types[tensor].element)


def parameter_tensors(graph: Graph) -> frozenset[str]:
    """The tensors known at compile time: constants, and Dequantize of constants."""
    dequantized = (n.outputs[0] for n in graph.nodes if n.op == "Dequantize" and n.inputs[0] in graph.constants)
    return frozenset([*graph.constants, *dequantized])


def stated_types(graph: Graph) -> dict[str, Affine]:
    """Affine type of every activation tensor that the graph's Quantize and Dequantize nodes decide.

    Returns:
        Tensor name -> per-tensor type. Tensors that are not quantized are absent; so are parameters.
    """
    return _Inference(graph, {}).stated()


def derived_types(graph: Graph, stated: Mapping[str, Affine], inner: Container[str]) -> dict[str, Affine]:
    """`stated` with types that are valid though not stated: calibration would choose better ones.

    The input's type for averages and clamps, the natural range of a softmax, the union of the ranges that a
    concatenation or maximum joins.

    Args:
        inner: tensors that need no type (see `elementwise_regions.inner_tensors`).
    """
    return _Inference(graph, stated).derived(inner)


def common_type(elements: Sequence[Affine]) -> Affine:
    """A type in which a tensor with several Quantize nodes is stored: it covers the range of all of them.

    It has the finest of their steps if 8 bits reach that far; each Quantize but this one becomes a Requantize.
    """
    first = elements[0]
    if all(element == first for element in elements):
        return first
    ranges = [real_range(element) for element in elements]
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    fine = min(elements, key=lambda element: element.scale)
    if covers(fine, low, high):
        return fine
    step = fine.scale[0]
    if round((high - low) / step) < 1 << ACTIVATION_BITS:
        zero = -(1 << (ACTIVATION_BITS - 1)) - round(low / step)
        if abs(zero) <= 1 << (ACTIVATION_BITS - 1):
            return Affine(True, ACTIVATION_BITS, (step,), (min(zero, (1 << (ACTIVATION_BITS - 1)) - 1),))
    return activation_type(low, high, max(ACTIVATION_BITS, *(element.width for element in elements)))


def refuse_per_channel(graph: Graph) -> None:
    """Activations must be quantized per tensor: one scale per channel has no integer form in a sum over channels.

    Raises:
        ModelError: a Quantize or a graph input has one scale per channel.
    """
    for name in (*graph.inputs, *(node.outputs[0] for node in graph.nodes if node.op == "Quantize")):
        element = graph.types[name].element
        if isinstance(element, Affine) and element.axis is not None:
            node = graph.producer(name)
            source = node.source if node is not None else None
            raise ModelError(
                f"activations quantized per channel are not supported ('{name}' has {len(element.scale)} scales)",
                file=source.model or None if source else None,
                node=source.node if source else None,
                op_type=source.op_type if source else None,
                hint="quantize activations per tensor; only weights may have one scale per channel",
            )


class _Inference:
    def __init__(self, graph: Graph, types: Mapping[str, Affine]) -> None:
        self.graph = graph
        self.consumers = graph.consumers()
        self.parameters = parameter_tensors(graph)
        self.types: dict[str, Affine] = dict(types)

    def stated(self) -> dict[str, Affine]:
        self._read()
        self._spread()
        return self.types

    def derived(self, inner: Container[str]) -> dict[str, Affine]:
        while self._derive_one(inner):
            self._spread()
        return self.types

    def _read(self) -> None:
        for name, tensor_type in self.graph.types.items():
            if isinstance(tensor_type.element, Affine) and name not in self.parameters:
                self.types[name] = tensor_type.element
        for node in self.graph.nodes:
            if node.op == "Dequantize" and node.outputs[0] not in self.parameters:
                element = self.graph.types[node.inputs[0]].element
                if isinstance(element, Affine) and element.axis is None:
                    self.types[node.outputs[0]] = element
        wanted: dict[str, list[Affine]] = {}
        for node in self.graph.nodes:
            element = self.graph.types[node.outputs[0]].element
            if node.op == "Quantize" and isinstance(element, Affine) and element.axis is None:
                wanted.setdefault(node.inputs[0], []).append(element)
        self.types = {**{name: common_type(elements) for name, elements in wanted.items()}, **self.types}

    def exclusive(self, tensor: str) -> bool:
        """Whether exactly one node reads the tensor and it is no graph output."""
        return len(self.consumers[tensor]) == 1 and tensor not in self.graph.outputs

    def _spread(self) -> None:
        changed = True
        while changed:
            changed = False
            for node in self.graph.nodes:
                if is_mover(node) or node.op == "Clamp":
                    changed |= self._forward(node) | self._backward(node)

    def _inputs(self, node: Node) -> list[str]:
        return [name for name in node.inputs if name and name not in self.parameters]

    def _forward(self, node: Node) -> bool:
        inputs, output = self._inputs(node), node.outputs[0]
        known = {self.types[name] for name in inputs if name in self.types}
        if output in self.types or node.op == "Clamp" or len(known) != 1:
            return False
        if any(name not in self.types for name in node.inputs):  # a joined constant may need another range
            return False
        self.types[output] = known.pop()
        return True

    def _backward(self, node: Node) -> bool:
        element = self.types.get(node.outputs[0])
        changed = False
        for name in self._inputs(node):
            if element is not None and name not in self.types and self.exclusive(name):
                self.types[name] = element
                changed = True
        return changed

    def _derive_one(self, inner: Container[str]) -> bool:
        for node in self.graph.nodes:
            if (
                node.outputs[0] in self.types
                or node.outputs[0] in inner
                or isinstance(self.graph.types[node.outputs[0]].element, FixedPoint)
            ):
                continue
            inputs = self._inputs(node)
            known = [self.types[name] for name in inputs if name in self.types]
            if not known or len(known) != len(inputs):
                continue
            width = known[0].width
            natural = natural_range(node.op, width)
            if natural is not None:
                self.types[node.outputs[0]] = activation_type(*natural, width)
            elif node.op in KEEPS_RANGE:
                self.types[node.outputs[0]] = known[0]
            elif node.op in ("Concat", "Min", "Max"):
                constants = [parameter_values(self.graph, name) for name in node.inputs if name in self.parameters]
                ranges = np.asarray([*map(real_range, known), *((c.min(), c.max()) for c in constants)])
                low, high = float(ranges[:, 0].min()), float(ranges[:, 1].max())
                covering = [element for element in known if covers(element, low, high)]
                self.types[node.outputs[0]] = covering[0] if covering else activation_type(low, high, width)
            else:
                continue
            return True
        return False
