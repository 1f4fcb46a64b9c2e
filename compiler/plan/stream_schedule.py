"""When processes that are joined by FIFOs read and write, how deep the FIFOs must be, and a simulator to check it.

Every layer of a streamed design is a process: a loop whose steps read words, and write words some cycles later. Which
step reads or writes which word is fixed by the layer (a 3x3 convolution writes its first word when it has read two
rows and three pixels). Such a network is a Kahn process network (Kahn 1974): whether it locks up depends on the depths
of its FIFOs and on the order of reads and writes, never on how many cycles a step takes.

No schedule gives outputs earlier than everything as soon as its words are there, with FIFOs without bound. Any other
schedule with those output times, like everything as late as possible, tells depths: what each FIFO holds at most. With
them that schedule can be run, and a design that starts every step as soon as it can is never later than a schedule
that can be run (the equations are monotone; Baccelli, Cohen, Olsder, Quadrat: Synchronization and Linearity, 1992,
chapter 2). So these depths cost no cycle, and nothing locks up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InternalError

LEAST_DEPTH = 2
"""Words of the smallest FIFO: with one word reading and writing would take turns."""

FRAMES = 2
"""Inferences the schedules run over: the second one meets what the first left behind."""

TIMES = (np.int32, np.int64)
"""Types of times; the first that holds the end of a schedule is taken, as smaller ones are faster."""


@dataclass(frozen=True, slots=True)
class Process:
    """One layer as a loop that runs once for each inference.

    A step takes the words it reads and finds room for the words it writes, or waits for both: a pipeline that waits
    at one end waits at both.

    Attributes:
        name: of the layer.
        steps: of the loop; of a pipeline also those in which it empties.
        cycles: from one step to the next.
        latency: cycles from the start of a step until the words it writes can be read.
        reads: for each input, the step that reads word n; ascending, at most one word a step.
        writes: for each output, the step that writes word n; the same.
        gap: cycles from the last step of an inference to the first step of the next.
    """

    name: str
    steps: int
    cycles: int
    latency: int
    reads: tuple[np.ndarray, ...]
    writes: tuple[np.ndarray, ...]
    gap: int = 1


def pipeline(
    name: str,
    steps: int,
    cycles: int,
    depth: int,
    reads: tuple[np.ndarray, ...],
    writes: tuple[np.ndarray, ...],
) -> Process:
    """A pipelined loop: words leave `depth` cycles after the step that makes them began.

    The tools' pipelines stop as a whole when a word is missing, so words in them leave only when later steps begin,
    or after the last one. That is what makes FIFOs of branches deeper than the kernels alone ask for.
    """
    behind = -(-depth // max(1, cycles))
    return Process(name, steps + behind, cycles, 1, reads, tuple(made + behind for made in writes))


@dataclass(frozen=True, slots=True)
class Channel:
    """A FIFO: output `output` of process `producer` is input `input` of process `consumer` (indices)."""

    producer: int
    output: int
    consumer: int
    input: int


@dataclass(frozen=True, slots=True)
class StreamNetwork:
    """Processes in topological order; ports without a channel are open to the outside, which never waits."""

    processes: tuple[Process, ...]
    channels: tuple[Channel, ...]

    def __post_init__(self) -> None:
        for channel in self.channels:
            producer, consumer = self.processes[channel.producer], self.processes[channel.consumer]
            words = len(producer.writes[channel.output]), len(consumer.reads[channel.input])
            if words[0] != words[1] or channel.producer >= channel.consumer:
                raise InternalError(f"'{producer.name}' sends {words[0]} words, '{consumer.name}' reads {words[1]}")


@dataclass(frozen=True, slots=True)
class Schedule:
    """What the depths were computed from.

    Attributes:
        depths: words of each channel's FIFO.
        latency: cycles from the start to the last output word of the first inference.
        interval: cycles by which the last output word of the second inference is later.
    """

    depths: tuple[int, ...]
    latency: int
    interval: int


class _Unrolled:
    """A process over several inferences: times without waiting, and the steps that read and write each word.

    Times are (inferences * steps,), words (inferences * words,), one inference after the other.
    """

    def __init__(self, process: Process, frames: int, dtype: type[np.signedinteger[Any]]) -> None:
        self.process = process
        frame = _span(process) * np.arange(frames, dtype=dtype)[:, None]
        self.alone = (frame + process.cycles * np.arange(process.steps, dtype=dtype)).reshape(-1)
        self.reads = [_Places(steps, process.steps, frames) for steps in process.reads]
        self.writes = [_Places(steps, process.steps, frames) for steps in process.writes]

    def read(self, start: np.ndarray, port: int) -> np.ndarray:
        """Time at which each word of an input is read."""
        return self.reads[port].of(start)

    def written(self, start: np.ndarray, output: int) -> np.ndarray:
        """Time at which each word of an output can be read."""
        found = self.writes[output].of(start)
        found += self.process.latency
        return found

    def earliest(self, arrivals: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
        """Start of every step when the words of inputs arrive at these times."""
        ready = np.zeros_like(self.alone)
        for port, times in arrivals:
            self.reads[port].combine(np.maximum, ready, times)
        ready -= self.alone
        np.maximum.accumulate(ready, out=ready)
        ready += self.alone
        return ready

    def latest(self, deadlines: Sequence[tuple[int, np.ndarray]], earliest: np.ndarray) -> np.ndarray:
        """Latest start of every step if the words of outputs are read at these times."""
        never = np.iinfo(self.alone.dtype).max
        bound = np.full_like(self.alone, never)
        for port, times in deadlines:
            self.writes[port].combine(np.minimum, bound, times - self.process.latency)
        bounded = bound[::-1] < never
        last = len(bound) - 1 - int(np.argmax(bounded)) if bounded.any() else -1
        if last + 1 < len(bound):
            # nothing waits for what is left: it follows at once, so that no FIFO holds words for it
            rest = self.alone[last + 1 :]
            after = int(bound[last]) + rest - self.alone[last] if last >= 0 else rest
            bound[last + 1 :] = np.maximum(after, earliest[last + 1 :])
        bound -= self.alone
        np.minimum.accumulate(bound[::-1], out=bound[::-1])
        bound += self.alone
        return bound


def _span(process: Process) -> int:
    """Cycles from the start of an inference to the start of the next, where nothing waits."""
    return (process.steps - 1) * process.cycles + max(process.cycles, process.gap)


class _Places:
    """Steps of every inference that move a word; those that follow each other are taken as a slice, which is faster."""

    def __init__(self, steps: np.ndarray, count: int, frames: int) -> None:
        words = len(steps)
        self.first, self.last = (int(steps[0]), int(steps[0]) + words) if words else (0, 0)
        self.frames = frames
        self.scattered: np.ndarray | None = None
        if words and int(steps[-1]) != self.last - 1:
            every = np.asarray(steps, np.int64) + count * np.arange(frames, dtype=np.int64)[:, None]
            self.scattered = every.reshape(-1)

    def of(self, times: np.ndarray) -> np.ndarray:
        """A copy of the times of these steps."""
        if self.scattered is not None:
            return np.asarray(times[self.scattered])
        return times.reshape(self.frames, -1)[:, self.first : self.last].flatten()

    def combine(self, larger_or_smaller: np.ufunc, times: np.ndarray, others: np.ndarray) -> None:
        """Replace the times of these steps by the larger or smaller ones of two."""
        if self.scattered is not None:
            times[self.scattered] = larger_or_smaller(times[self.scattered], others)
        else:
            part = times.reshape(self.frames, -1)[:, self.first : self.last]
            larger_or_smaller(part, others.reshape(self.frames, -1), out=part)


def schedules(network: StreamNetwork) -> list[Schedule]:
    """Depths of two schedules that are as fast as FIFOs without bound.

    One has everything as late as possible. The other has everything as soon as its words are there, but inputs as
    late as the first: so a fast reader keeps up with a slow writer.
    """
    runs = _Runs(network)
    soon = runs.early()
    latency, interval = runs.ends(soon)
    late = runs.late(soon)
    return [Schedule(runs.depths(times), latency, interval) for times in (late, runs.early(late))]


def _latest_end(network: StreamNetwork) -> int:
    """A time at which all is done, even if every process began when those before it have ended."""
    ends = [0] * len(network.processes)
    ready = [0] * len(network.processes)
    for index, process in enumerate(network.processes):
        ends[index] = ready[index] + FRAMES * _span(process) + process.latency
        for channel in network.channels:
            if channel.producer == index:
                ready[channel.consumer] = max(ready[channel.consumer], ends[index])
    return max(ends, default=0)


class _Runs:
    """All processes over several inferences, and the start of their steps in one schedule or another."""

    def __init__(self, network: StreamNetwork) -> None:
        self.channels = network.channels
        end = _latest_end(network)
        dtype = next(kind for kind in TIMES if end < np.iinfo(kind).max)
        self.runs = [_Unrolled(process, FRAMES, dtype) for process in network.processes]
        self.into: list[list[Channel]] = [[] for _ in self.runs]
        self.out: list[list[Channel]] = [[] for _ in self.runs]
        for channel in network.channels:
            self.into[channel.consumer].append(channel)
            self.out[channel.producer].append(channel)

    def early(self, before: list[np.ndarray] | None = None) -> list[np.ndarray]:
        """Every step as soon as its words are there; of another schedule, processes that read only inputs are kept."""
        found: list[np.ndarray] = []
        for index, run in enumerate(self.runs):
            if before is not None and not self.into[index]:
                found.append(before[index])
            else:
                found.append(run.earliest([(c.input, self._written(c, found)) for c in self.into[index]]))
        return found

    def late(self, before: list[np.ndarray]) -> list[np.ndarray]:
        """Every step as late as the outputs of another schedule allow."""
        found = list(before)
        for index in reversed(range(len(self.runs))):
            run = self.runs[index]
            inner = {c.output for c in self.out[index]}
            deadlines = [(c.output, self._read(c, found)) for c in self.out[index]]
            deadlines += [(p, run.written(before[index], p)) for p in range(len(run.writes)) if p not in inner]
            found[index] = run.latest(deadlines, before[index])
        return found

    def depths(self, times: list[np.ndarray]) -> tuple[int, ...]:
        """Most words each FIFO holds."""
        return tuple(_held(self._written(c, times), self._read(c, times)) for c in self.channels)

    def ends(self, times: list[np.ndarray]) -> tuple[int, int]:
        """(cycle of the last output word of the first inference, cycles until that of the next)."""
        ends = np.zeros(FRAMES, np.int64)
        for index, run in enumerate(self.runs):
            inner = {c.output for c in self.out[index]}
            for port in range(len(run.writes)):
                if port not in inner:
                    ends = np.maximum(ends, run.written(times[index], port).reshape(FRAMES, -1)[:, -1])
        return int(ends[0]), int(ends[-1] - ends[-2])

    def _written(self, channel: Channel, times: list[np.ndarray]) -> np.ndarray:
        return self.runs[channel.producer].written(times[channel.producer], channel.output)

    def _read(self, channel: Channel, times: list[np.ndarray]) -> np.ndarray:
        return self.runs[channel.consumer].read(times[channel.consumer], channel.input)


def _held(taken: np.ndarray, read: np.ndarray) -> int:
    """Most words between the times they take a place and the times they are read; a place is free one cycle later.

    A depth is enough if every word finds the place of the one that came this many words before it free: one
    comparison of two rows. Depths are few and small, so they are tried, not counted.
    """

    def enough(depth: int) -> bool:
        return bool((read[: len(taken) - depth] < taken[depth:]).all())

    low, high = LEAST_DEPTH - 1, LEAST_DEPTH
    while high < len(taken) and not enough(high):
        low, high = high, 2 * high
    high = min(high, max(len(taken), LEAST_DEPTH))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True)
class Simulation:
    """A run with bounded FIFOs.

    Attributes:
        ends: cycle of the last output word of each inference; shorter if the network locked up.
        blocked: name of each process that waits for ever -> what it waits for.
        fullest: most words each channel held.
    """

    ends: tuple[int, ...]
    blocked: Mapping[str, str]
    fullest: tuple[int, ...]


class _Fifo:
    """Times at which words were written and read; a place is free one cycle after its word was read."""

    def __init__(self, producer: str, consumer: str, depth: int) -> None:
        self.producer, self.consumer, self.depth = producer, consumer, depth
        self.written: list[int] = []
        self.read: list[int] = []
        self.fullest = 0

    def write(self, time: int) -> None:
        """One word, which can be read from `time` on."""
        self.written.append(time)
        free = len(self.read)
        while free > 0 and self.read[free - 1] >= time:
            free -= 1
        self.fullest = max(self.fullest, len(self.written) - free)


class _Runner:
    """One process of the simulator: knows its place, and moves on while it can. A step moves one word a port."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.inputs: list[_Fifo | None] = [None] * len(process.reads)
        self.outputs: list[_Fifo | None] = [None] * len(process.writes)
        self.reading = [_at_steps(steps, process.steps) for steps in process.reads]
        self.writing = [_at_steps(steps, process.steps) for steps in process.writes]
        self.ends: list[int] = []
        self.step = self.free = self.end = 0

    def run(self, frames: int) -> tuple[bool, str]:
        """Take steps until the process waits or `frames` are done: (whether it moved, what it waits for)."""
        moved = False
        inside = [(moves, fifo) for moves, fifo in zip(self.reading, self.inputs, strict=True) if fifo]
        outside = [(moves, fifo) for moves, fifo in zip(self.writing, self.outputs, strict=True) if fifo]
        ports = [moves for moves, fifo in zip(self.writing, self.outputs, strict=True) if fifo is None]
        process, latency = self.process, self.process.latency
        while len(self.ends) < frames:
            begin, step = self.free, self.step
            for moves, fifo in inside:
                if moves[step]:
                    if len(fifo.read) == len(fifo.written):
                        return moved, f"a word from '{fifo.producer}'"
                    begin = max(begin, fifo.written[len(fifo.read)])
            for moves, fifo in outside:
                if moves[step]:
                    word = len(fifo.written) - fifo.depth
                    if word >= len(fifo.read):
                        return moved, f"a place in the FIFO to '{fifo.consumer}'"
                    if word >= 0:
                        begin = max(begin, fifo.read[word] + 1 - latency)
            for moves, fifo in inside:
                if moves[step]:
                    fifo.read.append(begin)
            for moves, fifo in outside:
                if moves[step]:
                    fifo.write(begin + latency)
            if any(moves[step] for moves in ports):
                self.end = begin + latency
            moved = True
            self.step = step + 1
            self.free = begin + process.cycles
            if self.step == process.steps:
                self.free = begin + max(process.cycles, process.gap)
                self.ends.append(self.end)
                self.step = 0
        return moved, ""


def _at_steps(moving: np.ndarray, steps: int) -> bytes:
    """For each step whether it moves a word."""
    found = np.zeros(steps, np.uint8)
    found[moving] = 1
    return found.tobytes()


def simulate(network: StreamNetwork, depths: Sequence[int], frames: int = 3) -> Simulation:
    """Run the network word by word with FIFOs of these depths.

    The order in which processes take turns does not change the result, which is a property of such networks.
    """
    runners = [_Runner(process) for process in network.processes]
    fifos: list[_Fifo] = []
    for channel, depth in zip(network.channels, depths, strict=True):
        producer, consumer = runners[channel.producer], runners[channel.consumer]
        fifo = _Fifo(producer.process.name, consumer.process.name, depth)
        producer.outputs[channel.output] = consumer.inputs[channel.input] = fifo
        fifos.append(fifo)
    blocked: dict[str, str] = {}
    moved = True
    while moved:
        turns = [runner.run(frames) for runner in runners]
        moved = any(turn[0] for turn in turns)
        blocked = {runner.process.name: turn[1] for runner, turn in zip(runners, turns, strict=True) if turn[1]}
    sinks = [r for r in runners if not r.outputs or any(fifo is None for fifo in r.outputs)]
    complete = min((len(r.ends) for r in sinks), default=0)
    ends = tuple(max(r.ends[frame] for r in sinks) for frame in range(complete))
    return Simulation(ends, blocked, tuple(fifo.fullest for fifo in fifos))
