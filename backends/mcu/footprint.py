"""What a firmware really takes: read from the linked program and from a run on the emulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boardfit.reference import read_reference

from .execute import FIRMWARE, pack, read_vectors, run_program, temporary_copy

SAMPLES = 2
"""Inferences run to find the deepest stack: it does not depend on the data."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the linker and a run say about a firmware.

    Attributes:
        flash: bytes of code and constants the network brings, C library functions it calls included.
        arena: bytes of the arena.
        data: bytes of other static memory of the network.
        stack: deepest use of the stack by the run function.
    """

    flash: int
    arena: int
    data: int
    stack: int

    @property
    def ram(self) -> int:
        """Arena, other static memory and stack."""
        return self.arena + self.data + self.stack


def measure_folder(folder: Path) -> Measured:
    """Build the firmware of an output folder, run it on its first reference inputs and read the sizes.

    Raises:
        ToolError: a tool is missing or failed, or no emulator executes the board's instructions.
        OutputError: the reference vectors cannot be read.
    """
    vectors = read_vectors(folder)
    reference = read_reference(folder, len(vectors.inputs), len(vectors.outputs))
    return measure(folder, [array[:SAMPLES] for array in reference.inputs])


def measure(folder: Path, inputs: Sequence[np.ndarray]) -> Measured:
    """Like `measure_folder`, on given inputs."""
    vectors = read_vectors(folder)
    with temporary_copy(folder) as place:
        run_program(place, vectors, pack(inputs, [storage for storage, _ in vectors.inputs]), "qemu")
        stack = int.from_bytes((place / FIRMWARE / "stack.bin").read_bytes(), "little")
        return read_elf(place / FIRMWARE / "test.elf", stack)


def read_elf(path: Path, stack: int) -> Measured:
    """Sizes of a linked test program (`test/link.ld` puts the network into sections of its own)."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    sizes = dict.fromkeys((".model", ".model_data"), 0)
    arena = 0
    with path.open("rb") as stream:
        for section in ELFFile(stream).iter_sections():
            if section.name in sizes:
                sizes[section.name] = int(section["sh_size"])
            if isinstance(section, SymbolTableSection):
                arena += sum(int(s["st_size"]) for s in section.iter_symbols() if s.name == "arena")
    return Measured(sizes[".model"], arena, sizes[".model_data"], stack)
