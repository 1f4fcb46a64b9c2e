"""The plan of a firmware: a kernel variant for every node, and the place of every tensor."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from boardfit.board import McuBoard
from boardfit.ir import Graph, Node
from boardfit.options import Optimize
from boardfit.passes.strips import SplitIntoStrips, stages
from boardfit.plan.arena import ArenaPlan, lower_bound
from boardfit.plan.order import Step, best_order

from .choice import Candidate, choose
from .code_size import core_key, function_size
from .kernel import Function, Kernel, Lowered, MemoryFacts, Site
from .placement import Layer, buffers_of, overlaps_of, place, tensor_bytes
from .variants import candidates, promising
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
        sites: node name -> what its kernel was chosen for, with all layouts that were made.
    """

    graph: Graph
    features: frozenset[str]
    layers: tuple[Layer, ...]
    arena: ArenaPlan
    places: Mapping[str, int]
    scratch: Mapping[str, int]
    sites: Mapping[str, Site] = field(default_factory=dict, repr=False, compare=False)

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
            site = Site(node, graph, self.board.features)
            # what takes long to lay out takes long to run: the fastest is another
            options = candidates(site, forced_format(node, self.forced), lambda kernel: False)
            self.known[key] = min(options, key=lambda found: found[1].instructions)
        return Layer(node, *self.known[key])

    def peak(self, graph: Graph) -> tuple[int, str]:
        """(bytes every plan of the graph needs, name of a node that needs them)."""
        layers = [self.layer(graph, node) for node in graph.nodes]
        buffers, shared, _ = buffers_of(graph, layers)
        size, step = lower_bound(buffers, overlaps_of(graph, layers, shared, buffers)[0])
        return size, layers[min(max(step - 1, 0), len(layers) - 1)].node.name


def plan_as_is(
    graph: Graph,
    board: McuBoard,
    optimize: Optimize,
    forced: Forced = (),
    *,
    reorder: bool,
    limits: Limits | None = None,
    sites: Mapping[str, Site] | None = None,
) -> Plan:
    """Kernels and places for a graph that is not changed; `reorder` searches for the order with the smallest peak.

    With `limits`, the fastest kernels within them in place of the balance that `optimize` asks for. `sites`: of an
    earlier plan of the graph, whose layouts are taken over.

    Raises:
        ModelError: a node has no kernel.
        DoesNotFitError: nothing keeps the limits.
    """
    sites = sites or {node.name: Site(node, graph, board.features) for node in graph.nodes}
    if limits is None:
        options = promising(graph, sites, optimize, forced)
    else:
        options = [candidates(sites[node.name], forced_format(node, forced)) for node in graph.nodes]
    core, flag = core_key(board.core, board.features), OPTIMIZATION_FLAGS[optimize]

    sizes: dict[int, dict[str, int]] = {}

    def code_bytes(lowered: Lowered) -> dict[str, int]:
        if id(lowered) not in sizes:
            functions = lowered.functions
            sizes[id(lowered)] = {function.name: function_size(function, core, flag)[0] for function in functions}
        return sizes[id(lowered)]

    def layers_of(chosen: Sequence[Candidate]) -> list[Layer]:
        return [Layer(node, *found) for node, found in zip(graph.nodes, chosen, strict=True)]

    peaks: dict[tuple[MemoryFacts, ...], int] = {}

    def ram_bytes(chosen: Sequence[Candidate]) -> int:
        facts = tuple(lowered.memory for _, lowered in chosen)  # many kernels of a layer are alike in them
        if facts not in peaks:
            layers = layers_of(chosen)
            buffers, shared, _ = buffers_of(graph, layers)
            peaks[facts] = lower_bound(buffers, overlaps_of(graph, layers, shared, buffers)[0])[0]
        return peaks[facts]

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
    return Plan(graph, board.features, tuple(layers), arena, places, scratch, sites)


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
