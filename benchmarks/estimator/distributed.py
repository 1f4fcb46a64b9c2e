"""Judge the price of distributed arithmetic: `python -m benchmarks.estimator.distributed` (in make bench-estimator).

The corpus has no vendor reports of such layers, but the netlist is known: da4ml makes the adder graph, and open
synthesis (Yosys, `synth_xilinx -family xc7`) tells what it costs. `--fit` takes random layers and writes
compiler/estimate/fpga_adder_graph.json; without it, layers of real networks, which the fit has not seen, are judged.
Rows {source, resource, predicted, actual, low, high} go to benchmarks/results/distributed.json; `low` and `high` are
the 80 % interval that every LUT estimate has.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from boardfit.backends.hls4ml.adder_graph import AdderGraph, Value, make_adder_graph
from boardfit.compress.fpga import quantize_for_fpga
from boardfit.estimate.fpga import WeightStatistics
from boardfit.estimate.fpga.adder_graph import expected_size, load_adder_graph_model
from boardfit.estimate.fpga.coefficients import load_coefficients
from boardfit.estimate.fpga.intervals import interval_of
from boardfit.frontend import load_model
from boardfit.ir import FixedPoint
from boardfit.numerics import dequantize, signed_digits
from boardfit.ops.spec import as_fixed
from boardfit.options import QuantizeOptions
from boardfit.pipeline import canonicalize
from boardfit.plan.fpga import product_of

from .. import corpus
from ..results import Row, print_rows, write_rows

OUTPUT = corpus.ROOT / "compiler" / "estimate" / "fpga_adder_graph.json"
SEED = 20261122
SHAPES = (
    (4, 4),
    (9, 8),
    (8, 32),
    (16, 10),
    (16, 32),
    (27, 16),
    (32, 5),
    (32, 32),
    (64, 10),
    (72, 16),
    (144, 8),
    (200, 4),
)
WEIGHT_BITS = (4, 6, 8, 10)
INPUTS = ((8, 1.0), (12, 0.5))
"""Bits of the inputs, and the share of weights that are not pruned."""

FITTED_DIGITS, SYNTHESISED_DIGITS = 1200, 200
"""Signed digits up to which a random layer is given to da4ml, and to Yosys."""

JUDGED = (("digits", 8), ("conv2d_small_keras", 8), ("three_layer_keras", 6), ("two_layer_keras", 8), ("kws01", 6))
JUDGED_DIGITS = 1500
HLS_ADDER_LUTS = 7.0
"""What the HLS tools' library says an adder takes beyond one LUT for each bit (32 bits: 39, 8 bits: 15)."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One matrix of constants (n_in, n_out), real values, with its statistics and the type of its inputs."""

    name: str
    weights: np.ndarray
    raw: np.ndarray
    bias: np.ndarray | None
    element: FixedPoint

    @property
    def statistics(self) -> WeightStatistics:
        digits = signed_digits(self.raw)
        return WeightStatistics(
            self.raw.size, float(np.count_nonzero(self.raw)), float(digits.sum()), float(np.count_nonzero(digits == 1))
        )

    def graph(self) -> AdderGraph:
        return make_adder_graph(self.weights, self.bias, self.element)


def random_layers() -> Iterator[Layer]:
    """Normally distributed weights of many shapes and widths."""
    random = np.random.default_rng(SEED)
    for inputs, outputs in SHAPES:
        for bits in WEIGHT_BITS:
            for input_bits, density in INPUTS:
                top = 1 << (bits - 1)
                raw = np.rint(random.normal(0.0, 0.25, (inputs, outputs)) * top).clip(-top, top - 1).astype(np.int64)
                raw *= random.random(raw.shape) < density
                bias = np.rint(random.normal(0.0, 0.3, outputs) * 8 * top) / (8 * top)
                element = FixedPoint(bool(random.integers(2)), input_bits, input_bits - 3)
                name = f"random {inputs}x{outputs}, {bits} bits"
                yield Layer(name, raw / top, raw, bias, element)


def network_layers() -> Iterator[Layer]:
    """Layers of real networks, at the width that stands beside their name."""
    for name, width in JUDGED:
        if name != "digits" and not corpus.available():
            continue
        graph = canonicalize(load_model(corpus.model_path(name)))
        shape = graph.types[graph.inputs[0]].shape
        data = {graph.inputs[0]: corpus.calibration(name, shape)[:100].reshape(-1, *shape)}
        fixed = quantize_for_fpga(graph, data, QuantizeOptions(width=width))
        for node in fixed.nodes:
            product = product_of(node, fixed)
            if product is None or product.depthwise:
                continue
            element = as_fixed(fixed.types[node.inputs[1]].element)
            stored = fixed.constants[node.inputs[1]].values
            raw = stored.astype(np.int64).reshape(product.n_out, -1).T
            bias = None
            for operand in node.inputs[2:3]:
                kind = as_fixed(fixed.types[operand].element)
                bias = dequantize(fixed.constants[operand].values.astype(np.int64), kind).reshape(-1)
            source = as_fixed(fixed.types[node.inputs[0]].element)
            yield Layer(f"{name}: {node.source.node}, {width} bits", dequantize(raw, element), raw, bias, source)


def verilog(graph: AdderGraph) -> str:
    """The graph as one combinational module; unsigned values get a sign bit of zero."""

    def bits(value: Value) -> int:
        return value.width + (not value.signed)

    lines: list[str] = []
    ports: list[str] = []
    for index, value in enumerate(graph.values):
        if value.input is not None:
            ports.append(f"input [{value.width - 1}:0] i{value.input}")
            zero = "" if value.signed else "1'b0, "
            text = f"{{{zero}i{value.input}}}"
        else:
            text = "0" if value.left is None else f"(v{value.left} <<< {value.left_shift})"
            if value.right is not None:
                text += f" {'-' if value.sign < 0 else '+'} (v{value.right} <<< {value.right_shift})"
            if value.constant:
                sign = "-" if value.constant < 0 else "+"
                text += f" {sign} {bits(value) + 2}'sd{abs(value.constant)}"
        lines.append(f"wire signed [{bits(value) - 1}:0] v{index} = {text};")
    for index, output in enumerate(graph.outputs):
        width = 1 if output.value is None else bits(graph.values[output.value]) + output.shift + 1
        ports.append(f"output signed [{width - 1}:0] o{index}")
        text = "0" if output.value is None else f"{'-' if output.sign < 0 else ''}(v{output.value} <<< {output.shift})"
        lines.append(f"assign o{index} = {text};")
    return f"module adder_graph({', '.join(ports)});\n" + "\n".join(lines) + "\nendmodule\n"


def synthesised_luts(graph: AdderGraph) -> int:
    """LUTs Yosys makes of a graph for 7 series; inverters are not counted, which LUTs absorb."""
    with tempfile.TemporaryDirectory(prefix="boardfit-yosys-") as folder:
        source, report = Path(folder) / "graph.v", Path(folder) / "cells.json"
        source.write_text(verilog(graph))
        script = (
            f"read_verilog {source}; synth_xilinx -family xc7 -noiopad -noclkbuf -flatten -top adder_graph; "
            f"tee -q -o {report} stat -json"
        )
        subprocess.run(["yosys", "-q", "-p", script], check=True, capture_output=True, timeout=500)
        cells = json.loads(report.read_text())["design"]["num_cells_by_type"]
    return sum(int(count) for cell, count in cells.items() if cell.startswith("LUT"))


def fit() -> dict[str, object]:
    """Relations from da4ml's graphs of random layers, the price of an adder bit from Yosys: least squares on logs."""
    small = [layer for layer in random_layers() if 0 < layer.statistics.csd_digits <= FITTED_DIGITS]
    graphs = [(layer, layer.graph()) for layer in small]
    digits = np.array([layer.statistics.csd_digits for layer in small])
    nonzero = np.array([layer.statistics.nonzero for layer in small])
    per_input = digits / np.array([len(layer.raw) for layer in small])
    per_output = digits / np.array([layer.raw.shape[1] for layer in small])
    adders = np.array([graph.adders for _, graph in graphs])
    adder_bits = np.array([graph.adder_bits for _, graph in graphs])
    ones = np.ones(len(small))

    def least_squares(columns: Sequence[np.ndarray], values: np.ndarray) -> list[float]:
        return [float(value) for value in np.linalg.lstsq(np.stack(columns, axis=1), values, rcond=None)[0]]

    share = least_squares(
        [ones, np.log(np.maximum(per_input, 1)), np.log(np.maximum(per_output, 1))], np.log(adders / digits)
    )
    inputs = np.array([layer.element.width for layer in small])
    width = least_squares([ones, digits / nonzero], adder_bits / adders - inputs)
    depth = np.array([graph.depth for _, graph in graphs]) - np.log2(np.maximum(per_output, 1))
    live = np.array([sum(graph.live_bits()) for _, graph in graphs]) / adder_bits
    built = [
        graph for layer, graph in graphs if layer.statistics.csd_digits <= SYNTHESISED_DIGITS and graph.adders > 30
    ]
    ratios = [synthesised_luts(graph) / graph.adder_bits for graph in built]
    print(f"{len(small)} graphs; {len(built)} synthesised, LUTs per adder bit {min(ratios):.2f} to {max(ratios):.2f}")
    return {
        "relations": {
            "share": math.exp(share[0]),
            "share_inputs": share[1],
            "share_outputs": share[2],
            "width": width[0],
            "width_digits": width[1],
            "depth": float(np.mean(depth)),
            "live": float(np.median(live)),
        },
        "hls": {"lut": {"adder_bits": 1.0, "adders": HLS_ADDER_LUTS}, "ff": {"adder_registers": 1.0}},
        "synthesis": {"lut": {"adder_bits": median(ratios), "adders": 0.0}, "ff": {"adder_registers": 1.0}},
    }


def judge() -> tuple[list[Row], list[Row]]:
    """(rows to print, rows to write) of network layers; where Yosys is not installed, da4ml's graphs only."""
    price = load_adder_graph_model().synthesis["lut"]["adder_bits"]
    spread = load_coefficients().spread["synthesis.lut"]
    yosys = shutil.which("yosys") is not None
    shown: list[Row] = []
    written: list[Row] = []
    for layer in network_layers():
        statistics = layer.statistics
        if not 0 < statistics.csd_digits <= JUDGED_DIGITS:
            continue
        graph = layer.graph()
        inputs, outputs = layer.raw.shape
        size = expected_size(statistics, inputs, outputs, layer.element.width)
        pairs: list[tuple[str, float, float]] = [
            ("adders", size.adders, graph.adders),
            ("adder_bits", size.adder_bits, graph.adder_bits),
            ("depth", size.depth, graph.depth),
        ]
        row: dict[str, str | int | float | bool | None] = {"layer": layer.name, "digits": int(statistics.csd_digits)}
        if yosys:
            luts = synthesised_luts(graph)
            pairs += [("lut", size.adder_bits * price, luts), ("lut_of_known_graph", graph.adder_bits * price, luts)]
        for resource, predicted, actual in pairs:
            figure = interval_of(predicted, spread)
            row[resource] = f"{predicted:.0f} / {actual:.0f}"
            written.append(
                {
                    "source": layer.name,
                    "resource": resource,
                    "predicted": round(predicted, 1),
                    "actual": actual,
                    "low": figure.low,
                    "high": figure.high,
                }
            )
        shown.append(row)
    return shown, written


def main() -> int:
    """Fit or judge; what da4ml or Yosys is missing for is left out and said, 1 if that is the fit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true", help="write the relations and the price from random layers")
    wanted = parser.parse_args()
    try:
        import da4ml  # noqa: F401  # the adder graphs
    except ImportError:
        print("skipped: da4ml, which makes the adder graphs, is not installed (pip install 'boardfit[fpga]')")
        return int(wanted.fit)
    if shutil.which("yosys") is None:
        print("LUTs are not judged: yosys is not installed (apt-get install yosys)")
        if wanted.fit:
            return 1
    if wanted.fit:
        OUTPUT.write_text(json.dumps(_rounded(fit()), indent=1) + "\n")
        print(f"written {OUTPUT.name}")
        return 0
    shown, written = judge()
    print_rows("Adder graphs of network layers, predicted / actual (da4ml; LUTs from Yosys, xc7)", shown)
    for resource in dict.fromkeys(str(row["resource"]) for row in written):
        errors = [
            abs(float(row["predicted"] or 0) / max(float(row["actual"] or 0), 1.0) - 1)
            for row in written
            if row["resource"] == resource
        ]
        print(f"{resource}: median error {median(errors):.1%}, largest {max(errors):.0%}, {len(errors)} layers")
    print(f"rows written to {write_rows('distributed', written)}")
    return 0


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) else value


if __name__ == "__main__":
    sys.exit(main())
