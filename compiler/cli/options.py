"""Every option that more than one command has: its names, its type, its help, its default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

import typer

from ..errors import UsageError
from ..options import (
    BackendOptions,
    CalibrationMethod,
    Goal,
    HlsTool,
    ImportOptions,
    IoType,
    Optimize,
    ProjectFormat,
    ProjectKind,
    QuantizeOptions,
    SoftmaxMode,
    Strategy,
)

_MODEL = typer.Argument(help="ONNX file, as the exporter wrote it.", show_default=False)
_BOARD = typer.Option("--board", "-b", help="Name of a board ('boardfit boards') or a board file.", show_default=False)

ModelArgument = Annotated[Path, _MODEL]
OptionalModelArgument = Annotated[Path | None, _MODEL]
BoardOption = Annotated[str, _BOARD]
OptionalBoardOption = Annotated[str | None, _BOARD]
ShapesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape",
        metavar="NAME=1,2,3",
        help="Shape of an input the file leaves open, batch axis included; repeatable.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")]


@dataclass(frozen=True, slots=True)
class NetworkGroup:
    """How the model is read and quantized, for every command that makes or costs a design."""

    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", "-c", help="A few hundred inputs, .npz or .npy, no labels.", show_default=False),
    ] = None
    input_shape: ShapesOption = None
    calibration_method: Annotated[
        CalibrationMethod, typer.Option("--calibration-method", help="How ranges are taken from the data.")
    ] = CalibrationMethod.MIN_MAX
    width: Annotated[
        int | None,
        typer.Option("--width", help="FPGA: bits of a value.", show_default="16, or what it takes to fit"),
    ] = None
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            help="Narrow or compress values until this much agreement with float (accuracy, with labels) is lost.",
            show_default=False,
        ),
    ] = None
    min_snr: Annotated[
        float | None,
        typer.Option(
            "--min-snr",
            metavar="DB",
            help="Narrow or compress values down to this signal-to-noise ratio.",
            show_default=False,
        ),
    ] = None
    channels_last_io: Annotated[
        bool, typer.Option("--channels-last-io", help="Take images of a channels-first model channels-last.")
    ] = False

    @property
    def imports(self) -> ImportOptions:
        return ImportOptions(input_shapes(self.input_shape), self.channels_last_io)

    @property
    def quantize(self) -> QuantizeOptions:
        return QuantizeOptions(self.calibration_method, self.width, self.max_drop, self.min_snr)


@dataclass(frozen=True, slots=True)
class DesignGroup:
    """What the backend is told that changes what a design costs."""

    backend_tool: Annotated[HlsTool, typer.Option("--backend-tool", help="FPGA: tool the project is for.")] = (
        HlsTool.VITIS
    )
    io_type: Annotated[
        IoType | None,
        typer.Option("--io-type", help="FPGA: wires or FIFOs between layers.", show_default="chosen by the planner"),
    ] = None
    reuse_factor: Annotated[
        int | None,
        typer.Option(
            "--reuse-factor",
            help="FPGA: multiplications per multiplier, all layers.",
            show_default="chosen by the planner",
        ),
    ] = None
    strategy: Annotated[
        Strategy | None,
        typer.Option("--strategy", help="FPGA: how layers multiply.", show_default="chosen by the planner"),
    ] = None
    softmax: Annotated[
        SoftmaxMode,
        typer.Option("--softmax", help="A softmax at the output: on the device, dropped, or in host code (FPGA)."),
    ] = SoftmaxMode.KEEP
    clock_ns: Annotated[
        float | None, typer.Option("--clock-ns", help="FPGA: clock period.", show_default="the board's")
    ] = None
    optimize: Annotated[
        Optimize, typer.Option("--optimize", help="Microcontroller: what the firmware is to be best at.")
    ] = Optimize.SPEED
    weights: Annotated[
        list[str] | None,
        typer.Option(
            "--weights",
            metavar="LAYER=FORMAT",
            help="Microcontroller: store a layer's weights as int8, int4, int3, int2, ternary, binary, codebook, csr, "
            "block, bitmask, huffman or arithmetic; LAYER may be a pattern (conv*); repeatable.",
            show_default="the best for the board",
        ),
    ] = None
    goal: Annotated[Goal, typer.Option("--goal", help="FPGA: what the planner makes as small as the board allows.")] = (
        Goal.LATENCY
    )

    def backend(self, **more: Any) -> BackendOptions:
        """The backend's options: this group's, and those a command has besides."""
        return BackendOptions(
            tool=self.backend_tool,
            io_type=self.io_type,
            reuse_factor=self.reuse_factor,
            strategy=self.strategy,
            softmax=self.softmax,
            clock_ns=self.clock_ns,
            optimize=self.optimize,
            weights=weight_formats(self.weights),
            goal=self.goal,
            **more,
        )


@dataclass(frozen=True, slots=True)
class SourcesGroup:
    """What the sources for a microcontroller look like."""

    single_header: Annotated[
        bool, typer.Option("--single-header", help="Microcontroller: one self-contained header.")
    ] = False
    project_format: Annotated[
        ProjectFormat, typer.Option("--format", help="Microcontroller: project the sources are laid out for.")
    ] = ProjectFormat.C


class ApiOptions(TypedDict):
    """What the Python interface is told by every command that makes or costs a design."""

    calibration: Path | None
    imports: ImportOptions
    quantize: QuantizeOptions
    backend: BackendOptions


def api_options(network: NetworkGroup, design: DesignGroup, **more: Any) -> ApiOptions:
    """The options of both groups; `more` are backend options that a command has besides."""
    return ApiOptions(
        calibration=network.calibration,
        imports=network.imports,
        quantize=network.quantize,
        backend=design.backend(**more),
    )


ProjectOption = Annotated[
    ProjectKind | None,
    typer.Option(
        "--project", help="FPGA: the network alone, or with AXI streams, block design, driver.", show_default="by board"
    ),
]


def input_shapes(given: list[str] | None) -> dict[str, tuple[int, ...]]:
    """`--input-shape NAME=1,2,3` options as a mapping; the name may itself contain '='."""
    shapes: dict[str, tuple[int, ...]] = {}
    for text in given or ():
        name, equals, numbers = text.rpartition("=")
        try:
            shape = tuple(int(number) for number in numbers.replace("x", ",").split(","))
        except ValueError:
            shape = ()
        if not equals or not name or not shape or min(shape) < 1:
            raise UsageError(f"--input-shape '{text}' is not NAME=1,2,3", hint="write --input-shape input=1,3,32,32")
        if name in shapes:
            raise UsageError(f"--input-shape gives '{name}' twice")
        shapes[name] = shape
    return shapes


def weight_formats(given: list[str] | None) -> dict[str, str]:
    """`--weights LAYER=FORMAT` options as a mapping; the name may itself contain '='."""
    formats: dict[str, str] = {}
    for text in given or ():
        layer, equals, weights = text.rpartition("=")
        if not equals or not layer or not weights:
            raise UsageError(f"--weights '{text}' is not LAYER=FORMAT", hint="write --weights fc1=csr")
        if layer in formats:
            raise UsageError(f"--weights gives '{layer}' twice")
        formats[layer] = weights
    return formats
