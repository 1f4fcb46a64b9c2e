"""A clamp behind a layer becomes the layer's activation: free in integer code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.graph import Graph, Node
from ..ops.activation import Activation
from ..ops.clamp import ClampAttrs
from ..ops.conv2d import Conv2DAttrs
from ..ops.conv_transpose2d import ConvTranspose2DAttrs
from ..ops.dense import DenseAttrs
from ..ops.elementwise import ElementwiseAttrs
from ..ops.scale_bias import ScaleBiasAttrs
from .base import Preserves
from .matching import Editing

CARRIERS = (DenseAttrs, Conv2DAttrs, ConvTranspose2DAttrs, ElementwiseAttrs, ScaleBiasAttrs, ClampAttrs)


def activation_of(node: Node) -> Activation | None:
    """The activation a node carries, or None if its op cannot carry one."""
    return node.attrs.activation if isinstance(node.attrs, CARRIERS) else None


@dataclass(frozen=True, slots=True)
class FuseActivation:
    """Clamp nodes are fused into the op that makes their input, if nothing else reads it.

    Integer clamps are fused only when they keep the tensor's type, so the pass is exact there too.
    """

    name: ClassVar[str] = "fuse-activation"
    preserves: ClassVar[Preserves] = Preserves.EXACT

    def __call__(self, graph: Graph) -> Graph:
        """Fuse every clamp that can be."""
        editor = Editing(graph)
        for clamp in list(editor.nodes):
            if clamp.op != "Clamp" or not isinstance(clamp.attrs, ClampAttrs):
                continue
            clamp = next(node for node in editor.nodes if node.name == clamp.name)
            maker = editor.producer(clamp.inputs[0])
            if maker is None or editor.only_reader(clamp.inputs[0]) is not clamp:
                continue
            first = activation_of(maker)
            same_type = editor.types[clamp.inputs[0]] == editor.types[clamp.outputs[0]]
            if first is None or not same_type or not isinstance(clamp.attrs, ClampAttrs):
                continue
            attrs = replace(maker.attrs, activation=first.then(clamp.attrs.activation))  # type: ignore[call-arg]
            editor.remove_node(clamp)
            editor.update(maker, outputs=clamp.outputs, attrs=attrs)
        return editor.finish()
