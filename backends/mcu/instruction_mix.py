"""The mix of instructions of every kernel, from measurements kept as data (instruction_mix.json).

Made by `python -m benchmarks.mcu.instruction_mix`: every kernel runs on typical layers under the emulator, and what it
executes is sorted into the events of `boardfit.estimate.cycles`, for one executed instruction.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources

from boardfit.estimate.cycles import Mix

CONSTANTS = "constant_bytes"
"""Event: a byte read from the memory of the constants."""

TABLE = "instruction_mix.json"


@functools.cache
def _table() -> Mapping[str, Mapping[str, Mix]]:
    text = resources.files("boardfit.backends.mcu").joinpath(TABLE).read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, Mix]] = json.loads(text)
    return table


def measured_cores() -> frozenset[str]:
    """Keys of the cores (`code_size.core_key`) that kernels were measured on."""
    return frozenset(_table())


def mix_of(kernel: str, core: str) -> Mix | None:
    """Events for one executed instruction of a kernel on a core ('m4'); None if the core was not measured.

    A kernel that was not measured takes the mean of the others that compute the same op.
    """
    kernels = _table().get(core)
    if kernels is None:
        return None
    return kernels.get(kernel) or _mean(core, kernel.split("/")[0])


def is_measured(kernel: str, core: str) -> bool:
    """Whether the mix of a kernel is its own."""
    return kernel in _table().get(core, {})


@functools.cache
def _mean(core: str, op: str) -> Mix:
    known = _table()[core]
    likes = [mix for name, mix in known.items() if name.split("/")[0] == op] or list(known.values())
    events = sorted({event for mix in likes for event in mix})
    return {event: sum(mix.get(event, 0.0) for mix in likes) / len(likes) for event in events}
