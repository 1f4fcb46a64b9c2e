"""What a compressed network costs and does: bytes of its image, errors, instructions on the emulated core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from boardfit.backends.mcu.emulator import Program, measure
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.backends.mcu.weight_formats import forced_formats
from boardfit.board import McuBoard, find_board
from boardfit.compress.layers import COMPRESSED_OPS
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.numerics import quantize
from boardfit.options import Optimize
from boardfit.train.options import TrainingData, as_real

BOARD = "mps2-an386"
CORE = "m4"
EXECUTED = 24
"""Images executed on the emulator."""

FLAGS = ("-O2",)
"""For both networks: the choice of kernels says which is small, and -Os makes bit readers slow."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One network on the emulated Cortex-M4.

    Attributes:
        bytes: all constants of the emitted C: weights, indices, codebooks, tables, biases, multipliers, shapes.
        code_bytes: machine code of the kernels and the calls, less what an empty program needs.
        instructions: of one inference, mean of the images executed.
        equal: whether every output byte is the interpreter's.
        formats: kernel variant of every layer.
        weight_bytes: of the constants, weights, biases and multipliers.
    """

    bytes: int
    code_bytes: int
    instructions: int
    equal: bool
    formats: tuple[str, ...]
    weight_bytes: int


def cost(graph: Graph, data: TrainingData, optimize: Optimize, stored: str | Mapping[str, str] | None = None) -> Cost:
    """Emit, execute on the emulator, compare with the interpreter.

    Args:
        stored: format the weights of all layers are stored in, or of some by their names in the model's file; None
            takes what `optimize` asks for.
    """
    board = find_board(BOARD)
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{BOARD} is no microcontroller")
    layers = [node.source.node for node in graph.nodes if node.op in COMPRESSED_OPS]
    forced = stored or {}
    if isinstance(forced, str):
        forced = dict.fromkeys(layers, forced)
    plan = make_plan(graph, board, optimize, forced_formats(graph, forced))
    x = raw_inputs(graph, data, EXECUTED)
    program = model_program(plan, board, FLAGS)
    result = measure(program, MACHINES[CORE], packed_inputs(graph, x))
    expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    equal = bool(np.array_equal(unpacked_outputs(graph, result.outputs), expected))
    constants = sum(layer.lowered.constant_bytes for layer in plan.layers)
    code = result.sections.flash - _empty(program) - constants
    formats = tuple(layer.kernel.name for layer in plan.layers)
    parameters = sum(layer.lowered.weight_bytes for layer in plan.layers)
    return Cost(constants, code, round(result.instructions), equal, formats, parameters)


def _empty(program: Program) -> int:
    """Flash the measuring program needs without a model."""
    source = (
        "void harness_setup(void);\nvoid harness_run(const void *input, void *output);\n"
        "void harness_setup(void) {}\n"
        "void harness_run(const void *input, void *output) { (void)input; (void)output; }\n"
    )
    empty = Program({"empty.c": source}, program.input_bytes, program.output_bytes, program.flags)
    return measure(empty, MACHINES[CORE], np.zeros((1, program.input_bytes), np.uint8)).sections.flash


def raw_inputs(graph: Graph, data: TrainingData, count: int | None = None) -> np.ndarray:
    """Raw integer inputs (S, *shape) of the first samples."""
    tensor = graph.types[graph.inputs[0]]
    (values,) = data.inputs.values()
    real = as_real(values[:count]).reshape(-1, *tensor.shape)
    return quantize(real, tensor.element, sample_axis=True)


def error_percent(graph: Graph, data: TrainingData, chunk: int = 1000) -> float:
    """Classification error of an integer graph by the interpreter; equal outputs count for the first class."""
    if data.labels is None:
        raise SystemExit("labels are needed to count errors")
    wrong = 0
    for start in range(0, data.samples, chunk):
        part = TrainingData({k: v[start : start + chunk] for k, v in data.inputs.items()})
        logits = run(graph, {graph.inputs[0]: raw_inputs(graph, part)})[graph.outputs[0]]
        wrong += int((np.argmax(logits.reshape(len(logits), -1), axis=1) != data.labels[start : start + chunk]).sum())
    return 100.0 * wrong / data.samples
