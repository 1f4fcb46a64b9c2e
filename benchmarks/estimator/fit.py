"""Fit the coefficients of the FPGA estimator: `python -m benchmarks.estimator.fit` writes fpga_coefficients.json.

Every term (see compiler/estimate/fpga/terms.py) has a price >= 0 per unit. Prices are fitted in log space on
relative errors with a robust loss, each repository weighted by the square root of its rows, and held near a physical
guess (one LUT per adder bit, one flip-flop per register bit) where the data say little. The prices after synthesis
start from the HLS prices times one common ratio and may move from there as far as the data pull them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from boardfit.estimate.fpga.coefficients import Coefficients
from boardfit.estimate.fpga.model import hls_figures, overflow_luts, synthesis_figures, total_terms

from .corpus import RESOURCES, Sample, corpus_folder, design_samples, layer_samples, read_rows
from .spread import outcomes, spread_factors

OUTPUT = Path(__file__).resolve().parents[2] / "compiler" / "estimate" / "fpga_coefficients.json"

# Rules of the tools: operand widths, thresholds and delays, read off reports and data sheets, not fitted here.
SCALARS: Mapping[str, float] = {
    "dsp_operand_bits": 21,
    "dsp_smallest_operand": 4,
    "uncertainty_vivado": 0.125,
    "uncertainty_vitis": 0.27,
    "add_ns_7series": 2.4,
    "add_ns_ultrascale": 1.6,
    "add_ns_ultrascale_plus": 0.85,
    "multiply_ns_7series": 3.4,
    "multiply_ns_ultrascale": 2.6,
    "multiply_ns_ultrascale_plus": 1.9,
    "table_ns_7series": 7,
    "table_ns_ultrascale": 5,
    "table_ns_ultrascale_plus": 3.5,
    "slow_grade": 1.25,
    "chain_products": 5000,
    "rom_bits": 1024,
    "rom_index_depth": 512,
    "rom_depth_synthesis": 16,
    "fifo_register_depth": 32,
    "fifo_bits_synthesis": 1024,
    "overflow_lut_per_bit2": 0.3,
}

# Physical guesses the fit starts from: LUTs (flip-flops) per unit of a term.
GUESS: Mapping[str, Mapping[str, float]] = {
    "lut": {
        "control": 100,
        "accumulate": 1,
        "shift_add": 1,
        "share": 0.5,
        "accumulate_shared": 1,
        "select_input": 1,
        "outputs": 1,
        "select_output": 1,
        "scatter": 0.3,
        "scatter_vitis": 0.3,
        "index": 1000,
        "index_vitis": 4000,
        "gather": 1,
        "fabric_multiply": 1,
        "stream_words": 0.5,
        "line_buffer": 1,
        "window": 0.5,
        "select_window": 1,
        "stream_control": 150,
        "stream_lanes": 0.5,
        "compare": 0.5,
        "round_saturate": 2,
        "wires": 0.5,
        "table_index": 4,
        "scale": 1,
        "softmax_lanes": 3,
        "softmax_control": 100,
        "softmax_compare": 1,
        "pool_window": 3,
        "pool_unrolled": 1,
        "fifo_count": 20,
        "fifo_bits": 0.5,
        "fifo_register_bits": 0.5,
    },
    "ff": {
        "control": 50,
        "pipeline": 1,
        "hold_products": 1,
        "accumulate_shared": 1,
        "outputs": 1,
        "returned": 2,
        "hold_inputs": 3,
        "window": 2,
        "image": 1,
        "stream_control": 50,
        "stream_lanes": 1,
        "pipeline_lanes": 1,
        "softmax_lanes": 1,
        "pool_window": 2,
        "pool_unrolled": 1,
        "layer_registers": 0.8,
        "fifo_count": 5,
        "fifo_bits": 0.1,
        "fifo_register_bits": 0.1,
    },
}
# What HLS reports do not show: Vivado builds a shallow FIFO from registers, both words of it.
SYNTHESIS_GUESS: Mapping[str, Mapping[str, float]] = {
    "lut": {},
    "ff": {"fifo_register_bits": 2, "layer_registers": 0.05},
}
# Medians over pairs of reports of one project. Around shared multipliers more is saved: the adder behind one goes
# into the DSP slice, the multiplexer in front of it into the memory's address.
COMMON_RATIO = {"lut": 0.55, "ff": 0.75}
ABSORBED_RATIO = 0.3
ABSORBED = frozenset({"accumulate_shared", "select_input", "gather"})
HLS_RIDGE, SYNTHESIS_RIDGE = 0.45, {"lut": 2.5, "ff": 0.5}
FLOOR = 40.0


def _weights(samples: Sequence[Sample]) -> np.ndarray:
    rows = Counter(sample.repository for sample in samples)
    weights = np.array([rows[sample.repository] ** -0.5 for sample in samples])
    return weights / weights.mean()


def fit_prices(
    samples: Sequence[Sample],
    resource: str,
    guess: Mapping[str, float],
    ridge: float,
    offset: Sequence[float] | None = None,
) -> dict[str, float]:
    """Prices of the terms of one resource; `offset` is what a sample costs before any term (DSP overflow)."""
    names = sorted(guess)
    totals = [total_terms(getattr(part, resource) for part in sample.analysis.parts) for sample in samples]
    amounts = np.array([[total.get(name, 0.0) for name in names] for total in totals])
    actual = np.array([sample.actual[resource] for sample in samples])
    base = FLOOR + (np.array(offset) if offset is not None else 0.0)
    root = np.sqrt(_weights(samples))
    start = np.log(np.array([guess[name] for name in names]))

    def residuals(logs: np.ndarray) -> np.ndarray:
        predicted = amounts @ np.exp(logs) + base
        return np.concatenate([root * np.log(predicted / (actual + FLOOR)), ridge * (logs - start)])

    def jacobian(logs: np.ndarray) -> np.ndarray:
        prices = np.exp(logs)
        predicted = amounts @ prices + base
        return np.vstack([root[:, None] * amounts * prices / predicted[:, None], ridge * np.eye(len(logs))])

    # scipy's annotations know only the names of finite-difference schemes
    exact: Any = jacobian
    solution = least_squares(residuals, start, jac=exact, loss="soft_l1", f_scale=0.15)
    return {name: float(np.exp(value)) for name, value in zip(names, solution.x, strict=True)}


def fit(samples: Sequence[Sample]) -> Coefficients:
    """All prices, without intervals, from samples of both stages."""
    hls: dict[str, dict[str, float]] = {}
    synthesis: dict[str, dict[str, float]] = {}
    blank = Coefficients(SCALARS, {}, {}, {})
    for resource, guess in GUESS.items():
        reported = [s for s in samples if s.stage == "hls" and resource in s.actual]
        hls[resource] = fit_prices(reported, resource, guess, HLS_RIDGE)
        built = [s for s in samples if s.stage == "synthesis" and resource in s.actual]
        start = {
            name: price * (ABSORBED_RATIO if resource == "lut" and name in ABSORBED else COMMON_RATIO[resource])
            for name, price in hls[resource].items()
        }
        start |= SYNTHESIS_GUESS[resource]
        offset = [
            overflow_luts(
                zip(s.analysis.design.layers, [p.dsp for p in s.analysis.ingredients], strict=True),
                s.analysis.device,
                blank,
            )
            if resource == "lut"
            else 0.0
            for s in built
        ]
        synthesis[resource] = fit_prices(built, resource, start, SYNTHESIS_RIDGE[resource], offset) if built else start
    return Coefficients(SCALARS, hls, synthesis, {})


def predictions(sample: Sample, coefficients: Coefficients) -> dict[str, float]:
    """Predicted figures of a sample by the names of its actual ones."""
    figures = (hls_figures if sample.stage == "hls" else synthesis_figures)(sample.analysis, coefficients)
    found: dict[str, float] = {resource: getattr(figures, resource) for resource in RESOURCES}
    found["latency"], found["ii"] = sample.analysis.latency, sample.analysis.interval
    if sample.level == "layer":  # a report tells a layer's own cycles, not those of a design around it
        found["latency"], found["ii"] = sample.analysis.timings[0].latency, sample.analysis.timings[0].interval
    return found


def leave_one_out(samples: Sequence[Sample]) -> list[tuple[Sample, dict[str, float]]]:
    """Every sample with the prediction of a fit that has not seen its repository."""
    held_out: list[tuple[Sample, dict[str, float]]] = []
    for repository in sorted({sample.repository for sample in samples}):
        coefficients = fit([sample for sample in samples if sample.repository != repository])
        held_out += [(s, predictions(s, coefficients)) for s in samples if s.repository == repository]
    return held_out


def load_samples(skipped: Counter[str] | None = None) -> list[Sample]:
    """All samples of the corpus."""
    folder = corpus_folder()
    designs, layers = read_rows(folder / "designs.csv"), read_rows(folder / "layers.csv")
    blank = Coefficients(SCALARS, {}, {}, {})
    counter = skipped if skipped is not None else Counter()
    return [*design_samples(designs, blank, counter), *layer_samples(layers, designs, blank, counter)]


def rounded(coefficients: Coefficients) -> dict[str, object]:
    """The JSON form, three significant digits."""

    def digits(value: float) -> float:
        return float(f"{value:.3g}")

    return {
        "scalars": dict(sorted(coefficients.scalars.items())),
        "hls": {r: {n: digits(v) for n, v in sorted(p.items())} for r, p in coefficients.hls.items()},
        "synthesis": {r: {n: digits(v) for n, v in sorted(p.items())} for r, p in coefficients.synthesis.items()},
        "spread": {n: [digits(v[0]), digits(v[1])] for n, v in sorted(coefficients.spread.items())},
    }


def main() -> None:
    """Fit on everything, take the intervals from the leave-one-repository-out errors, write the data file."""
    samples = load_samples()
    designs = [s for s in samples if s.level == "design"]
    coefficients = replace(fit(samples), spread=spread_factors(outcomes(leave_one_out(samples))))
    OUTPUT.write_text(json.dumps(rounded(coefficients), indent=1) + "\n", encoding="utf-8")
    print(f"{len(samples)} samples ({len(designs)} designs), written {OUTPUT.name}")


if __name__ == "__main__":
    main()
