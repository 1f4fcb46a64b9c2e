"""Unsigned affine tensors become signed by moving their zero points: exact, and what integer kernels are fastest on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..ir.graph import Constant, Graph, Source
from ..ir.rewrite import GraphEditor
from ..ir.types import Affine, ElementType
from ..ops.requantize import RequantizeAttrs
from ..ops.spec import as_affine
from .base import Preserves
from .lowering import storage_dtype


@dataclass(frozen=True, slots=True)
class SignedIntegers:
    """Turn every unsigned affine tensor of an integer graph into a signed one: raw - 2**(width - 1).

    (raw - zero_point) stays the same number, so that nothing else changes.

    Attributes:
        keep: graph inputs and outputs whose type is part of the model's interface (integers in the model file);
            they are converted behind the input and before the output.
    """

    keep: tuple[str, ...] = ()
    name: ClassVar[str] = "signed-integers"
    preserves: ClassVar[Preserves] = Preserves.LOSSY  # raw outputs move with their zero points, real values do not

    def __call__(self, graph: Graph) -> Graph:
        """The graph without unsigned tensors inside."""
        editor = GraphEditor(graph)
        for name in graph.inputs:
            if name in self.keep and _is_unsigned(graph.types[name].element):
                _convert_behind(editor, name)
        for name in graph.outputs:
            if name in self.keep and name not in graph.inputs and _is_unsigned(graph.types[name].element):
                _convert_before(editor, name)
        for name, tensor_type in list(editor.types.items()):
            if name in self.keep and name in (*editor.inputs, *editor.outputs):
                continue
            if _is_unsigned(tensor_type.element):
                _make_signed(editor, name)
        for node in list(editor.nodes):
            if isinstance(node.attrs, RequantizeAttrs):
                editor.update(node, attrs=RequantizeAttrs(editor.types[node.outputs[0]].element))
        return editor.finish()


def _is_unsigned(element: ElementType) -> bool:
    return isinstance(element, Affine) and not element.signed


def signed(element: Affine) -> Affine:
    """The signed type with the same real values."""
    shift = 1 << (element.width - 1)
    return replace(element, signed=True, zero_point=tuple(zero - shift for zero in element.zero_point))


def _make_signed(editor: GraphEditor, name: str) -> None:
    element = as_affine(editor.types[name].element)
    target = signed(element)
    editor.types[name] = editor.types[name].with_element(target)
    if name in editor.constants:
        constant = editor.constants[name]
        raw = constant.values.astype(np.int64) - (1 << (element.width - 1))
        editor.constants[name] = Constant(raw.astype(storage_dtype(target)), constant.encoding)


def _convert_behind(editor: GraphEditor, name: str) -> None:
    readers = [node for node in editor.nodes if name in node.inputs]
    element = as_affine(editor.types[name].element)
    source = Source("", name, "QuantizeLinear")
    made = editor.add_node("Requantize", [name], RequantizeAttrs(signed(element)), source, name=f"{name}_signed")
    for reader in readers:
        editor.update(reader, inputs=tuple(made.outputs[0] if i == name else i for i in reader.inputs))


def _convert_before(editor: GraphEditor, name: str) -> None:
    """The producer makes a signed tensor of another name, which a Requantize turns into the output."""
    producer = next(node for node in editor.nodes if name in node.outputs)
    inner = editor.fresh(f"{name}_signed")
    editor.types[inner] = editor.types[name]  # made signed with all others
    editor.update(producer, outputs=tuple(inner if o == name else o for o in producer.outputs))
    for node in list(editor.nodes):
        if name in node.inputs:
            editor.update(node, inputs=tuple(inner if i == name else i for i in node.inputs))
    element = editor.types[name].element
    source = Source("", name, "QuantizeLinear")
    attrs = RequantizeAttrs(element)
    types = [editor.types[name]]
    editor.add_node("Requantize", [inner], attrs, source, name=f"{name}_unsigned", outputs=[name], types=types)
