"""Rows of strange tables: predicted with plausible figures, or skipped with a reason; never an exception."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.estimate.fpga import predict_rows, predict_table
from boardfit.estimate.fpga.table import rows_as_json

LAYERS: list[dict[str, object]] = [
    {
        "layer": "conv",
        "kind": "conv_2d_cl",
        "in_height": 10,
        "in_width": 10,
        "n_chan": 3,
        "filt_height": 3,
        "filt_width": 3,
        "n_filt": 4,
        "stride_width": 1,
        "out_height": 8,
        "out_width": 8,
        "reuse_factor": 9,
        "strategy": "resource",
        "io_type": "io_stream",
        "input_precision": "nnet::array<ap_fixed<16,6>,3*1>",
        "weight_precision": "ap_fixed<8,3>",
        "accum_precision": "ap_fixed<16,6>",
        "result_precision": "nnet::array<ap_fixed<16,6>,4*1>",
        "w_count": 108,
        "w_nonzero_q": 90,
        "w_csd_q": 200,
        "w_pow2_q": 20,
        "n_zeros": 18,
    },
    {"layer": "relu", "kind": "relu", "n_in": 256, "io_type": "io_stream"},
    {"layer": "pool", "kind": "pooling2d_cl", "in_height": 8, "in_width": 8, "n_filt": 4, "pool_width": 2},
    {"layer": "fc", "kind": "dense", "n_in": 64, "n_out": 10, "reuse_factor": 4, "weight_precision": "ap_fixed<16,6>"},
    {"layer": "softmax", "kind": "softmax", "n_in": 10, "table_size": 1024, "table_precision": "ap_fixed<18,8>"},
]
FIELDS = sorted({name for layer in LAYERS for name in layer} | {"n_partitions", "impl", "weight_bits", "out_width"})
COLUMNS = ("part", "clock_target_ns", "io_type", "strategy", "tool", "stage", "mul_impl", "dsp", "latency_max")
TEXTS = (
    *("", "nan", "inf", "-1", "0", "1e400", "999999999999", "5 ns", "none", "\x00", "9" * 400),
    *("ap_fixed<0,0>", "ap_fixed<-3,5>", "ap_fixed<99999,1>", "ap_int<1>", "float", "nnet::array<ap_fixed<16,6>,0*1>"),
    *("io_serial", "IO_STREAM", "Latency", "Resource", "unrolled", "distributed_arithmetic", "compressed", "mixed"),
    *("xc7z020", "xczz999-1", "EP4CE115", "csynth", "cosim"),
)
VALUES = st.one_of(
    st.sampled_from(TEXTS), st.none(), st.booleans(), st.integers(-5, 2**40), st.floats(), st.just([]), st.just({})
)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, str | None]:
    layers = [dict(layer) for layer in LAYERS if draw(st.booleans())]
    for layer in layers:
        for name in draw(st.lists(st.sampled_from(FIELDS), max_size=2, unique=True)):
            if draw(st.booleans()):
                layer.pop(name, None)
            else:
                layer[name] = draw(VALUES)
    row: dict[str, str | None] = {
        "repo": "someone/design",
        "design_id": "abc",
        "stage": draw(st.sampled_from(["csynth", "vsynth", "impl"])),
        "part": "xc7z020-clg400-1",
        "clock_target_ns": "10",
        "io_type": "io_stream",
        "strategy": "resource",
        "layers_json": json.dumps(layers),
    }
    for name in draw(st.lists(st.sampled_from(COLUMNS), max_size=2, unique=True)):
        row[name] = draw(st.one_of(st.none(), st.sampled_from(TEXTS)))
    if draw(st.integers(0, 9)) == 0:
        row["layers_json"] = draw(st.sampled_from(["[", "{}", "null", "3", "[1]", "[null]", '["dense"]', '"dense"']))
    return row


@given(st.lists(rows(), min_size=1, max_size=3))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_every_row_is_predicted_or_skipped_with_a_reason(table: list[dict[str, str | None]]) -> None:
    result = predict_rows(table)
    assert result.designs + sum(result.skipped.values()) == len(table)
    assert all(result.skipped)
    for row in result.rows:
        assert 0 <= row.low <= row.predicted <= row.high < math.inf
    parsed = json.loads(rows_as_json(result), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert len(parsed) == len(result.rows)


def _table(**changes: object) -> list[dict[str, str]]:
    layer = {**LAYERS[3], "strategy": "latency", **changes}
    row = {"part": "", "clock_target_ns": "", "io_type": "", "strategy": "", "layers_json": json.dumps([layer])}
    return [row]


@pytest.mark.parametrize("name", ["Latency", "resource", "unrolled", "Resource_Unrolled", "DA", "compressed", "mixed"])
def test_strategies_in_every_spelling_are_predicted(name: str) -> None:
    assert predict_rows(_table(strategy=name)).designs == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"strategy": "quantum"}, "no model for the strategy of a layer"),
        ({"n_in": 10**9, "n_out": 10**6}, "sizes beyond any design"),
        ({"n_in": -4}, "sizes not stated"),
        ({"reuse_factor": 0}, "reuse factor not stated"),
        ({"weight_precision": "ap_fixed<0,0>"}, "weight precision not stated"),
    ],
)
def test_what_cannot_be_is_skipped(changes: dict[str, object], reason: str) -> None:
    assert predict_rows(_table(**changes)).skipped == {reason: 1}


def test_a_table_with_byte_order_mark_and_short_lines(tmp_path: Path) -> None:
    table = tmp_path / "designs.csv"
    layers = json.dumps([LAYERS[3]]).replace('"', '""')
    lines = ["layers_json,part,clock_target_ns,io_type,strategy,dsp", f'"{layers}",xc7z020clg400-1,10', '"[]"', ""]
    table.write_text("\n".join(lines), encoding="utf-8-sig")
    result = predict_table(table)
    assert (result.designs, result.skipped) == (1, {"no dense or convolution layer listed": 1})


def test_what_a_table_says_of_results_must_be_numbers() -> None:
    row = _table()[0] | {"dsp": "nan", "lut": "about 300", "ff": "inf", "bram18": "2"}
    actual = {entry.resource: entry.actual for entry in predict_rows([row]).rows}
    assert (actual["dsp"], actual["lut"], actual["ff"], actual["bram18"]) == (None, None, None, 2.0)
