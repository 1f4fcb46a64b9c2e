"""What a kernel variant is: a way to compute one node in C, with its data layout and its predicted cost.

A variant is one file in `kernels/`: it says which op it computes, what it needs of the instruction set, whether it
can do a given node, and how the node becomes calls of C functions on tables laid out at compile time. The functions
are templates in `templates/mcu/kernels/`, emitted once however many layers call them; `plan.py` picks the variant of
every layer by predicted cost.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from boardfit.errors import InternalError, ModelError
from boardfit.ir import Affine, Attrs, Graph, Node, TensorType
from boardfit.ops.spec import as_affine, attrs_as

from .storage import Storage, dtype_storage, storage_of

A = TypeVar("A", bound=Attrs)
T = TypeVar("T")
Value = str | int | bool | tuple[int, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """A node for which a kernel is wanted, and the instruction set it will run on."""

    node: Node
    graph: Graph
    features: frozenset[str]
    _known: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, computed once for this site: dozens of variants ask for the same of its weights."""
        if key not in self._known:
            self._known[key] = make()
        found: T = self._known[key]
        return found

    def attrs(self, kind: type[A]) -> A:
        """The node's attributes, which must be of class `kind`."""
        return attrs_as(self.node.attrs, kind)

    def has(self, index: int) -> bool:
        """Whether an optional input is present."""
        return index < len(self.node.inputs) and self.node.inputs[index] != ""

    def x(self, index: int = 0) -> TensorType:
        """Type of an input."""
        return self.graph.types[self.node.inputs[index]]

    @property
    def y(self) -> TensorType:
        """Type of the first output."""
        return self.graph.types[self.node.outputs[0]]

    def x_affine(self, index: int = 0) -> Affine:
        """Affine element type of an input."""
        return as_affine(self.x(index).element)

    @property
    def y_affine(self) -> Affine:
        """Affine element type of the first output."""
        return as_affine(self.y.element)

    def x_storage(self, index: int = 0) -> Storage:
        """C type of an input."""
        return storage_of(self.x(index).element)

    @property
    def y_storage(self) -> Storage:
        """C type of the first output."""
        return storage_of(self.y.element)

    def constant(self, index: int) -> np.ndarray | None:
        """Values of a constant input; None if it is absent or computed."""
        return self.graph.constant(self.node.inputs[index]) if self.has(index) else None

    def required_constant(self, index: int) -> np.ndarray:
        """Values of an input that must be constant (`refuse` has checked it)."""
        found = self.constant(index)
        if found is None:
            raise InternalError(f"'{self.node.name}': input {index} is not constant")
        return found

    def error(self, problem: str, hint: str | None = None) -> ModelError:
        """An error about this node, in the words of the ONNX file."""
        source = self.node.source
        return ModelError(problem, file=source.model, node=source.node, op_type=source.op_type, hint=hint)


@dataclass(frozen=True, slots=True)
class Function:
    """A C function (with the types it needs) made from a template.

    Attributes:
        name: what the function is called in C; equal names must mean equal text.
        template: path below `templates/mcu/kernels/`; '' for a function of the C library.
        context: further template variables; numbers are formatted here, not in the template. `name` is given too.
        requires: functions or types that must be emitted before it.
        code_bytes: predicted machine code; None looks `size_key` up in the measured table.
        size_key: name in the measured table; '' is `name`.
        stack_bytes: predicted own stack frame; None looks it up too.
        headers: system headers it needs, such as 'arm_acle.h'.
    """

    name: str
    template: str
    context: Mapping[str, Value] = field(default_factory=dict)
    requires: tuple[Function, ...] = ()
    code_bytes: int | None = None
    size_key: str = ""
    stack_bytes: int | None = None
    headers: tuple[str, ...] = ()

    def closure(self) -> tuple[Function, ...]:
        """This function and all it requires, in the order of emission."""
        found: dict[str, Function] = {}
        for needed in self.requires:
            found.update((function.name, function) for function in needed.closure())
        found[self.name] = self
        return tuple(found.values())


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A constant array in flash that belongs to one layer; its C type is the array's dtype.

    `parameter` tells weights and biases (the model's own numbers) from what a kernel adds (index tables).
    """

    stem: str
    values: np.ndarray
    comment: str = ""
    parameter: bool = True

    @property
    def storage(self) -> Storage:
        """C type of the entries."""
        return dtype_storage(self.values.dtype)

    @property
    def bytes(self) -> int:
        """Size in flash."""
        return int(self.values.nbytes)


@dataclass(frozen=True, slots=True)
class Record:
    """A constant struct in flash: geometry and requantization of one layer.

    `fields` are (member, C initialiser) in the order of the struct's declaration; `bytes` is the struct's size.
    """

    stem: str
    c_type: str
    fields: tuple[tuple[str, str], ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Input:
    """Argument: pointer to the node's input of that index (`offset` elements further)."""

    index: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Output:
    """Argument: pointer to the node's output (`offset` elements further)."""

    index: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Scratch:
    """Argument: pointer into the layer's scratch memory."""

    c_type: str = "void"
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Const:
    """Argument: a table (pointer to its first entry, `offset` entries further) or a record (its address)."""

    stem: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Literal:
    """Argument: C text."""

    text: str


@dataclass(frozen=True, slots=True)
class FunctionPointer:
    """Argument: a C function that the called one calls in turn, so that one driver serves several inner loops."""

    function: Function


Argument = Input | Output | Scratch | Const | Literal | FunctionPointer


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a C function in the run function."""

    function: Function
    arguments: tuple[Argument, ...]


MemoryFacts = tuple[int, tuple[tuple[int, int], ...], int | None, int, tuple[int, ...]]
"""Of a lowered node: scratch bytes, overlaps, alias, its offset, places of assembled inputs."""


@dataclass(frozen=True, slots=True)
class Lowered:
    """A node in C.

    Attributes:
        calls: in order; none for a node that is only another view of its input.
        tables, records: constants in flash, named by their stems.
        scratch_bytes: memory that only this layer needs while it runs.
        scratch_alignment: of the scratch memory.
        in_place: indices of inputs the first output may overwrite: every element is read before or when the
            element at the same address is written. The planner uses it only for an input that is not read later.
        overlap: input index -> bytes by which the first output must start below that input so that nothing is
            overwritten before it is read (`boardfit.plan.overlap`); used for an input that is not read later.
        alias: index of the input whose memory holds the output (a reshape, a slice of rows), or None.
        alias_offset: bytes from that input's start to the output's.
        assembled: the inputs are made at their places inside the output's memory: input index -> byte offset.
        instructions: predicted instructions of one execution on the portable or tuned core.
        note: a few words for the comment in the generated code, such as the tile.
    """

    calls: tuple[Call, ...]
    tables: tuple[Table, ...] = ()
    records: tuple[Record, ...] = ()
    scratch_bytes: int = 0
    scratch_alignment: int = 4
    in_place: tuple[int, ...] = ()
    overlap: Mapping[int, int] = field(default_factory=dict)
    alias: int | None = None
    alias_offset: int = 0
    assembled: tuple[int, ...] = ()
    instructions: int = 0
    note: str = ""

    @property
    def memory(self) -> MemoryFacts:
        """All that the least bytes of an arena depend on."""
        return self.scratch_bytes, tuple(self.overlap.items()), self.alias, self.alias_offset, self.assembled

    @property
    def functions(self) -> tuple[Function, ...]:
        """All functions needed, each once, in the order of emission."""
        found: dict[str, Function] = {}
        for call in self.calls:
            passed = [a.function for a in call.arguments if isinstance(a, FunctionPointer)]
            for needed in (*passed, call.function):
                found.update((function.name, function) for function in needed.closure())
        return tuple(found.values())

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights, biases and multipliers."""
        return sum(table.bytes for table in self.tables if table.parameter)

    @property
    def constant_bytes(self) -> int:
        """Bytes of all tables and records."""
        return sum(table.bytes for table in self.tables) + sum(record.bytes for record in self.records)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a variant costs at least: known at once, where laying out its tables takes long.

    Attributes:
        instructions: of one execution.
        constant_bytes: of all tables and records.
        scratch_bytes: memory that only this layer needs.
    """

    instructions: int
    constant_bytes: int
    scratch_bytes: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """A variant.

    Attributes:
        name: of the variant, such as 'conv2d/patch'; shown in reports and comments.
        op: op it computes.
        needs: instruction-set features without which it cannot run (`boardfit.target.FEATURES`).
        format: how it stores weights, a name of `weight_formats.FORMATS`.
        bound: what it costs at least, for variants that take long to lay out: they are laid out only where they may
            be chosen.
        refuse: why it cannot do a node, as a fragment, or None if it can.
        lower: the node in C; called only where `refuse` gave None.
    """

    name: str
    op: str
    refuse: Callable[[Site], str | None]
    lower: Callable[[Site], Lowered]
    needs: frozenset[str] = frozenset()
    format: str = "int8"
    bound: Callable[[Site], Bound] | None = None

    def reason_against(self, site: Site) -> str | None:
        """Why this variant is out for a site, or None."""
        missing = sorted(self.needs - site.features)
        if missing:
            return f"the core has no {', '.join(missing)}"
        return self.refuse(site)


def always(site: Site) -> str | None:
    """`refuse` of a kernel that can do every node of its op."""
    return None
