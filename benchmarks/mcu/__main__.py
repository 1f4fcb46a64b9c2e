"""`make bench-mcu`: instructions, code, weights, RAM and stack of the MLPerf Tiny models on emulated cores.

Prints a table beside the peers' figures and writes `benchmarks/results/mcu.json`, rows {model, core, flags,
instructions, code_bytes, weight_bytes, ram_bytes, stack_bytes, bytes_equal}. Every output byte of every input is
compared with the interpreter.

    python -m benchmarks.mcu [--model kws01 ...] [--core m4 ...] [--layers]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np

from boardfit.backends.mcu.emulator import Measurement, Program, Sections, measure
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.plan import OPTIMIZATION_FLAGS, Plan, make_plan
from boardfit.board import McuBoard, find_board
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.numerics import quantize
from boardfit.options import BackendOptions, ImportOptions, Optimize, QuantizeOptions
from boardfit.prepare import prepare

from .. import corpus
from ..results import Row, print_rows, write_rows
from .peers import PEERS

MODELS = (*corpus.FLOAT_TINY, *corpus.INT8_TINY)
BOARDS = {
    "m4": "nucleo-l4r5zi",
    "m7": "nucleo-h743zi",
    "m33": "raspberry-pi-pico-2",
    "m55": "corstone-300",
    "m0": "raspberry-pi-pico",
    "rv32": "esp32-c3",
}
SAMPLES = 20
FLAGS = ("-O2",)


@dataclass(frozen=True, slots=True)
class Result:
    """One model on one core."""

    plan: Plan
    measurement: Measurement
    empty: Sections
    equal: bool

    @property
    def code_bytes(self) -> int:
        """Flash that is not weights, less what an empty model needs."""
        return self.measurement.sections.flash - self.empty.flash - self.plan.weight_bytes

    @property
    def ram_bytes(self) -> int:
        """Arena and static memory, less what an empty model needs, and the deepest stack."""
        return self.measurement.sections.ram - self.empty.ram + self.measurement.stack


@cache
def network(model: str, board: str) -> tuple[Graph, Graph]:
    """(integer graph, float graph) of a model, calibrated on the corpus."""
    path = corpus.model_path(model)
    calibration = None
    if model in corpus.FLOAT_TINY:
        calibration = corpus.calibration(model, (1, *SHAPES[model]))
    prepared = prepare(
        path,
        find_board(board),
        calibration,
        imports=ImportOptions(),
        quantize=QuantizeOptions(),
        backend=BackendOptions(),
    )
    return prepared.graph, prepared.floating


SHAPES = {"ad01": (640,), "ic01": (32, 32, 3), "kws01": (49, 10, 1), "vww01": (96, 96, 3)}


def inputs_for(model: str, graph: Graph) -> np.ndarray:
    """Raw integer inputs that differ from the calibration data, (samples, *shape)."""
    tensor = graph.types[graph.inputs[0]]
    name = model.removesuffix("_int8")
    if model in corpus.FLOAT_TINY or name == "kws01":
        real = corpus.evaluation(name, (1, *SHAPES[name]), SAMPLES)
    else:
        real = corpus.evaluation(name, (1, *SHAPES[name]), SAMPLES) - np.float32(128)
    return quantize(real.reshape(SAMPLES, *tensor.shape), tensor.element, sample_axis=True)


def measure_model(model: str, core: str, optimize: Optimize = Optimize.SPEED) -> Result:
    """Compile, emulate, compare."""
    flags = (OPTIMIZATION_FLAGS[optimize],)
    board = find_board(BOARDS[core])
    if not isinstance(board, McuBoard):
        raise SystemExit(f"{BOARDS[core]} is no microcontroller")
    graph, _ = network(model, BOARDS[core])
    plan = make_plan(graph, board, optimize)
    x = inputs_for(model, graph)
    program = model_program(plan, board, flags)
    result = measure(program, MACHINES[core], packed_inputs(graph, x))
    expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    equal = bool(np.array_equal(unpacked_outputs(graph, result.outputs), expected))
    empty = empty_program(core, flags, program.input_bytes, program.output_bytes)
    return Result(plan, result, empty, equal)


@cache
def empty_program(core: str, flags: tuple[str, ...], input_bytes: int, output_bytes: int) -> Sections:
    """What the measuring program needs without a model."""
    source = (
        "void harness_setup(void);\nvoid harness_run(const void *input, void *output);\n"
        "void harness_setup(void) {}\n"
        "void harness_run(const void *input, void *output) { (void)input; (void)output; }\n"
    )
    program = Program({"empty.c": source}, input_bytes, output_bytes, flags)
    return measure(program, MACHINES[core], np.zeros((1, input_bytes), np.uint8)).sections


def print_layers(result: Result) -> None:
    """Predicted and measured instructions of every layer."""
    rows: list[Row] = []
    calls = [(layer, call) for layer in result.plan.layers for call in layer.lowered.calls]
    # of the instructions of the run function, the calls are those after which most is executed
    costly = sorted(result.measurement.by_site, key=lambda site: -site[1])[: len(calls)]
    for (layer, _), (_, count) in zip(calls, sorted(costly), strict=False):
        rows.append(
            {
                "layer": layer.node.source.node[-40:],
                "kernel": layer.kernel.name,
                "output": "x".join(map(str, result.plan.graph.types[layer.node.outputs[0]].shape)),
                "predicted": layer.lowered.instructions,
                "measured": round(count),
            }
        )
    print_rows("layers", rows)


def compared_rows(rows: list[Row]) -> list[Row]:
    """The measured rows and under each the peers on the same model and core."""
    shown: list[Row] = []
    for row in rows:
        shown.append({"tool": "boardfit", **row})
        for peer in PEERS.get((str(row["model"]), str(row["core"])), ()):
            shown.append(
                {
                    "tool": peer.tool,
                    "model": row["model"],
                    "core": row["core"],
                    "instructions": peer.instructions,
                    "code_bytes": peer.code_bytes,
                    "ram_bytes": peer.ram_bytes,
                }
            )
    return shown


def main(arguments: list[str]) -> int:
    """Measure, print, write; the exit code is 1 if an output byte differs from the interpreter's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mcu")
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--core", nargs="+", choices=list(BOARDS), default=list(BOARDS))
    parser.add_argument("--layers", action="store_true", help="predicted and measured instructions of every layer")
    options = parser.parse_args(arguments)
    if not corpus.available():
        print(corpus.missing())
        return 0
    rows: list[Row] = []
    for core in options.core:
        for model in options.model:
            result = measure_model(model, core)
            rows.append(
                {
                    "model": model,
                    "core": core,
                    "flags": " ".join((*FLAGS, *MACHINES[core].flags)),
                    "instructions": round(result.measurement.instructions),
                    "code_bytes": result.code_bytes,
                    "weight_bytes": result.plan.weight_bytes,
                    "ram_bytes": result.ram_bytes,
                    "stack_bytes": result.measurement.stack,
                    "bytes_equal": result.equal,
                }
            )
            print(f"  {model} {core}: {rows[-1]['instructions']:,} instructions", flush=True)
            if options.layers:
                print_layers(result)
    shown = [{k: v for k, v in row.items() if k != "flags"} for row in compared_rows(rows)]
    print_rows("Instructions per inference and bytes, beside other tools", shown)
    if set(options.model) == set(MODELS) and set(options.core) == set(BOARDS):
        print(f"written to {write_rows('mcu', rows)}")
    return 0 if all(row["bytes_equal"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
