"""What a layer is built of: amounts of adder bits, multiplexer bits, registers and memory, named and additive.

A term is a physical amount (bits of adders, of registers, ...). The fitted coefficient of a term says how many LUTs
or flip-flops one unit of it costs, in the HLS report and after synthesis. All amounts and coefficients are >= 0,
so more products or more bits never cost less. More reuse can cost LUTs: a multiplier that serves several outputs needs
logic that chooses among them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from . import adder_graph
from .coefficients import Coefficients
from .description import MATRIX_KINDS, TABLE_KINDS, DesignDescription, Fifo, LayerDescription
from .memory import bram18_blocks, fifo_blocks, weight_blocks, weight_blocks_synthesised
from .multipliers import CODEBOOK, Multipliers, expected_weights
from .serial import SHIFT_REGISTER, is_serial, serial_terms
from .timing import Timing

Terms = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Ingredients:
    """Terms of LUT and FF, RAMB18 by purpose (HLS report, after synthesis), DSP slices of one layer."""

    lut: Terms
    ff: Terms
    bram: Terms
    bram_synthesised: Terms
    dsp: float


def _matrix(layer: LayerDescription, m: Multipliers, timing: Timing, c: Coefficients, *, vitis: bool) -> Ingredients:
    """Dense and convolution: the matrix product, plus line buffer and window where an image streams in."""
    inputs, accum = layer.input_precision.width, layer.accum_precision.width
    stream = layer.io_type == "io_stream"
    lut: dict[str, float] = {"control": 1.0}
    ff: dict[str, float] = {"control": 1.0}
    bram: dict[str, float] = {}
    kept: dict[str, float] = {}
    if layer.strategy == adder_graph.STRATEGY:
        size = adder_graph.size_of(layer, layer.weights or expected_weights(layer))
        lut |= {"adders": size.adders, "adder_bits": size.adder_bits}
        ff["adder_registers"] = size.live_bits * timing.depth / max(1.0, size.depth)
    elif m.unrolled:
        lut["accumulate"] = m.nonzero * accum
        if layer.strategy == CODEBOOK and layer.grouped is not None:
            lut["accumulate"] += layer.grouped.summed * (inputs + layer.grouped.growth)
        lut["shift_add"] = m.adder_digits * inputs
        if m.shared:
            lut["share"] = m.demand * inputs
            ff["hold_products"] = m.nonzero * accum
        else:
            ff["pipeline"] = m.nonzero * accum * timing.registers
    elif is_serial(layer):
        own = serial_terms(layer, m)
        lut.update(own.lut)
        ff.update(own.ff)
        bram.update(own.bram)
        kept.update(own.bram)
    else:
        per_output = layer.reuse_factor / max(1, layer.n_in)
        lut["accumulate_shared"] = m.instances * accum
        lut["select_input"] = layer.n_in * inputs
        lut["outputs"] = layer.n_out * accum
        if per_output > 1:
            lut["select_output"] = layer.n_out * accum
            if vitis:  # builds the choice of outputs from other multiplexers than Vivado HLS, at other prices
                lut["index_vitis"] = 1.0
        if per_output > 2:
            lut["scatter_vitis" if vitis else "scatter"] = m.instances * layer.n_out * accum
            if not vitis:
                lut["index"] = 1.0
        elif per_output < 1 and m.instances > layer.n_out:
            lut["gather"] = m.instances * inputs
        lut["fabric_multiply"] = m.fabric * layer.weight_precision.width * inputs
        ff["accumulate_shared"] = m.instances * accum
        ff["outputs"] = layer.n_out * accum
        if not layer.alone:
            ff["returned"] = layer.n_out * accum
        if stream:
            ff["hold_inputs"] = layer.n_in * inputs
        if per_output > 2 and layer.reuse_factor >= c.scalar("rom_index_depth"):
            bram["index"] = 1
    if not m.unrolled:
        width = math.ceil(layer.products / layer.reuse_factor) * layer.weight_precision.width
        depth = layer.reuse_factor
        if layer.stored_weights is not None:
            depth = math.ceil(depth * layer.stored_weights / layer.products)
        bram["weights"] = weight_blocks(depth, width, c.scalar("rom_bits"))
        if bram["weights"]:
            kept["weights"] = weight_blocks_synthesised(depth, width, c.scalar("rom_depth_synthesis"))
    if stream and layer.kind in ("conv", "depthwise") and not is_serial(layer):
        _window(layer, lut, ff)
    elif not stream and layer.kind != "dense":
        # The whole image is an array of registers; every position selects its window from it.
        lut["select_window"] = layer.n_in * layer.positions_out * inputs
        ff["image"] = layer.positions_in * layer.channels_in * inputs
    if stream:
        lut["stream_words"] = layer.input_pack * inputs + layer.n_out * layer.result_precision.width
        if vitis:
            ff["stream_lanes"] = layer.n_out * layer.result_precision.width
    return Ingredients(lut, ff, bram, kept, m.dsp)


def _window(layer: LayerDescription, lut: dict[str, float], ff: dict[str, float]) -> None:
    """Line buffer (shift registers of LUTs, 32 bits each) and kernel window (flip-flops) of a streamed image."""
    bits = layer.channels_in * layer.input_precision.width
    lut["line_buffer"] = max(0, layer.kernel_height - 1) * math.ceil(layer.width_in / 32) * bits
    ff["window"] = layer.kernel_height * layer.kernel_width * bits
    lut["window"] = layer.kernel_height * layer.kernel_width * bits


def _elementwise(layer: LayerDescription, timing: Timing) -> Ingredients:
    """Activation, scale, copy: lanes work side by side; a stream has as many lanes as a word has elements."""
    stream = layer.io_type == "io_stream"
    lanes = layer.input_pack if stream else layer.n_in
    inputs, results = layer.input_precision.width, layer.result_precision.width
    lut: dict[str, float] = {}
    ff: dict[str, float] = {}
    bram: dict[str, float] = {}
    dsp = 0.0
    if stream:
        lut["stream_control"] = 1.0
        ff["stream_control"] = 1.0
        lut["stream_lanes"] = lanes * results
        if layer.kind not in ("linear", "pad"):  # those send what they have just read
            ff["stream_lanes"] = lanes * results
    rounding = layer.result_precision.rounds or layer.result_precision.saturates
    if layer.kind in ("relu", "leaky_relu"):
        lut["compare"] = lanes * min(inputs, results)
        if rounding:
            lut["round_saturate"] = lanes * inputs
    elif layer.kind == "linear":
        lut["round_saturate" if rounding else "wires"] = lanes * results
    elif layer.kind in TABLE_KINDS:
        lut["table_index"] = lanes * inputs
        bram["tables"] = math.ceil(lanes / 2) * weight_blocks(layer.table_size, layer.table_bits, 1024)
    elif layer.kind == "product":
        lut["scale"] = lanes * inputs
        dsp = float(lanes) if 2 * inputs >= 21 else lanes / 3
    elif layer.kind == "normalize":
        lut["scale"] = lanes * (inputs + results)
        wide = inputs + layer.weight_precision.width >= 22
        powers = layer.weights.powers_of_two if layer.weights else 0.0
        scales = max(0.0, (layer.products or lanes) - powers)
        dsp = math.ceil(min(lanes, scales) / layer.reuse_factor) if wide else 0.0
    elif layer.kind in ("merge", "concat", "clone", "transpose", "resize", "pad"):
        lut["wires" if layer.kind != "merge" else "scale"] = lanes * results
    ff["pipeline_lanes"] = lanes * results * timing.depth
    return Ingredients(lut, ff, bram, bram, dsp)


def _softmax(layer: LayerDescription, timing: Timing, c: Coefficients) -> Ingredients:
    """Exponential tables (two read ports each), one inversion table, one product per element."""
    stream = layer.io_type == "io_stream"
    lanes = layer.input_pack if stream else layer.n_in
    if layer.implementation == "argmax":
        return Ingredients(
            {"softmax_compare": lanes * layer.input_precision.width, "stream_control": 1.0}, {}, {}, {}, 0.0
        )
    table = weight_blocks(layer.table_size, layer.table_bits, 1024)
    copies = 1 if stream else math.ceil(lanes / 2)
    lut = {"softmax_lanes": lanes * layer.input_precision.width, "softmax_control": 1.0}
    if layer.implementation not in ("latency", "legacy"):
        lut["softmax_compare"] = lanes * layer.input_precision.width * max(1.0, math.log2(max(2, lanes)))
    ff = {"softmax_lanes": lanes * layer.table_bits * max(1, min(timing.depth, 12))}
    no_dsp = layer.multiplier == "fabric"
    if no_dsp:
        lut["fabric_multiply"] = lanes * layer.table_bits * layer.table_bits
    slices = 0.0 if no_dsp else float(1 if stream and layer.reuse_factor > 1 else lanes)
    tables = {"tables": float((copies + 1) * table)}
    return Ingredients(lut, ff, tables, tables, slices)


def _pool(layer: LayerDescription) -> Ingredients:
    """Window in registers, comparators or adders over it; io_parallel unrolls every window."""
    bits = layer.channels_in * layer.input_precision.width
    window = max(1, layer.kernel_height * layer.kernel_width)
    if layer.io_type != "io_stream":
        reach = layer.positions_out * window if layer.kind == "pool" else layer.positions_in
        return Ingredients({"pool_unrolled": reach * bits}, {"pool_unrolled": reach * bits}, {}, {}, 0.0)
    if layer.kind == "global_pool":
        return Ingredients({"stream_control": 1.0, "pool_window": 2.0 * bits}, {"window": 2.0 * bits}, {}, {}, 0.0)
    lut: dict[str, float] = {"pool_window": window * bits, "stream_control": 1.0}
    ff: dict[str, float] = {"stream_control": 1.0}
    _window(layer, lut, ff)
    lut.pop("window")
    ff["pool_window"] = ff.pop("window")
    return Ingredients(lut, ff, {}, {}, 0.0)


def layer_ingredients(
    layer: LayerDescription,
    multipliers: Multipliers | None,
    timing: Timing,
    coefficients: Coefficients,
    *,
    vitis: bool,
) -> Ingredients:
    """What one layer is built of."""
    if layer.kind in MATRIX_KINDS and multipliers is not None:
        return _matrix(layer, multipliers, timing, coefficients, vitis=vitis)
    if layer.kind == "softmax":
        return _softmax(layer, timing, coefficients)
    if layer.kind in ("pool", "global_pool"):
        return _pool(layer)
    if layer.kind == "none":
        return Ingredients({}, {}, {}, {}, 0.0)
    return _elementwise(layer, timing)


def connection_ingredients(design: DesignDescription, coefficients: Coefficients, *, latency: int) -> Ingredients:
    """What stands between the layers.

    Streams: one FIFO per element in Vivado HLS, one per word in Vitis HLS. Parallel arrays under DATAFLOW: a
    two-deep channel per element. Parallel arrays in one pipeline: registers, unless its `latency` (cycles) is 0.
    """
    layers = [layer for layer in design.layers if layer.kind != "none" or layer.fifos]
    if len(layers) < 2:
        return Ingredients({}, {}, {}, {}, 0.0)
    stream = design.io_type == "io_stream"
    if not stream and not any(layer.strategy in ("resource", "compressed") for layer in layers):
        bits = float(sum(layer.n_out * layer.result_precision.width for layer in layers[:-1] if not layer.inner))
        first = layers[0].n_in * layers[0].input_precision.width
        return Ingredients({}, {"layer_registers": bits + first} if latency else {}, {}, {}, 0.0)
    packed = stream and "vivado" not in design.tool.lower()
    count = shallow_bits = deep_bits = shifted = blocks = kept = 0.0
    for layer, fifo in _fifos(layers, stream):
        lanes = max(1, layer.output_pack if stream else layer.n_out)
        words = 1 if packed else lanes
        width = layer.result_precision.width * lanes // words
        count += words
        if fifo.depth <= 2:
            shallow_bits += words * width
        else:
            deep_bits += words * width
        if fifo.shift_register:
            shifted += words * width * math.ceil(fifo.depth / SHIFT_REGISTER)
            continue
        blocks += words * fifo_blocks(fifo.depth, width, coefficients.scalar("fifo_register_depth"))
        if in_block_ram(fifo.depth, width, coefficients):
            kept += words * bram18_blocks(fifo.depth, width)
    lut = {"fifo_count": count, "fifo_register_bits": shallow_bits, "fifo_bits": deep_bits, "line_buffer": shifted}
    ff = {"fifo_count": count, "fifo_register_bits": shallow_bits, "fifo_bits": deep_bits}
    return Ingredients(lut, ff, {"fifos": blocks}, {"fifos": kept}, 0.0)


def in_block_ram(depth: int, width: int, coefficients: Coefficients) -> bool:
    """Whether synthesis puts a FIFO that is not bound to anything into block RAM."""
    return depth > 2 and depth * width > coefficients.scalar("fifo_bits_synthesis")


def _fifos(layers: Sequence[LayerDescription], stream: bool) -> Iterator[tuple[LayerDescription, Fifo]]:
    """The FIFOs of a design, or the two-deep channels of parallel arrays; the last layer writes to a port."""
    for index, layer in enumerate(layers):
        if layer.fifos is not None:
            yield from ((layer, fifo) for fifo in layer.fifos)
        elif index < len(layers) - 1 and not layer.inner:
            yield layer, Fifo(_words_out(layer) if stream else 2)


def _words_out(layer: LayerDescription) -> int:
    """Stream words a layer sends per inference: what its output FIFO is made deep enough for."""
    if layer.kind in ("dense", "global_pool"):
        return 1
    return layer.positions_out if layer.kind in (*MATRIX_KINDS, "pool", "pad", "resize") else layer.positions_in
