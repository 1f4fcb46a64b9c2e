"""Regions of element-wise ops that are a function of one tensor: in 8 bits each becomes one table.

An exported HardSwish, for example, is often Add, Clip, Mul and Div. As a whole it maps one number to one number,
so that its 8-bit form is a table of 256 entries that rounds once, whatever happens inside.
"""

from __future__ import annotations

from collections.abc import Container, Mapping

import numpy as np

from ..interp import run
from ..ir.graph import Graph, Node
from ..ir.rewrite import GraphEditor
from ..ir.types import Affine, TensorType
from ..numerics import dequantize_affine, quantize_affine
from .quantized_types import is_function, parameter_values

UNIFORM_OPERANDS = ("Add", "Sub", "Mul", "Div", "Min", "Max", "PRelu", "ScaleBias")
"""Ops that map one number to one number when each constant operand holds a single value."""

TABLE_BITS = 8
"""Widest type a table is made for."""


def function_roots(graph: Graph, parameters: Container[str], typed: Container[str] = ()) -> dict[str, str]:
    """For each activation tensor, the tensor it is an element-wise function of (itself if there is none).

    Args:
        parameters: the graph's parameters (see `parameter_tensors`).
        typed: tensors at which regions start: they have a quantization of their own.
    """
    roots = {name: name for name in graph.types if name not in parameters}
    for node in graph.nodes:
        output = node.outputs[0]
        if output not in roots or not _is_candidate(graph, node, parameters):
            continue
        operands = [name for name in node.inputs if name and name not in parameters]
        found = {name if name in typed else roots[name] for name in operands}
        if len(found) == 1:
            root = found.pop()
            if graph.types[root].shape == graph.types[output].shape and graph.types[root].is_float:
                roots[output] = root
    return roots


def inner_tensors(graph: Graph, typed: Container[str], roots: Mapping[str, str]) -> frozenset[str]:
    """Tensors inside element-wise regions: nothing outside their region reads them, so that they are never stored."""
    consumers = graph.consumers()
    return frozenset(
        name
        for name, root in roots.items()
        if root != name
        and name not in typed
        and name not in graph.outputs
        and consumers[name]
        and all(roots.get(reader.outputs[0]) == root for reader in consumers[name])
    )


def _is_candidate(graph: Graph, node: Node, parameters: Container[str]) -> bool:
    if is_function(node) or node.op == "Clamp":
        return True
    constants = [name for name in node.inputs if name in parameters]
    return node.op in UNIFORM_OPERANDS and all(_is_uniform(graph, name) for name in constants)


def _is_uniform(graph: Graph, parameter: str) -> bool:
    values = parameter_values(graph, parameter).reshape(-1)
    return bool((values == values[0]).all())


def region(graph: Graph, producers: Mapping[str, Node], root: str, output: str) -> list[Node]:
    """The nodes between `root` and `output`, in topological order."""
    wanted, found = [output], set[str]()
    while wanted:
        tensor = wanted.pop()
        node = producers.get(tensor)
        if tensor != root and node is not None and node.op != "Dequantize" and node.name not in found:
            found.add(node.name)
            wanted.extend(name for name in node.inputs if name and name not in graph.constants)
    return [node for node in graph.nodes if node.name in found]


def tabulate(graph: Graph, nodes: list[Node], root: str, x: Affine, output: str, y: Affine) -> np.ndarray:
    """Raw `y` value for each raw value of `x` from its minimum up, int64, (levels,).

    Not-a-number, such as the root of a negative number, becomes zero.
    """
    raw = np.arange(x.minimum, x.maximum + 1)
    editor = GraphEditor.empty("table")
    names = {root: editor.add_input("x", TensorType((len(raw),)))}
    for node in nodes:
        inputs: list[str] = []
        for name in node.inputs:
            if name and name not in names:
                value = parameter_values(graph, name).flat[0]
                names[name] = editor.add_constant("c", np.full(len(raw), value, np.float32))
            inputs.append(names[name] if name else "")
        names[node.outputs[0]] = editor.add_node(node.op, inputs, node.attrs, node.source).outputs[0]
    editor.outputs.append(names[output])
    table = run(editor.finish(), {"x": dequantize_affine(raw, x)[None]})[names[output]][0]
    return quantize_affine(np.nan_to_num(table, nan=0.0, posinf=np.inf, neginf=-np.inf), y)
