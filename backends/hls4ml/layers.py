"""The graph as a list of hls4ml layers: one small function for each op, in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from boardfit.errors import InternalError
from boardfit.ir import Graph, Node
from boardfit.names import c_identifier
from boardfit.ops.spec import as_fixed
from boardfit.plan.fpga import FpgaPlan

from . import linear_layers, other_layers, own_layers
from .layer import HlsLayer, LayerContext, plain_shape
from .refuse import refuse_resize
from .words import parts

Lowering = Callable[[Node, LayerContext], list[HlsLayer]]


def _resize(node: Node, context: LayerContext) -> list[HlsLayer]:
    positions = refuse_resize(node, context.graph, context.streams)
    return other_layers.resize(node, context) if positions is None else own_layers.pick(node, context)


LOWERINGS: dict[str, Lowering] = {
    "Add": other_layers.merge,
    "ArgMax": own_layers.arg_max,
    "AveragePool2D": other_layers.pool,
    "Bipolar": other_layers.bipolar,
    "Clamp": other_layers.relu_or_clamp,
    "Concat": other_layers.concat,
    "Conv2D": linear_layers.conv2d,
    "ConvTranspose2D": own_layers.conv_transpose2d,
    "Dense": linear_layers.dense,
    "Gather": own_layers.pick,
    "Lookup": other_layers.lookup,
    "Max": other_layers.merge,
    "MaxPool2D": other_layers.pool,
    "Min": other_layers.merge,
    "Mul": other_layers.merge,
    "PRelu": other_layers.prelu,
    "Pad": other_layers.zero_padding,
    "Requantize": other_layers.requantize,
    "Reshape": other_layers.reshape,
    "Resize": _resize,
    "ScaleBias": linear_layers.scale_bias,
    "Slice": own_layers.pick,
    "Softmax": other_layers.softmax,
    "Sub": other_layers.merge,
    "Transpose": other_layers.transpose,
}
"""Op of a fixed-point graph -> its hls4ml layers."""


@dataclass(frozen=True, slots=True)
class LayerList:
    """A whole network.

    Attributes:
        layers: in topological order, inputs first.
        inputs, outputs: layer names of the graph's inputs and outputs, in order.
        makers: tensor name -> name of the layer that makes it.
    """

    layers: tuple[HlsLayer, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    makers: Mapping[str, str]


def make_layers(graph: Graph, plan: FpgaPlan) -> LayerList:
    """Lower every node of a validated fixed-point graph."""
    taken: set[str] = set()

    def identifier(text: str) -> str:
        found = c_identifier(text, taken)
        taken.add(found)
        return found

    names = {tensor: identifier("in_" + graph.labels.get(tensor, tensor)) for tensor in graph.inputs}
    inputs = tuple(names.values())
    # the prefix keeps names apart from hls4ml's own: layer2_out, w2, config2 ...
    node_names = {node.name: identifier("n_" + node.name) for node in graph.nodes}
    context = LayerContext(graph, plan, names, node_names)
    reshaped = {tensor: _first_reshape(tensor, graph) for tensor in graph.inputs}
    layers = [_input(graph, tensor, reshaped[tensor], names[tensor], context.streams) for tensor in graph.inputs]
    for node in graph.nodes:
        lowering = LOWERINGS.get(node.op)
        if lowering is None:
            raise InternalError(f"no hls4ml layer for {node.op} '{node.name}'")
        free = _is_final_reshape(node, graph) or node.outputs[0] in reshaped.values()
        made = [] if free else lowering(node, context)
        layers += made
        names[node.outputs[0]] = made[-1].name if made else names[node.inputs[0]]
    return LayerList(tuple(layers), inputs, tuple(names[tensor] for tensor in graph.outputs), names)


def _first_reshape(tensor: str, graph: Graph) -> str:
    """The tensor whose shape an input is declared with: that of a reshape if nothing else reads the input.

    Values enter in row-major order, so the shape is free; a reshape of a stream is not.
    """
    readers = graph.consumers()[tensor]
    alone = len(readers) == 1 and readers[0].op == "Reshape" and tensor not in graph.outputs
    return readers[0].outputs[0] if alone else tensor


def _input(graph: Graph, tensor: str, shaped: str, name: str, streams: bool) -> HlsLayer:
    element = as_fixed(graph.types[tensor].element)
    shape = list(plain_shape(graph, shaped))
    if streams and len(shape) == 1 and parts(shaped, graph) > 1:
        shape = [parts(shaped, graph), shape[0] // parts(shaped, graph)]
    return HlsLayer(
        name,
        "InputLayer",
        (),
        {"input_shape": shape},
        {"result": element},
        node=graph.labels.get(tensor, tensor),
    )


def _is_final_reshape(node: Node, graph: Graph) -> bool:
    """A reshape at the output changes nothing: outputs are read in row-major order."""
    if node.op != "Reshape" or node.outputs[0] not in graph.outputs:
        return False
    return not any(node.outputs[0] in other.inputs for other in graph.nodes)
