"""A recipe file: steps with options, and settings from the strongest to the most careful."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from ..errors import UsageError
from ..ir.graph import Graph
from ..passes.base import Pass
from ..pipeline import run_passes
from .context import Context
from .steps import TRAIN, make_step

SUFFIX = ".yaml"
KEYS = ("description", "settings", "default", "bias-bits", "steps")
PLACE = "$"
"""A text that begins with it stands for the setting of that name."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Steps that compress a model.

    Attributes:
        name: of the recipe.
        description: one line.
        steps: (name, options), in order; options may name settings.
        settings: from the smallest result to the most careful one; at least one, perhaps empty.
        default: index of the setting that is taken when nothing bounds the loss.
        bias_bits: width biases are rounded to, so that they can be stored in it; None keeps 32 bits.
    """

    name: str
    description: str
    steps: tuple[tuple[str, Mapping[str, Any]], ...]
    settings: tuple[Mapping[str, Any], ...]
    default: int
    bias_bits: int | None = None

    @property
    def trains(self) -> bool:
        """Whether it needs training data."""
        return any(name == TRAIN for name, _ in self.steps)

    def make_steps(self, setting: int, context: Context) -> list[Pass]:
        """The steps with the options of a setting.

        Raises:
            UsageError: a step or an option that does not exist.
        """
        values = self.settings[setting]
        return [
            make_step(name, self._filled(options, values), context, number)
            for number, (name, options) in enumerate(self.steps, start=1)
        ]

    def apply(self, graph: Graph, setting: int, context: Context) -> Graph:
        """The compressed float graph."""
        return run_passes(graph, self.make_steps(setting, context)).graph

    def _filled(self, value: Any, settings: Mapping[str, Any]) -> Any:
        if isinstance(value, Mapping):
            return {key: self._filled(item, settings) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item, settings) for item in value]
        if isinstance(value, str) and value.startswith(PLACE):
            if value[1:] not in settings:
                raise UsageError(f"recipe '{self.name}' has no setting '{value[1:]}'", hint="add it to every setting")
            return settings[value[1:]]
        return value


def recipe_names() -> tuple[str, ...]:
    """The recipes boardfit brings."""
    found = resources.files("boardfit.recipe.recipes").iterdir()
    return tuple(sorted(entry.name.removesuffix(SUFFIX) for entry in found if entry.name.endswith(SUFFIX)))


def find_recipe(name: str | Path) -> Recipe:
    """A recipe by name, or a recipe file by path.

    Raises:
        UsageError: no such recipe, or a file that is none.
    """
    path = Path(name)
    if path.suffix in (SUFFIX, ".yml") or "/" in str(name):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read the recipe: {error}", file=str(path)) from error
        return parse_recipe(text, path.stem, str(path))
    if str(name) not in recipe_names():
        near = difflib.get_close_matches(str(name), recipe_names(), 1)
        hint = f"did you mean '{near[0]}'?" if near else f"recipes: {', '.join(recipe_names())}"
        raise UsageError(f"no recipe is called '{name}'", hint=f"{hint}; or give the path of a {SUFFIX} file")
    file = resources.files("boardfit.recipe.recipes") / f"{name}{SUFFIX}"
    return parse_recipe(file.read_text(encoding="utf-8"), str(name), f"{name}{SUFFIX}")


def parse_recipe(text: str, name: str, file: str) -> Recipe:
    """A recipe from the text of its file.

    Raises:
        UsageError: it is no recipe.
    """

    def fail(problem: str, hint: str | None = None) -> UsageError:
        return UsageError(problem, file=file, hint=hint)

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise fail(f"not a YAML file: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not isinstance(found.get("steps"), list) or not found["steps"]:
        raise fail("a recipe needs a list of steps", "steps: [{prune: {sparsity: 0.8}}, {gptq: {grids: 4}}]")
    unknown = sorted(set(map(str, found)) - set(KEYS))
    if unknown:
        raise fail(f"a recipe has no '{unknown[0]}'", f"it has {', '.join(KEYS)}")
    settings = found.get("settings", [{}])
    if not isinstance(settings, list) or not settings or not all(isinstance(entry, dict) for entry in settings):
        raise fail("settings are a list of mappings, the one with the smallest result first")
    default = found.get("default", len(settings) - 1)
    if not isinstance(default, int) or not 0 <= default < len(settings):
        raise fail(f"default {default!r} is no index of a setting")
    bits = found.get("bias-bits")
    if bits is not None and (not isinstance(bits, int) or not 2 <= bits <= 32):
        raise fail(f"bias-bits {bits!r} is not between 2 and 32")
    steps = tuple(_step(entry, fail) for entry in found["steps"])
    return Recipe(name, str(found.get("description", "")), steps, tuple(settings), default, bits)


def _step(entry: Any, fail: Any) -> tuple[str, Mapping[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, options),) = entry.items()
        if options is None:
            return str(name), {}
        if isinstance(options, dict):
            return str(name), {str(key): value for key, value in options.items()}
    raise fail(f"{entry!r} is no step", "a step is a name, or a name with options")
