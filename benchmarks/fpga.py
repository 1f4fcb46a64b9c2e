"""`make bench-fpga`: what is planned for small FPGA boards, what it costs, and whether C simulation gives every byte.

Prints a table and writes `benchmarks/results/fpga.json`: rows {model, board, strategy, estimate and budget per
resource, latency_cycles, ii, bytes_equal, agreement, ...}, or the error of a model that does not fit. The file is
written after every row; `--resume` goes on where a run ended. What C simulation said of the same sources before is
kept in `build/`, by their content. Streamed designs are also run word by word with their FIFOs (`fifo_interval`; an
error if they lock up or are later than FIFOs without bound). A second table sets hls4ml's default beside ours.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import boardfit
from boardfit.api import Compilation
from boardfit.backends.hls4ml.describe import weight_statistics
from boardfit.backends.hls4ml.planning import describe, plan_graph
from boardfit.board import FpgaBoard
from boardfit.compress.fixed import LINEAR, FixedTypes
from boardfit.compress.fixed_form import FixedForm
from boardfit.compress.lower_fixed import LowerFixed
from boardfit.compress.widths import fixed_outputs, float_outputs
from boardfit.errors import BoardfitError, InternalError
from boardfit.estimate.fpga import Precision, estimate
from boardfit.estimate.fpga.description import WeightStatistics
from boardfit.frontend import load_model
from boardfit.ir import FixedPoint, Graph
from boardfit.ir.types import Overflow, Rounding
from boardfit.metrics import agreement, snr_db
from boardfit.options import BackendOptions, QuantizeOptions
from boardfit.passes.output_softmax import DropOutputSoftmax
from boardfit.plan.fpga import UNROLL_LIMIT
from boardfit.plan.stream_simulation import simulate
from boardfit.resources import Resources

from . import corpus
from .results import Row, Value, print_rows, results, write_rows

BOARDS = ("pynq-z2", "arty-a7-100t")
MODELS = ("digits", *corpus.HLS_EXAMPLES, "ad01", "ic01", "kws01")
MAX_DROP = 1.0
"""Points of agreement that narrower values may cost on the calibration data: 0.98 is to hold on other data."""

FEW_SAMPLES = {"kws01": 2.0}
"""The same where there are 100 samples, which cannot confirm more."""

WIDE = ("ic01",)
"""Models that keep 16 bits where they fit: the images to calibrate ic01 on are those it was trained on, and agreement
on them says too little about others.
"""

NOT_CLASSES = {"ad01": 30.0, "two_layer_keras": 30.0, "tiny_unet_ch_last": 20.0}
"""Models whose outputs are no classes, and the signal-to-noise ratio in dB asked of them."""

OWN_TYPES = ("bnn_model_fc_1layer", "tiny_unet_ch_last")
"""Models that bring their own quantization: nothing is narrowed."""

CALIBRATION = {"tiny_unet_ch_last": 2}
EVALUATED = {"tiny_unet_ch_last": 2, "ic01": 200}
MOST_EVALUATED = 500
SIMULATED = corpus.ROOT / "build" / "fpga_simulations.json"
"""Digest of a project's sources and reference data -> what C simulation said."""

ROOM = 1000
"""How much larger a board without limits is: what is scarce stays so, and breaks ties."""

EQUAL_DB = 200.0
"""What is written for outputs that are equal."""

BOUNDLESS = 10**9
"""Words of a FIFO that is never full."""

HLS4ML_DEFAULT = FixedPoint(True, 16, 10, Rounding.TRN, Overflow.WRAP)
"""ap_fixed<16,6>."""


def options_for(name: str) -> QuantizeOptions:
    """The bound asked of a model."""
    if name in OWN_TYPES or name in WIDE:
        return QuantizeOptions()
    if name in NOT_CLASSES:
        return QuantizeOptions(min_snr=NOT_CLASSES[name])
    return QuantizeOptions(max_drop=FEW_SAMPLES.get(name, MAX_DROP))


def samples(name: str, floating: Graph) -> dict[str, np.ndarray]:
    """Inputs no width was chosen on."""
    tensor = floating.inputs[0]
    shape = floating.types[tensor].shape
    x = corpus.evaluation(name, shape, EVALUATED.get(name, MOST_EVALUATED))
    return {tensor: x.reshape(-1, *shape)}


def measure(name: str, board: str) -> Row:
    """Plan one model for one board, and simulate the project and its FIFOs."""
    shape = load_model(corpus.model_path(name)).types
    graph = load_model(corpus.model_path(name))
    calibration = corpus.calibration(name, shape[graph.inputs[0]].shape)[: CALIBRATION.get(name, 512)]
    start, processor = time.perf_counter(), time.process_time()
    row: dict[str, Value] = {"model": name, "board": board, "asked": _asked(name)}
    with tempfile.TemporaryDirectory(prefix="boardfit-bench-") as folder:
        try:
            made = boardfit.compile(
                corpus.model_path(name), board, calibration, output=Path(folder) / "out", quantize=options_for(name)
            )
        except BoardfitError as error:
            return {**row, "error": str(error), **_seconds(start, processor)}
        row.update(_costs(made))
        row.update(_seconds(start, processor))
        data = samples(name, made.floating)
        found, wanted = fixed_outputs(made.graph, data), float_outputs(made.floating, data)
        row["agreement"] = agreement(found, wanted)
        row["snr_db"] = round(min(snr_db(found, wanted), EQUAL_DB), 1)
        row["evaluated"] = len(next(iter(data.values())))
        row.update(fifos(made))
        row.update(simulation(made, Path(folder) / "out"))
    row.update(compare(name, made, data))
    return row


def _asked(name: str) -> str:
    """The bound in words."""
    options = options_for(name)
    if name in WIDE:
        return "16 bits"
    if options.min_snr is not None:
        return f"{options.min_snr:g} dB"
    return "its own types" if options.max_drop is None else f"agreement of {1 - options.max_drop / 100:g}"


def simulation(made: Compilation, folder: Path) -> dict[str, Value]:
    """Whether C simulation gives the interpreter's bytes; the same sources (for two boards) are simulated once.

    The network alone: the wrapper of accelerator projects does not depend on it, `make bench-foundation` simulates it.
    """
    digest = hashlib.sha256()
    for path, content in sorted(made.artifact.files.items()):
        if path.startswith(("firmware/", "reference")) or path.endswith(".cpp"):
            digest.update(path.encode() + content)
    known = json.loads(SIMULATED.read_text()) if SIMULATED.is_file() else {}
    key = digest.hexdigest()
    if key not in known:
        try:
            known[key] = {"bytes_equal": boardfit.verify(folder, runner="csim").equal}
        except BoardfitError as error:
            return {"bytes_equal": False, "simulation": str(error)}
        SIMULATED.parent.mkdir(exist_ok=True)
        SIMULATED.write_text(json.dumps(known, indent=1) + "\n")
    return dict(known[key])


def fifos(made: Compilation) -> dict[str, Value]:
    """The streamed project run word by word: it must not lock up, nor be later than with FIFOs without bound."""
    if not isinstance(made.board, FpgaBoard):
        return {}
    options = BackendOptions()
    described = describe(made.graph, made.board, options, plan_graph(made.graph, made.board, options).plan)
    if described.streams is None:
        return {}
    network = described.streams.network
    depths = [described.fifos[key].depth for key in described.streams.keys]
    run = simulate(network, depths, 2)
    free = simulate(network, [BOUNDLESS] * len(depths), 2)
    if run.blocked or run.ends != free.ends:
        raise InternalError(f"FIFOs of {made.graph.name} on {made.board.name}: {run.blocked or run.ends}")
    return {"fifo_words": sum(depths), "fifo_most": max(depths, default=0), "fifo_interval": run.ends[1] - run.ends[0]}


def _seconds(start: float, processor: float) -> dict[str, Value]:
    return {
        "planning_seconds": round(time.perf_counter() - start, 1),
        "planning_cpu_seconds": round(time.process_time() - processor, 1),
    }


def _costs(made: Compilation) -> dict[str, Value]:
    total, budget = made.estimate.total, made.estimate.budget
    choices = sorted({layer.choice.split(",")[0] for layer in made.estimate.layers if layer.choice})
    row: dict[str, Value] = {"strategy": " and ".join(choices)}
    for name in ("lut", "ff", "bram18", "dsp"):
        row[name] = getattr(total, name)
        row[f"{name}_budget"] = getattr(budget, name)
    row["latency_cycles"] = total.cycles
    row["ii"] = made.estimate.interval
    return row


def compare(name: str, made: Compilation, data: dict[str, np.ndarray]) -> dict[str, Value]:
    """hls4ml's default (ap_fixed<16,6>, reuse 1) by the same estimator, and this model's fastest plan on any board.

    Both on a part of the board's family without limits. The default's agreement is an upper bound: sums are exact
    here, where hls4ml would keep them in 16 bits too.
    """
    board = made.board
    if not isinstance(board, FpgaBoard):
        return {}
    have = board.budget
    amounts = {name: ROOM * getattr(have, name) for name in ("lut", "ff", "dsp", "bram18")}
    roomy = dataclasses.replace(board, budget=Resources(**amounts))
    planned = plan_graph(made.graph, roomy, BackendOptions())
    described = describe(made.graph, roomy, BackendOptions(), planned.plan)
    plain = Precision(16, 6)
    weights = {node.name: made.floating.constant(node.inputs[1]) for node in made.floating.nodes if node.op in LINEAR}
    statistics = {
        described.matrices[node].name: weight_statistics(values.astype(np.float64), HLS4ML_DEFAULT)
        for node, values in weights.items()
        if values is not None and node in described.matrices
    }
    default = dataclasses.replace(
        described.design,
        layers=tuple(
            dataclasses.replace(
                layer,
                input_precision=plain,
                weight_precision=plain if layer.products else layer.weight_precision,
                accum_precision=plain,
                result_precision=plain,
                weights=statistics.get(layer.name),
                n_zeros=_zeros(statistics.get(layer.name)),
                strategy="latency",
                reuse_factor=1,
            )
            for layer in described.design.layers
        ),
    )
    found = estimate(default)
    return {
        "default_products": max((layer.products for layer in default.layers), default=0),
        "default_dsp": round(found.hls.dsp.value),
        "default_lut": round(found.synthesis.lut.value),
        "default_latency": round(found.latency.value),
        "default_agreement": default_agreement(made.floating, data),
        "unlimited_dsp": planned.estimate.predictions["hls"]["dsp"][0],
        "unlimited_lut": planned.estimate.total.lut,
        "unlimited_latency": planned.estimate.total.cycles,
    }


def _zeros(weights: WeightStatistics | None) -> int | None:
    """Weights that are zero, where they are known."""
    return None if weights is None else round(weights.count - weights.nonzero)


def default_agreement(floating: Graph, data: dict[str, np.ndarray]) -> float | None:
    """Agreement with float of the same model with every value in ap_fixed<16,6>; None if it needs other types."""
    form = FixedForm()(DropOutputSoftmax()(floating))
    types = FixedTypes(dict.fromkeys(form.types, HLS4ML_DEFAULT), {})
    try:
        graph = LowerFixed(types)(form)
        return agreement(fixed_outputs(graph, data), float_outputs(form, data))
    except (BoardfitError, KeyError):
        return None


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(MODELS), help="models to measure")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    given = parser.parse_args()
    if not corpus.available():
        print(f"skipped: {corpus.missing()}")
        return
    wanted = [(name, board) for name in given.models for board in BOARDS]
    kept = {(row["model"], row["board"]): row for row in results("fpga")}
    if not given.resume:
        kept = {key: row for key, row in kept.items() if key not in wanted}
    for name, board in wanted:
        if (name, board) not in kept:
            kept[name, board] = dict(measure(name, board))
            print(kept[name, board], flush=True)
            write_rows("fpga", _in_order(kept))
    rows = _in_order(kept)
    _print(rows)
    print(f"written: {write_rows('fpga', rows)}")


def _print(rows: list[Row]) -> None:
    columns = ("model", "board", "strategy", "lut", "ff", "bram18", "dsp", "latency_cycles", "ii", "bytes_equal")
    more = ("asked", "agreement", "snr_db", "planning_seconds", "planning_cpu_seconds")
    print_rows("FPGA", [{column: row.get(column) for column in (*columns, *more)} for row in rows])
    for row in rows:
        if "error" in row:
            print(f"{row['model']} on {row['board']}, after {row['planning_seconds']} s: {row['error']}\n")
    fits = [row for row in rows if "error" not in row]
    print_rows("Against hls4ml's default, ap_fixed<16,6> at reuse 1, same estimator", [_beside(row) for row in fits])


def _beside(row: Row) -> Row:
    """One row of the comparison: this model's fastest plan on a board without limits, and hls4ml's default."""

    def share(name: str) -> float | None:
        ours, theirs = row.get(f"unlimited_{name}"), row.get(f"default_{name}")
        if not isinstance(ours, int) or not isinstance(theirs, int) or not theirs:
            return None
        return round(ours / theirs, 3)

    products = row.get("default_products")
    return {
        "model": row["model"],
        "family of": row["board"],
        **{name: row.get(f"unlimited_{name}") for name in ("dsp", "lut", "latency")},
        **{f"default {name}": row.get(f"default_{name}") for name in ("dsp", "lut", "latency")},
        **{f"share of {name}": share(name) for name in ("dsp", "lut", "latency")},
        "agreement": row.get("agreement"),
        "default agreement": row.get("default_agreement"),
        "default can be built": isinstance(products, int) and products < UNROLL_LIMIT,
    }


def _in_order(rows: Mapping[tuple[Value, Value], Row]) -> list[Row]:
    return [rows[name, board] for name in MODELS for board in BOARDS if (name, board) in rows]


if __name__ == "__main__":
    main()
