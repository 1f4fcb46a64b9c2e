"""A plan that exceeds its board, replaced by the fastest one that does not."""

from __future__ import annotations

from boardfit.board import McuBoard
from boardfit.options import Optimize

from .code_size import core_key, function_size
from .cost import footprint
from .plan import OPTIMIZATION_FLAGS, DoesNotFitError, Plan, plan_as_is
from .weight_formats import Forced
from .within import Limits

TRIES = 4
"""Times the limits are tightened by what the search did not see: the run function, padding, fragmentation, stack."""


def fit(plan: Plan, board: McuBoard, optimize: Optimize, forced: Forced = ()) -> Plan:
    """`plan` if it fits the board, else the fastest plan of the same graph that does, else `plan`.

    The order of the layers is the plan's: it is the one with the smallest peak.
    """
    flag = OPTIMIZATION_FLAGS[optimize]
    need = footprint(plan, board, flag)
    if need.flash <= board.budget.flash and need.ram <= board.budget.ram:
        return plan
    unseen_flash = need.flash - _seen_flash(plan, board, flag)
    limits = Limits(board.budget.flash - unseen_flash, board.budget.ram - need.stack)
    for _ in range(TRIES):
        try:
            found = plan_as_is(plan.graph, board, optimize, forced, reorder=False, limits=limits, sites=plan.sites)
        except DoesNotFitError:
            return plan
        need = footprint(found, board, flag)
        flash, ram = need.flash - board.budget.flash, need.ram - board.budget.ram
        if flash <= 0 and ram <= 0:
            return found
        limits = Limits(limits.flash - max(flash, 0), limits.ram - max(ram, 0))
    return plan


def _seen_flash(plan: Plan, board: McuBoard, flag: str) -> int:
    """What the search counts of a plan's flash."""
    core = core_key(board.core, board.features)
    constants = sum(layer.lowered.constant_bytes for layer in plan.layers)
    return constants + sum(function_size(function, core, flag)[0] for function in plan.functions)
