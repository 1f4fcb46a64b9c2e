"""Layers with binary weights on the emulated Cortex-M4: sums by tables, counts of bits, and int8 for comparison.

    python -m benchmarks.mcu.binary

Every kernel that stores a bit for each weight, and the fastest int8 kernel, on layers with int8 inputs and with
two-valued ones; every output byte is compared with the interpreter. Writes `benchmarks/results/binary_kernels.json`,
rows {layer, inputs, kernel, instructions, predicted, per_product, bytes, scratch, bytes_equal}: the layer alone, what
makes its inputs two-valued not counted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Kernel, Lowered, Site
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan, make_plan
from boardfit.backends.mcu.variants import candidates
from boardfit.board import McuBoard, find_board
from boardfit.interp import run
from boardfit.ir import INT32, Affine, Graph, GraphEditor, Source, TensorType
from boardfit.ops import OPS
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.lookup import LookupAttrs

from .. import corpus
from ..results import Row, print_rows, write_rows

BOARD, CORE = "nucleo-l4r5zi", "m4"
LAYERS: tuple[tuple[tuple[int, ...], int], ...] = (
    ((1, 784), 512),
    ((1, 512), 128),
    ((1, 256), 32),
    ((1, 512), 10),
    ((1, 8, 8, 64), 64),
    ((1, 8, 8, 32), 32),
    ((1, 8, 8, 16), 16),
)
"""(input shape, outputs); convolutions are 3x3 with padding."""

X, Y, SIGNS = Affine(True, 8, (0.1,), (3,)), Affine(True, 8, (0.5,), (-4,)), Affine(True, 8, (1.0,), (0,))


def network(shape: tuple[int, ...], outputs: int, *, signs: bool, layer: bool = True) -> Graph:
    """The layer with random binary weights, behind a table of signs if asked for; or that table alone."""
    random = np.random.default_rng(corpus.SEED)
    edit = GraphEditor.empty("layer")
    y = edit.add_input("x", TensorType(shape, X))
    if signs:
        table = edit.add_constant("table", np.where(np.arange(-128, 128) >= 3, 1, -1), SIGNS)
        source, types = Source("layer", "sign", "Lookup"), [TensorType(shape, SIGNS)]
        y = edit.add_node("Lookup", [y, table], LookupAttrs("sign"), source, types=types).outputs[0]
    if layer:
        dense = len(shape) == 2
        raw = random.choice([-1, 1], (outputs, shape[-1]) if dense else (outputs, 3, 3, shape[-1]))
        weights = edit.add_constant("weights", raw, Affine(True, 8, (0.01,) * outputs, (0,) * outputs, 0))
        operands = [y, weights, edit.add_constant("bias", random.integers(-3000, 3000, outputs), INT32)]
        op, attrs = ("Dense", DenseAttrs()) if dense else ("Conv2D", Conv2DAttrs(pads=(1, 1, 1, 1)))
        types = [t.with_element(Y) for t in OPS[op].infer(attrs, [edit.types[name] for name in operands])]
        y = edit.add_node(op, operands, attrs, Source("layer", op, op), types=types).outputs[0]
    edit.outputs = [y]
    return edit.finish()


def _executed(graph: Graph, plan: Plan, board: McuBoard) -> tuple[float, bool]:
    """Instructions of one inference, and whether its bytes are the interpreter's."""
    x = np.random.default_rng(corpus.SEED).integers(-128, 128, (1, *graph.types[graph.inputs[0]].shape))
    result = measure(model_program(plan, board), MACHINES[CORE], packed_inputs(graph, x))
    expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    return result.instructions, bool(np.array_equal(unpacked_outputs(graph, result.outputs), expected))


def _kernels(site: Site, *, signs: bool) -> Iterator[tuple[Kernel, Lowered]]:
    """The fastest int8 kernel, then those that store bits and want such inputs."""
    found = candidates(site)
    yield min((one for one in found if one[0].format == "int8"), key=lambda one: one[1].instructions)
    yield from (one for one in found if one[0].format == "binary" and one[0].name.endswith("signs") is signs)


def rows() -> Iterator[Row]:
    """One row for each layer, kind of inputs and kernel."""
    board = find_board(BOARD)
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{BOARD} is no microcontroller")
    for signs in (False, True):
        for shape, outputs in LAYERS:
            graph = network(shape, outputs, signs=signs)
            before = network(shape, outputs, signs=True, layer=False)
            offset = _executed(before, make_plan(before, board), board)[0] if signs else 0.0
            site = Site(graph.nodes[-1], graph, board.features)
            products = graph.types[graph.outputs[0]].elements * int(np.prod(site.x(1).shape[1:]))
            for kernel, lowered in _kernels(site, signs=signs):
                layers = [*make_plan(graph, board).layers[:-1], Layer(graph.nodes[-1], kernel, lowered)]
                arena, places, scratch = place(graph, layers)
                plan = Plan(graph, board.features, tuple(layers), arena, places, scratch)
                instructions, equal = _executed(graph, plan, board)
                yield {
                    "layer": f"{site.node.op} {'x'.join(map(str, shape[1:]))} to {outputs}",
                    "inputs": "signs" if signs else "int8",
                    "kernel": kernel.name,
                    "instructions": round(instructions - offset),
                    "predicted": lowered.instructions,
                    "per_product": round((instructions - offset) / products, 3),
                    "bytes": lowered.constant_bytes,
                    "scratch": lowered.scratch_bytes,
                    "bytes_equal": equal,
                }


def main() -> int:
    """Run, print, write; 1 if a byte differs."""
    found = list(rows())
    print_rows("binary weights on Cortex-M4", found)
    print(f"written to {write_rows('binary_kernels', found)}")
    return 0 if all(row["bytes_equal"] for row in found) else 1


if __name__ == "__main__":
    sys.exit(main())
