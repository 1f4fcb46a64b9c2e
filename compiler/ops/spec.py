"""What an op is: shape inference, float meaning, integer meaning, cost and import, declared once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import InternalError
from ..ir.graph import Attrs, Graph, Node
from ..ir.types import Affine, ElementType, FixedPoint, Float32, TensorType

if TYPE_CHECKING:
    from ..frontend.context import ImportContext, OnnxNode

Types = Sequence["TensorType | None"]
A = TypeVar("A", bound=Attrs)


def attrs_as(attrs: Attrs, kind: type[A]) -> A:
    """`attrs`, which must be of class `kind`."""
    if not isinstance(attrs, kind):
        raise InternalError(f"expected {kind.__name__}, not {type(attrs).__name__}")
    return attrs


def required(inputs: Types, index: int) -> TensorType:
    """Type of a required input.

    Raises:
        ValueError: the input is absent.
    """
    found = inputs[index] if index < len(inputs) else None
    if found is None:
        raise ValueError(f"input {index} is missing")
    return found


@dataclass(frozen=True, slots=True)
class Invocation:
    """One execution of a node: what an op's `run` function gets.

    `arrays` have a leading sample axis (constants: length 1); an absent optional input is None.
    Float tensors hold float32, integer tensors hold int64 raw values.
    """

    node: Node
    arrays: tuple[np.ndarray | None, ...]
    input_types: tuple[TensorType | None, ...]
    output_types: tuple[TensorType, ...]

    def attrs(self, kind: type[A]) -> A:
        """The node's attributes, which must be of class `kind`."""
        return attrs_as(self.node.attrs, kind)

    @property
    def samples(self) -> int:
        """Length of the sample axis."""
        return max(a.shape[0] for a in self.arrays if a is not None)

    def array(self, index: int) -> np.ndarray:
        """A required input."""
        found = self.arrays[index] if index < len(self.arrays) else None
        if found is None:
            raise InternalError(f"{self.node.op} '{self.node.name}' misses input {index}")
        return found

    def optional(self, index: int) -> np.ndarray | None:
        """An optional input."""
        return self.arrays[index] if index < len(self.arrays) else None

    def type(self, index: int) -> TensorType:
        """Type of a required input."""
        found = self.input_types[index]
        if found is None:
            raise InternalError(f"{self.node.op} '{self.node.name}' misses input {index}")
        return found

    def affine(self, index: int) -> Affine:
        """Affine element type of an input."""
        return as_affine(self.type(index).element)

    def fixed(self, index: int) -> FixedPoint:
        """FixedPoint element type of an input."""
        return as_fixed(self.type(index).element)

    @property
    def affine_out(self) -> Affine:
        """Affine element type of the first output."""
        return as_affine(self.output_types[0].element)

    @property
    def fixed_out(self) -> FixedPoint:
        """FixedPoint element type of the first output."""
        return as_fixed(self.output_types[0].element)


def as_affine(element: ElementType) -> Affine:
    """`element`, which must be Affine."""
    if not isinstance(element, Affine):
        raise InternalError(f"expected an affine type, not {element}")
    return element


def as_fixed(element: ElementType) -> FixedPoint:
    """`element`, which must be FixedPoint."""
    if not isinstance(element, FixedPoint):
        raise InternalError(f"expected a fixed-point type, not {element}")
    return element


Run = Callable[[Invocation], "list[np.ndarray]"]
Importer = Callable[["ImportContext", "OnnxNode"], None]


def _no_macs(node: Node, graph: Graph) -> int:
    return 0


@dataclass(frozen=True, slots=True)
class OpSpec:
    """An operator of the IR.

    Attributes:
        name: key in `OPS`.
        attrs: attribute dataclass.
        doc: one paragraph with the formula.
        infer: (attrs, input types) -> output types; shapes always, elements as the float op would give
            (a quantized graph overrides elements in its own types).
        run_float, run_affine, run_fixed: the three meanings; None where an op has no such form.
        importers: ONNX operator name -> function that emits IR nodes for it.
        macs: multiply-accumulates of one inference.
        moves_only: values pass unchanged (Reshape, Concat, MaxPool ...): inputs and output share one element type,
            and `run_affine`/`run_fixed` default to `run_float` on raw integers.
        crosses: input and output may be of different families (Quantize, Dequantize, ArgMax).
    """

    name: str
    attrs: type[Attrs]
    doc: str
    infer: Callable[[Attrs, Types], list[TensorType]]
    run_float: Run | None
    run_affine: Run | None = None
    run_fixed: Run | None = None
    importers: Mapping[str, Importer] = field(default_factory=dict)
    macs: Callable[[Node, Graph], int] = _no_macs
    moves_only: bool = False
    crosses: bool = False

    def check(self, node: Node, inputs: Types, outputs: Sequence[TensorType]) -> None:
        """Element types must be ones the op can run.

        Raises:
            InternalError: no `run` for this combination.
        """
        self.runner(node, outputs, inputs)

    def runner(self, node: Node, outputs: Sequence[TensorType], inputs: Types = ()) -> Run:
        """The run function for the element types of a node."""
        elements = [t.element for t in (*[i for i in inputs if i is not None][:1], *outputs[:1])]
        run: Run | None
        families = {type(e) for e in elements}
        if len(families) > 1 and not self.crosses:
            run = None
        elif all(isinstance(e, Float32) for e in elements):
            run = self.run_float
        elif any(isinstance(e, FixedPoint) for e in elements):
            run = self.run_fixed or (self.run_float if self.moves_only else None)
        else:
            run = self.run_affine or (self.run_float if self.moves_only else None)
        if run is None:
            raise InternalError(f"{self.name} '{node.name}' cannot run on {', '.join(map(str, elements))}")
        return run
