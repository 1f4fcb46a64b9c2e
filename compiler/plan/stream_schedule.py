"""When processes that are joined by FIFOs read and write, and how deep the FIFOs must be.

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

from collections.abc import Sequence
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
            after = rest - self.alone[last] + bound[last] if last >= 0 else rest
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


def _latest_time(network: StreamNetwork) -> int:
    """No time of a schedule is later: every process begins when those before it have ended, and empties last of all."""
    ends = [0] * len(network.processes)
    ready = [0] * len(network.processes)
    for index, process in enumerate(network.processes):
        ends[index] = ready[index] + FRAMES * _span(process) + process.latency
        for channel in network.channels:
            if channel.producer == index:
                ready[channel.consumer] = max(ready[channel.consumer], ends[index])
    return max(ends, default=0) + max((FRAMES * _span(p) + p.latency for p in network.processes), default=0)


class _Runs:
    """All processes over several inferences, and the start of their steps in one schedule or another."""

    def __init__(self, network: StreamNetwork) -> None:
        self.channels = network.channels
        latest = _latest_time(network)
        dtype = next(kind for kind in TIMES if latest < np.iinfo(kind).max)
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
