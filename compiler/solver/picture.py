"""Pictures of trade-off curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

Axis = tuple[str, Sequence[float], tuple[float, str]]
"""Label, places of the points, and (place, name) of the limit."""

LABELS = {"snr": "signal-to-noise ratio in dB", "accuracy": "accuracy against float in points"}


def draw(path: Path, title: str, axis: Axis, measure: str, values: Sequence[float]) -> None:
    """Draw values over costs with the board's limit; the suffix of `path` says in which format.

    Args:
        measure: 'agreement', 'accuracy' or 'snr'.

    Raises:
        OutputError: the file cannot be written.
    """
    import matplotlib

    from ..errors import OutputError

    matplotlib.use("Agg")
    from matplotlib import pyplot

    label, places, (limit, name) = axis
    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(places, np.array(values) * (1 if measure == "snr" else 100), "o-")
    if limit < 1.5 * max(places):
        axes.axvline(limit, color="tab:red", linestyle="--", label=name)
        axes.legend()
    axes.set_xlabel(label)
    axes.set_ylabel(LABELS.get(measure, "agreement with float in %"))
    axes.set_title(title)
    axes.grid(alpha=0.3)
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write the picture: {error}", file=str(path)) from error
    finally:
        pyplot.close(figure)
