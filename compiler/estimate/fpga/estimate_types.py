"""The answer: figures with an 80 % interval, per layer and for the design."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """An estimated number and the interval that holds four of five real results."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Stage:
    """LUT, FF, RAMB18, DSP and URAM of one stage (the HLS report, or after Vivado synthesis)."""

    lut: Figure
    ff: Figure
    bram18: Figure
    dsp: Figure
    uram: Figure


@dataclass(frozen=True, slots=True)
class LayerEstimate:
    """One layer: both stages, cycles, and the LUT terms that explain it (term -> LUTs after synthesis)."""

    name: str
    kind: str
    hls: Stage
    synthesis: Stage
    latency: Figure
    interval: Figure
    terms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class FpgaEstimate:
    """The whole design. `assumed` lists what the description did not state; `notes` what the user should know."""

    layers: tuple[LayerEstimate, ...]
    hls: Stage
    synthesis: Stage
    latency: Figure
    interval: Figure
    assumed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
