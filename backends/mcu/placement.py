"""Where tensors and scratch memory lie in the arena: what is alive when, and what may share its place with what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from boardfit.errors import InternalError
from boardfit.ir import Graph, Node
from boardfit.plan.arena import ArenaPlan, Buffer, plan_arena

from .kernel import Kernel, Lowered
from .storage import storage_of

ALIGNMENT = 4
"""Of every tensor in the arena: kernels may load whole words."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with its kernel."""

    node: Node
    kernel: Kernel
    lowered: Lowered


def place(graph: Graph, layers: Sequence[Layer]) -> tuple[ArenaPlan, dict[str, int], dict[str, int]]:
    """Offsets of tensors and scratch memory."""
    buffers, shared, owners = buffers_of(graph, layers)
    arena = plan_arena(buffers, *overlaps_of(graph, layers, shared, buffers))
    places = {
        name: arena.offsets[f"tensor {root}"] + _root(shared, name)[1]
        for root, names in owners.items()
        for name in names
    }
    scratch = {
        layer.node.name: arena.offsets[f"scratch {layer.node.name}"] for layer in layers if layer.lowered.scratch_bytes
    }
    return arena, places, scratch


def buffers_of(graph: Graph, layers: Sequence[Layer]) -> tuple[list[Buffer], Views, dict[str, list[str]]]:
    """What is to be placed, which tensors are views of which, and the tensors of each piece of memory.

    Step 0 is before the first layer (inputs are written), step i + 1 is layer i, and the outputs live on to the end.
    """
    end = len(layers) + 1
    first: dict[str, int] = dict.fromkeys(graph.inputs, 0)
    last: dict[str, int] = {}
    for step, layer in enumerate(layers, 1):
        first.update(dict.fromkeys(layer.node.outputs, step))
        last.update((name, step) for name in layer.node.inputs if name and name not in graph.constants)
    for name in graph.outputs:
        last[name] = end
    shared = _views(graph, layers)
    owners: dict[str, list[str]] = {}
    for name in first:
        owners.setdefault(_root(shared, name)[0], []).append(name)
    buffers = [
        Buffer(
            f"tensor {root}",
            max(_root(shared, name)[1] + tensor_bytes(graph, name) for name in names),
            min(first[name] for name in names),
            max(last.get(name, first[name]) for name in names),
            ALIGNMENT,
        )
        for root, names in owners.items()
    ]
    buffers += [
        Buffer(f"scratch {layer.node.name}", layer.lowered.scratch_bytes, step, step, layer.lowered.scratch_alignment)
        for step, layer in enumerate(layers, 1)
        if layer.lowered.scratch_bytes
    ]
    return buffers, shared, owners


def overlaps_of(
    graph: Graph, layers: Sequence[Layer], shared: Views, buffers: Sequence[Buffer]
) -> tuple[dict[tuple[str, str], int], list[tuple[str, str]]]:
    """Pairs (output, dying input) that a layer allows to overlap: with their distance, and at the same place only."""
    known = {buffer.name: buffer for buffer in buffers}
    distances: dict[tuple[str, str], int] = {}
    same: list[tuple[str, str]] = []
    for step, layer in enumerate(layers, 1):
        node, lowered = layer.node, layer.lowered
        if node.outputs[0] in shared:
            continue  # a part of a larger piece of memory, which other layers fill
        output = known[f"tensor {_root(shared, node.outputs[0])[0]}"]

        def dying(index: int, node: Node = node, step: int = step, output: Buffer = output) -> Buffer | None:
            if node.inputs[index] in graph.constants:
                return None
            root, offset = _root(shared, node.inputs[index])
            consumed = known[f"tensor {root}"]
            free = offset == 0 and consumed.last == step and output.first == step and consumed.name != output.name
            return consumed if free else None

        for index, distance in lowered.overlap.items():
            consumed = dying(index)
            if consumed is not None:
                distances[output.name, consumed.name] = distance
        for index in lowered.in_place:
            consumed = dying(index)
            # another operand in the same memory may be read in another order, unless it is in_place as well
            others = [other for i, other in enumerate(node.inputs) if i not in lowered.in_place and other]
            clash = any(_root(shared, other)[0] == _root(shared, node.inputs[index])[0] for other in others)
            fits = tensor_bytes(graph, node.outputs[0]) <= tensor_bytes(graph, node.inputs[index])
            if consumed is not None and fits and not clash:
                same.append((output.name, consumed.name))
    return distances, same


def tensor_bytes(graph: Graph, name: str) -> int:
    """Bytes of a tensor in memory."""
    tensor_type = graph.types[name]
    return max(1, tensor_type.elements * storage_of(tensor_type.element).bytes)


Views = Mapping[str, tuple[str, int]]
"""Tensor -> (tensor whose memory holds it, byte offset in there)."""


def _views(graph: Graph, layers: Sequence[Layer]) -> Views:
    """Tensors that are parts of others: outputs that are views of an input, inputs that are made inside the output."""
    shared: dict[str, tuple[str, int]] = {}
    for layer in layers:
        node, lowered = layer.node, layer.lowered
        if lowered.alias is not None:
            source = node.inputs[lowered.alias]
            if source in graph.constants:
                raise InternalError(f"'{node.name}' is a view of a constant, which folding removes")
            shared[node.outputs[0]] = source, lowered.alias_offset
        for index, offset in enumerate(lowered.assembled):
            shared[node.inputs[index]] = node.outputs[0], offset
    return shared


def _root(shared: Views, name: str) -> tuple[str, int]:
    """(tensor whose memory it is, byte offset in it)."""
    offset = 0
    while name in shared:
        name, further = shared[name]
        offset += further
    return name, offset
