"""The plan of a firmware: a kernel variant for every node, and the place of every tensor."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from boardfit.board import McuBoard
from boardfit.errors import InternalError
from boardfit.ir import Graph, Node
from boardfit.options import Optimize
from boardfit.passes.strips import SplitIntoStrips, stages
from boardfit.plan.arena import ArenaPlan, Buffer, lower_bound, plan_arena
from boardfit.plan.order import Step, best_order

from .choice import Candidate, choose
from .code_size import core_key, function_size
from .kernel import Function, Kernel, Lowered, Site
from .kernels import variants_of
from .storage import storage_of
from .weight_formats import Forced, forced_format
from .within import Limits, fastest_within

OPTIMIZATION_FLAGS = {Optimize.SPEED: "-O2", Optimize.SIZE: "-Os", Optimize.RAM: "-O2"}
"""Compiler flag of each aim."""

SPLITS = 4
"""Stages that are split at most."""

STRIP_ROWS = (1, 2, 4, 8)
"""Heights of strips that are tried."""

LEAST_GAIN = 0.02
"""Of the arena, for a split that costs instructions and code."""

ALIGNMENT = 4
"""Of every tensor in the arena: kernels may load whole words."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with its kernel."""

    node: Node
    kernel: Kernel
    lowered: Lowered


@dataclass(frozen=True, slots=True)
class Plan:
    """Every decision about a firmware.

    Attributes:
        graph: the integer graph.
        features: instruction set the kernels were chosen for.
        layers: in order of execution.
        arena: placement of the buffers.
        places: tensor -> offset in the arena, for every tensor that is not a constant.
        scratch: node name -> offset of its scratch memory.
    """

    graph: Graph
    features: frozenset[str]
    layers: tuple[Layer, ...]
    arena: ArenaPlan
    places: Mapping[str, int]
    scratch: Mapping[str, int]

    @property
    def functions(self) -> tuple[Function, ...]:
        """Every C function needed, once, in the order of emission."""
        found: dict[str, Function] = {}
        for layer in self.layers:
            found.update((function.name, function) for function in layer.lowered.functions)
        return tuple(found.values())

    @property
    def weight_bytes(self) -> int:
        """Weights, biases and multipliers of all layers, equal tables once."""
        owners = self.table_owners
        return sum(
            table.bytes
            for layer in self.layers
            for table in layer.lowered.tables
            if table.parameter and owners[layer.node.name, table.stem] == (layer.node.name, table.stem)
        )

    @property
    def table_owners(self) -> dict[tuple[str, str], tuple[str, str]]:
        """(node, stem) of every table -> (node, stem) of the first equal one, which serves both."""
        first: dict[tuple[str, bytes], tuple[str, str]] = {}
        found: dict[tuple[str, str], tuple[str, str]] = {}
        for layer in self.layers:
            for table in layer.lowered.tables:
                place = layer.node.name, table.stem
                content = table.values.dtype.str, table.values.tobytes()
                found[place] = first.setdefault(content, place)
        return found


def portable_factor(features: frozenset[str]) -> float:
    """How many times the instructions of Armv7-M the portable kernels take on a core.

    Measured on kws01 as a whole: Armv6-M lacks a long multiplication, an offset in most byte loads and
    multiply-accumulate (2.4); RV32IMC multiply-accumulate and loads that move their pointer (1.65).
    """
    if "thumb" in features:
        return 1.0 if "long-multiply" in features else 2.4
    return 1.65


def candidates(site: Site, forced: str | None = None) -> list[tuple[Kernel, Lowered]]:
    """Every variant that can do a site, lowered; `forced`: only those that store the weights in this format.

    Raises:
        ModelError: there is none.
    """
    reasons: list[str] = []
    found: list[tuple[Kernel, Lowered]] = []
    for kernel in variants_of(site.node.op):
        if forced is not None and kernel.format != forced:
            continue
        reason = kernel.reason_against(site)
        if reason is None:
            lowered = kernel.lower(site)
            if not kernel.needs:  # portable C, predicted for Armv7-M
                lowered = replace(lowered, instructions=round(lowered.instructions * portable_factor(site.features)))
            found.append((kernel, lowered))
        elif reason not in reasons:
            reasons.append(reason)
    if not found:
        detail = f": {'; '.join(reasons)}" if reasons else ""
        if forced is not None:
            raise site.error(f"its weights cannot be stored as {forced}{detail}", hint="force another format, or none")
        raise site.error(f"no microcontroller code for {site.node.op} here{detail}")
    return found


@functools.lru_cache(maxsize=4)  # validate, estimate and emit ask for the same plan
def make_plan(graph: Graph, board: McuBoard, optimize: Optimize = Optimize.SPEED, forced: Forced = ()) -> Plan:
    """Choose kernels and place tensors; where RAM is what counts or is short, also compute wide stages in strips.

    A plan that exceeds the board gives way to the fastest one that fits, if there is one.

    Raises:
        ModelError: a node has no kernel, or none that stores its weights as `forced` says.
    """
    from .fitting import fit  # which needs plans to be defined

    plan = plan_as_is(graph, board, optimize, forced, reorder=True)
    if optimize is not Optimize.RAM:
        plan = fit(plan, board, optimize, forced)
    if optimize is Optimize.RAM or plan.arena.bytes > board.budget.ram:
        plan = fit(split_widest(plan, board, optimize, forced), board, optimize, forced)
    return plan


def split_widest(plan: Plan, board: McuBoard, optimize: Optimize, forced: Forced = ()) -> Plan:
    """Split the stage that reaches the peak into strips, as long as the arena shrinks by a fiftieth or more.

    Trials take the fastest kernels and the lower bound of the arena; the graphs that won are planned in full, and the
    smallest plan is taken.
    """
    lowered = _Lowerings(board, forced)
    graph, bytes_now = plan.graph, lowered.peak(plan.graph)[0]
    for _ in range(SPLITS):
        _, wide = lowered.peak(graph)
        names = [node.name for node in graph.nodes]
        best: tuple[int, Graph] | None = None
        for first, last in stages(graph):
            if wide not in names[names.index(first) : names.index(last) + 1]:
                continue
            height = graph.types[graph.node(last).outputs[0]].shape[1]
            for rows in (rows for rows in STRIP_ROWS if rows < height):
                split = SplitIntoStrips(first, last, rows)(graph)
                size, _ = lowered.peak(split)
                if best is None or size < best[0]:
                    best = size, split
        if best is None or best[0] > bytes_now * (1 - LEAST_GAIN):
            break
        bytes_now, graph = best
    found = [plan, plan_as_is(plan.graph, board, Optimize.SPEED, forced, reorder=True)]
    if graph is not plan.graph:
        found.append(plan_as_is(graph, board, Optimize.SPEED, forced, reorder=False))
    return min(found, key=lambda trial: trial.arena.bytes)


class _Lowerings:
    """Kernels of many similar graphs: nodes that are alike are lowered once."""

    def __init__(self, board: McuBoard, forced: Forced) -> None:
        self.board = board
        self.forced = forced
        self.known: dict[tuple[object, ...], tuple[Kernel, Lowered]] = {}

    def layer(self, graph: Graph, node: Node) -> Layer:
        """The fastest kernel of a node."""
        key = (
            node.op,
            node.attrs,
            *(graph.types[name] if name else None for name in (*node.inputs, *node.outputs)),
            *(id(graph.constants[name]) for name in node.inputs if name in graph.constants),
        )
        if node.op == "Concat" or key not in self.known:  # a join's kernel depends on who makes its inputs
            options = candidates(Site(node, graph, self.board.features), forced_format(node, self.forced))
            self.known[key] = min(options, key=lambda found: found[1].instructions)
        return Layer(node, *self.known[key])

    def peak(self, graph: Graph) -> tuple[int, str]:
        """(bytes every plan of the graph needs, name of a node that needs them)."""
        layers = [self.layer(graph, node) for node in graph.nodes]
        buffers, shared, _ = _buffers(graph, layers)
        size, step = lower_bound(buffers, _overlaps(graph, layers, shared, buffers)[0])
        return size, layers[min(max(step - 1, 0), len(layers) - 1)].node.name


def plan_as_is(
    graph: Graph,
    board: McuBoard,
    optimize: Optimize,
    forced: Forced = (),
    *,
    reorder: bool,
    limits: Limits | None = None,
) -> Plan:
    """Kernels and places for a graph that is not changed; `reorder` searches for the order with the smallest peak.

    With `limits`, the fastest kernels within them in place of the balance that `optimize` asks for.

    Raises:
        ModelError: a node has no kernel.
        DoesNotFitError: nothing keeps the limits.
    """
    options = [candidates(Site(node, graph, board.features), forced_format(node, forced)) for node in graph.nodes]
    core, flag = core_key(board.core, board.features), OPTIMIZATION_FLAGS[optimize]

    sizes: dict[int, dict[str, int]] = {}

    def code_bytes(lowered: Lowered) -> dict[str, int]:
        if id(lowered) not in sizes:
            functions = lowered.functions
            sizes[id(lowered)] = {function.name: function_size(function, core, flag)[0] for function in functions}
        return sizes[id(lowered)]

    def layers_of(chosen: Sequence[Candidate]) -> list[Layer]:
        return [Layer(node, *found) for node, found in zip(graph.nodes, chosen, strict=True)]

    def ram_bytes(chosen: Sequence[Candidate]) -> int:
        layers = layers_of(chosen)
        buffers, shared, _ = _buffers(graph, layers)
        return lower_bound(buffers, _overlaps(graph, layers, shared, buffers)[0])[0]

    if limits is None:
        layers = layers_of(choose(options, optimize, code_bytes, ram_bytes))
    else:
        fitting = fastest_within(options, limits, code_bytes, ram_bytes)
        if fitting is None:
            raise DoesNotFitError
        layers = layers_of(fitting)
    if reorder:
        layers = _smallest_order(graph, layers)
    graph = replace(graph, nodes=tuple(layer.node for layer in layers))
    arena, places, scratch = place(graph, layers)
    return Plan(graph, board.features, tuple(layers), arena, places, scratch)


class DoesNotFitError(Exception):
    """No assignment of kernels keeps the limits."""


def _smallest_order(graph: Graph, layers: Sequence[Layer]) -> list[Layer]:
    """The layers in the order that needs the fewest live bytes."""
    sizes = {name: tensor_bytes(graph, name) for name in graph.types if name not in graph.constants}
    steps: list[Step] = []
    for layer in layers:
        reads = tuple(dict.fromkeys(name for name in layer.node.inputs if name in sizes))
        lowered = layer.lowered
        free = (*lowered.in_place, *(() if lowered.alias is None else (lowered.alias,)))
        overlap = {layer.node.inputs[index]: 0 for index in free}
        overlap |= {layer.node.inputs[index]: distance for index, distance in lowered.overlap.items()}
        steps.append(Step(reads, layer.node.outputs, lowered.scratch_bytes, overlap))
    order = best_order(steps, sizes, graph.inputs, graph.outputs)
    return [layers[index] for index in order.steps]


def place(graph: Graph, layers: Sequence[Layer]) -> tuple[ArenaPlan, dict[str, int], dict[str, int]]:
    """Offsets of tensors and scratch memory."""
    buffers, shared, owners = _buffers(graph, layers)
    arena = plan_arena(buffers, *_overlaps(graph, layers, shared, buffers))
    places = {
        name: arena.offsets[f"tensor {root}"] + _root(shared, name)[1]
        for root, names in owners.items()
        for name in names
    }
    scratch = {
        layer.node.name: arena.offsets[f"scratch {layer.node.name}"] for layer in layers if layer.lowered.scratch_bytes
    }
    return arena, places, scratch


def _buffers(graph: Graph, layers: Sequence[Layer]) -> tuple[list[Buffer], Views, dict[str, list[str]]]:
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


def _overlaps(
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
