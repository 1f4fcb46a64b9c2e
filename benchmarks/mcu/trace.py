"""What an emulated run means for a pipeline: counts of the events that cost cycles, from counts of instructions.

The emulator says how often every instruction was executed and every branch taken. That is all a model of an in-order
core needs beside the code itself, which is decoded here; `boardfit.estimate.cycles` has the cost of each event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from boardfit.backends.mcu.emulator import Measurement

SINGLE_LOADS = ("ldr", "ldrb", "ldrh", "ldrsb", "ldrsh", "vldr")
SINGLE_STORES = ("str", "strb", "strh", "vstr")
DOUBLES = ("ldrd", "strd")
MULTIPLES = ("ldm", "ldmdb", "stm", "stmdb", "push", "pop", "vldmia", "vstmia", "vpush", "vpop")
BRANCHES = ("b", "bl", "cbz", "cbnz", "bx", "blx", "tbb", "tbh")
MULTIPLIES = ("mul", "smulbb", "smulbt", "smultb", "smultt", "smmul", "smmulr", "smuad", "smusd", "smulwb", "smulwt")
ACCUMULATES = ("mla", "mls", "smla", "smmla", "smmls", "smlad", "smlsd")
LONG_MULTIPLIES = ("smull", "umull")
LONG_ACCUMULATES = ("smlal", "umlal", "umaal")
PACKED = ("sxtb", "sxth", "uxtb", "uxth", "sxta", "uxta", "ssat", "usat", "pkh", "rev", "sbfx", "ubfx", "bfi", "clz")
SHIFTS = ("lsl", "lsr", "asr", "ror")


@dataclass(frozen=True, slots=True)
class Instruction:
    """A decoded instruction with its counts.

    Attributes:
        name: mnemonic without condition, width and flags.
        reads, writes: registers.
        address: registers its address is made of; () if it does not access memory.
        indexed: whether the address has an index register.
        shifted: whether an operand is shifted.
        registers: moved by a load or store of several.
        target: address an immediate branch goes to, or None.
        to_pc: whether it writes the program counter.
    """

    at: int
    size: int
    name: str
    reads: frozenset[int]
    writes: frozenset[int]
    address: tuple[int, ...]
    indexed: bool
    shifted: bool
    registers: int
    target: int | None
    to_pc: bool
    count: int
    taken: int

    @property
    def is_load(self) -> bool:
        """A load of one register."""
        return self.name in SINGLE_LOADS

    @property
    def is_store(self) -> bool:
        """A store of one register."""
        return self.name in SINGLE_STORES

    @property
    def is_multiple(self) -> bool:
        """A load or store of several registers."""
        return self.name in MULTIPLES or self.name in DOUBLES

    @property
    def is_branch(self) -> bool:
        """Whether it may go elsewhere."""
        return self.name in BRANCHES or self.to_pc


def read_instructions(elf: Path, measurement: Measurement, skip: Sequence[str] = ()) -> list[Instruction]:
    """Every executed instruction in address order, without those of the functions named in `skip`."""
    if measurement.flow is None:
        raise ValueError("the measurement has no flow: run the program with caches")
    memory = _code(elf)
    hidden = [(start, start + size) for name, (start, size) in measurement.sections.functions.items() if name in skip]
    found: list[Instruction] = []
    for address, count in sorted(measurement.by_address.items()):
        if not any(start <= address < end for start, end in hidden):
            found.append(decode(memory(address, 4), address, count, measurement.flow.taken.get(address, 0)))
    return found


def _code(elf: Path) -> Callable[[int, int], bytes]:
    """Reads bytes of the code of a linked program."""
    from elftools.elf.elffile import ELFFile

    with elf.open("rb") as stream:
        section: Any = ELFFile(stream).get_section_by_name(".text")
        start, data = int(section["sh_addr"]), bytes(section.data())
    return lambda address, size: data[address - start : address - start + size]


@cache
def _decoder() -> Any:
    import capstone  # a benchmark's dependency only

    decoder = capstone.Cs(capstone.CS_ARCH_ARM, capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS)
    decoder.detail = True
    return decoder


def decode(code: bytes, address: int, count: int = 1, taken: int = 0) -> Instruction:
    """The Thumb instruction that code starts with.

    Raises:
        ValueError: there is none.
    """
    from capstone.arm import ARM_OP_IMM, ARM_OP_MEM, ARM_REG_PC

    decoded = next(_decoder().disasm(code, address, 1), None)
    if decoded is None:
        raise ValueError(f"no Thumb instruction at {address:#x}")
    reads, writes = decoded.regs_access()
    memories = [operand.mem for operand in decoded.operands if operand.type == ARM_OP_MEM]
    registers = tuple(register for m in memories for register in (m.base, m.index) if register)
    name = _plain(decoded.mnemonic)
    if name in MULTIPLES and decoded.operands and name not in ("push", "pop", "vpush", "vpop"):
        registers = (decoded.operands[0].reg,)
    immediates = [operand.imm for operand in decoded.operands if operand.type == ARM_OP_IMM]
    count_of_registers = 2 if name in DOUBLES else len(decoded.operands) - (name in MULTIPLES and bool(registers))
    return Instruction(
        at=address,
        size=decoded.size,
        name=name,
        reads=frozenset(reads),
        writes=frozenset(writes),
        address=registers,
        indexed=any(m.index for m in memories),
        shifted=any(operand.shift.type for operand in decoded.operands if operand.type != ARM_OP_MEM),
        registers=count_of_registers,
        target=immediates[-1] if name in ("b", "bl", "cbz", "cbnz") and immediates else None,
        to_pc=ARM_REG_PC in writes,
        count=count,
        taken=taken,
    )


CONDITIONS = ("eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le")


def _plain(mnemonic: str) -> str:
    """The mnemonic without width, data type and condition."""
    name = mnemonic.split(".")[0]
    if name.startswith("b") and name[1:] in CONDITIONS:
        return "b"
    if name.startswith(("ldm", "stm")):
        return name[:3] + ("db" if name.endswith("db") else "")
    return name


Events = Counter[str]


def scalar_events(instructions: Sequence[Instruction]) -> Events:
    """Events of a core that issues one instruction at a time (Armv6-M, Cortex-M3, M4, M33).

    The rules for loads and stores are those of the Cortex-M4 Technical Reference Manual, 'Load/store timings': a load
    or store right after a load is pipelined unless its address is what was loaded; a store with a register offset
    otherwise takes a cycle more; an address from the data-processing instruction just before costs a cycle.
    """
    events: Events = Counter()
    for before, this, followed in _with_previous(instructions):
        events["instructions"] += this.count
        after_load = 0
        if before is not None and followed:
            depends = bool(before.writes & set(this.address))
            if before.is_load and not depends:
                after_load = followed
            if depends and not before.is_load and not before.is_multiple:
                events["address"] += followed
        if this.is_load:
            events["loads"] += this.count - after_load
            events["pipelined_loads"] += after_load
        elif this.is_store:
            events["stores"] += this.count
            if this.indexed:
                events["indexed_stores"] += this.count - after_load
        elif this.is_multiple:
            events["transfers"] += this.count * this.registers
        else:
            events.update(dict.fromkeys(_arithmetic(this.name), this.count))
        if this.taken:
            events["branches" if this.target is not None else "returns"] += this.taken
    return events


def _arithmetic(name: str) -> tuple[str, ...]:
    if name.startswith(LONG_ACCUMULATES):
        return ("long_accumulates",)
    if name in LONG_MULTIPLIES:
        return ("long_multiplies",)
    if name.startswith(ACCUMULATES):
        return ("accumulates",)
    if name in MULTIPLIES or name == "muls":
        return ("multiplies",)
    if name in ("sdiv", "udiv"):
        return ("divides",)
    if name.startswith(("vdiv", "vsqrt")):
        return ("float_divides",)
    if name.startswith(("vmla", "vmls", "vfma", "vfms", "vnml", "vfnm")):
        return ("float_accumulates",)
    return ()


def _with_previous(instructions: Sequence[Instruction]) -> Iterator[tuple[Instruction | None, Instruction, int]]:
    """Every instruction with the one before it in memory and how often it was reached from there."""
    before: Instruction | None = None
    for this in instructions:
        adjacent = before is not None and before.at + before.size == this.at
        followed = before.count - before.taken if before is not None and adjacent else 0
        yield (before if adjacent else None), this, max(0, min(followed, this.count))
        before = this


def blocks(instructions: Sequence[Instruction]) -> Iterator[list[Instruction]]:
    """Runs of instructions that were always executed one after the other."""
    block: list[Instruction] = []
    for before, this, _ in _with_previous(instructions):
        if block and (before is None or before.is_branch or before.count != this.count):
            yield block
            block = []
        block.append(this)
    if block:
        yield block


def dual_events(instructions: Sequence[Instruction]) -> Events:
    """Events of a Cortex-M7: cycles to issue every block, mispredicted branches, returns, divisions."""
    events: Events = Counter()
    for block in blocks(instructions):
        events["instructions"] += sum(instruction.count for instruction in block)
        events["issue"] += block[0].count * issue_cycles(block)
        last = block[-1]
        if last.is_branch and last.target is None:
            events["returns"] += last.taken
        elif last.is_branch:
            events["mispredicted"] += min(last.taken, last.count - last.taken)
    for instruction in instructions:
        for kind in _arithmetic(instruction.name):
            if "divides" in kind:
                events[kind] += instruction.count
    return events


def issue_cycles(block: Sequence[Instruction]) -> int:
    """Cycles in which a Cortex-M7 issues a block that starts with nothing in flight.

    Two instructions at most go together: two loads or a load and a store, one multiplication, one shifted operand, one
    branch; packed and saturating instructions, bit fields and extensions only in the first place; loads and stores of
    several registers alone, two registers to a cycle. A result is there one cycle later, of a multiplication or a byte
    or halfword load two cycles; a chain of sums goes on every cycle; addresses and shifted operands are needed a cycle
    earlier, stored values a cycle later. Source: the scheduling model of LLVM, ARMScheduleM7.td.
    """
    ready: dict[int, int] = {}
    now, together = -1, _Group()
    for this in block:
        waited = (ready[register] + _need(this, register) for register in this.reads if register in ready)
        earliest = max(waited, default=0)
        if now < 0 or earliest > now or not together.takes(this):
            now, together = max(now + 1, earliest), _Group()
        together.add(this)
        for register in this.writes:
            ready[register] = now + (1 if register in this.address else _latency(this))
        if this.is_multiple:
            now += (this.registers + 1) // 2 - 1
    return now + 1


def _need(this: Instruction, register: int) -> int:
    """How much later (or earlier, negative) than by an addition an operand is needed."""
    if register in this.address:
        return 1
    if this.is_store or (this.name.startswith(ACCUMULATES) and register in this.writes):
        return -1
    early = this.shifted or this.name.startswith(("ssat", "usat", "rev", "sbfx", "ubfx", "pkh"))
    return 1 if early else 0


def _latency(this: Instruction) -> int:
    if this.name.startswith("v") and not this.is_load:
        return 3
    slow = this.name.startswith((*ACCUMULATES, *MULTIPLIES, *LONG_MULTIPLIES, *LONG_ACCUMULATES, "ssat", "usat", "mul"))
    return 2 if slow or (this.is_load and this.name not in ("ldr", "vldr")) else 1


class _Group:
    """Instructions that a Cortex-M7 issues in one cycle."""

    __slots__ = ("closed", "size", "units")

    LIMITS: Mapping[str, int] = {"load": 2, "store": 1, "multiply": 1, "shift": 1, "branch": 1, "float": 1}

    def __init__(self) -> None:
        self.size = 0
        self.closed = False
        self.units: Counter[str] = Counter()

    def takes(self, this: Instruction) -> bool:
        """Whether an instruction can join."""
        if self.size == 0:
            return True
        if self.closed or self.size == 2 or this.is_multiple or this.name.startswith((*PACKED, "sdiv", "udiv")):
            return False
        return all(self.units[unit] < self.LIMITS[unit] for unit in _units(this))

    def add(self, this: Instruction) -> None:
        """Let it join."""
        self.size += 1
        self.units.update(_units(this))
        self.closed = self.closed or this.is_multiple or this.name in ("sdiv", "udiv")


def _units(this: Instruction) -> tuple[str, ...]:
    if this.is_load:
        return ("load",)
    if this.is_store:
        return ("store",)
    if this.is_branch:
        return ("branch",)
    if this.name.startswith("v"):
        return ("float",)
    if this.name.startswith((*ACCUMULATES, *MULTIPLIES, *LONG_MULTIPLIES, *LONG_ACCUMULATES, "mul")):
        return ("multiply",)
    if this.shifted or this.name.startswith((*SHIFTS, *PACKED)):
        return ("shift",)
    return ()


REDUCTIONS: Mapping[str, Callable[[Sequence[Instruction]], Events]] = {
    "m0": scalar_events,
    "m3": scalar_events,
    "m4": scalar_events,
    "m33": scalar_events,
    "m7": dual_events,
}
"""Core -> what counts its events."""
