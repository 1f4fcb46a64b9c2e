"""Options of a compilation, one frozen dataclass for each stage that has some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

DEFAULT_WIDTH = 16
"""Bits of a value on an FPGA where the user says nothing."""


class CalibrationMethod(str, Enum):
    """How the range of a tensor is taken from calibration data."""

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    MSE = "mse"


class IoType(str, Enum):
    """How an FPGA design passes tensors between layers (hls4ml's IOType)."""

    PARALLEL = "io_parallel"
    STREAM = "io_stream"


class Strategy(str, Enum):
    """How an FPGA layer multiplies (hls4ml's Strategy)."""

    LATENCY = "latency"
    RESOURCE = "resource"
    DISTRIBUTED_ARITHMETIC = "distributed_arithmetic"  # shared adder graphs made by da4ml, no multipliers
    CODEBOOK = "codebook"  # inputs of equal weights are summed, then multiplied: dense layers with few weight values


class Goal(str, Enum):
    """What a plan for an FPGA makes as small as the board allows."""

    LATENCY = "latency"  # cycles from the first input to the last output
    RESOURCES = "resources"  # share of the board that is used
    THROUGHPUT = "throughput"  # cycles between the starts of two inferences


class SoftmaxMode(str, Enum):
    """What becomes of a softmax at an output."""

    KEEP = "keep"  # computed on the device
    DROP = "drop"  # removed: the outputs are the logits, the argmax is the same
    HOST = "host"  # removed from the device, computed in the host code that is emitted along


class Optimize(str, Enum):
    """What the firmware of a microcontroller is to be best at; the others still count a little."""

    SPEED = "speed"
    SIZE = "size"
    RAM = "ram"


class ProjectFormat(str, Enum):
    """What kind of project the firmware of a microcontroller is to be a part of."""

    C = "c"  # plain sources
    ARDUINO = "arduino"  # a library of the Arduino IDE and arduino-cli
    CMAKE = "cmake"  # a package for add_subdirectory and find_package
    PLATFORMIO = "platformio"  # a library of PlatformIO
    ZEPHYR = "zephyr"  # a module of the Zephyr RTOS


class HlsTool(str, Enum):
    """Which synthesis tool an hls4ml project is written for."""

    VITIS = "vitis"
    VIVADO = "vivado"


class ProjectKind(str, Enum):
    """What an FPGA project builds."""

    IP = "ip"  # the network alone, with hls4ml's interface
    ACCELERATOR = "accelerator"  # the network behind AXI streams, the board's block design and a driver as well


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How the model file is read.

    Attributes:
        input_shapes: input name -> shape, for inputs whose shape the file leaves open.
        channels_last_io: take images of a channels-first model channels-last, so that no transposition is
            done on the device.
    """

    input_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    channels_last_io: bool = False


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """Post-training quantization.

    Attributes:
        method: how ranges are taken from the calibration data.
        width: bits of a value on an FPGA (fixed point); microcontrollers use 8. None starts at `DEFAULT_WIDTH` and
            takes narrower values where the design would not fit.
        max_drop: points of agreement with float, or of accuracy where the calibration data has labels, that narrower
            values (fpga) or compressed weights (mcu, where the design does not fit without) may cost; None asks for
            none (fpga: unless the design does not fit).
        min_snr: the same as a signal-to-noise ratio of the outputs in dB.
    """

    method: CalibrationMethod = CalibrationMethod.MIN_MAX
    width: int | None = None
    max_drop: float | None = None
    min_snr: float | None = None

    @property
    def top_width(self) -> int:
        """The widest values an FPGA design may have."""
        return DEFAULT_WIDTH if self.width is None else self.width

    @property
    def bounded(self) -> bool:
        """Whether a loss of accuracy is allowed explicitly."""
        return self.max_drop is not None or self.min_snr is not None


@dataclass(frozen=True, slots=True)
class BackendOptions:
    """What a backend is told; each field says for which kind of board it is.

    Attributes:
        single_header: (mcu) one self-contained header in place of a header and sources.
        format: (mcu) what kind of project the sources are laid out for.
        tool: (fpga) synthesis tool the project is for.
        io_type: (fpga) hls4ml IOType; None lets the planner choose.
        reuse_factor: (fpga) multiplications per multiplier for every layer; None lets the planner choose.
        strategy: (fpga) strategy of every layer; None lets the planner choose.
        softmax: (fpga, mcu) what becomes of a softmax at an output.
        clock_ns: (fpga) clock period; None takes the board's.
        optimize: (mcu) what kernels are chosen and compiled for.
        weights: (mcu) layer -> format its weights are stored in ('int8', 'csr', ...; see docs/compression.md); other
            layers, and 'auto', take the one that is best for the board.
        goal: (fpga) what the planner makes as small as it can.
        project: (fpga) what is built; None takes an accelerator where board and tool have one, else an IP core.
    """

    single_header: bool = False
    format: ProjectFormat = ProjectFormat.C
    tool: HlsTool = HlsTool.VITIS
    io_type: IoType | None = None
    reuse_factor: int | None = None
    strategy: Strategy | None = None
    softmax: SoftmaxMode = SoftmaxMode.KEEP
    clock_ns: float | None = None
    optimize: Optimize = Optimize.SPEED
    weights: Mapping[str, str] = field(default_factory=dict)
    goal: Goal = Goal.LATENCY
    project: ProjectKind | None = None
