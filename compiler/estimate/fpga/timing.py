"""Latency and initiation interval of each layer, from how the hls4ml 1.3.0 templates are scheduled.

Every rule below is read off the loops and pragmas of nnet_utils (PIPELINE II = reuse_factor, one loop per pixel,
one read per stream word); only the delays in ns per adder and multiplier, and the loop tails, are fitted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from . import adder_graph
from .coefficients import Coefficients
from .description import MATRIX_KINDS, TABLE_KINDS, DesignDescription, LayerDescription
from .device import Device
from .multipliers import CODEBOOK, Multipliers, expected_weights
from .serial import is_serial, serial_cycles


@dataclass(frozen=True, slots=True)
class Timing:
    """Cycles from first input to last output, cycles between inputs, pipeline depth of one evaluation.

    `rewind`: the layer is one pipelined loop that restarts without a gap (Resource), so its interval holds under
    DATAFLOW; other functions take one cycle more there. `registers`: values in flip-flops per product (tree_depth).
    """

    latency: int
    interval: int
    depth: int
    rewind: bool = False
    registers: float = 0.0


@dataclass(frozen=True, slots=True)
class Clock:
    """Usable nanoseconds per cycle and the logic delays of the device family in ns.

    `late`: Vivado HLS 2020.1, whose loop over pixels begins three cycles later and ends one earlier than 2019.2's.
    """

    usable_ns: float
    add_ns: float
    multiply_ns: float
    table_ns: float
    chain_products: float
    vitis: bool
    slow: bool = False
    late: bool = False


def make_clock(design: DesignDescription, device: Device, coefficients: Coefficients) -> Clock:
    """Clock period less the tool's uncertainty (12.5 % in Vivado HLS, 27 % in Vitis HLS) and the family's delays."""
    vitis = "vivado" not in design.tool.lower()  # Vitis HLS is the default of today's hls4ml
    uncertainty = coefficients.scalar("uncertainty_vitis" if vitis else "uncertainty_vivado")
    grade = coefficients.scalar("slow_grade") if device.slow else 1.0
    return Clock(
        usable_ns=max(0.5, design.clock_ns * (1 - uncertainty)),
        add_ns=grade * coefficients.scalar(f"add_ns_{device.family}"),
        multiply_ns=grade * coefficients.scalar(f"multiply_ns_{device.family}"),
        table_ns=grade * coefficients.scalar(f"table_ns_{device.family}"),
        chain_products=coefficients.scalar("chain_products"),
        vitis=vitis,
        slow=device.slow,
        late=not vitis and "2020." in design.tool,
    )


def tree_depth(layer: LayerDescription, multipliers: Multipliers, clock: Clock) -> tuple[int, float]:
    """(cycles, registers) of multiply and adder tree; registers as a multiple of one register per product.

    The tools schedule as early as possible: a cut after every usable period. A cut behind k levels of the tree holds
    2**-k values per product; a cut at the products costs nothing where they leave a DSP slice, which has that register.
    """
    if layer.strategy == adder_graph.STRATEGY:
        size = adder_graph.size_of(layer, layer.weights or expected_weights(layer))
        return int(size.depth * clock.add_ns / clock.usable_ns), 0.0
    inputs = max(1.0, multipliers.nonzero / max(1, layer.n_out))
    levels = math.ceil(math.log2(inputs)) if inputs > 1 else 0
    if not multipliers.unrolled:
        levels = max(1, math.ceil(math.log2(max(1.0, multipliers.instances / max(1, layer.n_out)))))
    extra = multipliers.adder_digits / max(1.0, multipliers.nonzero)
    front = clock.multiply_ns if multipliers.dsp else min(1.0, extra) * clock.add_ns
    grouped = layer.grouped if layer.strategy == CODEBOOK else None
    before = grouped.growth * clock.add_ns if grouped else 0.0  # sums of inputs that are multiplied then
    delay = before + front + levels * clock.add_ns
    depth = int(delay / clock.usable_ns)
    if multipliers.unrolled and multipliers.nonzero > clock.chain_products:
        # The tool gives up balancing so large an expression: a chain, two additions in a cycle, one value each.
        depth = max(depth, int(inputs / 2))
        return depth, 1.5
    in_slices = min(1.0, multipliers.dsp / max(1.0, multipliers.nonzero))
    registers = 0.0
    for cut in range(1, depth + 1):
        if grouped and cut * clock.usable_ns < before:
            share = grouped.summed / max(1.0, multipliers.nonzero)
            registers += max(1.0, share * 2.0 ** -(cut * clock.usable_ns / clock.add_ns))
            continue
        level = (cut * clock.usable_ns - before - front) / clock.add_ns
        registers += 2.0**-level if level > 0 else 1 - in_slices
    return depth, registers


def _evaluation(layer: LayerDescription, multipliers: Multipliers, depth: int, clock: Clock) -> tuple[int, int]:
    """(latency, interval) of one matrix product whose inputs are all present."""
    reuse = layer.reuse_factor
    if not multipliers.unrolled:
        return reuse + 2, reuse
    if not multipliers.shared:
        latency = depth + (1 if reuse > 2 else 0)
        return latency, max(1, min(reuse, latency + 1))
    rounds = math.ceil(multipliers.demand / multipliers.instances)
    latency = rounds - 1 + min(3, depth // 2)
    if multipliers.nonzero > clock.chain_products:
        latency = max(latency, depth)  # the chain of additions is longer than the rounds of the multipliers
    return latency, max(1, min(reuse, latency + 1))


def _pixel_overhead(clock: Clock) -> int:
    """Cycles per pixel of a streamed Resource convolution besides the reuse loop.

    Window and line buffer are read and shifted before; weight memory, product and two additions follow the last step.
    """
    before = 7 if clock.slow else 6 if clock.late else 3
    return before + math.ceil(2.25 * (clock.multiply_ns + clock.add_ns) / clock.usable_ns)


def _matrix_timing(layer: LayerDescription, multipliers: Multipliers, clock: Clock, device: Device) -> Timing:
    depth, registers = tree_depth(layer, multipliers, clock)
    latency, interval = _evaluation(layer, multipliers, depth, clock)
    seven = 2 if device.family == "7series" else 0
    if layer.kind == "dense":
        if layer.io_type != "io_stream":
            return Timing(latency, interval, depth, rewind=not multipliers.unrolled, registers=registers)
        reads = math.ceil(layer.n_in / max(1, layer.input_pack))
        total = (reads if reads > 1 else 0) + latency + 1 + (2 if reads > 1 else 0)
        if not multipliers.unrolled:
            total += seven
        # Vivado HLS pipelines a process whose only loop is gone; Vitis HLS starts it anew for every word.
        pipelined = reads == 1 and layer.reuse_factor == 1 and not clock.vitis
        return Timing(total, 1 if pipelined else total + 1, depth, rewind=True, registers=registers)
    if layer.io_type != "io_stream":
        # One loop over partitions of the output positions, pipelined with the reuse factor as interval.
        steps = layer.partitions if layer.partitions and layer.partitions > 1 else layer.positions_out
        per_step = layer.reuse_factor if multipliers.unrolled else layer.reuse_factor + 5 + depth
        total = steps * per_step + depth + 2
        # Vivado HLS rewinds the loop, Vitis HLS starts it anew.
        return Timing(total, total if clock.vitis else steps * per_step, depth, not clock.vitis, registers)
    positions = layer.positions_in
    if is_serial(layer):
        total = serial_cycles(layer, _pixel_overhead(clock))
    elif not multipliers.unrolled:
        total = positions * (layer.reuse_factor + _pixel_overhead(clock)) + (0 if clock.late else 1)
    elif layer.reuse_factor == 1 or not multipliers.shared:
        total = positions * max(1, interval) + 3 + depth * 3 // 2
    else:
        rounds = math.ceil(multipliers.demand / multipliers.instances)
        total = positions * min(layer.reuse_factor, rounds + 1 + depth) + 2
    return Timing(total, total, depth, registers=registers)


def _softmax_timing(layer: LayerDescription, clock: Clock) -> Timing:
    """Two table look-ups, adder tree, product; the stable form has a maximum tree in front."""
    stream = layer.io_type == "io_stream"
    lanes = layer.input_pack if stream else layer.n_in
    levels = math.ceil(math.log2(max(2, lanes)))
    stable = layer.implementation not in ("latency", "legacy")
    delay = (2 if stable else 1) * levels * clock.add_ns + 2 * clock.multiply_ns + 2 * clock.table_ns
    depth = max(1, int(delay / clock.usable_ns) + (1 if stable else -1))
    beats = max(1, layer.positions_in)
    if stream:
        total = beats * (depth + 2 + (min(layer.reuse_factor, lanes) if layer.reuse_factor > 1 else 0))
        return Timing(total, total, depth)
    return Timing(depth, 1, depth)


def _scale_timing(layer: LayerDescription, clock: Clock) -> Timing:
    """Batch normalization: every multiplier serves as many channels as the reuse factor lets it."""
    stream = layer.io_type == "io_stream"
    lanes = layer.input_pack if stream else layer.n_in
    rounds = math.ceil(lanes / math.ceil(lanes / layer.reuse_factor))
    depth = int((clock.multiply_ns + clock.add_ns) / clock.usable_ns)
    beats = max(1, layer.positions_in) if stream else 1
    if beats == 1:
        return Timing(rounds - 1 + depth, rounds, depth)
    total = beats * rounds + depth + 2
    return Timing(total, total, depth)


def layer_timing(layer: LayerDescription, multipliers: Multipliers | None, clock: Clock, device: Device) -> Timing:
    """Timing of one layer; `multipliers` for dense and convolution layers."""
    if layer.kind in MATRIX_KINDS and multipliers is not None:
        return _matrix_timing(layer, multipliers, clock, device)
    if layer.kind == "softmax":
        return _softmax_timing(layer, clock)
    if layer.kind == "normalize":
        return _scale_timing(layer, clock)
    if layer.kind == "none":
        return Timing(0, 1, 0)
    busy = int(1.2 * clock.add_ns / clock.usable_ns)
    if layer.kind in TABLE_KINDS:
        busy = 1 + int(clock.table_ns / clock.usable_ns) + (1 if clock.vitis else 0)
        busy += 1 if clock.vitis and layer.io_type == "io_stream" else 0
    elif layer.kind in ("leaky_relu", "product"):
        busy = int((clock.multiply_ns + clock.add_ns) / clock.usable_ns)
    if layer.io_type != "io_stream":
        if layer.kind in ("pool", "global_pool"):
            window = max(1, layer.kernel_height * layer.kernel_width)
            if layer.kind == "global_pool":
                window = layer.positions_in
            busy = int(math.ceil(math.log2(window + 1)) * clock.add_ns / clock.usable_ns)
        return Timing(busy, 1, busy)
    beats = layer.positions_out if layer.kind in ("pad", "resize") else layer.positions_in
    if beats == 1:
        return Timing(busy, busy + 1 if clock.vitis and busy else 1, busy, rewind=True)
    tail = {"pool": 4, "global_pool": 4, "pad": 3, "linear": 2}.get(layer.kind, 3)
    if layer.kind == "pool" and 1.6 * clock.add_ns > clock.usable_ns:
        beats *= 2  # comparing and updating the window does not fit into one cycle
    total = beats + tail + (0 if layer.kind in ("pool", "pad", "global_pool") else busy)
    return Timing(total, total, busy)


def design_timing(design: DesignDescription, timings: tuple[Timing, ...]) -> tuple[int, int]:
    """(latency, interval) of the whole project.

    io_stream and any Resource layer make hls4ml choose DATAFLOW: layers run as processes, the slowest sets the
    interval (one cycle more where it does not rewind). Otherwise the top function is one pipeline.
    """
    active = [(layer, t) for layer, t in zip(design.layers, timings, strict=True) if layer.kind != "none"]
    if not active:
        return 0, 1
    if design.io_type == "io_stream":
        slowest = max(t.latency for _, t in active)
        fill = sum(max(1, t.latency) / layer.positions_in for layer, t in active) - slowest / max(
            layer.positions_in for layer, t in active if t.latency == slowest
        )
        latency = slowest + int(max(0.0, fill))
        return latency, max(t.interval + (0 if t.rewind or t.interval == 1 else 1) for _, t in active)
    dataflow = any(layer.strategy in ("resource", "compressed") for layer, _ in active)
    total = sum(t.latency for _, t in active)
    if dataflow:
        overhead = max(0, len(active) - 1)
        interval = max(t.interval if t.rewind or t.latency == 0 else t.latency + 1 for _, t in active)
        return total + overhead, max(1, interval)
    return total + int(0.75 * (len(active) - 1)), max(t.interval for _, t in active)
