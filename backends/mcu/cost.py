"""What a plan costs: flash from table sizes and measured code sizes, RAM from the arena, cycles from the kernels."""

from __future__ import annotations

from boardfit.board import McuBoard
from boardfit.estimate.report import Estimate, LayerEstimate
from boardfit.resources import Resources

from .emit import operand_bytes
from .plan import Plan


def estimate_plan(plan: Plan, board: McuBoard) -> Estimate:
    """Totals and shares of the layers."""
    layers = tuple(
        LayerEstimate(
            layer.node.source.node,
            layer.node.op,
            Resources(flash=layer.lowered.constant_bytes, cycles=layer.lowered.instructions),
            layer.lowered.instructions,
            layer.kernel.name,
        )
        for layer in plan.layers
    )
    flash = sum(layer.resources.flash for layer in layers) + operand_bytes(plan)
    cycles = sum(layer.resources.cycles for layer in layers)
    total = Resources(flash=flash, ram=plan.arena.bytes, cycles=cycles)
    return Estimate(board.name, board.budget, total, layers, cycles, board.clock_mhz)
