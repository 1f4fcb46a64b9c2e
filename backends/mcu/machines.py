"""The emulated machines programs are measured on: one per instruction set boardfit has kernels for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """A QEMU machine, the compiler that builds for it and where its memories lie.

    Attributes:
        name: short name used on the command line and in result files ("m4").
        core: processor core the code is compiled for.
        qemu: emulator binary.
        options: machine and processor options of the emulator.
        compiler: C compiler.
        flags: target flags of the compiler and linker.
        flash: (first address, bytes) of the memory that plays the flash.
        ram: (first address, bytes) of the memory that plays the RAM.
        startup: template of the start-up code.
        entry: linker entry symbol.
    """

    name: str
    core: str
    qemu: str
    options: tuple[str, ...]
    compiler: str
    flags: tuple[str, ...]
    flash: tuple[int, int]
    ram: tuple[int, int]
    startup: str = "startup_cortex_m.c.j2"
    entry: str = "reset_handler"


MEBIBYTE = 1 << 20


def _cortex(
    name: str,
    core: str,
    machine: str,
    flags: tuple[str, ...],
    flash: tuple[int, int] = (0x0000_0000, 4 * MEBIBYTE),
    ram: tuple[int, int] = (0x2000_0000, 4 * MEBIBYTE),
) -> Machine:
    return Machine(
        name=name,
        core=core,
        qemu="qemu-system-arm",
        options=("-machine", machine),
        compiler="arm-none-eabi-gcc",
        flags=("-mthumb", *flags),
        flash=flash,
        ram=ram,
    )


MACHINES: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        # Armv6-M code runs on the Cortex-M3 board: Armv7-M executes every Armv6-M instruction.
        _cortex("m0", "cortex-m0plus", "mps2-an385", ("-mcpu=cortex-m0plus", "-mfloat-abi=soft")),
        _cortex("m3", "cortex-m3", "mps2-an385", ("-mcpu=cortex-m3", "-mfloat-abi=soft")),
        _cortex("m4", "cortex-m4", "mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")),
        _cortex("m7", "cortex-m7", "mps2-an500", ("-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard")),
        # Secure aliases: the core starts in Secure state and must fetch from Secure memory.
        _cortex(
            "m33",
            "cortex-m33",
            "mps2-an505",
            ("-mcpu=cortex-m33", "-mfloat-abi=hard"),
            flash=(0x1000_0000, 4 * MEBIBYTE),
            ram=(0x3800_0000, 4 * MEBIBYTE),
        ),
        _cortex(
            "m55",
            "cortex-m55",
            "mps3-an547",
            ("-mcpu=cortex-m55", "-mfloat-abi=hard"),
            flash=(0x1000_0000, MEBIBYTE // 2),
            ram=(0x3000_0000, MEBIBYTE // 2),
        ),
        Machine(
            name="rv32",
            core="rv32imc",
            qemu="qemu-system-riscv32",
            options=("-machine", "virt", "-bios", "none"),
            compiler="riscv64-unknown-elf-gcc",
            flags=("-march=rv32imc", "-mabi=ilp32", "-specs=picolibc.specs"),
            flash=(0x8000_0000, 8 * MEBIBYTE),
            ram=(0x8100_0000, 8 * MEBIBYTE),
            startup="startup_riscv.c.j2",
            entry="_start",
        ),
    )
}
