"""`make bench-foundation`: imports, accuracy, byte equality, estimates against what was built.

Prints a table and writes `benchmarks/results/foundation.json`, rows {model, board, check, value, unit}.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import boardfit
from boardfit.board import McuBoard
from boardfit.frontend import load_model
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.numerics import quantize

from . import corpus, onnx_reference
from .results import Row, print_rows, write_rows

MCU = "nucleo-l4r5zi"
FPGA = "pynq-z2"
LARGE_FPGA = {"kws01": "zcu104"}  # 64 channels of 16 bits in every layer do not fit the small one
MCU_MODELS = ("digits", *corpus.FLOAT_TINY, *corpus.INT8_TINY)
FPGA_MODELS = ("digits", "three_layer_keras", "conv2d_small_keras", "three_layer_bn_pytorch", "kws01")
AGREEMENT_INPUTS = 1000


class Rows:
    """Rows gathered so far; each is also printed when it is measured."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, model: str, board: str, check: str, value: float | int | bool, unit: str) -> None:
        """One measurement."""
        self.rows.append({"model": model, "board": board, "check": check, "value": value, "unit": unit})
        print(f"  {model:24s} {check:44s} {value!s:>12.12s} {unit}", flush=True)


def import_agreement(rows: Rows) -> None:
    """Every model is imported as it is; the float interpreter is compared with onnxruntime."""
    models = ("digits", *corpus.FLOAT_TINY, *corpus.INT8_TINY, *corpus.HLS_EXAMPLES)
    for name in models:
        graph = load_model(corpus.model_path(name))
        shape = graph.types[graph.inputs[0]].shape
        if graph.types[graph.inputs[0]].is_float:
            x = corpus.evaluation(name, shape, 8).reshape(8, *shape)
        else:
            x = np.random.default_rng(corpus.SEED).integers(-128, 128, (8, *shape))
        want = onnx_reference.outputs(corpus.model_path(name), x)
        have = run(graph, {graph.inputs[0]: x})
        error = 0.0
        for tensor, reference in zip(graph.outputs, want, strict=True):
            got = have[tensor].astype(np.float64).reshape(reference.shape)
            error = max(error, float(np.abs(got - reference).max()) / (float(np.ptp(reference)) or 1.0))
        rows.add(name, "", "float interpreter against onnxruntime", error, "of output range")


def labelled(name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Test inputs and labels of a model, where the corpus has them."""
    if name == "digits":
        x, y = corpus.digits("test")
        return (x, y) if y is not None else None
    if name.startswith("kws01"):
        return corpus.kws() if name == "kws01" else corpus.kws_raw()
    if name.startswith("ic01"):
        x, y = corpus.cifar("test")
        return (x, y) if name == "ic01" else (x - 128, y)
    return None


def top1(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Predicted classes on real inputs (raw ones where the values are already integers)."""
    name = graph.inputs[0]
    kind = graph.types[name]
    samples = x.reshape(len(x), *kind.shape)
    if not kind.is_float and samples.dtype.kind == "f" and samples.dtype != np.int64:
        samples = quantize(samples, kind.element, sample_axis=True)
    return run(graph, {name: samples})[graph.outputs[0]].reshape(len(x), -1).argmax(axis=1)


def microcontrollers(rows: Rows) -> None:
    """Firmware for a Cortex-M4: accuracy, byte equality on the emulator, estimate against the ELF."""
    from boardfit.backends.mcu.footprint import measure
    from boardfit.backends.mcu.plan import make_plan

    for name in MCU_MODELS:
        path = corpus.model_path(name)
        shape = load_model(path).types[load_model(path).inputs[0]].shape
        data = None if name.endswith("_int8") else corpus.calibration(name, shape)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            made = boardfit.compile(path, MCU, data, output=Path(folder) / "out")
            rows.add(name, MCU, "compile time, this machine", time.perf_counter() - start, "s")
            result = boardfit.verify(Path(folder) / "out")
            for one in result.runs:
                rows.add(name, MCU, f"bytes equal, {one.runner}, {one.samples} inputs", one.equal, "")
            samples = corpus.raw_inputs(name, made.graph.types[made.graph.inputs[0]], 20)
            elf = measure(Path(folder) / "out", [samples])
        accuracy(rows, name, made)
        if isinstance(made.board, McuBoard):
            rows.add(name, MCU, "arena, estimate", make_plan(made.graph, made.board).arena.bytes, "bytes")
        rows.add(name, MCU, "arena, ELF", elf.arena, "bytes")
        rows.add(name, MCU, "flash, estimate", made.estimate.total.flash, "bytes")
        rows.add(name, MCU, "flash, ELF", elf.flash, "bytes")


def accuracy(rows: Rows, name: str, made: boardfit.Compilation) -> None:
    """Accuracy of the float and the integer graph on labelled data."""
    found = labelled(name)
    if found is None:
        return
    x, y = found
    if name.endswith("_int8"):
        reference = onnx_reference.outputs(corpus.model_path(name), x.astype(np.int8)[:, None])[0]
        rows.add(name, "", "accuracy, onnxruntime", accuracy_of(reference.reshape(len(y), -1).argmax(1), y), "%")
    else:
        rows.add(name, "", "accuracy, float", accuracy_of(top1(made.floating, x), y), "%")
    rows.add(
        name,
        MCU,
        "accuracy, int8",
        accuracy_of(top1(made.graph, x.astype(np.int64) if name.endswith("_int8") else x), y),
        "%",
    )


def accuracy_of(found: np.ndarray, labels: np.ndarray) -> float:
    """Percentage of equal entries."""
    return float((found == labels).mean() * 100)


def pre_softmax(rows: Rows) -> None:
    """Quantized files keep their scales: logits against onnxruntime's on the same file, all test inputs."""
    close, total = 0, 0
    for name in corpus.INT8_TINY:
        found = labelled(name)
        if found is None:
            continue
        graph = boardfit.compile(corpus.model_path(name), MCU).graph
        samples = found[0].astype(np.int64)[:, None]
        ours, theirs = onnx_reference.logits(corpus.model_path(name), graph, samples)
        apart = np.abs(ours - theirs)
        close, total = close + int((apart <= 1).sum()), total + apart.size
        rows.add(name, MCU, "logits at most 1 LSB from onnxruntime", float((apart <= 1).mean() * 100), "%")
        rows.add(name, MCU, "logits equal to onnxruntime", float((apart == 0).mean() * 100), "%")
    rows.add("both int8 files", MCU, "logits at most 1 LSB from onnxruntime", close / total * 100, "%")


def fpgas(rows: Rows) -> None:
    """hls4ml projects: C simulation against the interpreter, agreement with float."""
    for name in FPGA_MODELS:
        board = LARGE_FPGA.get(name, FPGA)
        path = corpus.model_path(name)
        shape = load_model(path).types[load_model(path).inputs[0]].shape
        with tempfile.TemporaryDirectory() as folder:
            made = boardfit.compile(path, board, corpus.calibration(name, shape), output=Path(folder) / "out")
            for one in boardfit.verify(Path(folder) / "out").runs:
                rows.add(name, board, f"bytes equal, {one.runner}, {one.samples} inputs", one.equal, "")
        x = corpus.evaluation(name, shape, AGREEMENT_INPUTS)
        agree = accuracy_of(top1(made.graph, x), top1(made.floating, x))
        rows.add(name, board, f"top-1 agreement with float, {len(x)} inputs", agree, "%")
        found = labelled(name)
        if found is not None:
            rows.add(name, board, "accuracy, fixed point", accuracy_of(top1(made.graph, found[0]), found[1]), "%")


def start_up(rows: Rows) -> None:
    """How long a newcomer waits for help."""
    command = [sys.executable, "-m", "boardfit.cli", "--help"]
    seconds: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    rows.add("", "", "boardfit --help, this machine", sorted(seconds)[2], "s")


def main() -> None:
    """Measure, print, write."""
    rows = Rows()
    parts: list[Callable[[Rows], None]] = [start_up, import_agreement, microcontrollers, pre_softmax, fpgas]
    if not corpus.available():
        print(f"skipped: {corpus.missing()}")
        return
    for part in parts:
        print(f"{part.__name__.replace('_', ' ')}:", flush=True)
        part(rows)
    print_rows("Foundation", rows.rows)
    print(f"written: {write_rows('foundation', rows.rows)}")


if __name__ == "__main__":
    main()
