"""The steps a recipe may have: the name of each pass, and how its options become the pass.

A step is written as its name, or as its name with options: `prune: {sparsity: 0.8, pattern: {block: 4}}`. Options are
the fields of the pass; data-dependent fields are filled in from the context.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import Enum
from typing import Any

from ..errors import UsageError
from ..passes.base import Pass
from .context import Context

TRAIN = "train"

PASSES = {
    "equalize": ("boardfit.compress.equalize", "EqualizeLayers"),
    "equalize-activations": ("boardfit.compress.equalize_activations", "EqualizeActivations"),
    "correct-bias": ("boardfit.compress.correct_bias", "CorrectBias"),
    "prune": ("boardfit.compress.prune", "Prune"),
    "prune-units": ("boardfit.compress.prune_units", "PruneUnits"),
    "remove-dead-units": ("boardfit.compress.dead_units", "RemoveDeadUnits"),
    "adaround": ("boardfit.compress.adaround", "AdaRound"),
    "narrow-activations": ("boardfit.compress.narrow_activations", "NarrowActivations"),
    "gptq": ("boardfit.compress.gptq", "Gptq"),
    "round-to-nearest": ("boardfit.compress.round_to_nearest", "RoundToNearest"),
    "share-weights": ("boardfit.compress.cluster", "ShareWeights"),
    "low-rank": ("boardfit.compress.low_rank", "LowRank"),
    "choose-ranks": ("boardfit.solver.ranks", "ChooseRanks"),
    "shuffle-inputs": ("boardfit.compress.shuffle_inputs", "ShuffleInputs"),
    "circulant": ("boardfit.compress.circulant", "MakeCirculant"),
    "toeplitz-like": ("boardfit.compress.toeplitz", "MakeToeplitzLike"),
    "fastfood": ("boardfit.compress.fastfood", "MakeFastfood"),
    "cut-filters": ("boardfit.compress.cut_filters", "CutFilters"),
    "separate-depthwise": ("boardfit.compress.compact_layers", "SeparateDepthwise"),
    "make-fire": ("boardfit.compress.compact_layers", "MakeFire"),
    "share-filters": ("boardfit.compress.share_filters", "ShareFilters"),
    "tie-weights": ("boardfit.compress.cluster", "TieWeights"),
    TRAIN: ("boardfit.recipe.train_step", "Train"),
}
"""Name of a step -> module and class of the pass."""

FILLED = ("data", "original", "board", "refused", "context", "number")
"""Fields of a pass that come from the context, not from the recipe."""


def make_step(name: str, options: Mapping[str, Any], context: Context, number: int) -> Pass:
    """A step of a recipe, ready to run.

    Args:
        number: place in the recipe, for the names of checkpoints.

    Raises:
        UsageError: no such step, an option it does not have, or a value of the wrong kind.
    """
    if name not in PASSES:
        near = difflib.get_close_matches(name, PASSES, 1)
        raise UsageError(
            f"no step is called '{name}'",
            hint=f"did you mean '{near[0]}'?" if near else f"steps: {', '.join(PASSES)}",
        )
    module, cls = PASSES[name]
    kind = getattr(importlib.import_module(module), cls)
    known: dict[str, Any] = {"data": context.calibration, "original": context.original, "board": context.board}
    known |= {"context": context, "number": number, "refused": []}
    filled = {field.name: known[field.name] for field in fields(kind) if field.name in FILLED}
    made = build(kind, options, name, filled)
    # the list itself, which checking the options has copied: what the pass refuses is read from the context
    return replace(made, refused=context.refused) if "refused" in filled else made


def build(kind: type[Any], options: Mapping[str, Any], step: str, filled: Mapping[str, Any] | None = None) -> Any:
    """An instance of a dataclass from the options of a recipe.

    Raises:
        UsageError: an option the class does not have, or a value of the wrong kind.
    """
    from dacite import Config, DaciteError, UnexpectedDataError, UnionMatchError, from_dict

    names = [field.name for field in fields(kind) if field.name not in FILLED]
    unknown = [option for option in options if option not in names]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"it has {', '.join(names)}"
        raise UsageError(f"step '{step}' has no option '{unknown[0]}'", hint=hint)
    try:
        return from_dict(kind, {**options, **(filled or {})}, Config(cast=[Enum, tuple, float], strict=True))
    except UnionMatchError as problem:
        raise UsageError(
            f"step '{step}': option '{problem.field_path}' cannot be {problem.value!r}",
            hint="it is of another kind, or an option inside it is spelled wrongly",
        ) from problem
    except UnexpectedDataError as problem:
        raise UsageError(f"step '{step}': no option '{', '.join(sorted(problem.keys))}' there") from problem
    except (DaciteError, ValueError, TypeError) as problem:
        raise UsageError(f"step '{step}': {problem}") from problem
