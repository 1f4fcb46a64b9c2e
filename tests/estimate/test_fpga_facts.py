"""Facts about hls4ml designs on real parts that the model must reproduce, each seen in public synthesis reports."""

from __future__ import annotations

import dataclasses

import pytest

from boardfit.estimate.fpga import (
    DesignDescription,
    LayerDescription,
    Precision,
    WeightStatistics,
    estimate,
    legal_reuse_factors,
    nearest_reuse_factor,
    parse_precision,
)
from boardfit.estimate.fpga.description import whole_design
from boardfit.estimate.fpga.memory import bram18_blocks
from boardfit.estimate.fpga.multipliers import share_with_digits


def dense(
    n_in: int = 64,
    n_out: int = 32,
    *,
    weight_bits: int = 16,
    input_bits: int = 16,
    strategy: str = "resource",
    reuse: int = 32,
    weights: WeightStatistics | None = None,
) -> LayerDescription:
    return LayerDescription(
        name="dense",
        kind="dense",
        n_in=n_in,
        n_out=n_out,
        products=n_in * n_out,
        weights=weights,
        weight_precision=Precision(weight_bits, 1 if weight_bits < 12 else 6),
        input_precision=Precision(input_bits, 6 if input_bits > 8 else 1),
        strategy=strategy,
        reuse_factor=reuse,
        output_pack=n_out,
        input_pack=n_in,
    )


def of(*layers: LayerDescription, part: str = "xcu250-figd2104-2L-e", clock_ns: float = 5.0) -> DesignDescription:
    return DesignDescription("test", layers, part=part, clock_ns=clock_ns)


@pytest.mark.parametrize("bits", [9, 12, 16, 18])
@pytest.mark.parametrize("reuse", [4, 32, 64])
def test_resource_takes_one_dsp_per_multiplier_from_9_to_18_bits(bits: int, reuse: int) -> None:
    answer = estimate(of(dense(weight_bits=bits, reuse=reuse)))
    assert answer.hls.dsp.value == -(-64 * 32 // reuse)


@pytest.mark.parametrize(("weight_bits", "input_bits"), [(8, 8), (4, 16), (7, 7), (2, 16)])
def test_no_dsp_at_8x8_bits_and_below_5_bit_weights(weight_bits: int, input_bits: int) -> None:
    answer = estimate(of(dense(weight_bits=weight_bits, input_bits=input_bits)))
    assert answer.hls.dsp.value == 0


@pytest.mark.parametrize(("weight_bits", "input_bits", "least", "most"), [(20, 20, 1.5, 2), (32, 32, 3, 4)])
def test_two_to_four_dsp_per_product_above_18_and_27_bits(
    weight_bits: int, input_bits: int, least: float, most: float
) -> None:
    multipliers = 64 * 32 / 32
    dsp = estimate(of(dense(weight_bits=weight_bits, input_bits=input_bits))).hls.dsp.value
    assert least * multipliers <= dsp <= most * multipliers


def test_latency_spends_no_dsp_on_zeros_and_powers_of_two() -> None:
    only_simple = WeightStatistics(count=2048, nonzero=1024, csd_digits=1024, powers_of_two=1024)
    answer = estimate(of(dense(strategy="latency", reuse=1, weights=only_simple)))
    assert answer.hls.dsp.value == 0


def test_latency_and_resource_agree_at_reuse_one() -> None:
    assert estimate(of(dense(strategy="latency", reuse=1))).hls.dsp == estimate(of(dense(reuse=1))).hls.dsp


def test_dense_32x32_of_8_bits_uses_about_a_quarter_of_its_products_as_dsp() -> None:
    # A published sweep reports 263 DSPs for 1024 products.
    dsp = estimate(of(dense(32, 32, weight_bits=8, strategy="latency", reuse=1))).hls.dsp.value
    assert 200 <= dsp <= 330


def test_luts_follow_the_signed_digits_of_the_weights() -> None:
    few = WeightStatistics(2048, 1500, 2000, 1000)
    many = WeightStatistics(2048, 1500, 4000, 100)
    narrow = {"weight_bits": 6, "input_bits": 8, "strategy": "latency", "reuse": 1}
    low = estimate(of(dense(weights=few, **narrow)))  # type: ignore[arg-type]
    high = estimate(of(dense(weights=many, **narrow)))  # type: ignore[arg-type]
    assert low.hls.dsp.value == high.hls.dsp.value == 0
    assert high.synthesis.lut.value > 1.2 * low.synthesis.lut.value


def test_synthesis_keeps_dsps_and_about_half_of_the_luts() -> None:
    answer = estimate(of(dense(strategy="latency", reuse=1)))
    assert answer.synthesis.dsp.value == answer.hls.dsp.value
    assert 0.3 < answer.synthesis.lut.value / answer.hls.lut.value < 0.75


def test_a_part_without_enough_dsps_turns_multipliers_into_luts() -> None:
    # Seen on an xc7z020: 664 DSPs asked for, 220 placed, 29.3k LUTs reported by HLS became 47.7k.
    roomy = estimate(of(dense(strategy="latency", reuse=1)))
    full = estimate(of(dense(strategy="latency", reuse=1), part="xc7z020clg400-1", clock_ns=10))
    assert full.synthesis.dsp.value == 220
    assert full.hls.dsp.value > 220
    assert full.synthesis.lut.value > 2 * roomy.synthesis.lut.value
    assert any("220" in note for note in full.notes)


def test_shallow_weight_memories_are_luts_after_synthesis() -> None:
    answer = estimate(of(dense(reuse=4)))
    assert answer.hls.bram18.value > 100
    assert answer.synthesis.bram18.value == 0


def test_weight_memory_geometry() -> None:
    assert bram18_blocks(512, 36) == 1
    assert bram18_blocks(1024, 36) == 2
    assert bram18_blocks(600, 36) == 2
    assert bram18_blocks(0, 16) == 0
    assert bram18_blocks(3844, 16) == 4


@pytest.mark.parametrize(("reuse", "latency", "interval"), [(32, 34, 32), (64, 66, 64)])
def test_resource_latency_is_the_reuse_factor_and_two(reuse: int, latency: int, interval: int) -> None:
    answer = estimate(of(dense(reuse=reuse)))
    assert (answer.latency.value, answer.interval.value) == (latency, interval)


def test_share_of_constants_that_need_a_multiplier() -> None:
    # Mean digits -> DSPs per non-zero weight in reports of 8-bit and 16-bit layers.
    for mean, seen in [(1.35, 0.01), (2.0, 0.23), (2.46, 0.5), (2.7, 0.62), (3.2, 0.79)]:
        assert share_with_digits(mean, 3) == pytest.approx(seen, abs=0.06)


def test_legal_reuse_factors_of_hls4ml() -> None:
    assert 1 in legal_reuse_factors(16, 64)
    assert 3 not in legal_reuse_factors(16, 64)
    assert nearest_reuse_factor(104, 48, 3070) == 2496
    assert nearest_reuse_factor(104, 104, 3070) == 2704
    assert nearest_reuse_factor(104, 48, 10**6) == 104 * 48


def test_precision_text() -> None:
    assert parse_precision("nnet::array<ap_ufixed<6,0,AP_RND_CONV,AP_SAT>,64*1>") == Precision(
        6, 0, signed=False, rounds=True, saturates=True
    )
    assert parse_precision("ap_int<6>") == Precision(6, 6)
    assert parse_precision("float") is None


def streamed_convolution(height: int, channels: int, filters: int, reuse: int) -> LayerDescription:
    return LayerDescription(
        name="conv",
        kind="conv",
        n_in=9 * channels,
        n_out=filters,
        products=9 * channels * filters,
        height_in=height,
        width_in=height,
        channels_in=channels,
        height_out=height - 2,
        width_out=height - 2,
        kernel_height=3,
        kernel_width=3,
        strategy="resource",
        reuse_factor=reuse,
        io_type="io_stream",
        input_pack=channels,
        output_pack=filters,
    )


@pytest.mark.parametrize(
    ("part", "clock_ns", "tool", "reuse", "interval"),
    [
        ("xc7z020-clg400-1", 5.0, "vivado_hls 2019.2", 108, 64 * 64 * 119 + 2),
        ("xczu5ev-sfvc784-2LV-e", 5.0, "vivado_hls 2019.2", 108, 64 * 64 * 113 + 2),
        ("xc7z020-clg400-1", 10.0, "vivado_hls 2020.1", 36, 64 * 64 * 45 + 1),
        ("xcu50-fsvh2104-2-e", 10.0, "vivado_hls 2020.1", 36, 64 * 64 * 43 + 1),
    ],
)
def test_cycles_per_pixel_follow_part_clock_and_tool(
    part: str, clock_ns: float, tool: str, reuse: int, interval: int
) -> None:
    layer = streamed_convolution(64, 3 if reuse == 108 else 1, 4, reuse)
    design = DesignDescription("test", (layer,), part=part, clock_ns=clock_ns, io_type="io_stream", tool=tool)
    assert estimate(design).interval.value == interval


def test_parallel_convolution_restarts_at_once_in_vivado_only() -> None:
    layer = dataclasses.replace(streamed_convolution(28, 3, 32, 1), io_type="io_parallel")
    found = {
        tool: estimate(dataclasses.replace(of(layer), tool=tool)).interval.value
        for tool in ("vivado_hls 2020.1", "vitis_hls 2023.2")
    }
    assert found["vivado_hls 2020.1"] == 26 * 26 < found["vitis_hls 2023.2"]


def test_a_layer_alone_holds_its_results_once_and_one_of_a_design_hands_them_on() -> None:
    """A layer that is a function of a dataflow region keeps what it returns in registers of its own."""
    layer = dense(reuse=512)
    alone, among = estimate(of(*whole_design([layer]))), estimate(of(layer))
    bits = layer.n_out * layer.accum_precision.width
    assert alone.hls.ff.value < 1.5 * bits
    assert 2.5 * bits < among.hls.ff.value < 4 * bits
    assert whole_design([layer, layer]) == (layer, layer)
