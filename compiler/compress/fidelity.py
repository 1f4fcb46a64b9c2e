"""How much accuracy a design may lose, and how that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from ..ir.graph import Graph
from ..metrics import snr_db
from ..options import QuantizeOptions

DEFAULT_DROP = 2.0
"""Points of agreement with float a design may lose when it does not fit and no bound is given: agreement >= 0.98."""

DEFAULT_SNR = 30.0
"""The same, in dB, for models that do not classify."""


CONFIDENCE = 0.95
"""With which a bound on classes must hold on data that was not seen; high, because several designs are tried."""

ONE_SIDED = 1.6449
"""Standard deviations of a normal distribution below which 1 - `CONFIDENCE` of it lies."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What must hold.

    Attributes:
        measure: 'agreement' (share of samples with float's class), 'accuracy' (share with the label's, as a
            difference from float's), or 'snr' (dB).
        least: smallest allowed value; for accuracy the largest loss, negated.
    """

    measure: str
    least: float

    def __str__(self) -> str:
        if self.measure == "snr":
            return f"signal-to-noise ratio of at least {self.least:g} dB"
        if self.measure == "accuracy":
            return f"accuracy at most {-100 * self.least:g} points below float"
        return f"agreement with float of at least {self.least:.4g}"


@dataclass(frozen=True, slots=True)
class Judge:
    """Measures outputs (S, values) against those of float, and labels (S,) if there are some."""

    bound: Bound
    reference: np.ndarray
    labels: np.ndarray | None = None

    def value(self, outputs: np.ndarray) -> float:
        """The measure of the bound."""
        if self.bound.measure == "snr":
            return snr_db(outputs, self.reference)
        return float(np.mean(self.scores(outputs)))

    def scores(self, outputs: np.ndarray) -> np.ndarray:
        """What each sample adds to a bound that counts classes, (S,): its mean is the measure."""
        found, wanted = np.argmax(outputs, axis=1), np.argmax(self.reference, axis=1)
        if self.bound.measure == "accuracy" and self.labels is not None:
            return (found == self.labels).astype(np.float64) - (wanted == self.labels)
        return (found == wanted).astype(np.float64)


def lower_limit(scores: np.ndarray) -> float:
    """Value that the mean over all data exceeds with probability `CONFIDENCE`, as far as these samples tell.

    Shares of hits: the exact binomial limit (Clopper and Pearson 1934); differences of hits: the normal one. Where no
    sample lost anything the mean itself is taken: fewer than eighty samples could not confirm 0.98 in any other way.
    """
    if not np.any(scores < scores.max(initial=0.0)):
        return float(np.mean(scores))
    count = len(scores)
    if np.all((scores == 0.0) | (scores == 1.0)):
        from scipy.special import betaincinv

        hits = int(scores.sum())
        return float(betaincinv(hits, count - hits + 1, 1.0 - CONFIDENCE)) if hits else 0.0
    return float(np.mean(scores) - ONE_SIDED * np.std(scores) / np.sqrt(count))


def is_classifier(graph: Graph) -> bool:
    """Whether the outputs are scores of classes: one vector, and not the reconstruction of an input."""
    if len(graph.outputs) != 1:
        return False
    shape = graph.types[graph.outputs[0]].shape
    vector = sum(size > 1 for size in shape) == 1
    return vector and all(graph.types[name].shape != shape for name in graph.inputs)


def make_bound(graph: Graph, options: QuantizeOptions, labels: np.ndarray | None) -> Bound:
    """The bound the user gave, or the default one.

    Raises:
        UsageError: a bound that means nothing for this model.
    """
    if options.min_snr is not None:
        return Bound("snr", options.min_snr)
    classifies = is_classifier(graph)
    if options.max_drop is not None:
        if not classifies:
            raise UsageError(
                "option max-drop counts classes, and the outputs of this model are no classes", hint="give --min-snr"
            )
        return Bound("agreement" if labels is None else "accuracy", _share(options.max_drop, labels is not None))
    return Bound("agreement", _share(DEFAULT_DROP, False)) if classifies else Bound("snr", DEFAULT_SNR)


def _share(points: float, relative: bool) -> float:
    return -points / 100 if relative else 1 - points / 100


def split(data: Mapping[str, np.ndarray], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of two disjoint parts of the samples, at most `limit` each: one to search on, one to confirm on."""
    samples = min(len(values) for values in data.values())
    order = np.arange(samples)
    return order[0::2][:limit], order[1::2][:limit]
