"""The processes and FIFOs of a streamed project: who reads and writes which word when, as hls4ml's templates do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from boardfit.board import FpgaBoard
from boardfit.errors import InternalError
from boardfit.estimate.fpga import Fifo, LayerDescription
from boardfit.estimate.fpga.coefficients import load_coefficients
from boardfit.estimate.fpga.description import MATRIX_KINDS
from boardfit.estimate.fpga.memory import bram18_blocks
from boardfit.estimate.fpga.serial import SHIFT_REGISTER
from boardfit.estimate.fpga.terms import in_block_ram
from boardfit.estimate.fpga.timing import Timing
from boardfit.plan.stream_schedule import Channel, Process, StreamNetwork, pipeline, schedules

from .layer import HlsLayer
from .layers import LayerList
from .serial_layers import SERIAL_CLASSES

FifoKey = tuple[str, str, int]
"""A FIFO by the layer that writes it, the layer that reads it, and which of its inputs it is."""

OUTSIDE = -1
"""Producer of the words of a graph input."""

INPUT_STAGES = 2
"""Pipeline stages in front of and behind what a layer computes: reading a FIFO and writing one."""


@dataclass(frozen=True, slots=True)
class Streams:
    """The network of a project, and the FIFO that each of its channels is."""

    network: StreamNetwork
    keys: tuple[FifoKey, ...]


@dataclass(slots=True)
class _Open:
    """Words that are still to be read: by which process and output they are written."""

    process: int
    outputs: list[int]
    name: str
    words: int


@dataclass(slots=True)
class _Builder:
    timings: Mapping[str, tuple[LayerDescription, Timing]]
    processes: list[Process] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)
    keys: list[FifoKey] = field(default_factory=list)

    def add(self, process: Process, sources: Sequence[_Open], outputs: int = 1) -> _Open:
        """A process that reads these words."""
        index = len(self.processes)
        self.processes.append(process)
        for port, source in enumerate(sources):
            output = source.outputs.pop(0)
            if source.process != OUTSIDE:
                self.channels.append(Channel(source.process, output, index, port))
                self.keys.append((source.name, process.name, port))
        words = len(process.writes[0]) if process.writes else 0
        return _Open(index, list(range(outputs)), process.name, words)


def make_streams(
    network: LayerList,
    shapes: Mapping[str, tuple[int, ...]],
    layers: Sequence[LayerDescription],
    timings: Sequence[Timing],
) -> Streams:
    """The processes of a layer list with the padding and copies hls4ml inserts.

    Args:
        shapes: layer name -> shape without the batch axis.
        layers, timings: as the estimator sees them, with `pad_` and `clone_` layers.
    """
    builder = _Builder({layer.name: (layer, timing) for layer, timing in zip(layers, timings, strict=True)})
    made: dict[str, _Open] = {}
    for layer in network.layers:
        sources = [made[name] for name in layer.inputs]
        shape = shapes[layer.name]
        words = int(np.prod(shape[:-1], dtype=np.int64))
        readers = sum(other.inputs.count(layer.name) for other in network.layers)
        copies = readers + (layer.name in network.outputs)
        if not layer.inputs:
            found = _Open(OUTSIDE, [0] * max(copies, 1), layer.name, words)
        elif is_in_place(layer, shape, network.outputs):
            source = sources[0]
            found = _Open(source.process, [source.outputs.pop(0)], source.name, source.words)
        else:
            padded = builder.timings.get(f"pad_{layer.name}")
            if padded is not None:
                sources = [builder.add(_padding(layer, *padded), sources)]
            found = builder.add(_process(layer, shapes, builder.timings[layer.name], sources), sources)
        if copies > 1:
            copy = builder.timings[f"clone_{layer.name}"]
            found = builder.add(_copies(copy, found.words, copies), [found], copies)
            if layer.name in network.outputs:
                found.outputs.pop(0)
        made[layer.name] = found
    return Streams(StreamNetwork(tuple(builder.processes), tuple(builder.channels)), tuple(builder.keys))


def choose_fifos(
    streams: Streams, layers: Sequence[LayerDescription], board: FpgaBoard, *, packed: bool
) -> Mapping[FifoKey, Fifo]:
    """Depth of every FIFO, and whether it is bound to shift registers.

    What the tool would put into block RAM goes where it takes the smaller share of the board. Of the schedules that
    cost no cycle, that with the smallest FIFOs counts.

    Args:
        packed: all values of a word travel in one FIFO (Vitis HLS), or each in its own (Vivado HLS).
    """
    named = {layer.name: layer for layer in layers}
    coefficients = load_coefficients()

    def fifo(key: FifoKey, depth: int) -> tuple[float, Fifo]:
        layer = named[key[0]]
        lanes = max(1, layer.output_pack)
        count = 1 if packed else lanes
        width = layer.result_precision.width * lanes // count
        luts = count * width * math.ceil(depth / SHIFT_REGISTER) / max(1, board.budget.lut)
        if not in_block_ram(depth, width, coefficients):
            return luts, Fifo(depth)
        blocks = count * bram18_blocks(depth, width) / max(1, board.budget.bram18)
        return min(luts, blocks), Fifo(depth, luts < blocks)

    choices = [
        [fifo(key, depth) for key, depth in zip(streams.keys, found.depths, strict=True)]
        for found in schedules(streams.network)
    ]
    best = min(choices, key=lambda chosen: sum(share for share, _ in chosen))
    return {key: found for key, (_, found) in zip(streams.keys, best, strict=True)}


def is_in_place(layer: HlsLayer, shape: tuple[int, ...], outputs: Sequence[str]) -> bool:
    """Whether hls4ml reads the input's stream in place of the layer's: a reshape to one axis."""
    return layer.class_name == "Reshape" and len(shape) == 1 and layer.name not in outputs


def _process(
    layer: HlsLayer,
    shapes: Mapping[str, tuple[int, ...]],
    known: tuple[LayerDescription, Timing],
    sources: Sequence[_Open],
) -> Process:
    described, timing = known
    kind, given = described.kind, sources[0].words
    words = int(np.prod(shapes[layer.name][:-1], dtype=np.int64))
    every = np.arange(given)
    if layer.class_name == "Concatenate":
        return _concatenation(layer, shapes, sources, timing)
    if layer.class_name == "BoardfitPick":
        return _moves(layer.name, *_pick_moves(layer))
    if layer.class_name == "Resize":
        height, width, _ = shapes[layer.inputs[0]]
        new_height, new_width, _ = shapes[layer.name]
        return _moves(layer.name, *_rows(height, width, new_height // height * new_width), behind=width)
    if layer.class_name == "Transpose" or (layer.class_name == "Reshape" and given != words):
        return _moves(layer.name, *_rows(1, given, words))
    if layer.class_name == "ZeroPadding2D":
        return _padding(layer, described, timing)
    if kind == "dense":
        cycles = max(1, timing.latency - given)
        written = given - 1 + np.arange(words)
        return Process(layer.name, given + words - 1, 1, cycles, (every,), (written,), timing.interval)
    if kind == "global_pool":
        return pipeline(layer.name, given, _cycles(timing, given), _depth(timing), (every,), (np.array([given - 1]),))
    if layer.class_name in SERIAL_CLASSES:
        steps = described.positions_in
        cycles = _cycles(timing, steps)
        reads_in = _inside(layer, described)
        return Process(layer.name, steps, cycles, cycles, (reads_in,), (_window_steps(described, layer),), cycles)
    windows = kind in MATRIX_KINDS or kind == "pool"
    writes = _window_steps(described, layer) if windows else every
    reads = tuple(np.arange(source.words) for source in sources)
    cycles = _cycles(timing, given)
    if kind in MATRIX_KINDS and described.strategy == "resource" and described.reuse_factor > 1:
        return Process(layer.name, given, cycles, cycles, reads, (writes,), cycles)
    return pipeline(layer.name, given, cycles, _depth(timing), reads, (writes,))


def _cycles(timing: Timing, steps: int) -> int:
    return max(1, timing.latency // max(1, steps))


def _depth(timing: Timing) -> int:
    return timing.depth + INPUT_STAGES


def _window_steps(described: LayerDescription, layer: HlsLayer) -> np.ndarray:
    """Input pixel with which each window is complete."""
    attributes = layer.attributes
    rows = np.arange(described.height_out) * attributes["stride_height"] + described.kernel_height - 1
    columns = np.arange(described.width_out) * attributes["stride_width"] + described.kernel_width - 1
    return np.asarray((rows[:, None] * described.width_in + columns[None, :]).reshape(-1))


def _padding(layer: HlsLayer, described: LayerDescription, timing: Timing) -> Process:
    """A step for each pixel of the larger image; those inside the border read."""
    reads = _border(layer, (described.height_in, described.width_in), described.width_out)
    words = described.height_out * described.width_out
    return pipeline(described.name, words, 1, _depth(timing), (reads,), (np.arange(words),))


def _inside(layer: HlsLayer, described: LayerDescription) -> np.ndarray:
    """Steps over the padded image that read a word."""
    return _border(layer, (layer.attributes["in_height"], layer.attributes["in_width"]), described.width_in)


def _border(layer: HlsLayer, image: tuple[int, int], width: int) -> np.ndarray:
    """Places of an image's pixels in a larger one of this width."""
    rows = np.arange(image[0]) + layer.attributes["pad_top"]
    columns = np.arange(image[1]) + layer.attributes["pad_left"]
    return np.asarray((rows[:, None] * width + columns[None, :]).reshape(-1))


def _copies(known: tuple[LayerDescription, Timing], words: int, copies: int) -> Process:
    every = np.arange(words)
    return pipeline(known[0].name, words, 1, _depth(known[1]), (every,), (every,) * copies)


def _concatenation(
    layer: HlsLayer, shapes: Mapping[str, tuple[int, ...]], sources: Sequence[_Open], timing: Timing
) -> Process:
    """Along channels word by word; along another axis one input's block after the other's."""
    counts = [source.words for source in sources]
    shape = shapes[layer.name]
    if len(shape) == 1:
        first, second = np.arange(counts[0]), np.arange(counts[0], sum(counts))
        return Process(layer.name, sum(counts), 1, _depth(timing), (first, second), (np.array([sum(counts) - 1]),))
    axis = layer.attributes["axis"] - 1 if layer.attributes["axis"] > 0 else len(shape) + layer.attributes["axis"]
    if axis == len(shape) - 1:
        every = np.arange(counts[0])
        return pipeline(layer.name, counts[0], 1, _depth(timing), (every, every), (every,))
    outer = int(np.prod(shape[:axis], dtype=np.int64))
    order = np.tile(np.repeat([0, 1], [count // outer for count in counts]), outer)
    reads = tuple(np.flatnonzero(order == side) for side in (0, 1))
    return pipeline(layer.name, len(order), 1, _depth(timing), reads, (np.arange(len(order)),))


def _rows(count: int, width: int, written: int) -> tuple[np.ndarray, np.ndarray]:
    """Moves of a layer that reads rows and writes `written` words after each: True where a step reads."""
    row = np.repeat([True, False], [width, written])
    moves = np.tile(row, count)
    return np.flatnonzero(moves), np.flatnonzero(~moves)


def _pick_moves(layer: HlsLayer) -> tuple[np.ndarray, np.ndarray]:
    """Rows are read up to the one a row of the result needs; then that row is written."""
    height, width = layer.attributes["in_height"], layer.attributes["in_width"]
    needed = [-1]
    for row in layer.attributes["rows"]:
        needed.append(max(needed[-1], row))
    moves: list[np.ndarray] = []
    for before, after in pairwise(needed):
        moves.append(np.repeat([True, False], [(after - before) * width, len(layer.attributes["columns"])]))
    moves.append(np.ones((height - 1 - needed[-1]) * width, bool))
    every = np.concatenate(moves)
    return np.flatnonzero(every), np.flatnonzero(~every)


def _moves(name: str, reads: np.ndarray, writes: np.ndarray, behind: int = 0) -> Process:
    """A process that does one thing after the other; `behind`: steps that a write may wait for."""
    steps = len(reads) + len(writes)
    if not steps:
        raise InternalError(f"'{name}' moves no words")
    return pipeline(name, steps, 1, behind + INPUT_STAGES, (reads,), (writes,))
