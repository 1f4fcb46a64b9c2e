"""Accelerator projects: the network behind AXI4-Stream or memory, the board's block design, a Python driver.

The words on the bus are boardfit's own, not those of hls4ml's VivadoAccelerator backend: that one takes one input and
one output, converts floats in the fabric, and knows Vivado HLS only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from boardfit.board import Accelerator, FpgaBoard
from boardfit.errors import UsageError
from boardfit.ir import Graph
from boardfit.ops.spec import as_fixed
from boardfit.options import BackendOptions, HlsTool, IoType, ProjectKind

from .layer import plain_shape
from .project import Port, Project
from .render import render

WORD_BITS = 32
"""Narrowest bus; a lane of 64 bits makes it wider."""

LANES = (8, 16, 32, 64)
DMA_BYTES = (1 << 26) - 8
"""What one transfer of the DMA's 26-bit length register can be, in whole words."""

KERNEL_BYTES = 1 << 30
ONE_PORT_DEPTH = 2
"""FIFO between the bus and the network where there is one tensor: it is read as it is written."""


def accelerator_of(board: FpgaBoard, options: BackendOptions) -> Accelerator | None:
    """What to build around the network, or None for an IP project.

    Raises:
        UsageError: an accelerator was asked for, and board or tool have none.
    """
    found = board.accelerator
    if options.project is ProjectKind.IP:
        return None
    if found is not None and found.shell == "xrt" and options.tool is HlsTool.VIVADO:
        if options.project is None:
            return None
        raise UsageError(
            f"kernels for {board.title} cannot be made with Vivado HLS",
            hint="give --backend-tool vitis or --project ip",
        )
    if found is None and options.project is ProjectKind.ACCELERATOR:
        raise UsageError(
            f"{board.title} has no processor that boardfit knows a block design for",
            hint="give --project ip, or 'accelerator' in a board file of your own",
        )
    return found


def lane_bits(graph: Graph) -> int:
    """Bits of a value on the bus: the smallest power of two that holds every input's and output's type.

    Raises:
        UsageError: a type is wider than 64 bits.
    """
    widths = {tensor: as_fixed(graph.types[tensor].element).width for tensor in (*graph.inputs, *graph.outputs)}
    widest = max(widths, key=widths.__getitem__)
    for bits in LANES:
        if widths[widest] <= bits:
            return bits
    raise UsageError(
        f"'{graph.labels.get(widest, widest)}' has values of {widths[widest]} bits, the bus takes {LANES[-1]}",
        hint="give --project ip, or a smaller --width",
    )


def accelerator_files(
    graph: Graph,
    project: Project,
    board: FpgaBoard,
    shell: Accelerator,
    options: BackendOptions,
    clock_ns: float,
    io: IoType,
) -> dict[str, bytes]:
    """The files an accelerator has on top of an IP project."""
    kernel = shell.shell == "xrt"
    lane = lane_bits(graph)
    bus = max(WORD_BITS, lane)
    inputs = _ports(graph, graph.inputs, project.inputs, io, "RESHAPE")
    outputs = _ports(graph, graph.outputs, project.outputs, io, "PARTITION")
    name = project.name
    values: dict[str, Any] = {
        "project": name,
        "guard": name.upper(),
        "bus": bus,
        "lane": lane,
        "input_words": words(project.inputs, bus // lane),
        "output_words": words(project.outputs, bus // lane),
        "inputs": inputs,
        "outputs": outputs,
        "stream": io is IoType.STREAM,
        "kernel": kernel,
        "top": f"{name}_kernel" if kernel else f"{name}_axi",
        "tool_title": "Vitis HLS" if options.tool is HlsTool.VITIS else "Vivado HLS",
        "board_part": shell.board_part,
        "ultrascale": "ultrascale" in board.family,
        "clock_mhz": f"{1000.0 / clock_ns:g}",
        "image": image(name, shell),
        "most_bytes": KERNEL_BYTES if kernel else DMA_BYTES,
    }
    files = {
        f"firmware/{name}_axi.h": "axi.h.j2",
        f"firmware/{name}_axi.cpp": "axi.cpp.j2",
        "firmware/ap_types/ap_axi_sdata.h": "ap_axi_sdata.h.j2",
        f"{name}_axi_test.cpp": "axi_test.cpp.j2",
        "build_accelerator.tcl": "build_accelerator.tcl.j2",
        "driver.py": "driver.py.j2",
    }
    if not kernel:
        files["block_design.tcl"] = "block_design.tcl.j2"
    return {path: render(template, **values).encode() for path, template in files.items()}


def image(project: str, shell: Accelerator) -> str:
    """The file that is loaded into the FPGA."""
    return f"{project}.xclbin" if shell.shell == "xrt" else f"{project}.bit"


def words(ports: Sequence[Port], lanes: int) -> int:
    """Words of one sample: every tensor starts with one."""
    return sum(-(-port.count // lanes) for port in ports)


def _ports(
    graph: Graph, tensors: Sequence[str], ports: Sequence[Port], io: IoType, layout: str
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for tensor, port in zip(tensors, ports, strict=True):
        element = port.element
        by_value = f"{port.cpp_type} {port.name}[{port.count}]"
        by_stream = f"hls::stream<{port.cpp_type}> &{port.name}"
        found.append(
            {
                "name": port.name,
                "cpp_type": port.cpp_type,
                "count": port.count,
                "parameter": by_stream if io is IoType.STREAM else by_value,
                # tensors come one after the other on the bus, but the network may want them side by side
                "depth": ONE_PORT_DEPTH if len(ports) == 1 else port.count // port.pack,
                "layout": layout,
                "is_signed": "true" if element.signed else "false",
                "python_signed": str(element.signed),
                "width": element.width,
                "frac": element.frac,
                "rounding": element.rounding.value,
                "overflow": element.overflow.value,
                "name_text": repr(port.name),
                "label_text": ascii(graph.labels.get(tensor, tensor)),
                "shape": repr(plain_shape(graph, tensor)),
            }
        )
    return found
