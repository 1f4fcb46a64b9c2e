"""What each storage format of weights costs: instructions and bytes for each position, and where it beats dense int8.

    python -m benchmarks.mcu.formats [--core m4 ...]

Layers with seeded weights of every sparsity and width are executed by every kernel that can, on the emulated core;
every output byte is compared with the interpreter. Prints a table for each core, the break-evens beside the figures of
the literature survey, and the share of layers whose fastest kernel the cost model picks; writes
`benchmarks/results/formats.json`, rows {core, layer, pattern, format, kernel, instructions, predicted, bytes, weights,
positions, bytes_equal}.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Kernel, Lowered, Site
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan
from boardfit.backends.mcu.variants import candidates, portable_factor
from boardfit.board import McuBoard, find_board
from boardfit.interp import run
from boardfit.ir import INT32, Affine, Attrs, Graph, GraphEditor, Source, TensorType
from boardfit.ops import OPS
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from .. import corpus
from ..results import Row, print_rows, write_rows
from . import __main__ as tiny

CORES = ("m4", "m55", "m3", "m0", "rv32")
BOARDS = {**tiny.BOARDS, "m3": "stm32f103-blue-pill"}
S8 = Affine(True, 8, (0.05,), (3,))
WIDE = Affine(True, 8, (2.0,), (-4,))
SPARSITIES = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
BATCH_BYTES = 150_000
"""Flash of the layers of one program: the smallest emulated memory holds it."""

SURVEY = {"csr": 0.79, "block": 0.42, "bitmask": 0.81}
"""Break-evens in cycles of the survey's own kernels against its dense SIMD kernel, Cortex-M4, matrix 32x256."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A layer: dense, or a convolution of an image."""

    name: str
    weights: tuple[int, ...]
    image: tuple[int, ...]
    pad: int = 0

    @property
    def positions(self) -> int:
        """Multiplications."""
        outputs = 1 if len(self.weights) == 2 else self.image[1] * self.image[2]
        return int(np.prod(self.weights)) * outputs


SHAPES = (
    Shape("dense 256 to 32", (32, 256), (1, 256)),
    Shape("1x1 convolution 64 to 32, 6x6", (32, 1, 1, 64), (1, 6, 6, 64)),
    Shape("3x3 convolution 16 to 16, 6x6", (16, 3, 3, 16), (1, 6, 6, 16), 1),
)


def patterns(shape: tuple[int, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """(name, raw weights) of every kind."""
    random = np.random.default_rng(20)
    outputs, depth = shape[0], int(np.prod(shape[1:]))
    dense = random.integers(1, 128, (outputs, depth)) * random.choice([-1, 1], (outputs, depth))
    for sparsity in SPARSITIES:
        kept = random.random((outputs, depth)) >= sparsity
        yield f"{sparsity:.2f} zeros", (dense * kept).reshape(shape)
    for sparsity in SPARSITIES[1:]:
        blocks = random.random((outputs, -(-depth // 4))) >= sparsity
        yield f"{sparsity:.2f} zero blocks", (dense * np.repeat(blocks, 4, axis=1)[:, :depth]).reshape(shape)
        if sparsity in (0.5, 0.7, 0.9):
            small = np.sign(dense) * (np.abs(dense) // 16) * np.repeat(blocks, 4, axis=1)[:, :depth]
            yield f"{sparsity:.2f} zero blocks, 4 bits", small.reshape(shape)
    for bits in (4, 3, 2, 1):
        yield f"{bits} bits", random.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)
    yield "16 values", random.choice(random.choice(np.arange(-127, 128), 16, replace=False), shape)


@dataclass(frozen=True, slots=True)
class Trial:
    """A layer with its weights done by a kernel."""

    pattern: str
    values: np.ndarray
    kernel: Kernel


def _graph(shape: Shape, weights: Sequence[np.ndarray]) -> Graph:
    """All layers side by side on one input, their outputs joined."""
    edit = GraphEditor.empty("formats")
    x = edit.add_input("x", TensorType(shape.image, S8))
    made = []
    for values in weights:
        element = Affine(True, 8, (0.01,), (0,))
        names = [
            x,
            edit.add_constant("weights", values, element),
            edit.add_constant("bias", np.arange(shape.weights[0]) * 100, INT32),
        ]
        dense = len(shape.weights) == 2
        pad = shape.pad
        attrs: Attrs = DenseAttrs() if dense else Conv2DAttrs(pads=(pad, pad, pad, pad))
        op = "Dense" if dense else "Conv2D"
        types = [t.with_element(WIDE) for t in OPS[op].infer(attrs, [edit.types[name] for name in names])]
        made.append(edit.add_node(op, names, attrs, Source("formats", op, op), types=types).outputs[0])
    join = ConcatAttrs(len(shape.image) - 1)
    types = OPS["Concat"].infer(join, [edit.types[name] for name in made])
    edit.outputs = list(edit.add_node("Concat", made, join, Source("formats", "join", "Concat"), types=types).outputs)
    return edit.finish()


def trials(shape: Shape, board: McuBoard) -> list[Trial]:
    """Every pattern with every kernel that can store it; int8 kernels, which do not look at the values, once."""
    found: list[Trial] = []
    for pattern, values in patterns(shape.weights):
        graph = _graph(shape, [values])
        for kernel, _ in candidates(Site(graph.nodes[0], graph, board.features)):
            if kernel.format != "int8" or not found or found[0].pattern == pattern:
                found.append(Trial(pattern, values, kernel))
    return found


@dataclass(frozen=True, slots=True)
class Measured:
    """A layer with its weights done by a kernel on a core; a row of the results."""

    core: str
    layer: str
    pattern: str
    format: str
    kernel: str
    instructions: int
    predicted: int
    bytes: int
    weights: int
    positions: int
    bytes_equal: bool


def measure_trials(shape: Shape, core: str, tried: Sequence[Trial]) -> list[Measured]:
    """Emulate them in as few programs as the memory allows."""
    found: list[Measured] = []
    batch: list[Trial] = []
    for trial in tried:
        if batch and (len(batch) + 1) * trial.values.size > BATCH_BYTES:
            found += _measure_batch(shape, core, batch)
            batch = []
        batch.append(trial)
    return found + _measure_batch(shape, core, batch)


def _measure_batch(shape: Shape, core: str, batch: Sequence[Trial]) -> list[Measured]:
    board = _board(core)
    graph = _graph(shape, [trial.values for trial in batch])
    layers = [
        Layer(node, trial.kernel, trial.kernel.lower(Site(node, graph, board.features)))
        for node, trial in zip(graph.nodes, batch, strict=False)
    ]
    join = graph.nodes[-1]
    layers.append(Layer(join, *candidates(Site(join, graph, board.features))[0]))
    arena, places, scratch = place(graph, layers)
    plan = Plan(graph, board.features, tuple(layers), arena, places, scratch)
    x = np.random.default_rng(3).integers(-128, 128, (1, *shape.image))
    result = measure(model_program(plan, board), MACHINES[core], packed_inputs(graph, x))
    expected = run(graph, {"x": x})[graph.outputs[0]]
    equal = np.equal(unpacked_outputs(graph, result.outputs), expected)
    calls = [index for index, layer in enumerate(layers) for _ in layer.lowered.calls]
    sites = sorted(sorted(result.by_site, key=lambda site: -site[1])[: len(calls)])
    spent: dict[int, float] = defaultdict(float)
    for index, (_, count) in zip(calls, sites, strict=True):
        spent[index] += count
    width = shape.weights[0]
    return [
        Measured(
            core,
            shape.name,
            trial.pattern,
            trial.kernel.format,
            trial.kernel.name,
            round(spent[index]),
            _predicted(trial.kernel, layer.lowered, board),
            layer.lowered.constant_bytes,
            int(trial.values.size),
            shape.positions,
            bool(equal[..., index * width : (index + 1) * width].all()),
        )
        for index, (trial, layer) in enumerate(zip(batch, layers, strict=False))
    ]


def _board(core: str) -> McuBoard:
    board = find_board(BOARDS[core])
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{BOARDS[core]} is no microcontroller")
    return board


def _predicted(kernel: Kernel, lowered: Lowered, board: McuBoard) -> int:
    return lowered.instructions if kernel.needs else round(lowered.instructions * portable_factor(board.features))


def fastest(found: Sequence[Measured]) -> Measured:
    """The one with the fewest measured instructions."""
    return min(found, key=lambda one: one.instructions)


def dense_int8(found: Sequence[Measured]) -> list[Measured]:
    """The kernels that store every weight in a byte."""
    return [one for one in found if one.format == "int8"]


def break_even(found: Sequence[Measured], form: str, kind: str, quantity: Callable[[Measured], int]) -> float | None:
    """Least sparsity from which a format needs no more than the fastest int8 kernel; straight lines between points."""
    dense = quantity(fastest(dense_int8(found)))
    points: dict[float, int] = {}
    for one in found:
        share, _, rest = one.pattern.partition(" ")
        if one.format == form and rest == kind:
            points[float(share)] = min(quantity(one), points.get(float(share), quantity(one)))
    line = sorted(points.items())
    if line and line[0][1] <= dense:
        return line[0][0]
    for (low, before), (high, after) in pairwise(line):
        if after <= dense < before:
            return low + (high - low) * (before - dense) / (before - after)
    return None


def picked_share(found: Sequence[Measured]) -> tuple[int, int]:
    """(patterns whose measured-fastest kernel the prediction picks, patterns); equal counts are equally fast."""
    patterns = list(dict.fromkeys(one.pattern for one in found))
    right = 0
    for pattern in patterns:
        options = [one for one in found if one.pattern == pattern and one.format != "int8"] + dense_int8(found)
        picked = min(options, key=lambda one: one.predicted)
        right += picked.instructions <= fastest(options).instructions
    return right, len(patterns)


def show(core: str, shape: Shape, found: Sequence[Measured]) -> None:
    """The table of one layer on one core: of every format its fastest kernel."""
    dense = fastest(dense_int8(found))
    best: dict[tuple[str, str], Measured] = {}
    for one in found:
        key = ("any" if one.format == "int8" else one.pattern, one.format)
        best[key] = fastest([one, best.get(key, one)])
    print_rows(
        f"{core}: {shape.name}, for each position",
        [
            {
                "weights": pattern,
                "format": one.format,
                "instructions": f"{one.instructions / one.positions:.2f}",
                "of int8": f"{one.instructions / dense.instructions:.2f}",
                "bytes": f"{one.bytes / one.weights:.3f}",
                "predicted": f"{one.predicted / one.instructions - 1:+.1%}",
            }
            for (pattern, _), one in best.items()
        ],
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", action="append", choices=CORES, help="only this core; repeatable")
    options = parser.parse_args(arguments)
    everything: list[Measured] = []
    crossings: list[Row] = []
    shares: list[Row] = []
    for core in options.core or CORES:
        right = total = 0
        for shape in SHAPES:
            found = measure_trials(shape, core, trials(shape, _board(core)))
            show(core, shape, found)
            everything += found
            one = picked_share(found)
            right, total = right + one[0], total + one[1]
            for form, kind in (("csr", "zeros"), ("bitmask", "zeros"), ("block", "zero blocks")):
                crossings.append(
                    {
                        "core": core,
                        "layer": shape.name,
                        "format": form,
                        "instructions": _share(break_even(found, form, kind, lambda one: one.instructions)),
                        "bytes": _share(break_even(found, form, kind, lambda one: one.bytes)),
                        "survey, cycles": f"{SURVEY[form]:.2f}" if core == "m4" else "",
                    }
                )
        shares.append({"core": core, "picked": right, "layers": total, "share": f"{right / total:.1%}"})
    print_rows("sparsity from which a format beats dense int8", crossings)
    print_rows("layers whose measured-fastest kernel the cost model picks", shares)
    print(f"every output byte equals the interpreter's: {all(one.bytes_equal for one in everything)}")
    write_rows("formats", _kept_rows(options.core or CORES) + [asdict(one) for one in everything])


def _kept_rows(measured: Sequence[str]) -> list[Row]:
    """Results of the cores that were not measured this time."""
    path = corpus.ROOT / "benchmarks" / "results" / "formats.json"
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return [row for row in rows if row["core"] not in measured]


def _share(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
