"""More work or more bits never cost less; reuse trades DSPs for cycles; figures are sane everywhere."""

from __future__ import annotations

import dataclasses
import math
import time

from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.estimate.fpga import (
    DesignDescription,
    FpgaEstimate,
    LayerDescription,
    Precision,
    estimate,
    legal_reuse_factors,
)

SIZES = st.integers(1, 96)
PARTS = st.sampled_from(["xcu250-figd2104-2L-e", "xc7z020clg400-1", "xcku035-fbva676-2-e", "no-such-part"])


def layer(n_in: int, n_out: int, bits: int, reuse: int, strategy: str, io_type: str) -> LayerDescription:
    return LayerDescription(
        name="dense",
        kind="dense",
        n_in=n_in,
        n_out=n_out,
        products=n_in * n_out,
        weight_precision=Precision(bits, 1),
        strategy=strategy,
        reuse_factor=reuse,
        io_type=io_type,
        input_pack=n_in,
        output_pack=n_out,
    )


def run(described: LayerDescription, part: str = "xcu250-figd2104-2L-e") -> FpgaEstimate:
    return estimate(DesignDescription("t", (described,), part=part, io_type=described.io_type))


@given(SIZES, SIZES, st.integers(2, 32), st.sampled_from(["latency", "resource"]), PARTS, st.data())
@settings(max_examples=150)
def test_figures_are_finite_and_inside_their_interval(
    n_in: int, n_out: int, bits: int, strategy: str, part: str, data: st.DataObject
) -> None:
    reuse = data.draw(st.sampled_from(legal_reuse_factors(n_in, n_out)))
    io_type = data.draw(st.sampled_from(["io_parallel", "io_stream"]))
    answer = run(layer(n_in, n_out, bits, reuse, strategy, io_type), part)
    for stage in (answer.hls, answer.synthesis):
        for figure in (stage.lut, stage.ff, stage.bram18, stage.dsp, answer.latency, answer.interval):
            assert math.isfinite(figure.value)
            assert 0 <= figure.low <= figure.value <= figure.high


@given(SIZES, SIZES, st.integers(2, 24), st.sampled_from(["latency", "resource"]))
@settings(max_examples=100)
def test_more_outputs_never_cost_less(n_in: int, n_out: int, bits: int, strategy: str) -> None:
    small = run(layer(n_in, n_out, bits, 1, strategy, "io_parallel"))
    large = run(layer(n_in, 2 * n_out, bits, 1, strategy, "io_parallel"))
    for resource in ("lut", "ff", "bram18", "dsp"):
        assert getattr(large.synthesis, resource).value >= getattr(small.synthesis, resource).value


@given(SIZES, SIZES, st.integers(5, 18), st.data())
@settings(max_examples=100)
def test_reuse_saves_dsps_and_costs_cycles(n_in: int, n_out: int, bits: int, data: st.DataObject) -> None:
    factors = legal_reuse_factors(n_in, n_out)
    low, high = sorted(data.draw(st.tuples(st.sampled_from(factors), st.sampled_from(factors))))
    if low == 1:
        return  # unrolled constants: another circuit, see the facts
    fast = run(layer(n_in, n_out, bits, low, "resource", "io_parallel"))
    slow = run(layer(n_in, n_out, bits, high, "resource", "io_parallel"))
    assert slow.hls.dsp.value <= fast.hls.dsp.value
    assert slow.latency.value >= fast.latency.value
    assert slow.interval.value >= fast.interval.value


@given(SIZES, SIZES, st.integers(2, 31))
@settings(max_examples=100)
def test_one_more_weight_bit_never_saves_dsps_or_memory(n_in: int, n_out: int, bits: int) -> None:
    reuse = legal_reuse_factors(n_in, n_out)[-1]
    narrow = run(layer(n_in, n_out, bits, reuse, "resource", "io_parallel"))
    wide = run(layer(n_in, n_out, bits + 1, reuse, "resource", "io_parallel"))
    assert wide.hls.dsp.value >= narrow.hls.dsp.value
    assert wide.hls.bram18.value >= narrow.hls.bram18.value


def test_a_slower_clock_never_takes_more_cycles() -> None:
    described = layer(64, 32, 16, 1, "latency", "io_parallel")
    cycles = [
        estimate(DesignDescription("t", (described,), part="xc7z020clg400-1", clock_ns=clock)).latency.value
        for clock in (2.5, 3.33, 5, 10, 25)
    ]
    assert cycles == sorted(cycles, reverse=True)


def test_a_deep_network_is_estimated_in_well_under_two_seconds() -> None:
    described = layer(96, 96, 16, 96, "resource", "io_stream")
    layers = tuple(dataclasses.replace(described, name=f"dense_{index}") for index in range(200))
    start = time.perf_counter()
    estimate(DesignDescription("deep", layers, part="xc7z020clg400-1", io_type="io_stream"))
    assert time.perf_counter() - start < 1.0
