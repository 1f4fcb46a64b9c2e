"""Convolutions half of whose filters are copies of the others: instructions and bytes, copies stored once and not.

Writes `benchmarks/results/transferred.json`, rows {layer, core, kernel, instructions, predicted, bytes, bytes_equal}.

    python -m benchmarks.mcu.transferred
"""

from __future__ import annotations

import sys

import numpy as np

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.backends.mcu.weight_formats import forced_formats
from boardfit.board import McuBoard, find_board
from boardfit.interp import run
from boardfit.ir import Affine, Graph, GraphEditor, Source, TensorType
from boardfit.ops.conv2d import Conv2DAttrs

from ..results import Row, print_rows, write_rows

BOARDS = {"m4": "nucleo-l4r5zi", "m3": "stm32f103-blue-pill", "rv32": "esp32-c3", "m0": "raspberry-pi-pico"}
LAYERS = (("negation", 16, 32), ("negation", 32, 64), ("quarter turn", 32, 64))
"""How the second half of the filters is made of the first; input and output channels."""

SIDE = 16


def layer(kind: str, channels: int, outputs: int) -> Graph:
    """A 3x3 convolution of SIDE x SIDE pixels, padding 1, on int8."""
    random = np.random.default_rng(0)
    half = random.integers(-127, 128, (outputs // 2, 3, 3, channels))
    raw = np.concatenate([half, -half if kind == "negation" else np.rot90(half, 1, (1, 2))]).astype(np.int8)
    editor = GraphEditor.empty("layer")
    x_type = Affine(True, 8, (0.05,), (3,))
    x = editor.add_input("x", TensorType((1, SIDE, SIDE, channels), x_type))
    scales = (0.001,) * outputs
    weights = editor.add_constant("w", raw, Affine(True, 8, scales, (0,) * outputs, 0, narrow=True))
    sums = Affine(True, 32, tuple(0.05 * scale for scale in scales), (0,) * outputs, 0)
    bias = editor.add_constant("b", random.integers(-3000, 3000, outputs).astype(np.int32), sums)
    y_type = TensorType((1, SIDE, SIDE, outputs), Affine(True, 8, (0.05,), (-4,)))
    attrs = Conv2DAttrs(pads=(1, 1, 1, 1))
    source = Source("layer.onnx", "conv", "Conv")
    node = editor.add_node("Conv2D", [x, weights, bias], attrs, source, types=[y_type])
    editor.outputs = [node.outputs[0]]
    return editor.finish()


def rows_of(core: str, kind: str, channels: int, outputs: int) -> list[Row]:
    """The layer on a core, each weight stored and each filter stored once."""
    board = find_board(BOARDS[core])
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{board.name} is no microcontroller")
    graph = layer(kind, channels, outputs)
    x = np.random.default_rng(1).integers(-128, 128, (1, 1, SIDE, SIDE, channels))
    expected = run(graph, {"x": x})[graph.outputs[0]]
    rows: list[Row] = []
    for stored in ("int8", "transferred"):
        plan = make_plan(graph, board, forced=forced_formats(graph, {"conv": stored}))
        found = measure(model_program(plan, board), MACHINES[core], packed_inputs(graph, x))
        (made,) = plan.layers
        rows.append(
            {
                "layer": f"{kind}, {channels} to {outputs} channels",
                "core": core,
                "kernel": made.kernel.name,
                "instructions": round(found.instructions),
                "predicted": made.lowered.instructions,
                "bytes": made.lowered.constant_bytes,
                "bytes_equal": bool(np.array_equal(unpacked_outputs(graph, found.outputs), expected)),
            }
        )
    return rows


def main() -> int:
    """Measure, print, write; the exit code is 1 if an output byte differs from the interpreter's."""
    rows = [row for core in BOARDS for case in LAYERS for row in rows_of(core, *case)]
    print_rows("transferred filters", rows)
    print(f"written to {write_rows('transferred', rows)}")
    return 0 if all(row["bytes_equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
