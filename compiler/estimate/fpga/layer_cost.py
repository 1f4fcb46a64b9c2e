"""What one layer costs by itself: the figures a planner weighs against each other, without intervals."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from .coefficients import Coefficients, load_coefficients
from .description import MATRIX_KINDS, DesignDescription, LayerDescription
from .device import Device, find_device
from .model import cost
from .multipliers import count_multipliers
from .terms import Ingredients, connection_ingredients, layer_ingredients
from .timing import Clock, Timing, layer_timing, make_clock


@dataclass(frozen=True, slots=True)
class LayerCost:
    """LUT, FF, RAMB18 and DSP after synthesis, and the timing of one layer."""

    lut: float
    ff: float
    bram18: float
    dsp: float
    timing: Timing

    @property
    def uses(self) -> tuple[float, float, float, float]:
        """(lut, ff, bram18, dsp)."""
        return (self.lut, self.ff, self.bram18, self.dsp)


@dataclass(frozen=True, slots=True)
class Pricing:
    """Prices of layers for one device, clock and tool."""

    device: Device
    clock: Clock
    coefficients: Coefficients

    @classmethod
    def of(cls, design: DesignDescription) -> Pricing:
        """The prices that `estimate(design)` uses."""
        coefficients = load_coefficients()
        device = find_device(design.part)
        return cls(device, make_clock(design, device, coefficients), coefficients)

    def layer(self, layer: LayerDescription) -> LayerCost:
        """One layer; the DSPs are those it asks for, whether or not the part has them."""
        known = layer.kind in MATRIX_KINDS
        multipliers = count_multipliers(layer, self.device, self.coefficients) if known else None
        timing = layer_timing(layer, multipliers, self.clock, self.device)
        parts = layer_ingredients(layer, multipliers, timing, self.coefficients, vitis=self.clock.vitis)
        return self._total(parts, timing)

    def connection(self, design: DesignDescription, layer: LayerDescription) -> LayerCost:
        """What stands behind one layer of `design`: its FIFO, or its registers."""
        pair = dataclasses.replace(design, layers=(layer, dataclasses.replace(layer, kind="linear")))
        return self._total(connection_ingredients(pair, self.coefficients, latency=1), Timing(0, 1, 0))

    def _total(self, parts: Ingredients, timing: Timing) -> LayerCost:
        return LayerCost(
            cost(parts.lut, self.coefficients.synthesis["lut"]),
            cost(parts.ff, self.coefficients.synthesis["ff"]),
            float(sum(parts.bram_synthesised.values())),
            parts.dsp,
            timing,
        )
