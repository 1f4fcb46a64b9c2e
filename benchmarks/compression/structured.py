"""LeNet-300-100 with structured matrices: circulant blocks, Toeplitz-like and Fastfood layers, trained and executed.

Every network starts from the dense one of its seed, is trained by distillation from it on the deformed images, and is
executed on the emulated Cortex-M4. `weights` counts stored weights, a byte each (266,200 in the dense network),
and two bytes for each input that is picked. The
last rows tell the instructions of one layer for each block size, direct and by the factors of t^n - 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Kernel, Site
from boardfit.backends.mcu.kernels import variants_of
from boardfit.backends.mcu.kernels.circulant_layers import BLOCKS
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan, make_plan
from boardfit.backends.mcu.weight_formats import forced_formats
from boardfit.board import McuBoard, find_board
from boardfit.compress.circulant import MakeCirculant
from boardfit.compress.fastfood import MakeFastfood
from boardfit.compress.shuffle_inputs import ShuffleInputs
from boardfit.compress.toeplitz import Displacement, MakeToeplitzLike
from boardfit.errors import BoardfitError
from boardfit.interp import run
from boardfit.ir import INT32, Affine, Graph, GraphEditor, Source, TensorType
from boardfit.ir.circulant import Circulant, find_circulant
from boardfit.ir.walsh import find_walsh
from boardfit.ops import OPS
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.gather import GatherAttrs
from boardfit.options import Optimize
from boardfit.train.losses import Distillation, Labels
from boardfit.train.options import Constraints, TrainOptions, as_real
from boardfit.train.trainer import Training

from ..results import Row, print_rows
from .measurement import cost, error_percent
from .networks import mnist
from .recipe import Chain, named

BREAK_EVEN_BOARDS = {"m4": "nucleo-l4r5zi", "m0": "raspberry-pi-pico", "rv32": "esp32-c3"}
BREAK_EVEN_BLOCKS = (2, 4, 8, 16, 32)
BREAK_EVEN_SHAPE = (96, 256)
PROJECTION = 8000
"""Training images that dense layers are projected with: which pixels vary is seen from them too."""

FORMS = {"split": "factors", "direct": "direct, unrolled", "any": "direct, any block"}


@dataclass(frozen=True, slots=True)
class Network:
    """A structured network.

    Attributes:
        make: from the base network, calibration inputs and a seed.
        options: of the training, chosen on the validation images.
        every_seed: whether all three seeds are run.
    """

    make: Callable[[Graph, dict[str, np.ndarray], int], Graph]
    options: TrainOptions
    every_seed: bool = False


def _circulant(first: int, second: int) -> Callable[[Graph, dict[str, np.ndarray], int], Graph]:
    def make(base: Graph, data: dict[str, np.ndarray], seed: int) -> Graph:
        shuffled = ShuffleInputs(data, ("*fc1*",), first, seed)(base)
        return MakeCirculant(data, {"*fc1*": first, "*fc2*": second})(shuffled)

    return make


def _toeplitz(base: Graph, data: dict[str, np.ndarray], seed: int) -> Graph:
    shuffled = ShuffleInputs(data, ("*fc1*",), 8, seed)(base)
    return MakeToeplitzLike({"*fc1*": Displacement(8, 16), "*fc2*": Displacement(8, 8)}, seed)(shuffled)


def _fastfood(base: Graph, data: dict[str, np.ndarray], seed: int) -> Graph:
    return MakeFastfood(("*fc1*", "*fc2*"), seed)(base)


TRAINED = TrainOptions(epochs=8, batch=250, learning_rate=2.5e-3, hold=0.3)
SHORT = replace(TRAINED, epochs=4)
FEW = TrainOptions(epochs=2, batch=250, learning_rate=3e-3, hold=0.3)
"""Of Fastfood layers, whose training multiplies with the whole matrices of plus and minus ones."""

NETWORKS: dict[str, Network] = {
    "circulant 8": Network(_circulant(8, 16), TRAINED, every_seed=True),
    "circulant 4": Network(_circulant(4, 4), SHORT),
    "circulant 16": Network(_circulant(16, 16), SHORT),
    "toeplitz-like": Network(_toeplitz, SHORT),
    "fastfood": Network(_fastfood, FEW),
}


def run_structured(base: Chain, seed: int, folder: Path, *, part: str, progress: bool) -> list[Row]:
    """Rows of one seed; the first seed has all networks and the break-even."""
    rows: list[Row] = []
    dense_graph = base.base()
    data = mnist(part, base.recipe.architecture.input)
    dense = base.integers(dense_graph, None)
    dense_cost, dense_error = cost(dense, data, Optimize.SPEED), error_percent(dense, data)
    inputs = {name: as_real(values[:PROJECTION]) for name, values in named(dense_graph, base.data).inputs.items()}
    for name, network in NETWORKS.items():
        if seed != 1 and not network.every_seed:
            continue
        start = time.perf_counter(), time.process_time()
        made = network.make(dense_graph, inputs, seed)
        trained = _trained(base, made, dense_graph, network.options, folder / f"{name.replace(' ', '-')}.npz", progress)
        seconds = time.perf_counter() - start[0], time.process_time() - start[1]
        integers = base.integers(trained, None)
        found = cost(integers, data, Optimize.SPEED)
        error = error_percent(integers, data)
        rows.append(
            {
                "case": "structured",
                "recipe": name,
                "seed": seed,
                "weights": stored_weights(integers),
                "dense_weights": stored_weights(dense),
                "bytes": found.bytes,
                "dense_bytes": dense_cost.bytes,
                "decoder_bytes": found.code_bytes,
                "error_percent": round(error, 2),
                "base_error_percent": round(dense_error, 2),
                "instructions": found.instructions,
                "dense_instructions": dense_cost.instructions,
                "seconds": round(seconds[0]),
                "processor_seconds": round(seconds[1]),
                "formats": " ".join(found.formats),
                "bytes_equal": found.equal and dense_cost.equal,
            }
        )
        print_rows(f"{name}, seed {seed}", rows[-1:])
    if seed == 1:
        rows += break_even()
    return rows


def _trained(chain: Chain, graph: Graph, teacher: Graph, options: TrainOptions, path: Path, progress: bool) -> Graph:
    recipe = chain.recipe
    losses = (Distillation(1.0 - recipe.labels, recipe.temperature), Labels(recipe.labels))
    options = replace(options, seed=chain.seed, compile=recipe.compiled)
    data, validation = named(graph, chain.data), named(graph, chain.validation)
    training = Training(graph, data, losses, options, Constraints(), teacher, checkpoint=path, validation=validation)
    trained = training.run(progress=progress)
    print(f"  {path.stem}: validation error {trained.history[-1].error:.2f} %", flush=True)
    return trained.graph


def stored_weights(graph: Graph) -> int:
    """Bytes of the weights in the form that the kernels execute, biases and scales aside."""
    total = 0
    for node in graph.nodes:
        values = graph.constant(node.inputs[1]) if node.op in ("Dense", "ScaleBias") else None
        if values is None:
            continue
        matrix = values.reshape(len(values), -1)
        structure = find_circulant(matrix, BLOCKS) if node.op == "Dense" else None
        if structure is not None:
            total += int(np.prod(structure.grid((matrix.shape[0], matrix.shape[1])))) * structure.block
        elif node.op == "Dense" and find_walsh(matrix.astype(np.int64)) is not None:
            total += 2 * len(matrix)  # the number of each row
        else:
            total += int(values.nbytes)
    total += sum(2 * len(node.attrs.indices) for node in graph.nodes if isinstance(node.attrs, GatherAttrs))
    return total


def break_even() -> list[Row]:
    """Instructions of one layer by every kernel that can, for each block size and core."""
    rows: list[Row] = []
    for core, name in BREAK_EVEN_BOARDS.items():
        board = find_board(name)
        if not isinstance(board, McuBoard):
            raise BoardfitError(f"{name} is no microcontroller")
        for block in BREAK_EVEN_BLOCKS:
            graph = _layer(block)
            x = np.random.default_rng(block).integers(-128, 128, (1, *graph.types[graph.inputs[0]].shape))
            expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
            site = Site(graph.nodes[0], graph, board.features)
            (int8,) = make_plan(graph, board, forced=forced_formats(graph, {"dense": "int8"})).layers
            kernels = [k for k in variants_of("Dense") if k.format == "circulant" and k.reason_against(site) is None]
            dense = _executed(graph, int8.kernel, site, board, core, x, expected)
            for kernel in kernels:
                found = _executed(graph, kernel, site, board, core, x, expected)
                rows.append(
                    {
                        "case": "structured",
                        "recipe": f"break-even {core}, blocks of {block}, {FORMS[kernel.name.rsplit('_', 1)[1]]}",
                        "seed": 1,
                        "bytes": found.bytes,
                        "dense_bytes": dense.bytes,
                        "instructions": found.instructions,
                        "predicted": kernel.lower(site).instructions,
                        "dense_instructions": dense.instructions,
                        "bytes_equal": found.equal and dense.equal,
                    }
                )
    print_rows("break-even of direct and factored products", rows)
    return rows


@dataclass(frozen=True, slots=True)
class _Executed:
    """What one kernel did: instructions, bytes of its constants, whether all outputs are the interpreter's."""

    instructions: int
    bytes: int
    equal: bool


def _executed(
    graph: Graph, kernel: Kernel, site: Site, board: McuBoard, core: str, x: np.ndarray, expected: np.ndarray
) -> _Executed:
    layer = Layer(graph.nodes[0], kernel, kernel.lower(site))
    arena, places, scratch = place(graph, [layer])
    plan = Plan(graph, site.features, (layer,), arena, places, scratch)
    result = measure(model_program(plan, board, ("-O2",)), MACHINES[core], packed_inputs(graph, x))
    equal = bool(np.array_equal(unpacked_outputs(graph, result.outputs), expected))
    return _Executed(round(result.instructions), layer.lowered.constant_bytes, equal)


def _layer(block: int) -> Graph:
    """A dense layer with random circulant blocks."""
    outputs, inputs = BREAK_EVEN_SHAPE
    structure = Circulant(block)
    vectors = np.random.default_rng(block).integers(-127, 128, (*structure.grid((outputs, inputs)), block))
    edit = GraphEditor.empty("circulant")
    names = [
        edit.add_input("x", TensorType((1, inputs), Affine(True, 8, (0.05,), (3,)))),
        edit.add_constant("w", structure.matrix(vectors, (outputs, inputs)), Affine(True, 8, (0.01,), (0,))),
        edit.add_constant("b", np.arange(outputs) * 100, INT32),
    ]
    inferred = OPS["Dense"].infer(DenseAttrs(), [edit.types[name] for name in names])
    types = [one.with_element(Affine(True, 8, (2.0,), (-4,))) for one in inferred]
    source = Source("circulant", "dense", "Dense")
    edit.outputs = list(edit.add_node("Dense", names, DenseAttrs(), source, types=types).outputs)
    return edit.finish()
