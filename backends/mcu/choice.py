"""Which variant computes each layer: the assignment with the best balance of instructions, flash and RAM.

Functions are shared between layers, so a layer's best variant depends on the others: the assignment starts from the
best of each layer alone and is improved, layer by layer and variant by variant, until nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from boardfit.options import Optimize

from .kernel import Kernel, Lowered

ROUNDS = 6
"""Sweeps over all layers at most; two are usual."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much a relative change of each quantity counts."""

    instructions: float
    flash: float
    ram: float


WEIGHTS = {
    Optimize.SPEED: Weights(1.0, 0.05, 0.1),
    Optimize.SIZE: Weights(0.05, 1.0, 0.05),
    Optimize.RAM: Weights(0.05, 0.02, 1.0),
}

Candidate = tuple[Kernel, Lowered]
CodeBytes = Callable[[Lowered], dict[str, int]]


@dataclass(frozen=True, slots=True)
class Costs:
    """Instructions, flash and RAM of an assignment."""

    instructions: int
    flash: int
    ram: int

    def score(self, base: Costs, weights: Weights) -> float:
        """Weighted sum relative to `base`; smaller is better."""
        return (
            weights.instructions * self.instructions / max(base.instructions, 1)
            + weights.flash * self.flash / max(base.flash, 1)
            + weights.ram * self.ram / max(base.ram, 1)
        )


def choose(
    candidates: Sequence[Sequence[Candidate]],
    optimize: Optimize,
    code_bytes: CodeBytes,
    ram_bytes: Callable[[Sequence[Candidate]], int],
) -> list[Candidate]:
    """One candidate for each layer; of equal scores the first candidate stays.

    Args:
        candidates: variants of every layer, in order of preference.
        code_bytes: code of a lowered layer by C function.
        ram_bytes: bytes of memory that an assignment needs.
    """
    weights = WEIGHTS[optimize]
    facts = {id(found): _Facts(found, code_bytes(found[1])) for options in candidates for found in options}
    known: dict[tuple[object, ...], int] = {}

    def costs(chosen: Sequence[Candidate]) -> Costs:
        parts = [facts[id(found)] for found in chosen]
        functions: dict[str, int] = {}
        for part in parts:
            functions.update(part.functions)
        memory = tuple(part.memory for part in parts)
        if memory not in known:
            known[memory] = ram_bytes(chosen)
        constants = sum(part.constants for part in parts)
        return Costs(sum(part.instructions for part in parts), constants + sum(functions.values()), known[memory])

    chosen = [min(options, key=lambda found: found[1].instructions) for options in candidates]
    base = costs(chosen)
    best = base.score(base, weights)

    def current() -> list[Candidate]:
        return chosen

    for _ in range(ROUNDS):
        before = best
        for trial in _moves(candidates, current):
            score = costs(trial).score(base, weights)
            if score < best - 1e-12:
                chosen, best = trial, score
        if best == before:
            break
    return chosen


def _moves(
    candidates: Sequence[Sequence[Candidate]], current: Callable[[], list[Candidate]]
) -> Iterator[list[Candidate]]:
    """Neighbours of the current assignment, which may change meanwhile: one layer, or all layers of one variant.

    The latter are needed because a shared function pays only once several layers use it.
    """
    for index, options in enumerate(candidates):
        for option in options:
            chosen = current()
            if option is not chosen[index]:
                yield [*chosen[:index], option, *chosen[index + 1 :]]
    variants = list(dict.fromkeys(kernel.name for options in candidates for kernel, _ in options))
    for old in variants:
        for new in variants:
            chosen = current()
            trial = [
                _named(options, new) or found if found[0].name == old else found
                for options, found in zip(candidates, chosen, strict=True)
            ]
            if any(one is not other for one, other in zip(trial, chosen, strict=True)):
                yield trial


def _named(options: Sequence[Candidate], name: str) -> Candidate | None:
    return next((found for found in options if found[0].name == name), None)


class _Facts:
    """What the search needs of a candidate, counted once."""

    __slots__ = ("constants", "functions", "instructions", "memory")

    def __init__(self, candidate: Candidate, functions: dict[str, int]) -> None:
        lowered = candidate[1]
        self.functions = functions
        self.constants = lowered.constant_bytes
        self.instructions = lowered.instructions
        overlap = tuple(sorted(lowered.overlap.items()))
        views = (lowered.alias, lowered.alias_offset, lowered.assembled)
        self.memory = (lowered.scratch_bytes, lowered.scratch_alignment, lowered.in_place, overlap, views)
