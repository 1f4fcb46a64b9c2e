"""The fitted coefficients (data: fpga_coefficients.json, written by benchmarks/estimator/fit.py)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources

from .adder_graph import load_adder_graph_model


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Named numbers of the model.

    `scalars`: rules of the tools (widths, thresholds, delays in ns). `hls` / `synthesis`: cost per unit of each
    term, by resource (`lut`, `ff`), then by term. `spread`: [low, high] factors of the 80 % interval by stage and
    resource.
    """

    scalars: Mapping[str, float]
    hls: Mapping[str, Mapping[str, float]]
    synthesis: Mapping[str, Mapping[str, float]]
    spread: Mapping[str, tuple[float, float]]

    def scalar(self, name: str) -> float:
        """One rule of the tools; KeyError names a coefficient the file lacks."""
        return self.scalars[name]


def from_json(text: str) -> Coefficients:
    """Coefficients from the text of the data file."""
    raw = json.loads(text)
    return Coefficients(
        scalars={str(k): float(v) for k, v in raw["scalars"].items()},
        hls={r: {str(k): float(v) for k, v in terms.items()} for r, terms in raw["hls"].items()},
        synthesis={r: {str(k): float(v) for k, v in terms.items()} for r, terms in raw["synthesis"].items()},
        spread={str(k): (float(v[0]), float(v[1])) for k, v in raw["spread"].items()},
    )


@lru_cache(maxsize=1)
def load_coefficients() -> Coefficients:
    """The coefficients shipped with the package, with the prices of adder graphs, which come from other data."""
    data = resources.files("boardfit.estimate").joinpath("fpga_coefficients.json")
    fitted, adders = from_json(data.read_text(encoding="utf-8")), load_adder_graph_model()
    return replace(
        fitted,
        hls={resource: {**prices, **adders.hls[resource]} for resource, prices in fitted.hls.items()},
        synthesis={resource: {**prices, **adders.synthesis[resource]} for resource, prices in fitted.synthesis.items()},
    )
