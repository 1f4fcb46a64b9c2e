"""Entropy-coded weights of LeNet-300-100: bytes and executed instructions beside dense int8 and beside other coders.

    python -m benchmarks.compression.coding

The networks are not trained: random masks over the 20x20 pixels that MNIST digits cover, random centroids, so that the
figures need no training and show what codes do without any structure to exploit. They are executed on the emulated
Cortex-M4. Writes `benchmarks/results/coding.json`.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernels.huffman import expected_bytes
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.board import McuBoard, find_board
from boardfit.interp import run
from boardfit.ir import INT32, Affine, Graph, GraphEditor, Source, TensorType
from boardfit.ops import OPS
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.dense import DenseAttrs
from boardfit.options import Optimize

from ..results import Row, print_rows, write_rows

BOARD, CORE = "mps2-an386", "m4"
FLOAT_BYTES = 1_066_440
SIZES = (784, 300, 100, 10)
SAMPLES = 4
CLUSTERS = 16
DENSITIES = (0.02, 0.0127, 0.0087)
FORMATS = ("int8", "huffman", "arithmetic")
INK = 0.2
"""Share of the input pixels that are not zero, as in MNIST."""

PUBLISHED = {0.02: (5306, 7442, 7026), 0.0127: (3322, 4886, 4028), 0.0087: (2317, 3756, 3064)}
"""Density to kept weights, and bytes in relative index with Huffman codes and in a positional arithmetic code.

Trained networks of such densities, 4-bit values, biases and codebooks included, coded by plain programs that execute
nothing. Trained networks have rows and columns without weights, which random masks lack."""


def network(density: float, seed: int = 0) -> Graph:
    """LeNet-300-100 with random weights, `density` of them not zero; the last layer keeps ten times as many."""
    random = np.random.default_rng(seed)
    edit = GraphEditor.empty(f"LeNet-300-100 at {density:.2%}")
    x = edit.add_input("image", TensorType((1, SIZES[0]), Affine(True, 8, (1 / 255,), (-128,))))
    pixels = np.arange(SIZES[0])
    covered = (np.abs(pixels // 28 - 13.5) < 10) & (np.abs(pixels % 28 - 13.5) < 10)
    for index, (inputs, outputs) in enumerate(pairwise(SIZES)):
        usable = covered if index == 0 else np.ones(inputs, bool)
        share = min(1.0, density * (10 if index == 2 else 1) * inputs / usable.sum())
        mask = (random.random((outputs, inputs)) < share) & usable
        book = np.round(127 * np.linspace(-1, 1, CLUSTERS)).astype(np.int64)
        bell = np.exp(-((book / 70.0) ** 2))
        weights = np.where(mask, random.choice(book, mask.shape, p=bell / bell.sum()), 0)
        spread = math.sqrt(max(1.0, share * inputs)) * 60
        element = Affine(True, 8, (1.0 / spread,), (0,), narrow=True)
        constants = (
            edit.add_constant("weights", weights, element),
            edit.add_constant("bias", random.integers(-31, 32, outputs) << 6, INT32),
        )
        last = index == len(SIZES) - 2
        attrs = DenseAttrs(NONE if last else RELU)
        types = OPS["Dense"].infer(attrs, [edit.types[name] for name in (x, *constants)])
        y = Affine(True, 8, (0.02,), (0 if last else -128,))
        source = Source("lenet300", f"fc{index + 1}", "Gemm")
        x = edit.add_node("Dense", [x, *constants], attrs, source, types=[t.with_element(y) for t in types]).outputs[0]
    edit.outputs = [x]
    return edit.finish()


def images(seed: int = 0) -> np.ndarray:
    """(S, 1, 784) raw inputs, most pixels black."""
    random = np.random.default_rng(seed)
    shape = (SAMPLES, 1, SIZES[0])
    found: np.ndarray = np.where(random.random(shape) < INK, random.integers(-127, 128, shape), -128)
    return found


def rows() -> list[Row]:
    """One row for each density and format; `entropy_bytes`: of places and values independent of each other."""
    board = find_board(BOARD)
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{BOARD} is no microcontroller")
    found: list[Row] = []
    x = images()
    for density in DENSITIES:
        graph = network(density)
        weights = [graph.constants[node.inputs[1]].values for node in graph.nodes]
        kept = sum(int(np.count_nonzero(values)) for values in weights)
        bound = sum(expected_bytes(values[:, (values != 0).any(axis=0)]) for values in weights)
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        for name in FORMATS:
            plan = make_plan(graph, board, Optimize.SPEED, tuple((node.source.node, name) for node in graph.nodes))
            result = measure(model_program(plan, board), MACHINES[CORE], packed_inputs(graph, x))
            image = sum(layer.lowered.constant_bytes for layer in plan.layers)
            found.append(
                {
                    "density_percent": round(100 * density, 2),
                    "kept": kept,
                    "format": name,
                    "bytes": image,
                    "ratio": round(FLOAT_BYTES / image, 1),
                    "bits_per_kept": round(8 * image / kept, 2),
                    "flash": result.sections.flash,
                    "ram": plan.arena.bytes,
                    "instructions": round(result.instructions),
                    "bytes_equal": bool(np.array_equal(unpacked_outputs(graph, result.outputs), expected)),
                    "entropy_bytes": round(bound),
                    "published_kept": PUBLISHED[density][0],
                    "published_huffman": PUBLISHED[density][1],
                    "published_arithmetic": PUBLISHED[density][2],
                }
            )
    return found


def main() -> None:
    """Command line."""
    found = rows()
    print_rows("Entropy-coded weights, LeNet-300-100 (random masks)", found)
    write_rows("coding", found)


if __name__ == "__main__":
    main()
