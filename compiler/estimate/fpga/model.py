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

MOSTLY = 0.7
"""From this share on a design's logic is mostly products: chosen like the tails, by coverage of left-out projects."""


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
            layer_ingredients(layer, m, t, coefficients, vitis=self.clock.vitis)
            for layer, m, t in zip(design.layers, self.multipliers, self.timings, strict=True)
        )
        self.latency, self.interval = design_timing(design, self.timings)
        self.connections: Ingredients = connection_ingredients(design, coefficients, latency=self.latency)

    @property
    def parts(self) -> tuple[Ingredients, ...]:
        """Ingredients of all layers and of what connects them."""
        return (*self.ingredients, self.connections)

    @property
    def mostly_products(self) -> bool:
        """Whether most of the logic, in bits, is that of layers with weights, which is known better than the rest."""
        own = sum(sum(p.lut.values()) for p, m in zip(self.ingredients, self.multipliers, strict=True) if m is not None)
        return own >= MOSTLY * sum(sum(p.lut.values()) for p in self.parts)


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


def spread_key(analysis: Analysis, stage: str, name: str, *, layer: int | None = None) -> str:
    """Key of the interval factors of a figure of a design, or of its layer with the number `layer`.

    DSP counts of weight memories are nearly certain, those of constants are not: two classes, and one of layers that
    multiply by no weights. LUTs in HLS reports: two classes of designs, mostly products or not. Cycles are the same
    before and after synthesis. Layers have factors of their own where reports tell about layers: HLS reports do.
    """
    stage = "hls" if name in ("latency", "ii") else stage
    own = layer is not None and stage == "hls"
    key = f"layer.{stage}.{name}" if own else f"{stage}.{name}"
    if key == "hls.lut":
        return f"{key}.{'products' if analysis.mostly_products else 'others'}"
    if name != "dsp":
        return key
    known = [m for m in (analysis.multipliers if layer is None else (analysis.multipliers[layer],)) if m is not None]
    if own and not known:
        return f"{key}.none"
    return f"{key}.{'memory' if any(not m.unrolled for m in known) else 'constants'}"


@dataclass(frozen=True, slots=True)
class _Bands:
    """Intervals of the figures of a design, or of one of its layers."""

    coefficients: Coefficients
    analysis: Analysis
    layer: int | None = None

    def figure(self, value: float, stage: str, name: str) -> Figure:
        key = spread_key(self.analysis, stage, name, layer=self.layer)
        return interval_of(value, self.coefficients.spread[key])

    def stage(self, figures: RawFigures, stage: str) -> Stage:
        return Stage(
            lut=self.figure(figures.lut, stage, "lut"),
            ff=self.figure(figures.ff, stage, "ff"),
            bram18=self.figure(figures.bram18, stage, "bram18"),
            dsp=self.figure(figures.dsp, stage, "dsp"),
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
    for index, (layer, part, timing) in enumerate(
        zip(analysis.design.layers, analysis.ingredients, analysis.timings, strict=True)
    ):
        bands = _Bands(coefficients, analysis, index)
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
                hls=bands.stage(hls, "hls"),
                synthesis=bands.stage(built, "synthesis"),
                latency=bands.figure(timing.latency, "hls", "latency"),
                interval=bands.figure(timing.interval, "hls", "ii"),
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
    bands = _Bands(chosen, analysis)
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
        hls=bands.stage(hls_figures(analysis, chosen), "hls"),
        synthesis=bands.stage(synthesis_figures(analysis, chosen), "synthesis"),
        latency=bands.figure(analysis.latency, "hls", "latency"),
        interval=bands.figure(analysis.interval, "hls", "ii"),
        assumed=tuple(sorted({f"{layer.name}: {what}" for layer in design.layers for what in layer.assumed})),
        notes=tuple(notes),
    )
