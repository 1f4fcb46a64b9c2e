"""From a model file to the integer graph a backend takes: import, canonical form, quantization."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from .board import Board
from .data import CALIBRATION_SAMPLES, Samples, check_samples, load_labels, load_samples
from .errors import DataError, OutputError, UsageError
from .ir.graph import Graph
from .ir.resized import smaller
from .ir.text import format_graph
from .ir.types import Float32
from .options import BackendOptions, ImportOptions, ProjectFormat, QuantizeOptions, SoftmaxMode

Calibration = str | Path | np.ndarray | Mapping[str, np.ndarray]
"""A `.npy` or `.npz` file, the samples of the only input, or the samples of each input by name."""

FOR_MCU = frozenset({"single_header", "format", "softmax", "optimize", "weights"})
FOR_FPGA = frozenset({"tool", "io_type", "reuse_factor", "strategy", "softmax", "clock_ns", "goal"})
GUESSED_SAMPLES = 16
GUESSED_WORK = 20_000_000
"""Multiplications and values after which no further guessed input is run: half a second or so."""

SEED = 2026


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model made ready for one kind of board.

    Attributes:
        graph: integer graph.
        floating: the float graph it was made from, same interface.
        data: samples of the float graph's inputs, the calibration data or the guessed inputs.
        model: name of the model file.
        sha256: of the model file.
        calibrated: whether `data` came from the user (else ranges are guesses and only costs mean anything).
        labels: of the samples, where the data has some and a bound on accuracy asks for them.
    """

    graph: Graph
    floating: Graph
    data: Samples
    model: str
    sha256: str
    calibrated: bool
    labels: np.ndarray | None = None


def prepare(
    model: str | Path,
    board: Board,
    calibration: Calibration | None,
    *,
    imports: ImportOptions,
    quantize: QuantizeOptions,
    backend: BackendOptions,
    dump: Path | None = None,
    guess: bool = False,
) -> Prepared:
    """Import a model and make an integer graph of it.

    Args:
        guess: without calibration data, take random inputs (good enough for costs) in place of refusing.
        dump: folder for the graph after each pass.

    Raises:
        ModelError, DataError, UsageError: see the stages.
    """
    from .frontend import load_model
    from .passes.channels_last_io import ChannelsLastIo
    from .passes.fold_dequantize import FoldDequantize
    from .passes.output_softmax import DropOutputSoftmax
    from .pipeline import PipelineOptions, canonical_passes, run_passes

    check_options(board, quantize, backend)
    if dump is not None:
        _make_folder(dump)
    path = Path(model)
    imported = load_model(path, dict(imports.input_shapes))
    data = load_calibration(calibration, imported)
    passes = list(canonical_passes(fuse=True))
    if board.kind == "fpga":
        passes.insert(0, FoldDequantize())  # fixed point has types of its own, also for stored integers
    if imports.channels_last_io:
        passes.insert(0, ChannelsLastIo())
    if backend.softmax is not SoftmaxMode.KEEP:
        passes.append(DropOutputSoftmax())
    floating = run_passes(imported, passes, PipelineOptions(dump=dump)).graph
    given = data is not None
    if data is None and not guess and not any(node.op in ("Quantize", "Dequantize") for node in floating.nodes):
        raise UsageError(
            "the model is not quantized, and there is no calibration data",
            file=path.name,
            hint="give --calibration data.npz: a few hundred inputs, no labels needed",
        )
    if data is not None:
        data = _like(floating, data)
    elif guess and quantize.bounded:
        data = _like(floating, guessed_inputs(imported))
    elif guess:
        small = quick_to_run(floating)
        data = guessed_inputs(small) if small is not floating else _like(floating, guessed_inputs(imported))
    graph = _quantize(floating, board, data, quantize, dump)
    labels = None if quantize.max_drop is None or not given else find_labels(calibration, data or {})
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Prepared(graph, floating, data or {}, path.name, digest, given, labels)


def find_labels(calibration: Calibration | None, data: Samples) -> np.ndarray | None:
    """The labels that come with calibration data, spread like its samples, or None.

    Raises:
        DataError: their number is not that of the samples.
    """
    if not isinstance(calibration, (str, Path)):
        return None
    labels = load_labels(calibration, CALIBRATION_SAMPLES)
    samples = min(len(values) for values in data.values())
    if labels is not None and len(labels) != samples:
        raise DataError(f"{len(labels)} labels for {samples} samples", file=Path(calibration).name)
    return labels


def load_calibration(calibration: Calibration | None, graph: Graph) -> Samples | None:
    """Samples for the inputs of an imported graph, from a file or from memory.

    Raises:
        DataError: see `boardfit.data`.
    """
    if calibration is None:
        return None
    if isinstance(calibration, (str, Path)):
        return load_samples(calibration, graph, CALIBRATION_SAMPLES)
    if isinstance(calibration, np.ndarray):
        calibration = {"": calibration}
    return check_samples(calibration, graph, "calibration data", CALIBRATION_SAMPLES)


def guessed_inputs(graph: Graph) -> Samples:
    """A few normally distributed inputs (integers: their whole range); fewer of a model that takes long to run."""
    random = np.random.default_rng(SEED)
    samples = max(1, min(GUESSED_SAMPLES, GUESSED_WORK // _work(graph)))
    found: Samples = {}
    for name in graph.inputs:
        shape = (samples, *graph.types[name].shape)
        element = graph.types[name].element
        if isinstance(element, Float32):
            found[name] = random.standard_normal(shape).astype(np.float32)
        else:
            found[name] = random.integers(element.minimum, element.maximum, shape, endpoint=True)
    return found


def quick_to_run(graph: Graph) -> Graph:
    """The graph for smaller images, where it is large and its layers allow it.

    Every pixel of a guessed image is like any other, so ranges hardly depend on how many there are.
    """
    sizes = smaller(graph)
    while _work(graph) > GUESSED_WORK:
        less = next(sizes, None)
        if less is None:
            return graph
        graph = less
    return graph


def _work(graph: Graph) -> int:
    """Multiplications and values of one inference."""
    from .ops import OPS

    products = sum(OPS[node.op].macs(node, graph) for node in graph.nodes)
    return max(1, products + sum(graph.types[name].elements for node in graph.nodes for name in node.outputs))


def check_options(board: Board, quantize: QuantizeOptions, backend: BackendOptions) -> None:
    """Refuse options that mean nothing for the kind of the board.

    Raises:
        UsageError: such an option, or a value out of range.
    """
    known, other = (FOR_MCU, "an FPGA") if board.kind == "mcu" else (FOR_FPGA, "a microcontroller")
    plain = BackendOptions()
    for field in fields(backend):
        if field.name not in known and getattr(backend, field.name) != getattr(plain, field.name):
            raise UsageError(
                f"option {field.name.replace('_', '-')} is for {other}, and {board.name} is none",
                hint="leave it out, or choose another board",
            )
    if board.kind == "mcu":
        if quantize.width not in (8, None):
            raise UsageError("option width is for an FPGA; microcontrollers compute in 8 bits", hint="leave it out")
        if backend.single_header and backend.format is not ProjectFormat.C:
            raise UsageError(
                f"a single header is no {backend.format.value} project", hint="leave out --single-header or --format"
            )
        if backend.softmax is SoftmaxMode.HOST:
            raise UsageError("softmax 'host' is for an FPGA: a microcontroller has no host", hint="keep or drop it")
    elif not 2 <= quantize.top_width <= 32:
        raise UsageError(f"width {quantize.width} is not between 2 and 32")
    if quantize.max_drop is not None and not 0 <= quantize.max_drop < 100:
        raise UsageError(f"max-drop {quantize.max_drop:g} is no number of points from 0 to 100", hint="--max-drop 0.5")
    if quantize.min_snr is not None and not 0 < quantize.min_snr < 200:
        raise UsageError(f"min-snr {quantize.min_snr:g} dB is not between 0 and 200", hint="give --min-snr 35")
    if quantize.max_drop is not None and quantize.min_snr is not None:
        raise UsageError("max-drop and min-snr exclude each other", hint="give one of them")
    if backend.reuse_factor is not None and backend.reuse_factor < 1:
        raise UsageError(f"reuse factor {backend.reuse_factor} is less than 1")
    if backend.clock_ns is not None and not backend.clock_ns > 0:
        raise UsageError(f"clock period {backend.clock_ns} ns is not positive")


def _quantize(
    floating: Graph, board: Board, data: Samples | None, options: QuantizeOptions, dump: Path | None
) -> Graph:
    from .pipeline import PipelineOptions, run_passes

    if board.kind == "mcu":
        from .compress.ptq import quantize_for_mcu
        from .passes.lower_quantized import LowerQuantized
        from .passes.signed_integers import SignedIntegers

        annotated = quantize_for_mcu(floating, data, options)
        lowered = run_passes(annotated, [LowerQuantized()], PipelineOptions(dump=dump and dump / "quantized")).graph
        # integers of the model file are its interface: they keep their type, all other tensors become signed
        ports = zip((*floating.inputs, *floating.outputs), (*lowered.inputs, *lowered.outputs), strict=True)
        keep = tuple(after for before, after in ports if not floating.types[before].is_float)
        return run_passes(lowered, [SignedIntegers(keep)], PipelineOptions(dump=dump and dump / "integer")).graph
    from .compress.fpga import quantize_for_fpga

    if data is None:
        raise UsageError(
            "fixed-point types are chosen from calibration data, and there is none",
            hint="give --calibration data.npz: a few hundred inputs, no labels needed",
        )
    graph = quantize_for_fpga(floating, data, options)
    if dump is not None:
        _make_folder(dump / "integer")
        (dump / "integer" / "00-fixed-point.txt").write_text(format_graph(graph), encoding="utf-8")
    return graph


def lower_for_board(floating: Graph, board: Board, data: Samples, options: QuantizeOptions) -> Graph:
    """The integer graph of a float canonical graph, as a board takes it."""
    return _quantize(floating, board, data, options, None)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", file=str(folder)) from error


def _like(graph: Graph, data: Samples) -> Samples:
    """Samples whose images follow the layout of `graph`'s inputs, given in the layout of the file."""
    return {
        name: values
        if values.shape[1:] == graph.types[name].shape
        else np.ascontiguousarray(values.transpose(0, 1, 3, 4, 2))
        for name, values in data.items()
    }
