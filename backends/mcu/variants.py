"""The kernel variants of a node, laid out: all of them, or those that a plan may choose."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

from boardfit.ir import Graph
from boardfit.options import Optimize

from .choice import WEIGHTS, Candidate
from .kernel import Kernel, Lowered, Site
from .kernels import variants_of
from .weight_formats import Forced, forced_format


def portable_factor(features: frozenset[str]) -> float:
    """How many times the instructions of Armv7-M the portable kernels take on a core.

    Measured on kws01 as a whole: Armv6-M lacks a long multiplication, an offset in most byte loads and
    multiply-accumulate (2.4); RV32IMC multiply-accumulate and loads that move their pointer (1.65).
    """
    if "thumb" in features:
        return 1.0 if "long-multiply" in features else 2.4
    return 1.65


def candidates(
    site: Site, forced: str | None = None, wanted: Callable[[Kernel], bool] = lambda kernel: True
) -> list[tuple[Kernel, Lowered]]:
    """Every variant that can do a site, lowered.

    Args:
        forced: only those that store the weights in this format.
        wanted: told a variant that takes long to lay out: whether to do so.

    Raises:
        ModelError: there is none.
    """
    reasons: list[str] = []
    found: list[tuple[Kernel, Lowered]] = []
    for kernel in variants_of(site.node.op):
        if forced is not None and kernel.format != forced:
            continue
        reason = site.once(("reason", kernel), functools.partial(kernel.reason_against, site))
        if reason is None:
            if forced is not None or kernel.bound is None or wanted(kernel):
                found.append((kernel, lowered_at(site, kernel)))
        elif reason not in reasons:
            reasons.append(reason)
    if not found:
        detail = f": {'; '.join(reasons)}" if reasons else ""
        if forced is not None:
            raise site.error(f"its weights cannot be stored as {forced}{detail}", hint="force another format, or none")
        raise site.error(f"no microcontroller code for {site.node.op} here{detail}")
    return found


def lowered_at(site: Site, kernel: Kernel) -> Lowered:
    """A site in C by a variant that can do it; laid out once."""

    def lower() -> Lowered:
        lowered = kernel.lower(site)
        if kernel.needs:
            return lowered
        # portable C, predicted for Armv7-M
        return replace(lowered, instructions=round(lowered.instructions * portable_factor(site.features)))

    return site.once(("lowered", kernel), lower)


def promising(graph: Graph, sites: Mapping[str, Site], optimize: Optimize, forced: Forced) -> list[list[Candidate]]:
    """The variants of every node, but for those that take long to lay out and cannot be chosen.

    Such a variant is left out where its least instructions cost more, by the weights of the aim, than all constants of
    the layer are worth in flash. It is never left out for a plan that has to fit a board: see `candidates`.
    """
    quick = {
        node.name: candidates(sites[node.name], forced_format(node, forced), lambda _: False) for node in graph.nodes
    }
    weights = WEIGHTS[optimize]
    instructions = max(sum(min(made.instructions for _, made in found) for found in quick.values()), 1)
    flash = max(sum(min(made.constant_bytes for _, made in found) for found in quick.values()), 1)

    def may_win(name: str, kernel: Kernel) -> bool:
        if kernel.bound is None:
            return True
        least, others = kernel.bound(sites[name]), [made for _, made in quick[name]]
        if least.scratch_bytes < min(made.scratch_bytes for made in others):
            return True
        slower = least.instructions - min(made.instructions for made in others)
        smaller = max(made.constant_bytes for made in others) - least.constant_bytes
        return weights.instructions * slower / instructions < weights.flash * smaller / flash

    return [
        candidates(sites[node.name], forced_format(node, forced), functools.partial(may_win, node.name))
        for node in graph.nodes
    ]
