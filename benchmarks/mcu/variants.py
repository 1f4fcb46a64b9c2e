"""What `--optimize size` and `--optimize ram` gain and cost, and how good the estimates of RAM are there.

    python -m benchmarks.mcu.variants

Builds and runs the image networks for each aim on a Cortex-M4 as `python -m benchmarks.mcu` does, and puts the
estimated RAM and stack beside the measured ones. Writes `benchmarks/results/mcu_variants.json`.
"""

from __future__ import annotations

import sys

from boardfit.backends.mcu.cost import footprint
from boardfit.backends.mcu.plan import OPTIMIZATION_FLAGS
from boardfit.board import McuBoard, find_board
from boardfit.options import Optimize

from .. import corpus
from ..results import Row, print_rows, write_rows
from .__main__ import BOARDS, measure_model

MODELS = ("vww01", "ic01")
CORE = "m4"


def variant(model: str, optimize: Optimize) -> Row:
    """One model for one aim."""
    board = find_board(BOARDS[CORE])
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{board.name} is no microcontroller")
    result = measure_model(model, CORE, optimize)
    need = footprint(result.plan, board, OPTIMIZATION_FLAGS[optimize])
    return {
        "model": model,
        "core": CORE,
        "optimize": optimize.value,
        "flags": OPTIMIZATION_FLAGS[optimize],
        "instructions": round(result.measurement.instructions),
        "instructions_estimated": sum(layer.instructions for layer in need.layers),
        "code_bytes": result.code_bytes,
        "weight_bytes": result.plan.weight_bytes,
        "ram_bytes": result.ram_bytes,
        "ram_estimated": need.ram,
        "stack_bytes": result.measurement.stack,
        "stack_estimated": need.stack,
        "bytes_equal": result.equal,
    }


def main() -> int:
    """Measure, print, write; the exit code is 1 if an output byte differs from the interpreter's."""
    if not corpus.available():
        print(corpus.missing())
        return 0
    rows = [variant(model, optimize) for model in MODELS for optimize in Optimize]
    print_rows("Aims of --optimize", rows)
    print(f"written to {write_rows('mcu_variants', rows)}")
    return 0 if all(row["bytes_equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
