"""What dense layers with few weight values cost on an FPGA: inputs summed first against one product for each weight.

    python -m benchmarks.compression.codebook

The network of three dense layers for jets with shared weights (k-means; training changes no cost), 16 bits,
everything at once (reuse factor 1), by the estimator; and what the planner takes. Written to
`benchmarks/results/codebook.json`. That the C simulation of both equals the interpreter is told by
`tests/fpga/test_codebook.py`.
"""

from __future__ import annotations

import sys

import numpy as np

from boardfit.backends.hls4ml.planning import estimate_plan, plan_graph
from boardfit.board import FpgaBoard, find_board
from boardfit.compress.cluster import ShareWeights
from boardfit.compress.fpga import quantize_for_fpga
from boardfit.frontend import load_model
from boardfit.ir import Graph
from boardfit.options import BackendOptions, QuantizeOptions, Strategy
from boardfit.pipeline import canonical_passes, run_passes
from boardfit.plan.fpga import find_candidates

from .. import corpus
from ..results import Row, print_rows, write_rows

MODEL, BOARD, WIDTH = "three_layer_keras", "zcu104", 16
CLUSTERS = (16, 8, 4)


def fixed_point(clusters: int) -> Graph:
    """The model with so many weight values in each layer, in fixed point; ranges from random inputs."""
    floating = run_passes(load_model(corpus.model_path(MODEL)), canonical_passes(fuse=True)).graph
    shape = floating.types[floating.inputs[0]].shape
    inputs = np.random.default_rng(corpus.SEED).standard_normal((64, *shape)).astype(np.float32)
    shared = ShareWeights(clusters)(floating)
    return quantize_for_fpga(shared, {floating.inputs[0]: inputs}, QuantizeOptions(width=WIDTH))


def rows() -> list[Row]:
    """Each strategy for each number of values."""
    board = find_board(BOARD)
    if not isinstance(board, FpgaBoard):
        raise SystemExit(f"{BOARD} is no FPGA")
    found: list[Row] = []
    for clusters in CLUSTERS:
        graph = fixed_point(clusters)
        for strategy in (Strategy.LATENCY, Strategy.CODEBOOK, None):
            options = BackendOptions(strategy=strategy)
            if strategy is None:
                planned = plan_graph(graph, board, options)
                total, plan = planned.estimate.total, planned.plan
            else:
                plan = find_candidates(graph, options).fastest()
                total = estimate_plan(graph, board, options, plan).total
            taken = " ".join(f"{layer.strategy.value}/{layer.reuse_factor}" for layer in plan.layers.values())
            found.append(
                {
                    "model": MODEL,
                    "board": BOARD,
                    "values": clusters,
                    "asked": "planner" if strategy is None else strategy.value,
                    "layers": taken,
                    "dsp": total.dsp,
                    "lut": total.lut,
                    "ff": total.ff,
                    "cycles": total.cycles,
                }
            )
    return found


def main() -> int:
    """Print and write."""
    if not corpus.available():
        print(corpus.missing())
        return 0
    found = rows()
    print_rows(f"{MODEL} on {BOARD}, {WIDTH} bits", found)
    print(f"written to {write_rows('codebook', found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
