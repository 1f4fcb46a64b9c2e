"""Fixed-point form: the float graph rewritten with ops that have an exact fixed-point meaning.

* A fused clamp other than ReLU becomes a Clamp node of its own; ReLU stays fused, because an unsigned
  saturating result type does it for free.
* LeakyRelu becomes PRelu with a constant slope; a spatial ReduceMean becomes AveragePool2D.
* Averages mean the exact sum, whatever arithmetic the file states.
* Quantizers of the model stay where they are; each must have a fixed-point type (a power-of-two scale, no zero point).

The rewrite keeps the float meaning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import ModelError
from ..ir.graph import Attrs, Graph, Node
from ..ir.rewrite import GraphEditor
from ..ir.types import Affine, FixedPoint
from ..ops.activation import NONE, RELU, Activation
from ..ops.average_pool2d import AveragePool2DAttrs, MeanArithmetic
from ..ops.clamp import ClampAttrs
from ..ops.conv2d import Conv2DAttrs
from ..ops.conv_transpose2d import ConvTranspose2DAttrs
from ..ops.dense import DenseAttrs
from ..ops.elementwise import ElementwiseAttrs
from ..ops.leaky_relu import LeakyReluAttrs
from ..ops.prelu import PReluAttrs
from ..ops.reduce_mean import ReduceMeanAttrs
from ..ops.scale_bias import ScaleBiasAttrs
from .fixed_types import fixed_of_affine

FusedAttrs = Conv2DAttrs | ConvTranspose2DAttrs | DenseAttrs | ElementwiseAttrs | ScaleBiasAttrs


@dataclass(frozen=True, slots=True)
class FixedForm:
    """The pass; see the module's docstring."""

    def __call__(self, graph: Graph) -> Graph:
        """Rewrite `graph`; tensors that remain keep their names.

        Raises:
            ModelError: a quantizer or an input of the model has no fixed-point type.
        """
        _check_quantizers(graph)
        signed = tensors_kept_signed(graph)
        editor = GraphEditor(graph)
        for node in graph.nodes:
            _split_activation(editor, node, signed)
            _leaky_relu(editor, node)
            _spatial_mean(editor, node)
            _exact_mean(editor, node)
        return editor.finish()


def tensors_kept_signed(graph: Graph) -> frozenset[str]:
    """Tensors that may not be unsigned.

    hls4ml pads a max pooling with the bit pattern 100...0, and a signed quantizer of the model keeps its type.
    """
    kept: set[str] = set()
    for node in reversed(graph.nodes):
        attrs = node.attrs
        needs_sign = node.op == "MaxPool2D" and any(getattr(attrs, "all_pads", ()))
        needs_sign = needs_sign or (node.op == "Quantize" and quantizer_type(graph, node).signed)
        passes_on = node.op in TRANSPARENT and any(name in kept for name in node.outputs)
        if needs_sign or passes_on:
            kept.update(name for name in node.inputs if name)
    return frozenset(kept)


TRANSPARENT = frozenset({"Reshape", "Transpose", "Resize", "Pad", "Slice", "Gather", "MaxPool2D"})
"""Ops whose output has the element type of their input."""


def fused_activation(node: Node) -> Activation:
    """The activation fused into a node (none for ops that carry none)."""
    return node.attrs.activation if isinstance(node.attrs, FusedAttrs) else NONE


def without_activation(attrs: Attrs) -> Attrs:
    """The same attributes with no fused activation."""
    return replace(attrs, activation=NONE) if isinstance(attrs, FusedAttrs) else attrs


def _split_activation(editor: GraphEditor, node: Node, signed: frozenset[str]) -> None:
    attrs = node.attrs
    if not isinstance(attrs, FusedAttrs):
        return
    activation = attrs.activation
    output = node.outputs[0]
    if activation.is_none or (activation == RELU and output not in signed):
        return
    bare = RELU if activation.low == 0.0 and output not in signed else NONE
    inner = editor.fresh(output + "_unclamped")
    editor.types[inner] = editor.types[output]
    new = editor.update(node, attrs=replace(attrs, activation=bare), outputs=(inner,))
    editor.add_node(
        "Clamp",
        [inner],
        ClampAttrs(activation),
        new.source,
        name=node.name + "_clamp",
        outputs=[output],
        types=[editor.types[output]],
    )


def quantizer_type(graph: Graph, node: Node) -> FixedPoint:
    """The fixed-point type of a Quantize node.

    Raises:
        ModelError: there is none.
    """
    element = graph.types[node.outputs[0]].element
    found = element if isinstance(element, FixedPoint) else None
    if isinstance(element, Affine):
        found = fixed_of_affine(element)
    if found is None:
        raise ModelError(
            f"quantizes to {element}, which is no fixed-point type (one power of two as scale, zero point 0)",
            file=node.source.model or None,
            node=node.source.node,
            op_type=node.source.op_type,
            hint="give the float model: types for an FPGA are chosen from calibration data",
        )
    return found


def _check_quantizers(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op == "Quantize":
            quantizer_type(graph, node)
    for name in graph.inputs:
        if not graph.types[name].is_float:
            label = graph.labels.get(name, name)
            raise ModelError(
                f"input '{label}' is {graph.types[name].element}; an FPGA design takes a float model",
                hint="give the float model: types for an FPGA are chosen from calibration data",
            )


def _leaky_relu(editor: GraphEditor, node: Node) -> None:
    if isinstance(node.attrs, LeakyReluAttrs):
        slope = editor.add_constant(node.name + "_slope", np.array([node.attrs.alpha], np.float32))
        editor.update(node, op="PRelu", inputs=(node.inputs[0], slope), attrs=PReluAttrs())


def _exact_mean(editor: GraphEditor, node: Node) -> None:
    """Fixed-point averages are exact sums; binary32 is a meaning between the affine types of a file only."""
    if isinstance(node.attrs, AveragePool2DAttrs) and node.attrs.arithmetic is not MeanArithmetic.INTEGER:
        editor.update(node, attrs=replace(node.attrs, arithmetic=MeanArithmetic.INTEGER))


def _spatial_mean(editor: GraphEditor, node: Node) -> None:
    attrs = node.attrs
    if not isinstance(attrs, ReduceMeanAttrs) or attrs.axes != (1, 2) or not attrs.keep_dims:
        return
    shape = editor.types[node.inputs[0]].shape
    if len(shape) == 4:
        pool = AveragePool2DAttrs(kernel=(shape[1], shape[2]), strides=(shape[1], shape[2]))
        editor.update(node, op="AveragePool2D", attrs=pool)
