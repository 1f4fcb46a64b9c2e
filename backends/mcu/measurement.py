"""A planned model as a program for the emulator: the generated sources and the few lines that feed them."""

from __future__ import annotations

import numpy as np

from boardfit.board import McuBoard
from boardfit.errors import UsageError
from boardfit.ir import Graph

from .emit import core_files
from .emulator import Program
from .placement import tensor_bytes
from .plan import Plan

PREFIX = "model"
GLUE = "harness_glue.c"


def model_program(plan: Plan, board: McuBoard, flags: tuple[str, ...] = ("-O2",)) -> Program:
    """The measuring program of a model; its only caller to be split by call is `model_run`.

    Raises:
        UsageError: the model does not have exactly one input and one output.
    """
    graph = plan.graph
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise UsageError(f"the measuring program wants one input and one output, '{graph.name}' has others")
    sources = core_files(plan, board, PREFIX, single_header=False)
    input_bytes = tensor_bytes(graph, graph.inputs[0])
    output_bytes = tensor_bytes(graph, graph.outputs[0])
    sources[GLUE] = "\n".join(
        (
            "#include <string.h>",
            f'#include "{PREFIX}.h"',
            "void harness_setup(void);",
            "void harness_run(const void *input, void *output);",
            f"static {PREFIX}_context context;",
            f"static uint8_t memory[{PREFIX.upper()}_ARENA_BYTES] {PREFIX.upper()}_ALIGNED;",
            f"void harness_setup(void) {{ {PREFIX}_init(&context, memory); }}",
            "void harness_run(const void *input, void *output)",
            "{",
            f"    memcpy({PREFIX}_input(&context), input, {input_bytes}u);",
            f"    {PREFIX}_run(&context);",
            f"    memcpy(output, {PREFIX}_output(&context), {output_bytes}u);",
            "}",
            "",
        )
    )
    return Program(sources, input_bytes, output_bytes, flags, caller=f"{PREFIX}_run")


def packed_inputs(graph: Graph, values: np.ndarray) -> np.ndarray:
    """(samples, bytes) uint8 of raw input values (samples, *shape)."""
    from .storage import storage_of

    storage = storage_of(graph.types[graph.inputs[0]].element)
    return np.ascontiguousarray(values.astype(storage.dtype)).view(np.uint8).reshape(len(values), -1)


def unpacked_outputs(graph: Graph, rows: np.ndarray) -> np.ndarray:
    """Raw output values (samples, *shape) int64 from the bytes a run gave."""
    from .storage import storage_of

    tensor_type = graph.types[graph.outputs[0]]
    storage = storage_of(tensor_type.element)
    return np.ascontiguousarray(rows).view(storage.dtype).reshape(len(rows), *tensor_type.shape).astype(np.int64)
