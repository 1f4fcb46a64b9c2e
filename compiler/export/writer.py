"""The state of one export: ONNX nodes and initialisers, and which layouts of every tensor exist already.

Images are channels-last in the IR and channels-first in ONNX's convolutions and pools. A tensor is transposed only
where an operator needs the other layout, so a chain of convolutions is exported without a transposition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InternalError, ModelError
from ..ir.graph import Graph, Node
from ..ir.types import Affine, TensorType

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

TO_FIRST = (0, 3, 1, 2)
TO_LAST = (0, 2, 3, 1)
FULL_WIDTHS = (8, 16, 32)

OPSET = 17
OPSET_DILATED_AVERAGE = 19
OPSET_16_BITS = 21
"""The first opset whose QuantizeLinear and DequantizeLinear take 16-bit integers."""


class Writer:
    """ONNX nodes and initialisers under construction.

    Attributes:
        graph: what is exported.
        nodes, initializers: of the ONNX graph, in order.
        opset: the version of the operator set that what was added needs.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._last: dict[str, str] = {}
        self._first: dict[str, str] = {}
        self._taken = {graph.labels.get(name, name) for name in (*graph.inputs, *graph.outputs)}
        self._node: Node | None = None
        self._node_names: set[str] = set()
        self._producers = graph.producers()
        self._made: dict[tuple[str, tuple[int, ...], int], str] = {}
        self.opset = OPSET

    def begin(self, node: Node) -> None:
        """ONNX nodes added from now on come from this node."""
        self._node = node

    def fresh(self, stem: str) -> str:
        """An unused tensor name."""
        name, count = stem, 0
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        return name

    def type(self, tensor: str) -> TensorType:
        """Type of an IR tensor."""
        return self.graph.types[tensor]

    def error(self, node: Node, problem: str) -> ModelError:
        """An error about a node."""
        source = node.source
        return ModelError(problem, file=source.model, node=source.node or node.name, op_type=source.op_type or node.op)

    def add(self, op: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Add an ONNX node with one output and return the output's name."""
        from onnx import helper

        stem = self._node.name if self._node is not None else op.lower()
        name, count = stem, 0
        while name in self._node_names:
            count += 1
            name = f"{stem}/{op.lower()}{count if count > 1 else ''}"
        self._node_names.add(name)
        made = output or self.fresh(f"{name}_out")
        self.nodes.append(helper.make_node(op, list(inputs), [made], name=name, **attributes))
        return made

    def note(self, key: str, value: str) -> None:
        """Metadata of the node added last."""
        entry = self.nodes[-1].metadata_props.add()
        entry.key, entry.value = key, value

    def constant(self, values: np.ndarray, stem: str) -> str:
        """Add an initialiser and return its name."""
        from onnx import numpy_helper

        name = self.fresh(stem)
        self.initializers.append(numpy_helper.from_array(np.array(values, order="C"), name))
        return name

    # -- tensors ----------------------------------------------------------------------------------------------

    def bind(self, tensor: str, name: str) -> None:
        """`name` holds an IR tensor as it is."""
        self._last[tensor] = name

    def bind_first(self, tensor: str, name: str) -> None:
        """`name` holds an IR image channels-first."""
        self._first[tensor] = name

    def only_first(self, tensor: str) -> bool:
        """Whether an image exists channels-first only."""
        return tensor in self._first and tensor not in self._last

    def value(self, tensor: str) -> str:
        """ONNX name of an IR tensor as it is."""
        if tensor not in self._last:
            if tensor in self._first:
                self._last[tensor] = self.add("Transpose", [self._first[tensor]], perm=list(TO_LAST))
            else:
                return self.permuted(tensor, tuple(range(self.type(tensor).rank)))
        return self._last[tensor]

    def first(self, tensor: str) -> str:
        """ONNX name of an IR image channels-first."""
        if tensor not in self._first:
            self._first[tensor] = self.add("Transpose", [self.value(tensor)], perm=list(TO_FIRST))
        return self._first[tensor]

    def is_parameter(self, tensor: str) -> bool:
        """Whether a tensor is a constant, or a constant behind a Dequantize."""
        producer = self._producers.get(tensor)
        behind = producer is not None and producer.op == "Dequantize" and producer.inputs[0] in self.graph.constants
        return tensor in self.graph.constants or behind

    def permuted(self, tensor: str, axes: tuple[int, ...], groups: int = 1) -> str:
        """A parameter with its axes in another order: an initialiser, or one behind a DequantizeLinear.

        Args:
            groups: the output channels (axis 0) are taken apart into so many groups, whose inputs then follow each
                other, as in a transposed convolution: (g * out, ..., in) becomes (g * in, out, ...).
        """
        key = (tensor, axes, groups)
        if key not in self._made:
            producer = self._producers.get(tensor)
            raw = producer.inputs[0] if producer is not None and producer.op == "Dequantize" else tensor
            element = self.type(raw).element
            axis = None
            if isinstance(element, Affine) and element.axis is not None:
                axis = axes.index(element.axis)
                if groups != 1:
                    raise self.error(self._current, "scales of every channel in a grouped transposed convolution")
            values = self.graph.constants[raw].values
            if groups == 1:
                values = values.transpose(axes)
            else:
                values = np.concatenate([part.transpose(axes) for part in np.split(values, groups)])
            values = values.astype(storage(element) if isinstance(element, Affine) else np.float32)
            made = self.constant(values, raw)
            if raw != tensor:
                if not isinstance(element, Affine):
                    raise self.error(self._current, f"a constant of type {element} has no ONNX form")
                along: dict[str, Any] = {} if axis is None else {"axis": axis}
                made = self.add("DequantizeLinear", [made, *self.scale_and_zero(element, raw)], **along)
            self._made[key] = made
        return self._made[key]

    @property
    def _current(self) -> Node:
        if self._node is None:
            raise InternalError("no node is being exported")
        return self._node

    def scale_and_zero(self, element: Affine, stem: str) -> tuple[str, str]:
        """Initialisers of a type's scale and zero point."""
        if 8 < element.width <= 16:
            self.opset = max(self.opset, OPSET_16_BITS)
        scale, zero = np.asarray(element.scale, np.float32), np.asarray(element.zero_point, storage(element))
        if element.axis is None:
            scale, zero = scale.reshape(()), zero.reshape(())
        return self.constant(scale, f"{stem}_scale"), self.constant(zero, f"{stem}_zero_point")


def storage(element: Affine) -> type[np.generic]:
    """The ONNX integer type that holds an affine type."""
    signed: dict[int, type[np.generic]] = {8: np.int8, 16: np.int16, 32: np.int32}
    unsigned: dict[int, type[np.generic]] = {8: np.uint8, 16: np.uint16, 32: np.uint32}
    width = next(width for width in FULL_WIDTHS if element.width <= width)
    return (signed if element.signed else unsigned)[width]
