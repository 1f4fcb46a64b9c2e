"""More unlabelled inputs than there are: pseudo-data around the real ones, which the teacher then answers.

Bucila, Caruana, Niculescu-Mizil, "Model compression" (2006), section 3.3 (MUNGE), for inputs that are a vector of
features; and variations of series and images: shifts, mixtures of two inputs, noise, an offset of each feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from .options import as_real

CHUNK = 1024
"""Samples made at a time."""


@dataclass(frozen=True, slots=True)
class Munge:
    """MUNGE: values are exchanged with the nearest other sample, and moved.

    Attributes:
        copies: made of every sample.
        exchange: chance of each value to be exchanged.
        variance: local variance parameter s: an exchanged value is drawn with a standard deviation of the distance of
            the two values over s.
    """

    copies: int = 4
    exchange: float = 0.5
    variance: float = 2.0

    def __call__(self, inputs: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """`copies` times as many inputs (S * copies, *shape), float32."""
        if not 0.0 <= self.exchange <= 1.0 or not self.variance > 0.0 or self.copies < 1:
            raise UsageError("exchange is a chance, copies and variance are positive")
        flat = as_real(inputs).reshape(len(inputs), -1)
        made = np.tile(flat, (self.copies, 1))
        partner = flat[np.tile(_nearest(flat), self.copies)]
        away = np.abs(made - partner)
        drawn = partner + random.standard_normal(made.shape).astype(np.float32) * away / np.float32(self.variance)
        moved = np.where(random.random(made.shape) < self.exchange, drawn, made)
        return moved.reshape(-1, *inputs.shape[1:]).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Variations:
    """Variations of series and images (S, ..., rows, columns, C), or of vectors where nothing is shifted.

    Attributes:
        copies: made of every sample.
        shift: rows (of a series: moments) moved at most; the first and last row are repeated.
        mix: share of the copies that are mixed with another one, up to half and half.
        noise: most of normal noise, in standard deviations of each feature (last two axes).
        offset: standard deviation of what is added to a feature everywhere, in the same unit.
    """

    copies: int = 20
    shift: int = 0
    mix: float = 0.5
    noise: float = 0.25
    offset: float = 0.2

    def __call__(self, inputs: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """`copies` times as many inputs, float32."""
        if self.copies < 1 or self.shift < 0 or not 0.0 <= self.mix <= 1.0 or min(self.noise, self.offset) < 0.0:
            raise UsageError("copies are positive, mix is a share, and noise, offset and shift are not negative")
        if self.shift and inputs.ndim < 4:
            raise UsageError(f"inputs of shape {inputs.shape[1:]} have no rows to shift")
        real = as_real(inputs)
        return np.concatenate([self._copy(real, random) for _ in range(self.copies)])

    def _copy(self, inputs: np.ndarray, random: np.random.Generator) -> np.ndarray:
        samples, rank = len(inputs), inputs.ndim
        rows = rank - 3
        features = tuple(axis for axis in range(rank) if axis < rank - 2)
        spread = inputs.std(axis=features if rank > 2 else 0, keepdims=True)

        def column(values: np.ndarray) -> np.ndarray:
            return values.reshape(-1, *[1] * (rank - 1)).astype(np.float32)

        def moved() -> np.ndarray:
            chosen = inputs[random.permutation(samples)]
            if not self.shift:
                return chosen
            by = random.integers(-self.shift, self.shift + 1, samples)
            place = np.clip(np.arange(inputs.shape[rows]) - by[:, None], 0, inputs.shape[rows] - 1)
            shape = [samples, *[1] * (rank - 1)]
            shape[rows] = -1
            return np.take_along_axis(chosen, place.reshape(shape), axis=rows)

        share = column(np.where(random.random(samples) < self.mix, random.uniform(0.5, 1.0, samples), 1.0))
        mixed = share * moved() + (np.float32(1.0) - share) * moved()
        loud = column(random.uniform(0.0, self.noise, samples))
        noise = random.standard_normal(mixed.shape).astype(np.float32) * spread * loud
        offset = random.standard_normal((samples, *spread.shape[1:])).astype(np.float32) * spread * self.offset
        made: np.ndarray = (mixed + noise + offset).astype(np.float32)
        return made


PseudoData = Variations | Munge


def with_pseudo_data(data: Mapping[str, np.ndarray], kind: PseudoData, seed: int) -> dict[str, np.ndarray]:
    """The inputs and pseudo-data made of them, without labels.

    Raises:
        UsageError: the network has several inputs, whose values belong together.
    """
    if len(data) != 1:
        raise UsageError("pseudo-data are made for networks with one input")
    ((name, values),) = data.items()
    made = kind(values, np.random.default_rng([seed, kind.copies]))
    return {name: np.concatenate([as_real(values), made])}


def _nearest(flat: np.ndarray) -> np.ndarray:
    """Index of the nearest other sample, features scaled to equal spread."""
    scaled = (flat - flat.mean(axis=0)) / np.maximum(flat.std(axis=0), 1e-12)
    squares = (scaled**2).sum(axis=1)
    found = np.empty(len(flat), np.int64)
    for start in range(0, len(flat), CHUNK):
        part = scaled[start : start + CHUNK]
        distance = squares[None] - 2.0 * part @ scaled.T
        distance[np.arange(len(part)), start + np.arange(len(part))] = np.inf
        found[start : start + CHUNK] = np.argmin(distance, axis=1)
    return found
