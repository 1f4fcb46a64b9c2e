"""Processes joined by FIFOs of given depths, run word by word: what `stream_schedule` promises is checked here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .stream_schedule import Process, StreamNetwork


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
