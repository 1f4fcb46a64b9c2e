"""Flash of the parameters beside the parameters themselves, counted in two ways.

    python -m benchmarks.mcu.weight_bytes

The parameters of an int8 network are its weights (a byte each), biases (four bytes each) and, with scales per output
channel, one scale for every channel, which becomes a multiplier of four bytes. `stored` is what the tables of the
generated firmware take: the first ratio counts multipliers as parameters, the second as overhead of the kernels.
For the models that come as quantized ONNX files, the bytes of the file's own initialisers stand beside `stored`.
Writes `benchmarks/results/mcu_weights.json`.
"""

from __future__ import annotations

import sys

from boardfit.backends.mcu.plan import Plan, make_plan
from boardfit.board import McuBoard, find_board

from .. import corpus
from ..results import Row, Value, print_rows, write_rows
from .__main__ import BOARDS, network

LINEAR = ("Conv2D", "Dense", "ConvTranspose2D")
WORD = 4
QUANTIZED = ("kws01_int8", "ic01_int8")


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


def file_bytes(model: str) -> dict[str, int]:
    """Bytes of the initialisers of a model's file by element type, the largest first."""
    import onnx
    from onnx import numpy_helper

    found: dict[str, int] = {}
    for tensor in onnx.load(corpus.model_path(model)).graph.initializer:
        values = numpy_helper.to_array(tensor)
        found[str(values.dtype)] = found.get(str(values.dtype), 0) + values.nbytes
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def quantized_rows() -> list[Row]:
    """Models that come as quantized files: what their initialisers take, and what the firmware's tables take."""
    board = find_board(BOARDS["m4"])
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{board.name} is no microcontroller")
    rows: list[Row] = []
    for model in QUANTIZED:
        held = file_bytes(model)
        stored = make_plan(network(model, board.name)[0], board).weight_bytes
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in held.items())
        total = sum(held.values())
        row: dict[str, Value] = {"model": model, "core": "m4", "file": total, "kinds": kinds, "stored": stored}
        rows.append({**row, "over_file": round(stored / total - 1, 4)})
    return rows


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
    quantized = quantized_rows()
    print_rows("Bytes of the initialisers of quantized files, and what the tables of the firmware take", quantized)
    rows += quantized
    print(f"written to {write_rows('mcu_weights', rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
