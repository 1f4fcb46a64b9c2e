"""Nearest-neighbour Resize and Upsample: every coordinate and rounding mode, scales and sizes, all opsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .harness import Case, compare, single

SHAPE = (1, 2, 4, 5)
COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
EMPTY = np.zeros(0, np.float32)


def floats(*values: float) -> np.ndarray:
    """A float constant."""
    return np.array(values, np.float32)


def resize(
    *, scales: Any = None, sizes: Any = None, roi: Any = None, opset: int = 13, shape: Any = SHAPE, **attributes: Any
) -> Case:
    """Resize in the form of opset 11 and later."""
    absent = EMPTY if opset == 11 else None
    constants = [
        absent if roi is None else floats(*roi),
        absent if scales is None else floats(*scales),
        None if sizes is None else np.array(sizes, np.int64),
    ]
    name = f"Resize-{opset} {scales or ''}{sizes or ''} {' '.join(map(str, attributes.values()))}"
    return Case(name, single("Resize", [shape], constants=constants, opset=opset, **attributes), tolerance=0.0)


CASES = [
    *(
        resize(scales=[1, 1, *scales], coordinate_transformation_mode=coordinates, nearest_mode=rounding)
        for coordinates in COORDINATES
        for rounding in ROUNDINGS
        for scales in ((2, 2), (0.6, 1.7))
    ),
    *(
        resize(sizes=[1, 2, *sizes], coordinate_transformation_mode=coordinates, nearest_mode=rounding)
        for coordinates in COORDINATES
        for rounding in ROUNDINGS
        for sizes in ((7, 3), (1, 10))
    ),
    *(resize(scales=[1, 1, 2, 3], opset=opset) for opset in (11, 13, 18, 19, 21)),
    *(resize(sizes=[1, 2, 9, 4], opset=opset) for opset in (11, 13, 18, 19)),
    resize(scales=[1, 1, 1.7, 0.8], opset=11, coordinate_transformation_mode="tf_half_pixel_for_nn"),
    resize(sizes=[1, 2, 7, 3], opset=19, coordinate_transformation_mode="half_pixel_symmetric"),
    resize(scales=[1, 1, 1.3, 0.7], opset=19, coordinate_transformation_mode="half_pixel_symmetric"),
    resize(
        sizes=[1, 2, 3, 4],
        roi=[0, 0, 0.2, 0.1, 1, 1, 0.8, 0.9],
        coordinate_transformation_mode="tf_crop_and_resize",
    ),
    resize(sizes=[8, 3], axes=[2, 3], opset=18),
    resize(scales=[2.0, 1.5], axes=[3, 2], opset=18),
    *(
        resize(sizes=[9, 7], axes=[2, 3], opset=18, keep_aspect_ratio_policy=policy)
        for policy in ("stretch", "not_larger", "not_smaller")
    ),
    resize(scales=[1, 2, 2, 1]),
    resize(scales=[1, 2, 1, 2]),
    resize(scales=[1, 2, 3], shape=(1, 3, 4)),
    resize(scales=[1, 3], shape=(1, 4)),
    resize(scales=[1, 0.5], shape=(1, 6)),
    resize(scales=[1, 1, 2, 1]),
    resize(scales=[1, 1, 1, 1]),
    resize(scales=[1, 1, 1, 1], mode="linear"),
    *(
        Case(f"Resize-10 {scales}", single("Resize", [SHAPE], constants=[floats(1, 1, *scales)], opset=10), 0.0)
        for scales in ((2, 2), (1.5, 3), (0.5, 0.6))
    ),
    Case("Upsample-9", single("Upsample", [SHAPE], constants=[floats(1, 1, 2, 3)], opset=9), 0.0),
    Case("Upsample-9 fraction", single("Upsample", [SHAPE], constants=[floats(1, 1, 1.5, 2.3)], opset=9), 0.0),
    Case("Upsample-9 vector", single("Upsample", [(1, 4)], constants=[floats(1, 2)], opset=9), 0.0),
    Case("Upsample-7", single("Upsample", [SHAPE], opset=7, scales=[1.0, 1.0, 2.0, 2.0]), 0.0),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    case.check()


@settings(max_examples=60)
@given(
    st.integers(1, 9),
    st.integers(1, 24),
    st.sampled_from(COORDINATES),
    st.sampled_from(ROUNDINGS),
    st.booleans(),
)
def test_any_size(length: int, resized: int, coordinates: str, rounding: str, by_scale: bool) -> None:
    """One axis of any length to any length, given as a size or as a scale."""
    scale = np.float32(resized / length)
    operand: dict[str, Any] = {"sizes": [1, 1, 2, resized]}
    if by_scale and int(np.floor(scale * np.float32(length))) >= 1:
        operand = {"scales": [1, 1, 1, scale]}
    case = resize(shape=(1, 1, 2, length), coordinate_transformation_mode=coordinates, nearest_mode=rounding, **operand)
    compare(case.model, tolerance=0.0, count=2)
