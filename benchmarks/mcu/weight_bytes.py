"""Flash of the parameters beside the parameters themselves, counted in two ways.

    python -m benchmarks.mcu.weight_bytes

The parameters of an int8 network are its weights (a byte each), biases (four bytes each) and, with scales per output
channel, one scale for every channel, which becomes a multiplier of four bytes. `stored` is what the tables of the
generated firmware take: the first ratio counts multipliers as parameters, the second as overhead of the kernels.
Writes `benchmarks/results/mcu_weights.json`.
"""

from __future__ import annotations

import sys

from boardfit.backends.mcu.plan import Plan, make_plan
from boardfit.board import McuBoard, find_board

from .. import corpus
from ..results import Row, print_rows, write_rows
from .__main__ import BOARDS, network

LINEAR = ("Conv2D", "Dense", "ConvTranspose2D")
WORD = 4


def parameters(plan: Plan) -> tuple[int, int, int]:
    """Bytes of (weights, biases, multipliers) of the linear layers of a plan, constants that layers share once."""
    weights = biases = multipliers = 0
    seen: set[bytes] = set()
    for layer in plan.layers:
        if layer.node.op not in LINEAR:
            continue
        values = plan.graph.constant(layer.node.inputs[1])
        if values is None:
            continue
        key = values.tobytes()
        if key in seen:  # the strips of a split layer
            continue
        seen.add(key)
        outputs = plan.graph.types[layer.node.outputs[0]].shape[-1]
        weights += values.size
        biases += WORD * outputs
        multipliers += WORD * outputs
    return weights, biases, multipliers


def main() -> int:
    """Count, print, write."""
    if not corpus.available():
        print(corpus.missing())
        return 0
    rows: list[Row] = []
    for core in ("m4", "m55", "m0"):
        board = find_board(BOARDS[core])
        if not isinstance(board, McuBoard):
            raise SystemExit(f"{board.name} is no microcontroller")
        for model in corpus.FLOAT_TINY:
            plan = make_plan(network(model, board.name)[0], board)
            weights, biases, multipliers = parameters(plan)
            rows.append(
                {
                    "model": model,
                    "core": core,
                    "weights": weights,
                    "biases": biases,
                    "multipliers": multipliers,
                    "stored": plan.weight_bytes,
                    "over_with_multipliers": round(plan.weight_bytes / (weights + biases + multipliers) - 1, 4),
                    "over_without": round(plan.weight_bytes / (weights + biases) - 1, 4),
                }
            )
    print_rows("Bytes of parameters, and what the tables of the firmware take", rows)
    print(f"written to {write_rows('mcu_weights', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
