"""Build a program for an emulated machine, run it, and count what it costs.

Counts are executed instructions (QEMU models no pipeline and no flash wait states), exact and
repeatable: a TCG plugin counts every execution of every instruction between two marker functions.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path

import jinja2
import numpy as np

from boardfit.errors import ToolError, UsageError

from .machines import Machine

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
STACK_SIZE = 0x10000
RUN_TIMEOUT_SECONDS = 300.0
HARNESS_UNIT = "harness_main.c"


@dataclass(frozen=True, slots=True)
class Sections:
    """Bytes of a linked program by kind of memory, and its symbols.

    Attributes:
        flash: .text, .rodata, the load image of .data and unwinding tables.
        text: .text alone.
        ram: .data and .bss, without the stack.
        functions: function name -> (first address, bytes).
        objects: data object name -> bytes.
    """

    flash: int
    text: int
    ram: int
    functions: Mapping[str, tuple[int, int]]
    objects: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Caches:
    """Caches between the processor and the memory of code and constants, for counting what misses them.

    Attributes:
        line_bytes: bytes of a line.
        code_lines, data_lines: lines each holds; 0 is a buffer of one line.
    """

    line_bytes: int
    code_lines: int
    data_lines: int


@dataclass(frozen=True, slots=True)
class Flow:
    """What a model of cycles needs beside the counts of instructions.

    Attributes:
        taken: times the instruction at an address was followed by one that is not next to it, summed over the samples.
        constant_bytes: data read from the memory of code and constants, mean per sample.
        code_misses, constant_misses: lines that were not in the caches, mean per sample.
    """

    taken: Mapping[int, int]
    constant_bytes: float
    code_misses: float
    constant_misses: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What running a program on some inputs did and cost.

    Attributes:
        outputs: (samples, output bytes) uint8.
        instructions: executed in harness_run() and everything it calls, mean per sample.
        by_function: mean instructions per sample spent in each function itself.
        by_site: for a chosen caller, (address of the call, mean instructions until the next
            instruction of the caller), in address order.
        by_address: executions of every instruction, summed over the samples.
        stack: deepest use of the stack below main(), in bytes.
        sections: what the linker made of the program.
        flow: where caches were given.
    """

    outputs: np.ndarray
    instructions: float
    by_function: Mapping[str, float]
    by_site: Sequence[tuple[int, float]]
    by_address: Mapping[int, int]
    stack: int
    sections: Sections
    flow: Flow | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """C sources that define `harness_setup()` and `harness_run(input, output)`.

    Attributes:
        sources: file name -> text of C sources and headers.
        input_bytes: bytes harness_run reads.
        output_bytes: bytes harness_run writes.
        flags: optimisation flags.
        file_flags: further flags for single files, by file name.
        warnings: warning flags.
        caller: function whose calls are counted one by one ("" for none).
    """

    sources: Mapping[str, str]
    input_bytes: int
    output_bytes: int
    flags: tuple[str, ...] = ("-O2",)
    file_flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = WARNINGS
    caller: str = ""


def measure(program: Program, machine: Machine, inputs: np.ndarray) -> Measurement:
    """Build `program`, run it on every row of `inputs` (samples, bytes) and count.

    Raises:
        ToolError: the compiler or emulator is missing or fails.
    """
    rows = np.ascontiguousarray(inputs).view(np.uint8).reshape(len(inputs), -1)
    if rows.shape[1] != program.input_bytes:
        raise UsageError(f"inputs have {rows.shape[1]} bytes a sample, the program reads {program.input_bytes}")
    with tempfile.TemporaryDirectory(prefix="boardfit-measure-") as folder:
        elf = build(program, machine, Path(folder), samples=len(rows))
        return run(elf, program, machine, rows)


def build(program: Program, machine: Machine, folder: Path, samples: int) -> Path:
    """Compile and link `program` with the measuring main() in `folder`; returns the ELF file."""
    context = {
        "input_bytes": program.input_bytes,
        "output_bytes": program.output_bytes,
        "samples": samples,
        "machine": machine.name,
        "entry": machine.entry,
        "flash_base": hex(machine.flash[0]),
        "flash_size": hex(machine.flash[1]),
        "ram_base": hex(machine.ram[0]),
        "ram_size": hex(machine.ram[1]),
        "stack_size": hex(STACK_SIZE),
    }
    files = dict(program.sources)
    files[HARNESS_UNIT] = _render("harness_main.c.j2", context)
    files["harness_startup.c"] = _render(machine.startup, context)
    script = folder / "link.ld"
    script.write_text(_render("link.ld.j2", context))
    for name, text in files.items():
        (folder / name).write_text(text)
    common = [*machine.flags, "-std=c99", "-ffunction-sections", "-fdata-sections", "-I", str(folder)]
    objects = []
    for name in files:
        if not name.endswith(".c"):
            continue
        own = name in program.sources
        flags = [*program.flags, *program.file_flags.get(name, ()), *program.warnings] if own else ["-O2"]
        target = folder / (name[:-2] + ".o")
        language = [] if own else ["-std=gnu99", "-fno-tree-loop-distribute-patterns"]
        _call([machine.compiler, *common, *language, *flags, "-c", str(folder / name), "-o", str(target)])
        objects.append(str(target))
    elf = folder / "program.elf"
    link = ["-nostartfiles", "-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments", "-T", str(script)]
    _call([machine.compiler, *machine.flags, *link, *_library_flags(machine), *objects, "-o", str(elf)])
    return elf


def _library_flags(machine: Machine) -> list[str]:
    return ["--specs=nano.specs"] if machine.compiler.startswith("arm-none-eabi") else []


def run(elf: Path, program: Program, machine: Machine, rows: np.ndarray, caches: Caches | None = None) -> Measurement:
    """Run a program made by `build` and read its outputs and counts; with `caches` the flow too (slower)."""
    folder = elf.parent
    sections = read_sections(elf)
    (folder / "inputs.bin").write_bytes(rows.tobytes())
    counts = folder / "counts.txt"
    _emulate(elf, machine, sections, program.caller, counts, caches)
    raw = (folder / "outputs.bin").read_bytes()
    expected = len(rows) * program.output_bytes + 4
    if len(raw) != expected:
        raise ToolError(f"the emulated program wrote {len(raw)} bytes, {expected} were expected")
    outputs = np.frombuffer(raw[:-4], np.uint8).reshape(len(rows), program.output_bytes)
    stack = int.from_bytes(raw[-4:], "little")
    tables = _read_counts(counts)
    by_address, by_site = tables["pc"], tables["site"]
    by_function = _by_function(by_address, sections, len(rows))
    instructions = sum(n for name, n in by_function.items() if name not in _MARKERS)
    sites = tuple((address, count / len(rows)) for address, count in sorted(by_site.items()))
    flow = _flow(tables, len(rows)) if caches else None
    return Measurement(outputs, instructions, by_function, sites, by_address, stack, sections, flow)


def _flow(tables: Mapping[str, Mapping[int, int]], samples: int) -> Flow:
    constant_bytes, code, data = (sum(tables[kind].values()) / samples for kind in ("bytes", "code", "data"))
    return Flow(tables["taken"], constant_bytes, code, data)


_MARKERS = ("main", "measure_begin", "measure_end")


def _by_function(by_address: Mapping[int, int], sections: Sections, samples: int) -> dict[str, float]:
    starts = sorted((start, start + size, name) for name, (start, size) in sections.functions.items() if size)
    begin = np.array([start for start, _, _ in starts], np.int64)
    result: dict[str, float] = defaultdict(float)
    for address, count in by_address.items():
        index = int(np.searchsorted(begin, address, side="right")) - 1
        inside = index >= 0 and address < starts[index][1]
        result[starts[index][2] if inside else "?"] += count / samples
    return dict(result)


def _read_counts(path: Path) -> Mapping[str, Mapping[int, int]]:
    if not path.exists():
        raise ToolError("the emulator wrote no instruction counts")
    tables: dict[str, dict[int, int]] = defaultdict(dict)
    for line in path.read_text().splitlines():
        kind, address, count = line.split()
        tables[kind][int(address)] = int(count)
    return tables


def _emulate(elf: Path, machine: Machine, sections: Sections, caller: str, counts: Path, caches: Caches | None) -> None:
    begin, _ = sections.functions["measure_begin"]
    end, _ = sections.functions["measure_end"]
    low, size = sections.functions.get(caller, (0, 0)) if caller else (0, 0)
    if caller and not size:
        raise UsageError(f"the program has no function {caller} to count the calls of")
    plugin = (
        f"{instruction_counter()},base={machine.flash[0]:#x},size={min(machine.flash[1], 1 << 22):#x},"
        f"begin={begin:#x},end={end:#x},low={low:#x},high={low + size:#x},out={counts}"
    )
    if caches:
        plugin += f",flow=1,line={caches.line_bytes},code_lines={caches.code_lines},data_lines={caches.data_lines}"
    command = [
        machine.qemu,
        *machine.options,
        "-nographic",
        "-monitor",
        "none",
        "-serial",
        "none",
        "-semihosting-config",
        "enable=on,target=native",
        "-plugin",
        plugin,
        "-kernel",
        str(elf),
    ]
    _call(command, cwd=elf.parent)


def read_sections(elf: Path) -> Sections:
    """Section sizes and symbols of a linked program."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    sizes = dict.fromkeys((".text", ".rodata", ".ARM.exidx", ".data", ".bss"), 0)
    functions: dict[str, tuple[int, int]] = {}
    objects: dict[str, int] = {}
    with elf.open("rb") as stream:
        file = ELFFile(stream)
        for section in file.iter_sections():
            if section.name in sizes:
                sizes[section.name] = int(section["sh_size"])
            if isinstance(section, SymbolTableSection):
                for symbol in section.iter_symbols():
                    kind, size = symbol["st_info"]["type"], int(symbol["st_size"])
                    if kind == "STT_FUNC":
                        functions[symbol.name] = (int(symbol["st_value"]) & ~1, size)
                    elif kind == "STT_OBJECT":
                        objects[symbol.name] = objects.get(symbol.name, 0) + size
    flash = sizes[".text"] + sizes[".rodata"] + sizes[".data"] + sizes[".ARM.exidx"]
    return Sections(flash, sizes[".text"], sizes[".data"] + sizes[".bss"], functions, objects)


@cache
def instruction_counter() -> Path:
    """The counting plugin, compiled for this host once per process."""
    folder = Path(tempfile.mkdtemp(prefix="boardfit-plugin-"))
    source = folder / "count_instructions.c"
    source.write_text(_render("count_instructions.c.j2", {}))
    library = folder / "count_instructions.so"
    compiler = os.environ.get("CC", "gcc")
    _call([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)])
    return library


def _render(name: str, context: Mapping[str, object]) -> str:
    text = resources.files("boardfit.templates").joinpath("mcu").joinpath("emulator").joinpath(name).read_text()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(text).render(context)


def _call(command: Sequence[str], cwd: Path | None = None) -> None:
    if shutil.which(command[0]) is None:
        raise ToolError(f"{command[0]} is not installed", hint=_INSTALL.get(command[0]))
    try:
        result = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=RUN_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{command[0]} did not end within {RUN_TIMEOUT_SECONDS:.0f} s") from error
    if result.returncode != 0:
        tail = "\n".join((result.stderr or result.stdout).splitlines()[-40:])
        raise ToolError(f"{command[0]} failed with code {result.returncode}:\n{tail}")


_INSTALL = {
    "arm-none-eabi-gcc": "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "qemu-system-arm": "apt-get install qemu-system-arm",
    "riscv64-unknown-elf-gcc": "apt-get install gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf",
    "qemu-system-riscv32": "apt-get install qemu-system-misc",
}
