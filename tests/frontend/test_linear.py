"""Convolutions, matrix products and batch normalization."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from .harness import NEWEST, Case, compare, single

RNG = np.random.default_rng(11)
TOLERANCE = 5e-6


def weights(*shape: int) -> np.ndarray:
    """Random parameters of a size that keeps activations near 1."""
    fan_in = max(int(np.prod(shape[1:])), 1)
    return (RNG.normal(0.0, 1.0, shape) / np.sqrt(fan_in)).astype(np.float32)


def conv(x: tuple[int, ...], w: tuple[int, ...], *, bias: bool = True, op: str = "Conv", **options: Any) -> Case:
    """Conv or ConvTranspose with constant weights."""
    opset = options.pop("opset", 13)
    out = w[0] if op == "Conv" else w[1] * options.get("group", 1)
    constants = [weights(*w), weights(out) if bias else None]
    text = " ".join(f"{key}={value}" for key, value in options.items())
    model = single(op, [x], constants=constants, opset=opset, **options)
    return Case(f"{op}-{opset} {x} {w} {text}", model, TOLERANCE)


def transposed(x: tuple[int, ...], w: tuple[int, ...], **options: Any) -> Case:
    """ConvTranspose; weights (in, out / groups, ...)."""
    return conv(x, w, op="ConvTranspose", **options)


X, X1 = (1, 4, 9, 7), (1, 4, 11)

CONVOLUTIONS = [
    *(conv(X, (6, 4, 3, 3), opset=opset) for opset in (7, 11, NEWEST)),
    conv(X, (6, 4, 3, 3), bias=False),
    conv(X, (6, 4, 3, 2), pads=[1, 0, 2, 1], strides=[2, 3], kernel_shape=[3, 2]),
    conv(X, (6, 2, 3, 3), group=2, dilations=[2, 1], pads=[2, 1, 2, 1]),
    conv(X, (4, 1, 3, 3), group=4, pads=[1, 1, 1, 1]),
    conv(X, (8, 1, 3, 3), group=4, strides=[2, 2]),
    *(
        conv(X, (5, 4, *kernel), auto_pad=mode, strides=strides)
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET")
        for kernel in ((3, 3), (2, 4))
        for strides in ([1, 1], [2, 3])
    ),
    conv(X1, (6, 4, 3)),
    conv(X1, (8, 1, 5), group=4, pads=[2, 1], strides=[2]),
    *(conv(X1, (6, 4, 4), auto_pad=mode, strides=[3]) for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")),
    conv(X1, (6, 2, 3), group=2, dilations=[3]),
]

TRANSPOSED = [
    *(transposed((1, 4, 5, 4), (4, 3, 3, 3), opset=opset) for opset in (7, 11, NEWEST)),
    transposed((1, 4, 5, 4), (4, 3, 3, 2), strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 2]),
    transposed((1, 4, 5, 4), (4, 3, 3, 3), group=2, dilations=[2, 1], strides=[2, 2]),
    transposed((1, 4, 5, 4), (4, 1, 2, 2), group=4, strides=[2, 2]),
    *(
        transposed((1, 4, 5, 4), (4, 3, *kernel), auto_pad=mode, strides=[2, 3])
        for mode in ("SAME_UPPER", "SAME_LOWER", "VALID")
        for kernel in ((3, 3), (4, 5))
    ),
    *(
        transposed((1, 4, 5, 4), (4, 3, 4, 3), auto_pad=mode, strides=[2, 2], output_shape=[10, 7])
        for mode in ("SAME_UPPER", "SAME_LOWER", "NOTSET")
    ),
    transposed((1, 4, 5, 4), (4, 3, 3, 3), strides=[3, 2], output_shape=[14, 8]),
    transposed((1, 4, 6), (4, 3, 3), strides=[2], pads=[1, 0], output_padding=[1]),
    *(transposed((1, 4, 6), (4, 3, 4), strides=[3], auto_pad=mode) for mode in ("SAME_UPPER", "SAME_LOWER")),
]


def gemm(
    name: str, bias: tuple[int, ...] | None = (5,), *, flip: bool = False, opset: int = 13, **options: Any
) -> Case:
    """Gemm with constant B and C."""
    opset = options.pop("opset", 13)
    shape = (5, 6) if options.get("transB") else (6, 5)
    constants = [weights(*shape), None if bias is None else weights(*bias)]
    model = single("Gemm", [(6, 1) if flip else (1, 6)], constants=constants, opset=opset, **options)
    return Case(f"Gemm-{opset} {name}", model, TOLERANCE)


PRODUCTS = [
    *(gemm(f"{opset}", opset=opset) for opset in (7, 9, NEWEST)),
    gemm("transposed B", transB=1),
    gemm("transposed A", transA=1, flip=True),
    gemm("alpha beta", alpha=0.5, beta=2.0),
    gemm("no C", None, opset=11),
    gemm("C of one row", (1, 5)),
    gemm("C one number", (1,)),
    gemm("C scalar", ()),
    Case("Gemm rows", single("Gemm", [(3, 6)], constants=[weights(6, 5), weights(3, 5)]), TOLERANCE),
    Case("Gemm column C", single("Gemm", [(3, 6)], constants=[weights(6, 5), weights(3, 1)]), TOLERANCE),
    *(Case(f"MatMul-{o}", single("MatMul", [(1, 6)], constants=[weights(6, 5)], opset=o), TOLERANCE) for o in (7, 13)),
    Case("MatMul 3-D by matrix", single("MatMul", [(1, 4, 6)], constants=[weights(6, 5)]), TOLERANCE),
    Case("MatMul two activations", single("MatMul", [(1, 3, 4), (1, 4, 5)]), TOLERANCE),
    Case("MatMul broadcast", single("MatMul", [(1, 2, 3, 4), (4, 5)]), TOLERANCE),
]


def normalization(shape: tuple[int, ...], opset: int = 13, **options: Any) -> Case:
    """BatchNormalization with random statistics."""
    channels = shape[1]
    variance = np.abs(weights(channels)) + 0.2
    constants = [weights(channels), weights(channels), weights(channels), variance.astype(np.float32)]
    model = single("BatchNormalization", [shape], constants=constants, opset=opset, **options)
    return Case(f"BatchNormalization-{opset} {shape} {options}", model, TOLERANCE)


NORMALIZATIONS = [
    *(normalization(X, opset) for opset in (7, 9, 15)),
    *(normalization(shape) for shape in (X1, (1, 6))),
    normalization(X, epsilon=0.1),
]

CASES = [*CONVOLUTIONS, *TRANSPOSED, *PRODUCTS, *NORMALIZATIONS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    case.check()


@settings(max_examples=60)
@given(st.data())
def test_any_convolution(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from([1, 2]))
    spatial = data.draw(st.lists(st.integers(1, 9), min_size=rank, max_size=rank))
    kernel = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    strides = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    dilations = data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    groups, per_group, out = data.draw(st.sampled_from([(1, 3, 2), (2, 2, 3), (3, 1, 1), (4, 1, 2)]))
    options: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": groups}
    mode = data.draw(st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    pads = [0] * (2 * rank)
    if mode == "NOTSET":
        pads = options["pads"] = data.draw(st.lists(st.integers(0, 3), min_size=2 * rank, max_size=2 * rank))
    else:
        options["auto_pad"] = mode
        assume(mode == "VALID" or max(dilations) == 1)  # onnxruntime refuses the other
    for axis in range(rank):
        reach = dilations[axis] * (kernel[axis] - 1) + 1
        assume(mode.startswith("SAME") or spatial[axis] + pads[axis] + pads[axis + rank] >= reach)
    case = conv((1, groups * per_group, *spatial), (groups * out, per_group, *kernel), **options)
    compare(case.model, tolerance=TOLERANCE, count=3)


@settings(max_examples=60)
@given(st.data())
def test_any_transposed_convolution(data: st.DataObject) -> None:
    rank = data.draw(st.sampled_from([1, 2]))
    spatial = data.draw(st.lists(st.integers(2, 6), min_size=rank, max_size=rank))
    kernel = data.draw(st.lists(st.integers(1, 4), min_size=rank, max_size=rank))
    strides = data.draw(st.lists(st.integers(1, 3), min_size=rank, max_size=rank))
    dilations = data.draw(st.lists(st.integers(1, 2), min_size=rank, max_size=rank))
    groups, per_group, out = data.draw(st.sampled_from([(1, 3, 2), (2, 2, 3), (3, 1, 1)]))
    pads = data.draw(st.lists(st.integers(0, 1), min_size=2 * rank, max_size=2 * rank))
    extra = [
        data.draw(st.integers(0, max(stride, dilation) - 1))
        for stride, dilation in zip(strides, dilations, strict=True)
    ]
    for axis in range(rank):
        full = (spatial[axis] - 1) * strides[axis] + dilations[axis] * (kernel[axis] - 1) + 1
        assume(full - pads[axis] - pads[axis + rank] >= 1)
    case = transposed(
        (1, groups * per_group, *spatial),
        (groups * per_group, out, *kernel),
        strides=strides,
        dilations=dilations,
        group=groups,
        pads=pads,
        output_padding=extra,
    )
    compare(case.model, tolerance=TOLERANCE, count=3)
