"""The fastest assignment of kernel variants that fits a board, for a plan that did not.

Exact by HiGHS: every layer takes one variant, every C function that some chosen variant calls is paid once. RAM is a
bound on each layer by itself (the peak is reached in some layer, and what the others scratch is free by then), so a
variant that needs too much of it is left out beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from boardfit.plan.integer_program import Option, Program, solve

from .choice import Candidate, CodeBytes

PRESENT = "present"
REPAIRS = 8
"""Assignments refused for their RAM after all, at most."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes there are: constants and kernel code in flash, arena in RAM."""

    flash: int
    ram: int


def fastest_within(
    candidates: Sequence[Sequence[Candidate]],
    limits: Limits,
    code_bytes: CodeBytes,
    ram_bytes: Callable[[Sequence[Candidate]], int],
) -> list[Candidate] | None:
    """One candidate for each layer with the fewest instructions within the limits, or None if there is none.

    Args:
        candidates: variants of every layer.
        limits: bounds on constants with code, and on RAM.
        code_bytes: code of a lowered layer by C function.
        ram_bytes: bytes of memory that an assignment needs.
    """
    options = _lean_enough(candidates, limits.ram, ram_bytes)
    for _ in range(REPAIRS):
        if options is None or not all(options):
            return None
        chosen = _solve(options, limits.flash, code_bytes) or _descend(options, limits.flash, code_bytes)
        if chosen is None or ram_bytes(chosen) <= limits.ram:
            return chosen
        # layers that share memory exceed it only together: give up the one that scratches most
        scratch = [lowered.scratch_bytes for _, lowered in chosen]
        widest = scratch.index(max(scratch))
        options[widest] = [found for found in options[widest] if found is not chosen[widest]]
    return None


def _lean_enough(
    candidates: Sequence[Sequence[Candidate]], limit: int, ram_bytes: Callable[[Sequence[Candidate]], int]
) -> list[list[Candidate]] | None:
    """The candidates that fit the RAM if the other layers take as little as they can; None if nothing does."""
    lean = [min(options, key=lambda found: (found[1].scratch_bytes, found[1].instructions)) for options in candidates]
    if ram_bytes(lean) > limit:
        # the least scratch memory need not be the least RAM where an output may overwrite its input
        for index, options in enumerate(candidates):
            lean[index] = min(options, key=lambda found, i=index: ram_bytes([*lean[:i], found, *lean[i + 1 :]]))  # type: ignore[misc]
        if ram_bytes(lean) > limit:
            return None
    fitting: list[list[Candidate]] = []
    for index, options in enumerate(candidates):
        known: dict[tuple[object, ...], bool] = {}
        kept: list[Candidate] = []
        for found in options:
            lowered = found[1]
            views = lowered.alias, lowered.alias_offset, lowered.assembled
            key = (lowered.scratch_bytes, lowered.in_place, tuple(sorted(lowered.overlap.items())), views)
            if key not in known:
                known[key] = ram_bytes([*lean[:index], found, *lean[index + 1 :]]) <= limit
            if known[key]:
                kept.append(found)
        fitting.append(kept)
    return fitting


def _solve(candidates: Sequence[Sequence[Candidate]], limit: int, code_bytes: CodeBytes) -> list[Candidate] | None:
    """The exact optimum, or None if there is none or it was not found."""
    functions: dict[str, int] = {}
    for options in candidates:
        for _, lowered in options:
            functions.update(code_bytes(lowered))
    places = {name: len(candidates) + index for index, name in enumerate(functions)}
    layers = [
        [
            Option(
                (float(lowered.constant_bytes),),
                float(lowered.instructions),
                needs=tuple((places[name], PRESENT) for name, size in code_bytes(lowered).items() if size),
            )
            for _, lowered in options
        ]
        for options in candidates
    ]
    shared = [[Option((0.0,), 0.0), Option((float(size),), 0.0, key=PRESENT)] for size in functions.values()]
    found = solve(Program([*layers, *shared], [float(limit)]))
    if found is None:
        return None
    chosen = [options[index] for options, index in zip(candidates, found, strict=False)]
    return chosen if flash_bytes(chosen, code_bytes) <= limit else None


def _descend(candidates: Sequence[Sequence[Candidate]], limit: int, code_bytes: CodeBytes) -> list[Candidate] | None:
    """From the fastest of each layer, the change that costs least instructions for a byte until it fits."""
    chosen = [min(options, key=lambda found: found[1].instructions) for options in candidates]
    size = flash_bytes(chosen, code_bytes)
    while size > limit:
        best: tuple[float, int, list[Candidate]] | None = None
        for trial in _changes(candidates, chosen):
            saved = size - flash_bytes(trial, code_bytes)
            if saved > 0:
                slower = sum(new[1].instructions - old[1].instructions for new, old in zip(trial, chosen, strict=True))
                if best is None or slower / saved < best[0]:
                    best = slower / saved, size - saved, trial
        if best is None:
            return None
        _, size, chosen = best
    return chosen


def _changes(candidates: Sequence[Sequence[Candidate]], chosen: Sequence[Candidate]) -> list[list[Candidate]]:
    """One layer changed; or every layer that can, to one variant, which pays for its function together."""
    found = [
        [*chosen[:index], option, *chosen[index + 1 :]]
        for index, options in enumerate(candidates)
        for option in options
        if option is not chosen[index]
    ]
    for name in dict.fromkeys(kernel.name for options in candidates for kernel, _ in options):
        found.append(
            [
                next((option for option in options if option[0].name == name), old)
                for options, old in zip(candidates, chosen, strict=True)
            ]
        )
    return found


def flash_bytes(chosen: Sequence[Candidate], code_bytes: CodeBytes) -> int:
    """Constants, and code with every function once."""
    functions: dict[str, int] = {}
    for _, lowered in chosen:
        functions.update(code_bytes(lowered))
    return sum(lowered.constant_bytes for _, lowered in chosen) + sum(functions.values())
