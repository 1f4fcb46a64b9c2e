"""The hls4ml backend: validate, plan, emit, simulate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from boardfit.artifact import Artifact
from boardfit.board import Accelerator, Board, FpgaBoard
from boardfit.compress.width_search import WidthPlanner
from boardfit.compress.widths import WidthSpace
from boardfit.errors import InternalError, ModelError, UsageError
from boardfit.estimate.fpga.device import find_device
from boardfit.estimate.report import Estimate
from boardfit.ir import FixedPoint, Graph, Node
from boardfit.names import c_identifier
from boardfit.options import BackendOptions, HlsTool, IoType, SoftmaxMode
from boardfit.plan import distributed_arithmetic
from boardfit.plan.fpga import FpgaPlan, find_candidates
from boardfit.vendor_report import StageReport

from . import csim
from .accelerator import accelerator_files, accelerator_of, image, lane_bits
from .host import host_softmax_files
from .layer import HlsLayer, plain_shape
from .layers import LayerList
from .planning import describe, plan_graph, savings
from .project import STRATEGY_NAMES, VERSION, Port, Project, Settings, write_project
from .refuse import refuse, refuse_op, too_many_registers
from .render import render
from .testbench import reference_files, testbench
from .vendor_reports import find_reports
from .width_planner import GraphWidthPlanner

MAX_COPIES = 7
"""Readers a stream can have: hls4ml's clone layer has no more outputs."""

TITLES = {HlsTool.VIVADO: "Vivado HLS", HlsTool.VITIS: "Vitis HLS"}


class Hls4mlBackend:
    """Fixed-point graphs as Vivado HLS or Vitis HLS projects, through hls4ml."""

    name = "hls4ml"
    runners = csim.RUNNERS

    def refuse_op(self, op: str) -> str | None:
        """Why hls4ml cannot do an op at all."""
        return refuse_op(op)

    def refuse(self, node: Node, graph: Graph) -> str | None:
        """Why hls4ml cannot do a node, whichever way tensors travel."""
        return refuse(node, graph)

    def validate(self, graph: Graph, board: Board, options: BackendOptions) -> None:
        """See `boardfit.backend.Backend.validate`; the graph is in fixed point."""
        _validate_clock(as_fpga(board), options)
        streams = find_candidates(graph, options).io_type is IoType.STREAM
        for node in graph.nodes:
            reason = refuse(node, graph, streams) or too_many_registers(node, graph, streams)
            if reason is not None:
                raise ModelError(
                    reason,
                    file=node.source.model or None,
                    node=node.source.node,
                    op_type=node.source.op_type,
                    hint=_other_way(node, graph, streams),
                )
        _validate_interface(graph)
        if accelerator_of(as_fpga(board), options) is not None:
            lane_bits(graph)
        if streams:
            _validate_readers(graph)

    def plan(self, graph: Graph, board: FpgaBoard, options: BackendOptions) -> FpgaPlan:
        """The plan that `emit` uses: FIFOs or wires, strategy and reuse factor of each layer.

        The best one for the goal that fits the board; if none does, the one that comes nearest.
        """
        return plan_graph(graph, board, options).plan

    def estimate(self, graph: Graph, board: Board, options: BackendOptions) -> Estimate:
        """See `boardfit.backend.Backend.estimate`; with other reuse factors tried if the design does not fit."""
        fpga = as_fpga(board)
        note = distributed_arithmetic.left_out(options.strategy)
        found = replace(plan_graph(graph, fpga, options).estimate, notes=(note,) if note else ())
        if found.fits:
            return found
        return replace(found, savings=savings(graph, fpga, options, found))

    def fits(self, graph: Graph, board: Board, options: BackendOptions) -> bool:
        """See `boardfit.compress.width_search.PlansWidths.fits`."""
        return plan_graph(graph, as_fpga(board), options).estimate.fits

    def width_planner(
        self, space: WidthSpace, ladder: tuple[int, ...], board: Board, options: BackendOptions
    ) -> WidthPlanner:
        """See `boardfit.compress.width_search.PlansWidths`."""
        return GraphWidthPlanner(space, ladder, as_fpga(board), options)

    def emit(self, graph: Graph, board: Board, options: BackendOptions) -> Artifact:
        """See `boardfit.backend.Backend.emit`; hls4ml writes through a temporary folder."""
        fpga = as_fpga(board)
        plan = self.plan(graph, fpga, options)
        described = describe(graph, fpga, options, plan)
        network = described.network
        name = c_identifier(graph.name)
        clock = options.clock_ns or fpga.clock_ns
        settings = Settings(name, options.tool, plan.io_type, fpga.part, clock)
        project = write_project(network, settings, described.fifos)
        stream = plan.io_type is IoType.STREAM
        files = dict(project.files)
        files[f"{name}_test.cpp"] = testbench(project, stream=stream).encode()
        shell = accelerator_of(fpga, options)
        if shell is not None:
            files |= accelerator_files(graph, project, fpga, shell, options, clock, plan.io_type)
        files[csim.INTERFACE] = _interface(graph, project, plan, options, shell)
        files["README.md"] = _readme(graph, fpga, options, clock, plan, network, project, shell).encode()
        if options.softmax is SoftmaxMode.HOST:
            files |= host_softmax_files(graph)
        return Artifact(files, "README.md")

    def reference_files(
        self, graph: Graph, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
    ) -> Mapping[str, bytes]:
        """Data files of the test bench: raw inputs (S, *shape) and the raw outputs they must give."""
        return reference_files(inputs, outputs)

    def execute(self, folder: Path, inputs: Sequence[np.ndarray], runner: str) -> list[np.ndarray]:
        """See `boardfit.backend.Backend.execute`: C simulation with g++ of the network or of its AXI wrapper."""
        if runner not in self.runners_of(folder):
            raise UsageError(
                f"this hls4ml project cannot run on '{runner}'", hint=f"runners: {', '.join(self.runners_of(folder))}"
            )
        return csim.simulate(folder, inputs, runner)

    def runners_of(self, folder: Path) -> tuple[str, ...]:
        """See `boardfit.backend.Backend.runners_of`: IP projects have no wrapper to simulate."""
        return self.runners if csim.interface(folder)["accelerator"] else self.runners[:1]

    def reports(self, folder: Path) -> tuple[StageReport, ...]:
        """See `boardfit.backend.Backend.reports`."""
        return find_reports(folder)

    def measure(self, folder: Path) -> Mapping[str, int]:
        """Nothing: what a design takes is known after synthesis only."""
        return {}


def as_fpga(board: Board) -> FpgaBoard:
    """`board`, which must be an FPGA."""
    if not isinstance(board, FpgaBoard):
        raise UsageError(f"{board.name} is not an FPGA board")
    return board


def _validate_clock(board: FpgaBoard, options: BackendOptions) -> None:
    clock, fastest = options.clock_ns or board.clock_ns, find_device(board.part).fastest_clock_ns
    if clock < fastest:
        raise UsageError(
            f"a clock of {clock:g} ns is beyond {board.part}: the family's clock tree ends at {fastest:.2f} ns",
            hint=f"{board.name} runs at {board.clock_ns:g} ns",
        )


def _other_way(node: Node, graph: Graph, streams: bool) -> str:
    if refuse(node, graph, not streams) is None and too_many_registers(node, graph, not streams) is None:
        return f"give --io-type io_{'parallel' if streams else 'stream'}"
    return "choose a microcontroller board, or change this node"


def _validate_interface(graph: Graph) -> None:
    seen: set[str] = set()
    for tensor in graph.outputs:
        label = graph.labels.get(tensor, tensor)
        source = _layer_output(graph, tensor)
        if source in graph.inputs or source in graph.constants:
            raise ModelError(f"output '{label}' is not computed from an input", hint="remove it from the model")
        if source in seen:
            raise ModelError(f"output '{label}' is the same as another output", hint="remove one of them")
        seen.add(source)
    for tensor in (*graph.inputs, *graph.outputs):
        if not isinstance(graph.types[tensor].element, FixedPoint):
            raise InternalError(f"'{tensor}' is not fixed point: {graph.types[tensor]}")


def _validate_readers(graph: Graph) -> None:
    for tensor, readers in graph.consumers().items():
        copies = sum(node.inputs.count(tensor) for node in readers) + (tensor in graph.outputs)
        if copies > MAX_COPIES and tensor not in graph.constants:
            first = readers[0]
            raise ModelError(
                f"its input is read {copies} times, a stream can be copied at most {MAX_COPIES} times",
                file=first.source.model or None,
                node=first.source.node,
                op_type=first.source.op_type,
                hint="give --io-type io_parallel",
            )


def _layer_output(graph: Graph, tensor: str) -> str:
    """The tensor behind reshapes that cost no layer."""
    node = graph.producer(tensor)
    while node is not None and node.op == "Reshape":
        tensor = node.inputs[0]
        node = graph.producer(tensor)
    return tensor


def _interface(
    graph: Graph, project: Project, plan: FpgaPlan, options: BackendOptions, shell: Accelerator | None
) -> bytes:
    def ports(tensors: Sequence[str], found: Sequence[Port]) -> list[dict[str, Any]]:
        return [
            {
                "name": port.name,
                "label": graph.labels.get(tensor, tensor),
                "shape": list(graph.types[tensor].shape),
                "type": str(port.element),
                "signed": port.element.signed,
                "width": port.element.width,
                "frac": port.element.frac,
            }
            for tensor, port in zip(tensors, found, strict=True)
        ]

    facts = {
        "project": project.name,
        "tool": options.tool.value,
        "hls4ml": VERSION,
        "io_type": plan.io_type.value,
        "accelerator": shell.shell if shell else None,
        "inputs": ports(graph.inputs, project.inputs),
        "outputs": ports(graph.outputs, project.outputs),
        "layers": project.numbers,
    }
    return (json.dumps(facts, indent=2) + "\n").encode()


def _readme(
    graph: Graph,
    board: FpgaBoard,
    options: BackendOptions,
    clock: float,
    plan: FpgaPlan,
    network: LayerList,
    project: Project,
    shell: Accelerator | None,
) -> str:
    ports: list[dict[str, Any]] = []
    for direction, tensors, found in (("in", graph.inputs, project.inputs), ("out", graph.outputs, project.outputs)):
        for tensor, port in zip(tensors, found, strict=True):
            ports.append(
                {
                    "direction": direction,
                    "name": port.name,
                    "label": graph.labels.get(tensor, tensor),
                    "shape": "x".join(map(str, plain_shape(graph, tensor))),
                    "type": str(port.element),
                    "exponent": -port.element.frac,
                }
            )
    model = next((node.source.model for node in graph.nodes if node.source.model), graph.name)
    return render(
        "README.md.j2",
        project=project.name,
        tool=options.tool.value,
        tool_title=TITLES[options.tool],
        board=board.title,
        part=board.part,
        model=model,
        version=VERSION,
        io_type=plan.io_type.value,
        clock=f"{clock:g}",
        shell=shell.shell if shell else None,
        platform=shell.platform if shell else "",
        image=image(project.name, shell) if shell else "",
        softmax=options.softmax.value,
        note=distributed_arithmetic.left_out(options.strategy),
        ports=ports,
        layers=[_describe(layer) for layer in network.layers],
    )


def _describe(layer: HlsLayer) -> dict[str, Any]:
    return {
        "name": layer.name,
        "class_name": layer.class_name,
        "node": layer.node,
        "strategy": STRATEGY_NAMES[layer.plan.strategy] if layer.plan else "-",
        "reuse": layer.plan.reuse_factor if layer.plan else "-",
        "weight": f"`{layer.precision['weight']}`" if "weight" in layer.precision else "-",
        "result": f"`{layer.precision['result']}`",
    }
