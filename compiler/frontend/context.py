"""What an importer sees of an ONNX node, and how it emits IR nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from ..ir.graph import Attrs, Source
from ..ir.rewrite import GraphEditor
from ..ir.types import FLOAT32, Affine, ElementType, TensorType
from ..numerics import dequantize
from .averages import QuantizedAverage

if TYPE_CHECKING:
    from onnx import NodeProto


@dataclass(frozen=True, slots=True)
class Parameter:
    """A constant: float values, or raw integers with their quantization (a DequantizeLinear of a constant)."""

    values: np.ndarray
    element: ElementType = FLOAT32

    @property
    def real(self) -> np.ndarray:
        """The values the float network computes with."""
        return self.values if self.element == FLOAT32 else dequantize(self.values, self.element)

    def transposed(self, perm: Sequence[int]) -> Parameter:
        """Axes permuted; per-channel parameters follow their axis."""
        values = self.values.transpose(perm)
        if isinstance(self.element, Affine) and self.element.axis is not None:
            return Parameter(values, replace(self.element, axis=list(perm).index(self.element.axis)))
        return Parameter(values, self.element)

    def reshaped(self, shape: Sequence[int]) -> Parameter:
        """Another shape; a per-channel parameter stays quantized only if its axis keeps place and length."""
        values = self.values.reshape(tuple(shape))
        if isinstance(self.element, Affine) and self.element.axis is not None:
            before = int(np.prod(self.values.shape[: self.element.axis], dtype=np.int64))
            length = len(self.element.scale)
            for axis in range(values.ndim):
                ahead = int(np.prod(values.shape[:axis], dtype=np.int64))
                if ahead == before and values.shape[axis] == length:
                    return Parameter(values, replace(self.element, axis=axis))
            return Parameter(self.real.reshape(tuple(shape)))
        return Parameter(values, self.element)


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """An ONNX node with typed attribute access."""

    name: str
    op_type: str
    domain: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    source: Source
    proto: NodeProto

    def has_input(self, index: int) -> bool:
        """Whether an optional input is given."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        return int(self.attributes.get(name, default))

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        return float(self.attributes.get(name, default))

    def integer_list(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """An integer list attribute, or the default."""
        found = self.attributes.get(name, default)
        return None if found is None else [int(i) for i in found]

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        found = self.attributes.get(name, default)
        return found.decode() if isinstance(found, bytes) else str(found)


@dataclass(frozen=True, slots=True)
class Truth:
    """A truth value: a tensor of signs, and whether 1 means true (else -1 does)."""

    sign: str
    positive: bool


class ImportContext:
    """State of one import: the growing graph, the tensors bound so far, the constants known so far.

    Importers are functions (context, node) -> None: they look up inputs, emit IR nodes, bind outputs.
    """

    def __init__(self, file: str, name: str) -> None:
        self.file = file
        self.editor = GraphEditor.empty(name)
        self.tensors: dict[str, str] = {}
        self.parameters: dict[str, Parameter] = {}
        self.truths: dict[str, Truth] = {}
        self.old_batch: int | None = None
        self.averages: Mapping[str, QuantizedAverage] = {}
        self._emitted: dict[str, str] = {}

    # -- errors ---------------------------------------------------------------------------------------------

    def error(self, node: OnnxNode, problem: str, hint: str | None = None) -> ModelError:
        """An error about a node, to be raised by the caller."""
        return ModelError(problem, file=self.file, node=node.name, op_type=node.op_type, hint=hint)

    # -- reading --------------------------------------------------------------------------------------------

    def is_constant(self, name: str) -> bool:
        """Whether an ONNX value is known at compile time."""
        return name in self.parameters

    def tensor(self, node: OnnxNode, index: int) -> str:
        """IR tensor of a required input; constants are materialised on first use.

        Raises:
            ModelError: the input is absent.
        """
        if not node.has_input(index):
            raise self.error(node, f"input {index} is missing")
        if node.inputs[index] in self.truths:
            raise self.error(node, "reads truth values", hint="only Where does, between two constants")
        return self.value(node.inputs[index])

    def value(self, name: str) -> str:
        """IR tensor of an ONNX value."""
        if name in self.tensors:
            return self.tensors[name]
        if name not in self._emitted:
            self._emitted[name] = self.add_parameter(name, self.parameters[name])
        return self._emitted[name]

    def type(self, tensor: str) -> TensorType:
        """Type of an IR tensor."""
        return self.editor.types[tensor]

    def input_type(self, node: OnnxNode, index: int) -> TensorType:
        """Type of an ONNX input."""
        return self.type(self.tensor(node, index))

    def parameter(self, node: OnnxNode, index: int, what: str) -> Parameter:
        """A required input that must be known at compile time.

        Raises:
            ModelError: absent, or computed from the network's inputs.
        """
        if not node.has_input(index):
            raise self.error(node, f"{what} (input {index}) is missing")
        name = node.inputs[index]
        if name not in self.parameters:
            raise self.error(
                node,
                f"{what} '{name}' is computed from the network's inputs",
                hint=f"boardfit needs {what} to be a constant; export the model with constant parameters",
            )
        return self.parameters[name]

    def constant(self, node: OnnxNode, index: int, what: str) -> np.ndarray:
        """Real values of a required constant input."""
        return self.parameter(node, index, what).real

    def axis(self, node: OnnxNode, axis: int, rank: int) -> int:
        """A possibly negative axis counted from 0.

        Raises:
            ModelError: outside the rank.
        """
        return axis_of(self, node, axis, rank)

    def integers(self, node: OnnxNode, index: int, attribute: str, what: str) -> list[int] | None:
        """Integers given as an input (newer opsets) or as an attribute (older ones), or None if neither."""
        if node.has_input(index):
            return [int(i) for i in self.constant(node, index, what).reshape(-1)]
        return node.integer_list(attribute)

    # -- writing --------------------------------------------------------------------------------------------

    def add_parameter(self, stem: str, parameter: Parameter) -> str:
        """Emit a constant (and its Dequantize if it is quantized); returns a float tensor.

        Raises:
            ModelError: its values are not finite.
        """
        from ..ops.quantize import DequantizeAttrs

        if parameter.element == FLOAT32:
            with np.errstate(over="ignore"):
                values = np.asarray(parameter.values).astype(np.float32)
            if not np.isfinite(values).all():
                raise ModelError(
                    f"constant '{stem}' contains NaN or infinite values (in binary32)",
                    file=self.file,
                    hint="the training diverged or the export is broken; boardfit needs finite constants",
                )
            return self.editor.add_constant(stem, values)
        raw = self.editor.add_constant(f"{stem}_quantized", parameter.values, parameter.element)
        source = Source(self.file, stem, "DequantizeLinear")
        return self.editor.add_node("Dequantize", [raw], DequantizeAttrs(), source, name=stem).outputs[0]

    def emit(self, node: OnnxNode, op: str, inputs: Sequence[str], attrs: Attrs, *, suffix: str = "") -> str:
        """Emit a one-output IR node and return its tensor.

        Raises:
            ModelError: the shapes do not fit the op, or it would compute on raw integers.
        """
        self._check_elements(node, op, inputs)
        stem = node.name + (f"/{suffix}" if suffix else "")
        try:
            made = self.editor.add_node(op, inputs, attrs, node.source, name=stem)
        except ValueError as problem:
            raise self.error(node, str(problem)) from problem
        return made.outputs[0]

    def _check_elements(self, node: OnnxNode, op: str, inputs: Sequence[str]) -> None:
        """ONNX computes on the integers themselves, the IR on the values they stand for: only moves agree."""
        from ..ops import OPS

        elements = {self.type(name).element for name in inputs if name}
        if elements <= {FLOAT32} or OPS[op].crosses or op == "Clamp":
            return
        if not OPS[op].moves_only:
            raise self.error(
                node,
                "computes on the integers of a quantized tensor",
                hint="put a DequantizeLinear (or a Cast to float) before it",
            )
        if len(elements) > 1:
            raise self.error(node, f"joins tensors of different types: {', '.join(sorted(map(str, elements)))}")

    def bind(self, onnx_name: str, tensor: str) -> None:
        """Say which IR tensor an ONNX value is."""
        self.tensors[onnx_name] = tensor

    def result(self, node: OnnxNode, op: str, inputs: Sequence[str], attrs: Attrs) -> str:
        """Emit a node for the first ONNX output and bind it."""
        tensor = self.emit(node, op, inputs, attrs)
        self.bind(node.outputs[0], tensor)
        return tensor

    def reshape(self, node: OnnxNode, tensor: str, shape: Sequence[int], suffix: str = "reshape") -> str:
        """`tensor` in another shape; no node if it already has it."""
        from ..ops.reshape import ReshapeAttrs

        if self.type(tensor).shape == tuple(shape):
            return tensor
        return self.emit(node, "Reshape", [tensor], ReshapeAttrs(tuple(shape)), suffix=suffix)

    def transpose(self, node: OnnxNode, tensor: str, perm: Sequence[int], suffix: str = "transpose") -> str:
        """`tensor` with permuted axes; no node for the identity."""
        from ..ops.transpose import TransposeAttrs

        if list(perm) == list(range(len(perm))):
            return tensor
        return self.emit(node, "Transpose", [tensor], TransposeAttrs(tuple(perm)), suffix=suffix)

    def channels_last(self, node: OnnxNode, tensor: str) -> str:
        """(N, C, W) or (N, C, H, W) to (N, H, W, C).

        Raises:
            ModelError: other ranks.
        """
        shape = self.type(tensor).shape
        if len(shape) == 3:
            tensor = self.reshape(node, tensor, (shape[0], shape[1], 1, shape[2]), "to_2d")
        elif len(shape) != 4:
            dimensions = len(shape) - 2
            raise self.error(
                node,
                f"{dimensions}-dimensional {node.op_type} is not supported (input shape {shape})",
                hint="1-D and 2-D networks can be compiled",
            )
        return self.transpose(node, tensor, (0, 2, 3, 1), "channels_last")

    def channels_first(self, node: OnnxNode, tensor: str, rank: int) -> str:
        """(N, H, W, C) back to (N, C, H, W), or (N, C, W) if `rank` is 3."""
        tensor = self.transpose(node, tensor, (0, 3, 1, 2), "channels_first")
        if rank == 3:
            n, c, _, w = self.type(tensor).shape
            tensor = self.reshape(node, tensor, (n, c, w), "to_1d")
        return tensor


def axis_of(context: ImportContext, node: OnnxNode, axis: int, rank: int) -> int:
    """A possibly negative axis counted from 0.

    Raises:
        ModelError: outside the rank.
    """
    if not -rank <= axis < rank:
        raise context.error(node, f"axis {axis} is outside a tensor of rank {rank}")
    return axis % rank
