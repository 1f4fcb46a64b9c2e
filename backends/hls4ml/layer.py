"""What a lowering makes: one hls4ml layer, with its types; and what it may ask about the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from boardfit.errors import InternalError
from boardfit.ir import FixedPoint, Graph, Node
from boardfit.numerics import dequantize
from boardfit.ops.spec import as_fixed
from boardfit.options import IoType
from boardfit.plan.fpga import FpgaPlan, LayerPlan


@dataclass(frozen=True, slots=True)
class HlsLayer:
    """One layer of an hls4ml layer list.

    Attributes:
        name: C identifier, unique in the project; other layers refer to its output by it.
        class_name: hls4ml layer class.
        inputs: names of the layers it reads.
        attributes: what the class expects (weights as real values, which the types hold exactly).
        precision: hls4ml type variable (result, weight, accum, ...) -> type.
        plan: strategy and reuse factor, for layers that multiply.
        node: name of the graph's node, for comments.
    """

    name: str
    class_name: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    precision: Mapping[str, FixedPoint]
    plan: LayerPlan | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class LayerContext:
    """The graph, the plan and the names of the layers made so far (tensor name -> layer name)."""

    graph: Graph
    plan: FpgaPlan
    names: Mapping[str, str]
    layer_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def streams(self) -> bool:
        """Whether tensors travel through FIFOs."""
        return self.plan.io_type is IoType.STREAM

    def name(self, node: Node) -> str:
        """Name of the layer that makes the node's output."""
        return self.layer_names[node.name]

    def inputs(self, node: Node, count: int = 1) -> tuple[str, ...]:
        """Layer names of the first `count` inputs."""
        return tuple(self.names[tensor] for tensor in node.inputs[:count])

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape without the batch axis."""
        return plain_shape(self.graph, tensor)

    def image(self, tensor: str) -> tuple[int, int, int]:
        """Height, width and channels of an image tensor."""
        height, width, channels = self.graph.types[tensor].shape[1:]
        return height, width, channels

    def element(self, tensor: str) -> FixedPoint:
        """Element type of a tensor."""
        return as_fixed(self.graph.types[tensor].element)

    def result(self, node: Node) -> FixedPoint:
        """Element type of the node's output."""
        return self.element(node.outputs[0])

    def raw(self, tensor: str) -> np.ndarray:
        """Raw integers of a constant."""
        values = self.graph.constant(tensor)
        if values is None:
            raise InternalError(f"'{tensor}' is not constant")
        return values.astype(np.int64)

    def real(self, tensor: str) -> np.ndarray:
        """Real values of a constant, exact in binary64."""
        return dequantize(self.raw(tensor), self.element(tensor))

    def bias(self, node: Node) -> str:
        """Tensor name of the bias of a linear node, or ''."""
        return node.inputs[2] if len(node.inputs) > 2 else ""


def plain_shape(graph: Graph, tensor: str) -> tuple[int, ...]:
    """Shape without the batch axis; a scalar has one element."""
    shape = graph.types[tensor].shape
    return shape[1:] if len(shape) > 1 and shape[0] == 1 else (shape or (1,))
