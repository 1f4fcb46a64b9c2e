"""Recipes: short files that say which passes compress a model, with which options."""

from .compress import Compressed, compress_model
from .recipe import Recipe, find_recipe, recipe_names

__all__ = ["Compressed", "Recipe", "compress_model", "find_recipe", "recipe_names"]
