"""The files around the sources: test program, build files, README. A user's project needs none of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from boardfit.board import McuBoard
from boardfit.ir import Float32, Graph
from boardfit.options import ProjectFormat

from .emit import interface_context, port_facts
from .formats import LAYOUTS, format_context, format_files
from .machines import MACHINES, Machine
from .placement import tensor_bytes
from .plan import Plan
from .render import comment_text, render
from .storage import storage_of

VECTORS = "test/vectors.json"
"""Describes inputs.bin and outputs.bin for `execute`."""

STACK_BYTES = 0x10000
"""Stack of the test program: far more than any kernel needs; what is used is measured."""


def machine_for(board: McuBoard) -> Machine | None:
    """The emulated machine that executes a board's instructions, or None."""
    if board.emulator is None:
        return None
    return next((machine for machine in MACHINES.values() if machine.core == board.core), None)


def project_files(
    plan: Plan,
    board: McuBoard,
    prefix: str,
    core: Sequence[str],
    *,
    single_header: bool,
    project_format: ProjectFormat,
    optimization: str,
) -> dict[str, str]:
    """Test program, Makefile, README and the files of the format: path -> text.

    Args:
        core: names of the files a user's project needs (`emit.core_files`).
    """
    machine = machine_for(board)
    layout = LAYOUTS[project_format]
    sources = [layout.place(name, prefix) for name in core if name.endswith(".c")]
    model = [f"test/{prefix}.c"] if single_header else sources
    objects = [f"build/firmware/{PurePosixPath(name).stem}.o" for name in model]
    context = {
        **interface_context(plan, board, prefix),
        "single_header": single_header,
        "format": project_format.value,
        "layout": layout,
        "core_sources": sources,
        "model_sources": model,
        "model_objects": objects,
        "model_rules": list(zip(model, objects, strict=True)),
        "optimization": optimization,
        "board_flags": comment_text(" ".join(board.toolchain.flags)),
        "core": board.core,
        "machine": machine.options[1] if machine else "",
        "layers": _layers(plan),
    }
    facts = port_facts(plan, prefix)
    context["inputs"] = [_sized(plan.graph, port) for port in facts if port["role"] == "Input"]
    context["outputs"] = [_sized(plan.graph, port) for port in facts if port["role"] == "Output"]
    files = {
        "test/main.c": render("project/main.c.j2", context),
        "test/platform.h": render("project/platform.h.j2", context),
        "test/platform_host.c": render("project/platform_host.c.j2", context),
        VECTORS: _vectors(plan.graph, machine),
        **format_files(project_format, context, board, plan.graph.name),
        "README.md": render("project/README.md.j2", {**context, **format_context(board, plan.graph.name)}),
    }
    if single_header:
        files[f"test/{prefix}.c"] = (
            f"/* The one source file that holds the implementation. */\n"
            f'#define {prefix.upper()}_IMPLEMENTATION\n#include "../{prefix}.h"\n'
        )
    if machine is not None:
        context |= _machine_context(machine, prefix)
        files["test/platform_semihosting.c"] = render("project/platform_semihosting.c.j2", context)
        files["test/startup.c"] = render(f"project/{machine.startup}", context)
        files["test/link.ld"] = render("project/link.ld.j2", context)
    files["Makefile"] = render("project/Makefile.j2", context)
    return files


def _machine_context(machine: Machine, prefix: str) -> dict[str, object]:
    return {
        "compiler": machine.compiler,
        "qemu": machine.qemu,
        "qemu_options": " ".join(machine.options),
        "flags": " ".join(machine.flags),
        "library_flags": "--specs=nano.specs" if machine.compiler.startswith("arm-none-eabi") else "",
        "test_objects": [f"build/firmware/test_{name}.o" for name in ("startup", "main", "platform_semihosting")],
        "flash_base": hex(machine.flash[0]),
        "flash_size": hex(machine.flash[1]),
        "ram_base": hex(machine.ram[0]),
        "ram_size": hex(machine.ram[1]),
        "stack_size": hex(STACK_BYTES),
        "entry": machine.entry,
    }


def _layers(plan: Plan) -> list[dict[str, str]]:
    return [
        {
            "name": comment_text(f"{layer.node.source.op_type} {layer.node.source.node}").replace("|", "/"),
            "kernel": layer.kernel.name,
        }
        for layer in plan.layers
    ]


def _sized(graph: Graph, port: Mapping[str, object]) -> dict[str, object]:
    # what printf is given: a float as double, any integer as long
    real = isinstance(graph.types[str(port["tensor"])].element, Float32)
    text = {"print_format": "%f", "print_type": "double"} if real else {"print_format": "%ld", "print_type": "long"}
    return {**port, **text, "bytes": tensor_bytes(graph, str(port["tensor"]))}


def _vectors(graph: Graph, machine: Machine | None) -> str:
    """Shapes and C types of the binary files, and the machine the firmware is for."""

    def ports(names: tuple[str, ...]) -> list[dict[str, object]]:
        return [
            {"type": storage_of(graph.types[name].element).c_type, "shape": list(graph.types[name].shape)}
            for name in names
        ]

    facts = {
        "inputs": ports(graph.inputs),
        "outputs": ports(graph.outputs),
        "machine": machine.name if machine else None,
    }
    return json.dumps(facts, indent=2) + "\n"
