"""How many multiplications a layer performs per evaluation, on what, and how many DSP slices that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .adder_graph import STRATEGY
from .coefficients import Coefficients
from .description import GroupedWeights, LayerDescription, WeightStatistics
from .device import Device

CODEBOOK = "codebook"
"""Strategy of layers that sum the inputs of equal weights before they multiply."""


@dataclass(frozen=True, slots=True)
class Multipliers:
    """What becomes of the products of one matrix layer.

    `unrolled`: weights are constants (Latency, or reuse factor 1) rather than words read from a memory.
    `nonzero`: products that exist at all; `demand`: those that need a real multiplier; `instances`: multipliers
    built; `shared`: whether one instance serves several products; `dsp`: slices; `fabric`: multipliers made of
    LUTs; `adder_digits`: shift-and-add terms beyond the first of weights that are not given to a multiplier.
    """

    unrolled: bool
    nonzero: float
    demand: float
    instances: float
    shared: bool
    dsp: float
    fabric: float
    adder_digits: float


def expected_weights(layer: LayerDescription) -> WeightStatistics:
    """Statistics of trained weights of this format when the values themselves are not known.

    A canonical signed-digit number of b random bits has b/3 + 1/9 non-zero digits on average (Reitwiesner 1960).
    Trained weights are well below one, so b is the number of fraction bits; -0.2 instead of +1/9 because their
    distribution is peaked at zero.
    """
    count = max(1, layer.products)
    bits = max(1, min(layer.weight_precision.width, layer.weight_precision.frac))
    digits = max(1.0, bits / 3 - 0.2)
    nonzero = count * (1 - 0.5**bits)
    # Weights grow as inputs get fewer (He et al. 2015): those of one input are of the order of one, all bits random.
    powers = bits * 0.5 ** (bits - 1) if layer.n_in == 1 else 1.2 / bits
    return WeightStatistics(count, nonzero, nonzero * digits, nonzero * min(1.0, powers))


def share_with_digits(mean_digits: float, least: int) -> float:
    """Share of non-zero weights whose canonical signed-digit form has at least `least` digits.

    The digit count of random numbers is nearly normal with variance 2/9 of its mean; no fitted coefficient.
    """
    if mean_digits <= 1.0:
        return 0.0
    deviation = math.sqrt(2 * mean_digits / 9)
    return 0.5 * (1 + math.erf((mean_digits - least + 0.5) / deviation / math.sqrt(2)))


def slices_per_multiplier(weight_bits: int, input_bits: int, device: Device) -> int:
    """DSP slices one signed multiplication takes: both operands cut into what one slice multiplies."""
    small, large = sorted((weight_bits, input_bits))
    return max(1, math.ceil(small / 18)) * max(1, math.ceil(large / device.wide_operand))


def multiplier_limit(layer: LayerDescription) -> float:
    """Multipliers hls4ml allows in a Latency layer (its ALLOCATION limit): products per reuse, zeros taken off."""
    zeros = layer.n_zeros if layer.n_zeros is not None and layer.n_zeros < layer.products else 0
    return max(1, math.ceil(layer.products / layer.reuse_factor) - zeros // layer.reuse_factor)


def _of_sums(layer: LayerDescription, grouped: GroupedWeights) -> LayerDescription:
    """The layer whose inputs are the sums: one product for each magnitude of each output."""
    inputs = layer.input_precision
    return replace(
        layer,
        strategy="latency",
        reuse_factor=1,
        products=grouped.weights.count,
        weights=grouped.weights,
        n_zeros=0,
        input_precision=replace(inputs, width=inputs.width + grouped.growth, integer=inputs.integer + grouped.growth),
    )


def count_multipliers(layer: LayerDescription, device: Device, coefficients: Coefficients) -> Multipliers:
    """Multipliers of a dense or convolution layer, per evaluation of its matrix product."""
    weights = layer.weights or expected_weights(layer)
    weight_bits, input_bits = layer.weight_precision.width, layer.input_precision.width
    wide_enough = weight_bits + input_bits >= coefficients.scalar("dsp_operand_bits")
    wide_enough = wide_enough and min(weight_bits, input_bits) > coefficients.scalar("dsp_smallest_operand")
    uses_dsp = layer.multiplier != "fabric" and (wide_enough or layer.multiplier == "dsp")
    if layer.strategy == CODEBOOK and layer.grouped is not None:
        return count_multipliers(_of_sums(layer, layer.grouped), device, coefficients)
    if layer.strategy == STRATEGY:
        return Multipliers(True, weights.nonzero, 0.0, 0.0, False, 0.0, 0.0, 0.0)
    if layer.strategy == "latency" or layer.reuse_factor == 1:
        mean = weights.csd_digits / weights.nonzero if weights.nonzero else 0.0
        # Two-digit constants are one adder; against a narrow input three-digit ones are cheaper as adders as well.
        demand = weights.nonzero * share_with_digits(mean, 3 if input_bits > 7 or layer.multiplier == "dsp" else 4)
        if layer.reuse_factor > 1 and wide_enough and weight_bits > 8:
            # A shared multiplier takes two-digit constants as well. Narrower constants recur among the products of
            # one input, which are made once: fewer want one then.
            demand = max(demand, weights.nonzero - weights.powers_of_two)
        if layer.n_in == 1:  # no sum to take the second digit in
            demand = max(demand, weights.nonzero - weights.powers_of_two)
        # Below the width gate the tool still shares, but between constants made of adders.
        instances = min(demand, multiplier_limit(layer))
        extra = max(0.0, weights.csd_digits - weights.nonzero)
        if not uses_dsp:
            return Multipliers(
                True, weights.nonzero, demand, instances, layer.reuse_factor > 1 and instances < demand, 0.0, 0.0, extra
            )
        effective = min(weight_bits, max(weights.csd_digits / max(1.0, weights.nonzero) * 3 + 4, 8.0))
        slices = slices_per_multiplier(math.ceil(effective), input_bits, device)
        two_digit = max(0.0, weights.nonzero - weights.powers_of_two - demand)
        return Multipliers(
            True,
            weights.nonzero,
            demand,
            instances,
            layer.reuse_factor > 1 and instances < demand,
            instances * slices,
            0.0,
            min(extra, two_digit),
        )
    instances = math.ceil(layer.products / layer.reuse_factor)
    if not uses_dsp:
        return Multipliers(False, layer.products, layer.products, instances, True, 0.0, instances, 0.0)
    slices = slices_per_multiplier(weight_bits, input_bits, device)
    # The last of several multipliers that are wider than a slice loses the parts its result does not show.
    dsp = instances * slices - (1 if slices == 2 and instances > 1 else 2 if slices > 2 and instances > 1 else 0)
    return Multipliers(False, layer.products, layer.products, instances, True, dsp, 0.0, 0.0)
