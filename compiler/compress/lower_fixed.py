"""Lowering to fixed point: a float graph in fixed-point form becomes a graph of raw integers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ModelError
from ..ir.encoding import Compressed, Encoding
from ..ir.graph import Constant, Graph, Node
from ..ir.rewrite import GraphEditor
from ..ir.types import FixedPoint, TensorType
from ..numerics import dequantize
from ..ops import OPS
from ..ops.lookup import LookupAttrs
from ..ops.requantize import RequantizeAttrs
from ..ops.spec import as_fixed
from .fixed import FixedTypes, is_function, sample_function
from .fixed_form import without_activation
from .fixed_types import constant_raw

LARGE = 2.0**64
"""Stands for infinity at the poles of a function; beyond every type, so the table saturates."""


def _fixed_constant(constant: Constant, element: FixedPoint) -> Constant:
    """A constant as raw integers; the plan has chosen its bits, everything else it promises is kept."""
    raw = constant_raw(constant.values, element)
    promise = constant.encoding
    if isinstance(promise, Compressed) and promise.tie is not None and element.signed:
        raw = np.maximum(raw, 1 - (1 << (element.width - 1)))  # a saturated value and its negation stay each other's
    return Constant(raw, _wide_enough(promise, element))


@dataclass(frozen=True, slots=True)
class LowerFixed:
    """The pass: gives every tensor its type, quantizes constants, makes tables, puts casts where types meet.

    Inputs and outputs of the result are fixed-point tensors of the same names.
    """

    types: FixedTypes

    def __call__(self, graph: Graph) -> Graph:
        """Lower `graph`, which must be the graph the types were chosen for.

        Raises:
            ModelError: an op has no fixed-point meaning.
        """
        editor = GraphEditor(graph)
        for name, element in self.types.tensors.items():
            editor.types[name] = editor.types[name].with_element(element)
            if name in editor.constants:
                editor.constants[name] = _fixed_constant(editor.constants[name], element)
        for node in graph.nodes:
            if node.op in ("Quantize", "Dequantize"):
                _lower_quantizer(editor, node)
                continue
            current = self._cast_input(editor, next(n for n in editor.nodes if n.name == node.name))
            if is_function(current):
                self._make_table(editor, current)
            else:
                _check(current)
                _drop_relu(editor, current)
        return editor.finish()

    def _cast_input(self, editor: GraphEditor, node: Node) -> Node:
        """Put a cast in front of a node whose input must have a type of its own."""
        wanted = self.types.addresses.get(node.name)
        if wanted is None or editor.types[node.inputs[0]].element == wanted:
            return node
        cast = editor.add_node(
            "Requantize",
            [node.inputs[0]],
            RequantizeAttrs(wanted),
            node.source,
            name=node.name + "_cast",
            before=node,
        )
        return editor.update(node, inputs=(cast.outputs[0], *node.inputs[1:]))

    def _make_table(self, editor: GraphEditor, node: Node) -> None:
        address = self.types.addresses[node.name]
        output = node.outputs[0]
        wanted = self.types.tensors[output]
        raw = np.arange(address.minimum, address.maximum + 1)
        values = sample_function(node, dequantize(raw, address))
        values = np.nan_to_num(values, posinf=LARGE, neginf=-LARGE)
        table = editor.add_constant(node.name + "_table", constant_raw(values, wanted), wanted)
        editor.types[output] = TensorType(editor.types[output].shape, wanted)
        editor.update(node, op="Lookup", inputs=(node.inputs[0], table), attrs=LookupAttrs(node.op))


def _wide_enough(encoding: Encoding, element: FixedPoint) -> Encoding:
    """What is promised of the weights; their width is that of the fixed-point type."""
    if isinstance(encoding, Compressed):
        return replace(encoding, width=max(encoding.width, element.width))
    return encoding


def _lower_quantizer(editor: GraphEditor, node: Node) -> None:
    """A quantizer becomes a cast, or nothing where its input has its type already; a dequantizer nothing."""
    node = next(n for n in editor.nodes if n.name == node.name)
    source, output = node.inputs[0], node.outputs[0]
    wanted = as_fixed(editor.types[output].element)
    if node.op == "Quantize" and editor.types[source].element != wanted:
        editor.update(node, op="Requantize", attrs=RequantizeAttrs(wanted))
        return
    editor.remove_node(node)
    editor.replace_uses(output, source)


def _check(node: Node) -> None:
    spec = OPS[node.op]
    if spec.run_fixed is None and not spec.moves_only:
        raise ModelError(
            f"{node.op} has no fixed-point form",
            node=node.source.node,
            op_type=node.source.op_type,
            hint="choose a microcontroller board, or take this node out of the model",
        )


def _drop_relu(editor: GraphEditor, node: Node) -> None:
    """A fused ReLU is now the saturation of the unsigned result type."""
    attrs = without_activation(node.attrs)
    if attrs != node.attrs:
        editor.update(node, attrs=attrs)
