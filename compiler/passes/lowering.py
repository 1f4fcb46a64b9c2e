"""State of one lowering from Quantize/Dequantize form to integer ops, shared by the rules of all ops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import InternalError, ModelError
from ..ir.encoding import DENSE, Encoding
from ..ir.graph import Attrs, Graph, Node
from ..ir.rewrite import GraphEditor
from ..ir.types import Affine, TensorType
from ..numerics import dequantize_affine, quantize_affine
from ..ops.lookup import LookupAttrs
from ..ops.requantize import RequantizeAttrs
from .elementwise_regions import function_roots, inner_tensors
from .quantized_types import derived_types, parameter_tensors, stated_types

CALIBRATION_HINT = (
    "give calibration data (--calibration data.npz), or quantize this tensor in the model as its neighbours are"
)

STORAGE = {True: (np.int8, np.int16, np.int32), False: (np.uint8, np.uint16, np.uint32)}


def storage_dtype(element: Affine) -> type[np.generic]:
    """The narrowest numpy type that holds raw values of `element`."""
    index = 0 if element.width <= 8 else 1 if element.width <= 16 else 2
    return STORAGE[element.signed][index]


class Lowering:
    """Builds the integer graph next to the quantized one.

    Attributes:
        graph: what is lowered; its float tensors are names only.
        types: affine type of each float tensor.
        roots: the tensor each one is an element-wise function of (see `elementwise_regions`).
        values: tensor of `graph` -> integer tensor of the new graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.parameters = parameter_tensors(graph)
        stated = stated_types(graph)
        roots = function_roots(graph, self.parameters, stated)
        self.types = derived_types(graph, stated, inner_tensors(graph, stated, roots))
        self.roots = function_roots(graph, self.parameters, self.types)
        self.producers = graph.producers()
        self.values: dict[str, str] = {}
        self.editor = GraphEditor.empty(graph.name)
        self.editor.labels.update(graph.labels)
        self._constants: dict[str, str] = {}
        self._reserved = {*graph.types, *(node.name for node in graph.nodes)} - set(graph.constants)
        self._added: set[str] = set()

    # -- errors -----------------------------------------------------------------------------------------------

    def error(self, node: Node, problem: str, hint: str | None = None) -> ModelError:
        """An error about a node, to be raised by the caller."""
        source = node.source
        return ModelError(
            problem, file=source.model or None, node=source.node or node.name, op_type=source.op_type, hint=hint
        )

    def missing(self, tensor: str, reader: Node | None) -> ModelError:
        """The error about a tensor without quantization."""
        node = self.producers.get(tensor, reader)
        if node is None:
            return ModelError(f"tensor '{tensor}' has no quantization", hint=CALIBRATION_HINT)
        what = f"its result '{tensor}'" if tensor in node.outputs else f"its input '{tensor}'"
        return self.error(node, f"{what} has no quantization", CALIBRATION_HINT)

    # -- reading ----------------------------------------------------------------------------------------------

    def element(self, tensor: str) -> Affine:
        """Affine type of an integer tensor of the new graph."""
        element = self.editor.types[tensor].element
        if not isinstance(element, Affine):
            raise InternalError(f"'{tensor}' is {element} in a lowered graph")
        return element

    def operand(self, node: Node, index: int) -> str:
        """Integer tensor of a required input, activation or per-tensor quantized constant.

        Raises:
            ModelError: it has no quantization, or one per channel.
        """
        name = node.inputs[index]
        if name not in self.parameters:
            if name not in self.values:
                raise self.missing(name, node)
            return self.values[name]
        if name not in self._constants:
            raw, element = self.parameter(node, index)
            if element.axis is not None:
                raise self.error(node, f"constant input '{name}' has one scale per channel; one per tensor is needed")
            self._constants[name] = self.constant(self.parameter_name(name), raw, element)
        return self._constants[name]

    def parameter_name(self, name: str) -> str:
        """Name of the constant behind a parameter."""
        producer = self.producers.get(name)
        return producer.inputs[0] if producer is not None and name in self.parameters else name

    def parameter(self, node: Node, index: int) -> tuple[np.ndarray, Affine]:
        """Raw values (int64) and type of a constant input that arrives through a Dequantize.

        Raises:
            ModelError: it is not constant, or not quantized.
        """
        name = node.inputs[index]
        source = self.parameter_name(name)
        if source not in self.graph.constants:
            raise self.error(node, f"input '{name}' is not a constant")
        element = self.graph.types[source].element
        if not isinstance(element, Affine):
            raise self.error(node, f"constant input '{name}' has no quantization", CALIBRATION_HINT)
        return self.graph.constants[source].values.astype(np.int64), element

    def real_parameter(self, node: Node, index: int) -> tuple[np.ndarray, Affine | None] | None:
        """Values of an optional constant input: raw with their type, or real (float64) with None.

        Raises:
            ModelError: it is computed from the network's inputs.
        """
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        if name in self.graph.constants:
            values, element = self.graph.constants[name].values, self.graph.types[name].element
            return (values.astype(np.int64), element) if isinstance(element, Affine) else (values, None)
        return self.parameter(node, index)

    # -- writing ----------------------------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        """A tensor or node name that neither graph uses for anything but a constant of that name."""
        name, count = stem, 0
        while name in self._reserved or name in self._added:
            count += 1
            name = f"{stem}_{count}"
        self._added.add(name)
        return name

    def constant(self, stem: str, raw: np.ndarray, element: Affine, encoding: Encoding = DENSE) -> str:
        """A constant tensor of the new graph."""
        return self.editor.add_constant(self.fresh(stem), raw.astype(storage_dtype(element)), element, encoding)

    def emit(
        self, node: Node, inputs: Sequence[str], element: Affine, *, op: str | None = None, attrs: Attrs | None = None
    ) -> str:
        """Add the integer form of `node`, with its name and its first output's name, and return that output."""
        output = node.outputs[0]
        made = self.editor.add_node(
            op or node.op,
            inputs,
            node.attrs if attrs is None else attrs,
            node.source,
            name=node.name,
            outputs=[output],
            types=[TensorType(self.graph.types[output].shape, element)],
        )
        return made.outputs[0]

    def converted(self, tensor: str, element: Affine, node: Node) -> str:
        """The tensor in another affine type: itself, a Requantize, or where ties are frequent a table."""
        source = self.element(tensor)
        if source == element:
            return tensor
        shape = self.editor.types[tensor].shape
        if source.width <= 8 and _every_other_is_a_tie(source, element):
            return self._converted_by_table(tensor, element, node)
        made = self.editor.add_node(
            "Requantize",
            [tensor],
            RequantizeAttrs(element),
            node.source,
            name=self.fresh(f"{node.name}_requantize"),
            outputs=[self.fresh(f"{tensor}_requantized")],
            types=[TensorType(shape, element)],
        )
        return made.outputs[0]

    def _converted_by_table(self, tensor: str, element: Affine, node: Node) -> str:
        source = self.element(tensor)
        raw = np.arange(source.minimum, source.maximum + 1)
        table = self.constant(f"{tensor}_table", quantize_affine(dequantize_affine(raw, source), element), element)
        made = self.editor.add_node(
            "Lookup",
            [tensor, table],
            LookupAttrs("Requantize"),
            node.source,
            name=self.fresh(f"{node.name}_requantize"),
            outputs=[self.fresh(f"{tensor}_requantized")],
            types=[TensorType(self.editor.types[tensor].shape, element)],
        )
        return made.outputs[0]


def _every_other_is_a_tie(source: Affine, target: Affine) -> bool:
    """Whether steps grow by a power of two: then ties are frequent, and QuantizeLinear sends them to even."""
    mantissa, _ = math.frexp(source.scale[0] / target.scale[0])
    return mantissa == 0.5 and source.scale[0] < target.scale[0]


def real_values(found: tuple[np.ndarray, Affine | None]) -> np.ndarray:
    """float64 values of what `Lowering.real_parameter` gave."""
    values, element = found
    if element is None:
        return values.astype(np.float64)
    return (values - element.zero_for(values.ndim)) * element.scale_for(values.ndim)
