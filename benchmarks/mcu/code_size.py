"""Measures the machine code and stack of every kernel function on every core, for the estimates.

    python -m benchmarks.mcu.code_size [--functions | --missing]

writes `backends/mcu/code_size.json`: core -> optimization -> function -> {code, stack, calls}, the size of the C
library functions that are called, and the size of a run function as a linear model of its calls. Needs
arm-none-eabi-gcc (and riscv64-unknown-elf-gcc for RISC-V; cores without a compiler keep their entries).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from boardfit.backends.mcu.code_size import RUN_FEATURES, run_features
from boardfit.backends.mcu.emit import core_files
from boardfit.backends.mcu.kernel import Function, Kernel, Site
from boardfit.backends.mcu.kernels import variants_of
from boardfit.backends.mcu.machines import MACHINES, Machine
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan
from boardfit.backends.mcu.render import function_text
from boardfit.board import McuBoard, find_board
from boardfit.ir import Affine, Graph, GraphEditor, TensorType
from boardfit.target import FEATURES

from .samples import sample_graphs

TARGET = Path(__file__).parents[2] / "backends" / "mcu" / "code_size.json"
OPTIMIZATIONS = ("-O2", "-Os")
LIBRARY = ("memcpy", "memset")
INT8 = Affine(True, 8, (1.0,), (0,))
PREAMBLE = "#include <stdint.h>\n#define KERNEL static __attribute__((used, noipa))\n"

CORE_BOARDS: Mapping[str, str] = {
    "m0": "raspberry-pi-pico",
    "m3": "stm32f103-blue-pill",
    "m4": "nucleo-l4r5zi",
    "m7": "nucleo-h743zi",
    "m33": "raspberry-pi-pico-2",
    "m55": "corstone-300",
    "rv32": "esp32-c3",
}
"""Core -> a board that has it."""

CORE_FEATURES: Mapping[str, frozenset[str]] = {
    "m0": frozenset({"thumb", "multiply"}),
    "m3": frozenset({"thumb", "multiply", "long-multiply", "divide", "saturate", "unaligned"}),
    "m4": frozenset({"thumb", "multiply", "long-multiply", "divide", "saturate", "dsp", "unaligned"}),
    "m7": frozenset({"thumb", "multiply", "long-multiply", "divide", "saturate", "dsp", "unaligned"}),
    "m33": frozenset({"thumb", "multiply", "long-multiply", "divide", "saturate", "dsp", "unaligned"}),
    "m55": frozenset(FEATURES) - {"fpu-double"},
    "rv32": frozenset({"riscv", "multiply", "long-multiply", "divide"}),
}


def functions_for(features: frozenset[str]) -> dict[str, Function]:
    """Every function that some variant uses on some sample."""
    found: dict[str, Function] = {}
    for graph in sample_graphs():
        site = Site(graph.nodes[-1], graph, features)
        for kernel in variants_of(site.node.op):
            if kernel.reason_against(site) is None:
                found.update((function.name, function) for function in kernel.lower(site).functions)
    return found


def measure_functions(
    functions: Mapping[str, Function], machine: Machine, optimization: str, folder: Path
) -> dict[str, dict[str, Any]]:
    """Code bytes, own stack frame and outside calls of every function that is not inline, all in one source file.

    Each lies in a section of its own and is neither inlined nor cloned, so company changes nothing.
    """
    needed: dict[str, Function] = {}
    for function in functions.values():
        needed.update((one.name, one) for one in function.closure() if one.template)
    texts = {name: function_text(function) for name, function in needed.items()}
    headers = sorted({header for function in needed.values() for header in function.headers})
    place = folder / "functions.c"
    source = PREAMBLE + "".join(f"#include <{header}>\n" for header in headers) + "".join(texts.values())
    place.write_text(source.replace("__attribute__((naked", "__attribute__((used, naked"))
    target = place.with_suffix(".o")
    command = [machine.compiler, *machine.flags, optimization, "-std=c99", "-ffunction-sections", "-fdata-sections"]
    subprocess.run([*command, "-fstack-usage", "-c", str(place), "-o", str(target)], check=True)
    stacks = {
        line.split("\t")[0].split(":")[-1]: int(line.split("\t")[1]) for line in _lines(target.with_suffix(".su"))
    }
    found: dict[str, dict[str, Any]] = {}
    sections = read_object(target)
    for name, text in texts.items():
        assembly = "ASSEMBLY " in text or "__attribute__((naked" in text
        if "KERNEL " in text or assembly:
            own = sections[name]
            # the compiler sees no frame in assembly: there the kernel's own word counts
            frame = needed[name].stack_bytes or 0 if assembly else stacks.get(name, 0)
            entry: dict[str, Any] = {"code": own.bytes, "stack": frame}
            found[name] = {**entry, "calls": sorted(own.calls)} if own.calls else entry
    return found


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@dataclass(slots=True)
class FunctionSection:
    """Bytes of a function's section, with padding, and the outside functions it calls."""

    bytes: int = 0
    calls: set[str] = field(default_factory=set)


def read_object(path: Path) -> dict[str, FunctionSection]:
    """The function sections of an object file by function name."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.relocation import RelocationSection

    found: dict[str, FunctionSection] = defaultdict(FunctionSection)
    with path.open("rb") as stream:
        file = ELFFile(stream)
        for section in file.iter_sections():
            if section.name.startswith(".text."):
                found[section.name.removeprefix(".text.")].bytes += -(-int(section["sh_size"]) // 4) * 4
            if isinstance(section, RelocationSection) and ".text." in section.name:
                symbols: Any = file.get_section(section["sh_link"])
                name = section.name.split(".text.")[1]
                for relocation in section.iter_relocations():
                    symbol = symbols.get_symbol(relocation["r_info_sym"])
                    if symbol["st_shndx"] == "SHN_UNDEF" and symbol.name:
                        found[name].calls.add(symbol.name)
    return found


def measure_library(names: Iterable[str], machine: Machine, folder: Path) -> dict[str, int]:
    """Bytes that each C library function brings into a program that had none."""
    found: dict[str, int] = {}
    for name in sorted(names):
        source = folder / "library.c"
        source.write_text(
            f"extern int {name}(void);\nint (*volatile keep)(void);\nvoid entry(void) {{ keep = {name}; }}\n"
        )
        target = folder / "library.elf"
        specs = ["--specs=nano.specs"] if machine.compiler.startswith("arm-none-eabi") else []
        link = ["-nostartfiles", "-Wl,--gc-sections", "-Wl,-e,entry", "-fno-builtin", "-Os"]
        subprocess.run(
            [machine.compiler, *machine.flags, *specs, *link, str(source), "-o", str(target)],
            check=True,
            capture_output=True,
        )
        found[name] = _text(target) - _entry(target)
    return found


def _text(path: Path) -> int:
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as stream:
        file = ELFFile(stream)
        return sum(int(s["sh_size"]) for s in file.iter_sections() if s.name in (".text", ".rodata"))


def _entry(path: Path) -> int:
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    with path.open("rb") as stream:
        for section in ELFFile(stream).iter_sections():
            if isinstance(section, SymbolTableSection):
                for symbol in section.iter_symbols():
                    if symbol.name == "entry":
                        return -(-int(symbol["st_size"]) // 4) * 4
    return 0


def chains(features: frozenset[str]) -> list[Plan]:
    """Plans whose run functions are measured: networks of 1 to 24 unrelated layers, seeded, some with much memory."""
    random = np.random.default_rng(7)
    pool: list[tuple[Graph, Kernel]] = []
    for graph in sample_graphs():
        first, *rest = graph.nodes
        if rest:  # what stands before a layer is not counted with it
            continue
        site = Site(first, graph, features)
        pool += [(graph, k) for k in variants_of(site.node.op) if k.reason_against(site) is None]
    plans: list[Plan] = []
    for count in (1, 2, 3, 4, 6, 8, 12, 16, 20, 24) * 2:
        picked = [pool[int(i)] for i in random.integers(0, len(pool), count)]
        ballast = int(random.choice([0, 3000, 20000]))
        graph = _joined([graph for graph, _ in picked], ballast)
        kernels = [kernel for _, kernel in picked]
        layers = [Layer(n, k, k.lower(Site(n, graph, features))) for n, k in zip(graph.nodes, kernels, strict=True)]
        plans.append(_plan(graph, layers, features))
    return plans


def _joined(graphs: Sequence[Graph], ballast: int) -> Graph:
    """One graph of the nodes of several; one output; `ballast` bytes that live throughout push offsets up."""
    edit = GraphEditor.empty("joined")
    if ballast:
        edit.add_input("ballast", TensorType((1, ballast), INT8))
        edit.outputs.append("ballast")
    for index, graph in enumerate(graphs):
        names: dict[str, str] = {}
        for name in graph.inputs:
            names[name] = edit.add_input(f"{name}_{index}", graph.types[name])
        for name, constant in graph.constants.items():
            names[name] = edit.add_constant(name, constant.values, graph.types[name].element)
        node = graph.nodes[0]
        made = edit.add_node(
            node.op,
            [names[name] for name in node.inputs],
            node.attrs,
            node.source,
            types=graph.output_types(node),
        )
        edit.outputs.append(made.outputs[0])
    return edit.finish()


def _plan(graph: Graph, layers: Sequence[Layer], features: frozenset[str]) -> Plan:
    arena, places, scratch = place(graph, layers)
    return Plan(graph, features, tuple(layers), arena, places, scratch)


def fit_run(machine: Machine, features: frozenset[str], optimization: str, folder: Path) -> dict[str, float]:
    """Size of a run function, with init and accessors, from its calls: least squares, no term negative."""
    board = find_board("nucleo-l4r5zi")
    assert isinstance(board, McuBoard)
    rows, sizes = [], []
    for index, plan in enumerate(chains(features)):
        prefix = f"p{index}"
        for name, text in core_files(plan, board, prefix, single_header=False).items():
            (folder / name).write_text(text)
        target = folder / f"{prefix}.o"
        command = [machine.compiler, *machine.flags, optimization, "-std=c99", "-ffunction-sections", "-fdata-sections"]
        subprocess.run([*command, "-c", str(folder / f"{prefix}.c"), "-o", str(target)], check=True)
        sizes.append(sum(s.bytes for name, s in read_object(target).items() if name.startswith(f"{prefix}_")))
        rows.append(run_features(plan))
    solution, _ = nnls(np.array(rows, float), np.array(sizes, float))
    errors = np.abs(np.array(rows) @ solution - sizes)
    print(f"run functions of {np.mean(sizes):.0f} bytes: mean error {errors.mean():.1f}, largest {errors.max():.1f}")
    return {name: round(float(value), 2) for name, value in zip(RUN_FEATURES, solution, strict=True)}


def measure_missing(name: str, optimization: str, known: dict[str, Any]) -> dict[str, Any]:
    """`known` with the functions of the samples that it lacks, and the library functions they call."""
    machine = MACHINES[name]
    missing = {key: f for key, f in functions_for(CORE_FEATURES[name]).items() if key not in known["functions"]}
    with tempfile.TemporaryDirectory() as place:
        measured = measure_functions(missing, machine, optimization, Path(place)) if missing else {}
        outside = {call for entry in measured.values() for call in entry.get("calls", ())} - set(known["library"])
        library = known["library"] | (measure_library(outside, machine, Path(place)) if outside else {})
    return {**known, "functions": dict(sorted((measured | known["functions"]).items())), "library": library}


def measure_core(name: str, optimization: str, run: dict[str, float] | None = None) -> dict[str, Any]:
    """All measurements of one core and optimization; `run` is a fit of run functions that is to be kept."""
    machine, features = MACHINES[name], CORE_FEATURES[name]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        measured = measure_functions(functions_for(features), machine, optimization, folder)
        outside = {call for entry in measured.values() for call in entry.get("calls", ())} | set(LIBRARY)
        library = measure_library(outside, machine, folder)
        if run is None:
            run = fit_run(machine, features, optimization, folder)
    return {"functions": dict(sorted(measured.items())), "library": library, "run": run}


def _dump(value: Any, depth: int = 0) -> str:
    """JSON with one line for each function, so that a change of one kernel is a change of one line."""
    if isinstance(value, dict) and any(isinstance(item, dict) for item in value.values()):
        indent = " " * (depth + 1)
        items = (f"{indent}{json.dumps(key)}: {_dump(value[key], depth + 1)}" for key in sorted(value))
        return "{\n" + ",\n".join(items) + "\n" + " " * depth + "}"
    return json.dumps(value, sort_keys=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", action="append", choices=sorted(CORE_FEATURES), help="only this core; repeatable")
    parser.add_argument(
        "--functions", action="store_true", help="keep the fits of run functions, which take most of the time"
    )
    parser.add_argument("--missing", action="store_true", help="measure only functions that the table lacks")
    options = parser.parse_args(arguments)
    table: dict[str, Any] = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    for name in options.core or CORE_FEATURES:
        if shutil.which(MACHINES[name].compiler) is None:
            print(f"{name}: {MACHINES[name].compiler} is not installed, entries kept")
            continue
        for optimization in OPTIMIZATIONS:
            known = table.setdefault(name, {})
            if options.missing and optimization in known:
                known[optimization] = measure_missing(name, optimization, known[optimization])
                continue
            kept = known.get(optimization, {}).get("run") if options.functions else None
            known[optimization] = measure_core(name, optimization, kept)
            print(f"{name} {optimization}: {len(table[name][optimization]['functions'])} functions", flush=True)
        TARGET.write_text(_dump(table) + "\n")


if __name__ == "__main__":
    main()
