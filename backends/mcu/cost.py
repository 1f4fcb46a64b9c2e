"""What a plan costs: flash from table sizes and measured code sizes, RAM from the arena, cycles from the kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from boardfit.board import McuBoard
from boardfit.estimate.mcu import McuFootprint, McuLayer

from .code_size import code_size, core_key
from .emit import operand_sizes
from .instruction_mix import CONSTANTS, mix_of
from .placement import Layer, tensor_bytes
from .plan import Plan

WORD = 4


def footprint(plan: Plan, board: McuBoard, optimization: str) -> McuFootprint:
    """Sizes and counts of a plan on a board, compiled with an optimization flag."""
    core = core_key(board.core, board.features)
    sizes = code_size(plan, core, optimization)
    owners = plan.table_owners
    constants = sum(_constants(layer, owners) for layer in plan.layers) + sum(map(_words, operand_sizes(plan)))
    layers = tuple(_layer(plan, layer, _constants(layer, owners), core) for layer in plan.layers)
    return McuFootprint(layers, constants, sizes.total, plan.arena.bytes, sizes.stack, sizes.measured)


def _layer(plan: Plan, layer: Layer, constants: int, core: str) -> McuLayer:
    found = McuLayer(
        layer.node.source.node,
        layer.node.op,
        layer.kernel.name,
        constants,
        _live(plan, layer),
        layer.lowered.instructions,
    )
    mix = mix_of(layer.kernel.name, core)
    return found if mix is None else replace(found, mix=mix, constants_read=mix.get(CONSTANTS, 0.0))


def _words(size: int) -> int:
    """Bytes of a constant with the padding to the next word, where compilers put the next one."""
    return -(-size // WORD) * WORD


def _constants(layer: Layer, owners: Mapping[tuple[str, str], tuple[str, str]]) -> int:
    lowered = layer.lowered
    name = layer.node.name
    own = [table for table in lowered.tables if owners[name, table.stem] == (name, table.stem)]
    return sum(_words(table.bytes) for table in own) + sum(_words(record.bytes) for record in lowered.records)


def _live(plan: Plan, layer: Layer) -> int:
    """Bytes from the lowest to the highest end of what the layer reads, writes and scratches."""
    pieces = [
        (plan.places[name], tensor_bytes(plan.graph, name))
        for name in (*layer.node.inputs, *layer.node.outputs)
        if name in plan.places
    ]
    if layer.lowered.scratch_bytes:
        pieces.append((plan.scratch[layer.node.name], layer.lowered.scratch_bytes))
    covered, end = 0, 0
    for start, size in sorted(pieces):
        covered += max(0, start + size - max(end, start))
        end = max(end, start + size)
    return covered
