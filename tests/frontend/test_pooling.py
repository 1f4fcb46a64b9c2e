"""Pools: padding, dilation, ceil mode, counting of pads, 1-D and 2-D, several opsets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .harness import NEWEST, Case, compare, single

X, X1 = (1, 3, 9, 8), (1, 3, 10)


def pool(op: str, x: tuple[int, ...] = X, opset: int = 13, **options: Any) -> Case:
    """One pool."""
    text = " ".join(f"{key}={value}" for key, value in options.items())
    return Case(f"{op}-{opset} {x} {text}", single(op, [x], opset=opset, **options))


BOTH = ("MaxPool", "AveragePool")

CASES = [
    *(pool(op, opset=opset, kernel_shape=[3, 2]) for op in BOTH for opset in (7, 10, 12, NEWEST)),
    *(pool(op, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]) for op in BOTH),
    *(pool(op, kernel_shape=[3, 2], strides=[2, 3], pads=[0, 1, 2, 0]) for op in BOTH),
    *(pool(op, kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1) for op in BOTH),
    *(pool(op, kernel_shape=[3, 3], strides=[3, 2], pads=[1, 0, 1, 1], ceil_mode=1) for op in BOTH),
    *(
        pool(op, kernel_shape=[3, 2], strides=[2, 3], auto_pad=mode)
        for op in BOTH
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
    ),
    *(pool(op, X1, kernel_shape=[3], strides=[2], pads=[1, 1]) for op in BOTH),
    *(pool(op, X1, kernel_shape=[4], strides=[3], ceil_mode=1) for op in BOTH),
    pool("MaxPool", kernel_shape=[2, 3], dilations=[2, 3]),
    pool("AveragePool", opset=19, kernel_shape=[2, 3], dilations=[2, 3]),
    pool("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    pool("AveragePool", opset=7, kernel_shape=[3, 3], pads=[1, 1, 0, 0], count_include_pad=1),
    *(pool(op, x) for op in ("GlobalAveragePool", "GlobalMaxPool") for x in (X, X1)),
    *(pool(op, opset=opset) for op in ("GlobalAveragePool", "GlobalMaxPool") for opset in (7, 22)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    case.check()


@settings(max_examples=80)
@given(st.data())
def test_any_pool(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from([1, 2]))
    op = data.draw(st.sampled_from(BOTH))
    spatial = data.draw(st.lists(st.integers(1, 10), min_size=rank, max_size=rank))
    kernel = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    strides = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    options: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    mode = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    pads = [0] * (2 * rank)
    if mode == "NOTSET":
        pads = [data.draw(st.integers(0, size - 1)) for size in (*kernel, *kernel)]
        options |= {"pads": pads, "ceil_mode": data.draw(st.sampled_from([0, 1]))}
    else:
        options["auto_pad"] = mode
    if op == "AveragePool":
        options["count_include_pad"] = data.draw(st.sampled_from([0, 1]))
    for axis in range(rank):
        assume(not mode.startswith("SAME") or strides[axis] <= kernel[axis])  # onnxruntime would pad negatively
        assume(mode.startswith("SAME") or spatial[axis] + pads[axis] + pads[axis + rank] >= kernel[axis])
    compare(single(op, [(1, 2, *spatial)], opset=21, **options), tolerance=2e-6, count=3)
