"""Predicted machine code and stack of a plan, from measurements kept as data (code_size.json).

The table holds sizes of single functions: kernels are compiled as written (`KERNEL` forbids inlining and cloning),
so a function has the same size in every firmware of the same core and optimization.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from boardfit.ir import Node

from .kernel import Argument, Call, Const, Function, FunctionPointer, Input, Literal, Scratch

if TYPE_CHECKING:
    from .plan import Plan

CORES: Mapping[str, str] = {
    "cortex-m0": "m0",
    "cortex-m0plus": "m0",
    "cortex-m23": "m0",
    "cortex-m3": "m3",
    "cortex-m4": "m4",
    "cortex-m7": "m7",
    "cortex-m33": "m33",
    "cortex-m35p": "m33",
    "cortex-m55": "m55",
    "cortex-m85": "m55",
    "cortex-m52": "m55",
}
"""Processor core -> key in the table."""

SMALL_LITERAL = 255
NEAR = 4096
REGISTER_ARGUMENTS = 4
WORD = 4
SAVED = 20
"""Bytes of registers that a run function saves on the average."""

SHARED_ADDRESSES = 5
"""Registers that are left for addresses."""

RUN_FEATURES = (
    "base",
    "calls",
    "arena start",
    "near pointers",
    "far pointers",
    "constants",
    "large literals",
    "small literals",
    "arguments on the stack",
    "ports at the start",
    "near ports",
    "far ports",
)
"""What the size of a run function (with the accessors) is a linear function of."""


@dataclass(frozen=True, slots=True)
class CodeSize:
    """Predicted code of a plan.

    Attributes:
        run: run function, accessors and initialisation.
        functions: kernel function -> bytes.
        library: C library function -> bytes.
        stack: deepest stack of the run function.
        measured: whether every function is in the table; if not, some are judged by their likes.
    """

    run: int
    functions: Mapping[str, int]
    library: Mapping[str, int]
    stack: int
    measured: bool

    @property
    def total(self) -> int:
        """All machine code."""
        return self.run + sum(self.functions.values()) + sum(self.library.values())


def core_key(core: str, features: frozenset[str]) -> str:
    """Key of the table that fits a core best: its own, or one of the same instruction set."""
    if core in CORES:
        return CORES[core]
    if core.startswith("rv") or "riscv" in core:
        return "rv32"
    if "mve" in features:
        return "m55"
    return "m4" if "dsp" in features else "m3" if "long-multiply" in features else "m0"


@functools.cache
def _table() -> Any:
    return json.loads(resources.files("boardfit.backends.mcu").joinpath("code_size.json").read_text(encoding="utf-8"))


@functools.cache
def measurements(core: str, optimization: str) -> Any:
    """The measured entries of one core ('m4') and optimization ('-O2')."""
    table = _table()
    return table.get(core, table["m4"])[optimization]


def function_size(function: Function, core: str, optimization: str) -> tuple[int, int, bool]:
    """(code bytes, own stack frame, whether measured) of one function."""
    entries = measurements(core, optimization)["functions"]
    if not function.template:
        return 0, 0, True
    entry = entries.get(function.name)
    if entry is not None:
        return entry["code"], entry["stack"], True
    if function.code_bytes is not None:
        return function.code_bytes, _likely_stack(function, core, optimization), function.code_bytes == 0
    likely = [known for name, known in entries.items() if _kind(name) == _kind(function.size_key or function.name)]
    if not likely:
        likely = list(entries.values())
    code, stack = max(entry["code"] for entry in likely), max(entry["stack"] for entry in likely)
    return code, stack, False


def _likely_stack(function: Function, core: str, optimization: str) -> int:
    """Own stack frame of a function that was measured for other sizes of its layer, else what the kernel says."""
    return _frames(core, optimization).get(re.sub(r"\d+", "", function.name), function.stack_bytes or 0)


@functools.cache
def _frames(core: str, optimization: str) -> dict[str, int]:
    """Largest stack frame of the functions whose names differ in their numbers only."""
    found: dict[str, int] = {}
    for name, known in measurements(core, optimization)["functions"].items():
        shape = re.sub(r"\d+", "", name)
        found[shape] = max(found.get(shape, 0), known["stack"])
    return found


def _kind(name: str) -> str:
    """A function's name without its element types."""
    return "_".join(part for part in name.split("_") if part not in ("s8", "u8", "s16", "u16", "s32", "f32"))


def code_size(plan: Plan, core: str, optimization: str) -> CodeSize:
    """Predicted code and stack of a plan.

    Args:
        core: key of the table, see `core_key`.
        optimization: compiler flag, '-O2' or '-Os'.
    """
    facts = measurements(core, optimization)
    sizes: dict[str, int] = {}
    calls: set[str] = set()
    measured = True
    for function in plan.functions:
        code, _, known = function_size(function, core, optimization)
        measured = measured and known
        if function.template:
            sizes[function.name] = code
            calls |= set(facts["functions"].get(function.name, {}).get("calls", ()))
        else:
            calls.add(function.name)
    library = {name: facts["library"].get(name, 0) for name in sorted(calls)}
    features = run_features(plan)
    run = sum(facts["run"][name] * value for name, value in zip(RUN_FEATURES, features, strict=True))
    deepest = max(
        (_call_depth(call, core, optimization) for layer in plan.layers for call in layer.lowered.calls), default=0
    )
    return CodeSize(round(run / 4) * 4, sizes, library, deepest + _run_frame(plan), measured)


def _call_depth(call: Call, core: str, optimization: str) -> int:
    """Stack of a call of the run function; a function that is passed is called by the one it is passed to."""
    passed = [argument.function for argument in call.arguments if isinstance(argument, FunctionPointer)]
    inner = max((_depth(function, core, optimization) for function in passed), default=0)
    _, own, _ = function_size(call.function, core, optimization)
    return max(_depth(call.function, core, optimization), own + inner)


def _depth(function: Function, core: str, optimization: str) -> int:
    """Stack of a call: the function's own frame and its deepest callee's."""
    _, own, _ = function_size(function, core, optimization)
    return own + max((_depth(callee, core, optimization) for callee in function.requires), default=0)


def _run_frame(plan: Plan) -> int:
    """Stack frame of the run function: saved registers and the arguments of calls (pairs of words).

    Compilers keep addresses of tables that several calls need in registers, which must be saved; nothing else is kept
    from one call to the next (see `emit._cast`).
    """
    most = max((len(call.arguments) for layer in plan.layers for call in layer.lowered.calls), default=0)
    uses = Counter(plan.table_owners.values())
    shared = min(sum(count > 1 for count in uses.values()), SHARED_ADDRESSES)
    return SAVED + WORD * shared + 2 * WORD * -(-max(most - REGISTER_ARGUMENTS, 0) // 2)


def run_features(plan: Plan) -> list[float]:
    """Values of RUN_FEATURES."""
    counts: dict[str, float] = dict.fromkeys(RUN_FEATURES, 0.0)
    counts["base"] = 1
    for name in (*plan.graph.inputs, *plan.graph.outputs):
        place = plan.places.get(name, 1)
        counts["ports at the start" if place == 0 else "near ports" if place < NEAR else "far ports"] += 1
    for layer in plan.layers:
        for call in layer.lowered.calls:
            counts["calls"] += 1
            counts["arguments on the stack"] += max(len(call.arguments) - REGISTER_ARGUMENTS, 0)
            for argument in call.arguments:
                counts[_argument_kind(argument, layer.node, plan)] += 1
    return [counts[name] for name in RUN_FEATURES]


def _argument_kind(argument: Argument, node: Node, plan: Plan) -> str:
    if isinstance(argument, Literal):
        digits = argument.text.rstrip("uf")
        small = digits.lstrip("-").isdigit() and abs(int(digits)) <= SMALL_LITERAL
        return "small literals" if small else "large literals"
    if isinstance(argument, (Const, FunctionPointer)):
        return "constants"
    if isinstance(argument, Scratch):
        offset = plan.scratch[node.name] + argument.offset
    else:
        tensor = (node.inputs if isinstance(argument, Input) else node.outputs)[argument.index]
        if tensor in plan.graph.constants:
            return "constants"
        offset = plan.places[tensor]
    return "arena start" if offset == 0 else "near pointers" if offset < NEAR else "far pointers"
