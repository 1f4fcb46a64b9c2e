"""The estimator: description in, figures out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .coefficients import Coefficients, load_coefficients
from .description import MATRIX_KINDS, DesignDescription, LayerDescription
from .device import Device, find_device
from .estimate_types import Figure, FpgaEstimate, LayerEstimate, Stage
from .intervals import interval_of
from .multipliers import Multipliers, count_multipliers
from .terms import Ingredients, connection_ingredients, layer_ingredients
from .timing import Clock, Timing, design_timing, layer_timing, make_clock


class Analysis:
    """Everything about a design that needs no LUT, FF or interval coefficient: multipliers, timing, ingredients."""

    __slots__ = (
        "clock",
        "connections",
        "design",
        "device",
        "ingredients",
        "interval",
        "latency",
        "multipliers",
        "timings",
    )

    def __init__(self, design: DesignDescription, coefficients: Coefficients) -> None:
        self.design = design
        self.device: Device = find_device(design.part)
        self.clock: Clock = make_clock(design, self.device, coefficients)
        self.multipliers: tuple[Multipliers | None, ...] = tuple(
            count_multipliers(layer, self.device, coefficients) if layer.kind in MATRIX_KINDS else None
            for layer in design.layers
        )
        self.timings: tuple[Timing, ...] = tuple(
            layer_timing(layer, m, self.clock, self.device)
            for layer, m in zip(design.layers, self.multipliers, strict=True)
        )
        self.ingredients: tuple[Ingredients, ...] = tuple(
            layer_ingredients(layer, m, t, coefficients)
            for layer, m, t in zip(design.layers, self.multipliers, self.timings, strict=True)
        )
        self.connections: Ingredients = connection_ingredients(design, coefficients)
        self.latency, self.interval = design_timing(design, self.timings)

    @property
    def parts(self) -> tuple[Ingredients, ...]:
        """Ingredients of all layers and of what connects them."""
        return (*self.ingredients, self.connections)


def cost(terms: Mapping[str, float], prices: Mapping[str, float]) -> float:
    """Amounts times prices; a term without a price is a defect of the coefficient file (KeyError)."""
    return sum(amount * prices[term] for term, amount in terms.items() if amount)


def total_terms(parts: Iterable[Mapping[str, float]]) -> Counter[str]:
    """Terms of several parts, added up."""
    total: Counter[str] = Counter()
    for terms in parts:
        total.update(terms)
    return total


def _synthesised_dsp(dsp: float, device: Device) -> float:
    """Slices after synthesis: never more than the part has; the rest becomes LUTs (`overflow_luts`)."""
    return dsp if device.dsp is None else min(dsp, device.dsp)


def overflow_luts(
    layers: Iterable[tuple[LayerDescription, float]], device: Device, coefficients: Coefficients
) -> float:
    """LUTs of the multipliers without a DSP slice: the same share of every layer, by the area of its operands."""
    pairs = [(layer, dsp) for layer, dsp in layers if dsp]
    total = sum(dsp for _, dsp in pairs)
    if device.dsp is None or total <= device.dsp:
        return 0.0
    share = 1 - device.dsp / total
    per_bit2 = coefficients.scalar("overflow_lut_per_bit2")
    return sum(
        share * dsp * layer.input_precision.width * layer.weight_precision.width * per_bit2 for layer, dsp in pairs
    )


@dataclass(frozen=True, slots=True)
class RawFigures:
    """Figures of a design without intervals, as the fit and the benchmark need them."""

    lut: float
    ff: float
    bram18: float
    dsp: float


def hls_figures(analysis: Analysis, coefficients: Coefficients) -> RawFigures:
    """What the HLS report will say."""
    return RawFigures(
        cost(total_terms(p.lut for p in analysis.parts), coefficients.hls["lut"]),
        cost(total_terms(p.ff for p in analysis.parts), coefficients.hls["ff"]),
        sum(sum(p.bram.values()) for p in analysis.parts),
        sum(p.dsp for p in analysis.parts),
    )


def synthesis_figures(analysis: Analysis, coefficients: Coefficients) -> RawFigures:
    """What Vivado synthesis will say."""
    dsp = [part.dsp for part in analysis.ingredients]
    overflow = overflow_luts(zip(analysis.design.layers, dsp, strict=True), analysis.device, coefficients)
    return RawFigures(
        cost(total_terms(p.lut for p in analysis.parts), coefficients.synthesis["lut"]) + overflow,
        cost(total_terms(p.ff for p in analysis.parts), coefficients.synthesis["ff"]),
        sum(sum(p.bram_synthesised.values()) for p in analysis.parts),
        _synthesised_dsp(sum(dsp), analysis.device),
    )


def spread_key(analysis: Analysis, stage: str, name: str) -> str:
    """Key of a figure's interval factors.

    DSP counts of weight memories are nearly certain, those of constants are not: two classes. Cycles are the same
    before and after synthesis.
    """
    stage = "hls" if name in ("latency", "ii") else stage
    if name != "dsp":
        return f"{stage}.{name}"
    shared = any(m is not None and not m.unrolled for m in analysis.multipliers)
    return f"{stage}.dsp.{'memory' if shared else 'constants'}"


def _figure(value: float, analysis: Analysis, stage: str, name: str, coefficients: Coefficients) -> Figure:
    return interval_of(value, coefficients.spread[spread_key(analysis, stage, name)])


def _stage(figures: RawFigures, stage: str, analysis: Analysis, coefficients: Coefficients) -> Stage:
    return Stage(
        lut=_figure(figures.lut, analysis, stage, "lut", coefficients),
        ff=_figure(figures.ff, analysis, stage, "ff", coefficients),
        bram18=_figure(figures.bram18, analysis, stage, "bram18", coefficients),
        dsp=_figure(figures.dsp, analysis, stage, "dsp", coefficients),
        uram=Figure(0.0, 0.0, 0.0),
    )


def _layer_estimates(analysis: Analysis, coefficients: Coefficients) -> tuple[LayerEstimate, ...]:
    estimates: list[LayerEstimate] = []
    total_dsp = sum(part.dsp for part in analysis.ingredients)
    available = _synthesised_dsp(total_dsp, analysis.device)
    share = available / total_dsp if total_dsp else 1.0
    overflow = overflow_luts(
        zip(analysis.design.layers, (p.dsp for p in analysis.ingredients), strict=True), analysis.device, coefficients
    )
    for layer, part, timing in zip(analysis.design.layers, analysis.ingredients, analysis.timings, strict=True):
        prices = coefficients.synthesis["lut"]
        terms = {term: amount * prices[term] for term, amount in part.lut.items() if amount}
        if overflow and part.dsp:
            terms["multipliers_without_dsp"] = overflow * part.dsp / total_dsp
        hls = RawFigures(
            cost(part.lut, coefficients.hls["lut"]),
            cost(part.ff, coefficients.hls["ff"]),
            sum(part.bram.values()),
            part.dsp,
        )
        built = RawFigures(
            sum(terms.values()),
            cost(part.ff, coefficients.synthesis["ff"]),
            sum(part.bram_synthesised.values()),
            part.dsp * share,
        )
        estimates.append(
            LayerEstimate(
                name=layer.name,
                kind=layer.kind,
                hls=_stage(hls, "hls", analysis, coefficients),
                synthesis=_stage(built, "synthesis", analysis, coefficients),
                latency=_figure(timing.latency, analysis, "hls", "latency", coefficients),
                interval=_figure(timing.interval, analysis, "hls", "ii", coefficients),
                terms=terms,
            )
        )
    return tuple(estimates)


def estimate(design: DesignDescription, coefficients: Coefficients | None = None) -> FpgaEstimate:
    """Estimate a described design: HLS report and post-synthesis figures, cycles, per layer and in total.

    Args:
        design: layers in order with device, clock (ns) and io type.
        coefficients: other coefficients than the shipped ones (the fit uses this).

    Returns:
        Figures with 80 % intervals; the design's figures include FIFOs or registers between the layers.
    """
    chosen = coefficients or load_coefficients()
    analysis = Analysis(design, chosen)
    notes: list[str] = []
    demanded = sum(part.dsp for part in analysis.ingredients)
    if analysis.device.dsp is None:
        notes.append(f"part '{design.part}' is not in the device table: UltraScale+ without a DSP limit assumed")
    elif demanded > analysis.device.dsp:
        notes.append(
            f"the design asks for {round(demanded)} DSP slices, the part has {analysis.device.dsp}: "
            "the other multipliers become LUTs"
        )
    return FpgaEstimate(
        layers=_layer_estimates(analysis, chosen),
        hls=_stage(hls_figures(analysis, chosen), "hls", analysis, chosen),
        synthesis=_stage(synthesis_figures(analysis, chosen), "synthesis", analysis, chosen),
        latency=_figure(analysis.latency, analysis, "hls", "latency", chosen),
        interval=_figure(analysis.interval, analysis, "hls", "ii", chosen),
        assumed=tuple(sorted({f"{layer.name}: {what}" for layer in design.layers for what in layer.assumed})),
        notes=tuple(notes),
    )
