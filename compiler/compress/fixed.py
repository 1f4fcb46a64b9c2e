"""Fixed-point types for every tensor of a graph, from calibrated ranges.

The graph is in fixed-point form (`fixed_form.FixedForm`) and its ranges were measured in that form.
Rules, all of them consequences of how hls4ml computes:

* results round to nearest and saturate; where the accumulator provably stays in range they wrap, which is free;
* a result keeps no fraction bits that its exact accumulator does not have;
* ReLU is the saturation of an unsigned result;
* a quantizer of the model keeps its type, and what it reads has that type from the start;
* what addresses a table (any function of one value, softmax) is narrow, at the expense of range beyond which
  the function is flat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import InternalError, ModelError
from ..ir.graph import Graph, Node
from ..ir.types import FixedPoint, Overflow
from ..numerics import signed_bits
from ..ops import OPS
from ..ops.activation import RELU
from ..ops.arg_max import ArgMaxAttrs
from ..ops.clamp import ClampAttrs
from ..ops.conv2d import Conv2DAttrs
from ..ops.linear import fixed_accumulator
from ..ops.softmax import SoftmaxAttrs
from ..ops.softmax_fixed import TABLE_BITS, result_fraction
from ..ops.spec import Invocation
from .exactness import check_exact
from .fixed_form import TRANSPARENT, fused_activation, quantizer_type, tensors_kept_signed
from .fixed_types import (
    GRID,
    LOOKUP_BITS,
    MAX_WIDTH,
    constant_raw,
    constant_type,
    effective_range,
    limit_fraction,
    range_type,
)

Ranges = Mapping[str, tuple[float, float]]
"""Tensor name -> smallest and largest real value."""

SOFTMAX_REACH = 8.0
"""Distance from the maximum beyond which exp(-d) counts as exp(-8) = 0.0003."""

LINEAR = frozenset({"Conv2D", "ConvTranspose2D", "Dense"})


@dataclass(frozen=True, slots=True)
class FixedTypes:
    """Types of a graph in fixed-point form.

    Attributes:
        tensors: type of every tensor, constants included.
        addresses: node name -> type its first input must have (tables and softmax); a cast is put in front
            where the tensor itself has another type.
    """

    tensors: Mapping[str, FixedPoint]
    addresses: Mapping[str, FixedPoint]


def fixed_types_for(graph: Graph, ranges: Ranges, width: int | Mapping[str, int]) -> FixedTypes:
    """Choose a type for every tensor.

    Args:
        graph: float graph in fixed-point form.
        ranges: range of every tensor that is not constant.
        width: bits of every value, or tensor name -> bits (constants too).

    Raises:
        ModelError: a range is not finite.
        InternalError: a range is missing.
    """
    chooser = _Chooser(graph, ranges, width)
    for name in graph.inputs:
        chooser.tensors[name] = chooser.wanted.get(name) or chooser.from_range(name)
    for node in graph.nodes:
        chooser.choose(node)
    return FixedTypes(chooser.tensors, chooser.addresses)


def is_function(node: Node) -> bool:
    """Whether a node is a function of one value that becomes a table."""
    spec = OPS[node.op]
    return len(node.inputs) == 1 and spec.run_fixed is None and not spec.moves_only and _samplable(node)


def _is_relu(node: Node) -> bool:
    """Whether a node is a ReLU: it may be exchanged with a cast, because both keep order and zero."""
    return isinstance(node.attrs, ClampAttrs) and node.attrs.activation == RELU


def _samplable(node: Node) -> bool:
    """Whether the op works element by element (its float meaning can be sampled)."""
    from ..ops.unary import infer_unary

    return OPS[node.op].infer is infer_unary


def sample_function(node: Node, values: np.ndarray) -> np.ndarray:
    """The float meaning of an element-wise op at `values` (1-D), float64."""
    from ..ir.types import TensorType

    run = OPS[node.op].run_float
    if run is None:
        raise InternalError(f"{node.op} '{node.name}' has no float meaning")
    shape = TensorType((len(values),))
    call = Invocation(node, (values.astype(np.float32)[None],), (shape,), (shape,))
    return run(call)[0][0].astype(np.float64)


@dataclass(slots=True)
class _Chooser:
    graph: Graph
    ranges: Ranges
    width: int | Mapping[str, int]
    tensors: dict[str, FixedPoint] = field(default_factory=dict)
    addresses: dict[str, FixedPoint] = field(default_factory=dict)
    wanted: dict[str, FixedPoint] = field(default_factory=dict)
    signed: frozenset[str] = frozenset()
    makers: Mapping[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.makers = self.graph.producers()
        self.signed = tensors_kept_signed(self.graph)
        uses = {name: len(nodes) for name, nodes in self.graph.consumers().items()}
        outputs = set(self.graph.outputs)
        for node in reversed(self.graph.nodes):
            address = self._address(node)
            if address is not None:
                self.addresses[node.name] = address
            elif node.op in TRANSPARENT or _is_relu(node):
                address = self.wanted.get(node.outputs[0])
            elif node.op == "Quantize":
                address = quantizer_type(self.graph, node)
            if address is not None and uses[node.inputs[0]] == 1 and node.inputs[0] not in outputs:
                self.wanted[node.inputs[0]] = address

    def range(self, name: str) -> tuple[float, float]:
        try:
            low, high = self.ranges[name]
        except KeyError:
            raise InternalError(f"no range for tensor '{name}'") from None
        if not (math.isfinite(low) and math.isfinite(high)):
            node = self.graph.producer(name)
            where = (node.source.node, node.source.op_type) if node is not None else (None, None)
            raise ModelError(
                f"tensor '{name}' takes values from {low} to {high} on the calibration data",
                node=where[0],
                op_type=where[1],
                hint="look for NaN or infinity in the calibration data and the model's constants",
            )
        return min(low, high), max(low, high)

    def bits(self, name: str) -> int:
        bits = self.width if isinstance(self.width, int) else self.width[name]
        if not 2 <= bits <= MAX_WIDTH:
            raise InternalError(f"width {bits} of '{name}' is not from 2 to {MAX_WIDTH}")
        return bits

    def from_range(self, name: str) -> FixedPoint:
        low, high = self.range(name)
        return range_type(low, high, self.bits(name), signed=True if name in self.signed else None)

    def _address(self, node: Node) -> FixedPoint | None:
        """The type the first input of a node must have, or None if any will do."""
        name = node.inputs[0] if node.inputs else ""
        if node.op == "Softmax" or is_function(node):
            given = self._given(name)
            if given is not None and given.width <= LOOKUP_BITS:
                return given
        if node.op == "Softmax":
            low, high = self.range(name)
            spread = min(max(high - low, 2.0**-8), SOFTMAX_REACH)
            frac = TABLE_BITS - math.ceil(math.log2(spread))
            return limit_fraction(range_type(low, high, self.bits(name)), frac)
        if not is_function(node):
            return None
        low, high = self.range(name)
        grid = np.linspace(low, high, GRID)
        values = sample_function(node, grid)
        finite = np.isfinite(values)
        if not finite.all():
            grid, values = grid[finite], values[finite]
        if len(grid) > 2:
            step = range_type(float(values.min()), float(values.max()), self.bits(node.outputs[0])).step
            low, high = effective_range(grid, values, step / 2)
        return range_type(low, high, min(self.bits(name), LOOKUP_BITS), signed=None)

    def _given(self, name: str) -> FixedPoint | None:
        """The type a quantizer of the model gives a tensor, or None."""
        maker = self.makers.get(name)
        while maker is not None and (maker.op in TRANSPARENT or maker.op == "Dequantize"):
            maker = self.makers.get(maker.inputs[0])
        return quantizer_type(self.graph, maker) if maker is not None and maker.op == "Quantize" else None

    def constant(self, name: str, width: int | None = None, max_frac: int | None = None) -> FixedPoint | None:
        """Choose the type of a constant operand; None if the tensor is not constant."""
        values = self.graph.constant(name)
        if values is None:
            return None
        if name not in self.tensors:
            self.tensors[name] = constant_type(values, width or self.bits(name), max_frac=max_frac)
        return self.tensors[name]

    def operand(self, name: str) -> FixedPoint:
        return self.constant(name) or self.tensors[name]

    def choose(self, node: Node) -> None:
        for name in node.inputs[:2]:
            if name:
                self.operand(name)
        output = node.outputs[0]
        if node.op in TRANSPARENT or node.op == "Dequantize":
            self.tensors[output] = self.tensors[node.inputs[0]]
            return
        if node.op == "Quantize":
            self.tensors[output] = quantizer_type(self.graph, node)
            return
        element = self.wanted.get(output)
        if element is None and node.op == "Bipolar":
            element = FixedPoint(True, 2, 0)
        elif element is None and isinstance(node.attrs, ArgMaxAttrs):
            last = self.graph.types[node.inputs[0]].shape[node.attrs.axis] - 1
            element = FixedPoint(False, max(last.bit_length(), 1), 0)
        elif element is None:
            element = self._softmax_result(node) if node.op == "Softmax" else self.from_range(output)
        exact = self._exact_fraction(node)
        if exact is not None:
            for bias in node.inputs[2:]:
                self.constant(bias, MAX_WIDTH, min(exact, element.frac + 2))
            if output not in self.wanted:
                element = limit_fraction(element, exact)
        if fused_activation(node).low == 0.0:
            if element.signed:  # the calibrated range is that of a ReLU, so this is a range of zero width
                element = replace(element, signed=False)
        elif node.op in LINEAR and output not in self.wanted and self._stays_inside(node, element):
            element = replace(element, overflow=Overflow.WRAP)
        self.tensors[output] = element
        check_exact(node, self.graph, self.tensors)

    def _softmax_result(self, node: Node) -> FixedPoint:
        attrs = node.attrs
        if not isinstance(attrs, SoftmaxAttrs):
            raise InternalError(f"'{node.name}' has no softmax attributes")
        classes = self.graph.types[node.inputs[0]].shape[attrs.axis]
        width = max(self.bits(node.outputs[0]), result_fraction(self.addresses[node.name], classes))
        return range_type(0.0, 1.0 - 2.0**-width, width)

    def _exact_fraction(self, node: Node) -> int | None:
        """Fraction bits of the exact result, or None where results are not exact sums and products."""
        types = [self.tensors[name] for name in node.inputs[:2] if name]
        if node.op in LINEAR or node.op in ("ScaleBias", "Mul"):
            return types[0].frac + types[1].frac
        if node.op in ("Add", "Sub", "Min", "Max", "Concat"):
            return max(t.frac for t in types) if len(node.inputs) == 2 else None
        if node.op in ("Clamp", "PRelu"):
            return types[0].frac + (types[1].frac if node.op == "PRelu" else 0)
        return None

    def _stays_inside(self, node: Node, element: FixedPoint) -> bool:
        """Whether the accumulator of a linear layer can never leave the result's range."""
        weights = self.graph.constant(node.inputs[1])
        if weights is None or (node.op == "Conv2D" and not isinstance(node.attrs, Conv2DAttrs)):
            return False
        x, w = self.tensors[node.inputs[0]], self.tensors[node.inputs[1]]
        raw = constant_raw(weights, w).reshape(len(weights), -1)
        bias_name = next(iter(node.inputs[2:]), "")
        b = self.tensors[bias_name] if bias_name else None
        bias = constant_raw(self.graph.constants[bias_name].values, b) if b is not None else None
        accumulator = fixed_accumulator(x, w, raw, b, bias).element
        whole = signed_bits(accumulator.minimum, accumulator.maximum) - accumulator.frac
        return element.signed and whole < element.integer
