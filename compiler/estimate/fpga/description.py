"""What the FPGA estimator is told about a design: plain numbers, no graph and no tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from .precision import Precision

MATRIX_KINDS = frozenset({"dense", "conv", "depthwise", "pointwise"})
RECURRENT_KINDS = frozenset({"gru", "lstm", "rnn"})
TABLE_KINDS = frozenset({"sigmoid", "tanh", "softplus", "softsign", "elu", "selu", "exp"})
KINDS = (
    MATRIX_KINDS
    | RECURRENT_KINDS
    | TABLE_KINDS
    | {
        "relu",
        "leaky_relu",
        "linear",
        "softmax",
        "normalize",
        "pool",
        "global_pool",
        "pad",
        "resize",
        "merge",
        "concat",
        "clone",
        "transpose",
        "product",
        "none",
    }
)


@dataclass(frozen=True, slots=True)
class WeightStatistics:
    """What the synthesiser sees in constant weights after quantization.

    `csd_digits` is the sum over all weights of the non-zero digits of the canonical signed-digit form: the number
    of shifted terms an adder network needs. `powers_of_two` counts weights with exactly one such digit.
    """

    count: int
    nonzero: float
    csd_digits: float
    powers_of_two: float


@dataclass(frozen=True, slots=True)
class GroupedWeights:
    """A dense layer whose inputs are summed by the magnitude of their weights before they are multiplied.

    `weights`: the magnitudes of all outputs, one product each; `summed`: inputs of all sums together; `growth`: bits
    by which a sum is wider than an input.
    """

    weights: WeightStatistics
    summed: int
    growth: int


@dataclass(frozen=True, slots=True)
class Fifo:
    """A FIFO behind a streamed layer: words it holds, and whether it is bound to shift registers made of LUTs.

    Otherwise the tool chooses, as `docs/estimates.md` tells.
    """

    depth: int
    shift_register: bool = False


@dataclass(frozen=True, slots=True)
class LayerDescription:
    """One hls4ml layer. Shapes are channels-last; unknown figures carry the stated default.

    `products` is the number of multiplications per output position (n_in * n_out of the matrix product that is
    evaluated at each position); `positions_in` / `positions_out` count image positions (1 for vectors). `inner`: part
    of a larger function (a recurrent cell), nothing is buffered behind it. `alone`: the only layer of its design, whose
    results go to the ports at once. `fifos`: those the layer writes to; None
    where they are not known: then it is one that holds all words of an inference, which is hls4ml's default.
    """

    name: str
    kind: str
    n_in: int
    n_out: int
    products: int = 0
    height_in: int = 1
    width_in: int = 1
    channels_in: int = 1
    height_out: int = 1
    width_out: int = 1
    kernel_height: int = 1
    kernel_width: int = 1
    stride: int = 1
    weights: WeightStatistics | None = None
    grouped: GroupedWeights | None = None
    input_precision: Precision = field(default=Precision(16, 6))
    weight_precision: Precision = field(default=Precision(16, 6))
    accum_precision: Precision = field(default=Precision(16, 6))
    result_precision: Precision = field(default=Precision(16, 6))
    input_pack: int = 1
    output_pack: int = 1
    strategy: str = "latency"
    reuse_factor: int = 1
    io_type: str = "io_parallel"
    table_size: int = 1024
    table_bits: int = 18
    implementation: str = ""
    multiplier: str = ""
    n_zeros: int | None = None
    stored_weights: int | None = None
    partitions: int | None = None
    inner: bool = False
    alone: bool = False
    fifos: tuple[Fifo, ...] | None = None
    assumed: tuple[str, ...] = ()

    @property
    def positions_in(self) -> int:
        """Input positions (pixels) the layer reads."""
        return max(1, self.height_in * self.width_in)

    @property
    def positions_out(self) -> int:
        """Output positions (pixels) the layer writes."""
        return max(1, self.height_out * self.width_out)


def whole_design(layers: Sequence[LayerDescription]) -> tuple[LayerDescription, ...]:
    """The layers of a whole design: a single one is marked as alone."""
    return (replace(layers[0], alone=True),) if len(layers) == 1 else tuple(layers)


@dataclass(frozen=True, slots=True)
class DesignDescription:
    """A whole project: layers in order, device, clock in ns, `io_parallel` or `io_stream`, and the HLS tool.

    `timed` is False when the description cannot tell the cycles (a recurrent layer without its sequence length).
    """

    name: str
    layers: tuple[LayerDescription, ...]
    part: str = ""
    clock_ns: float = 5.0
    io_type: str = "io_parallel"
    tool: str = ""
    timed: bool = True
