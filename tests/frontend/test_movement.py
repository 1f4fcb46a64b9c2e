"""Operators that move, pick and repeat elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from .harness import NEWEST, Case, build, compare, single

IMAGE = (1, 3, 6, 5)
FAR = 2**63 - 1


def ints(*values: int) -> np.ndarray:
    """An int64 constant."""
    return np.array(values, np.int64)


def move(name: str, op: str, shape: tuple[int, ...] = IMAGE, **options: Any) -> Case:
    """One operator; it moves values, so the result is exact."""
    return Case(f"{op} {name}", single(op, [shape], **options), tolerance=0.0)


def sliced(starts: Any, ends: Any, axes: Any = None, steps: Any = None, opset: int = 13) -> Case:
    """Slice in the form of the opset."""
    name = f"{opset} {starts}:{ends} axes {axes} steps {steps}"
    if opset < 10:
        attributes = {"starts": starts, "ends": ends} | ({"axes": axes} if axes else {})
        return move(name, "Slice", opset=opset, **attributes)
    constants = [ints(*values) if values else None for values in (starts, ends, axes, steps)]
    return move(name, "Slice", opset=opset, constants=constants)


def padded(pads: list[int], mode: str = "constant", value: float | None = None, opset: int = 13) -> Case:
    """Pad in the form of the opset."""
    name = f"{opset} {mode} {pads} {value}"
    if opset < 11:
        attributes: dict[str, Any] = {"pads": pads, "mode": mode} | ({} if value is None else {"value": value})
        return move(name, "Pad", opset=opset, **attributes)
    constants = [ints(*pads), None if value is None else np.float32(value)]
    return move(name, "Pad", opset=opset, mode=mode, constants=constants)


SHAPES = [
    move("5", "Reshape", opset=7, constants=[ints(1, 6, 15)]),
    move("zero and minus one", "Reshape", constants=[ints(0, -1, 5)]),
    move("allow zero", "Reshape", opset=14, constants=[ints(1, 18, 5)], allowzero=1),
    *(move(f"axis {a}", "Flatten", opset=o, axis=a) for a, o in ((1, 7), (0, 9), (2, 13), (-1, 13), (4, 13))),
    move("attribute", "Squeeze", (1, 3, 1, 5), opset=11, axes=[2]),
    move("input", "Squeeze", (1, 3, 1, 5), opset=13, constants=[ints(-2)]),
    move("all", "Squeeze", (1, 3, 1, 5), opset=13),
    move("attribute", "Unsqueeze", (1, 3, 5), opset=11, axes=[0, 3]),
    move("input", "Unsqueeze", (1, 3, 5), opset=13, constants=[ints(-1, 1)]),
    move("default", "Transpose"),
    move("perm", "Transpose", perm=[0, 2, 3, 1]),
    move("", "Identity"),
    move("7", "Dropout", opset=7, ratio=0.3),
    move("13", "Dropout", constants=[np.float32(0.3), np.array(False)]),
    move("float to float", "Cast", to=1),
    move("bytes to float", "Cast", to=1, kinds={"x0": 2}),
    move("bytes to int32", "Cast", to=6, kinds={"x0": 2, "y0": 6}),
    move("bytes like float", "CastLike", opset=15, constants=[np.zeros(1, np.float32)], kinds={"x0": 2}),
    *(Case(f"Concat axis {a}", single("Concat", [IMAGE, IMAGE, IMAGE], axis=a), 0.0) for a in (1, 2, -1)),
    Case("Concat-7", single("Concat", [IMAGE, (1, 2, 6, 5)], axis=1, opset=7), 0.0),
    Case("Concat constant", single("Concat", [(1, 3)], axis=1, constants=[np.ones((1, 2), np.float32)]), 0.0),
]

PICKS = [
    sliced([1], [3], [1], opset=7),
    sliced([0, 1, -4, 0], [1, 3, -1, FAR], opset=9),
    sliced([1, -4], [FAR, -1], [1, 2]),
    sliced([-1], [-FAR], [3], [-1]),
    sliced([-1, 5], [-FAR, 0], [3, 2], [-2, -2]),
    sliced([1], [100], [-2], [2]),
    sliced([0, 1], [1, 3], None, [1, 2], opset=10),
    sliced([1], [-1], [-1], opset=NEWEST),
    *(move(f"{o} equal", "Split", opset=o, axis=2, outputs=3) for o in (7, 11, 13)),
    move("attribute", "Split", opset=11, axis=-1, split=[1, 3, 1], outputs=3),
    move("input", "Split", opset=13, axis=1, constants=[ints(1, 2)], outputs=2),
    move("num_outputs", "Split", opset=18, axis=3, num_outputs=2, outputs=2),
    move("num_outputs equal", "Split", opset=18, axis=2, num_outputs=3, outputs=3),
    *(move(f"scalar axis {a}", "Gather", axis=a, constants=[np.array(1, np.int64)]) for a in (1, 2, -1)),
    move("reversed", "Gather", axis=1, constants=[ints(2, 1, 0)]),
    move("one", "Gather", axis=1, constants=[ints(-1)]),
    move("uneven", "Gather", axis=2, constants=[ints(0, 3, 1, 1, -1)]),
    move("matrix of indices", "Gather", axis=3, constants=[np.array([[0, 4, 2], [1, 1, 0]], np.int32)], opset=7),
    move("repeats", "Tile", constants=[ints(1, 2, 1, 3)]),
    move("axes of one", "Expand", (1, 3, 1, 1), constants=[ints(1, 3, 2, 4)]),
    move("more axes", "Expand", (3, 1), constants=[ints(2, 1, 4)]),
    move("smaller shape", "Expand", constants=[ints(1)]),
    *(move(m, "DepthToSpace", (1, 8, 2, 3), blocksize=2, mode=m) for m in ("DCR", "CRD")),
    move("7", "DepthToSpace", (1, 9, 2, 3), blocksize=3, opset=7),
    move("", "SpaceToDepth", (1, 2, 4, 6), blocksize=2),
]

PADS = [
    *(padded([0, 0, 1, 2, 0, 0, 3, 0], opset=o) for o in (7, 11, 13, NEWEST)),
    padded([0, 1, 0, 0, 0, 0, 0, 2], value=-1.5, opset=9),
    padded([0, 1, 0, 0, 0, 0, 0, 2], value=-1.5),
    padded([0, 0, -1, 2, 0, 0, 1, -1]),
    padded([0, 0, -1, -2, 0, 0, -1, 0], opset=9),
    *(padded([0, 0, 2, 1, 0, 0, 1, 3], mode) for mode in ("reflect", "edge")),
    *(padded([0, 0, 2, 0, 0, 0, 0, 3], mode, opset=9) for mode in ("reflect", "edge")),
    padded([0, 0, 2, 1, 0, 0, 1, 3], "wrap", opset=19),
    padded([0, 1, 0, 0, 0, 1, 0, 0], "edge"),
    move("axes input", "Pad", opset=18, constants=[ints(1, 2, 0, 3), np.float32(0.5), ints(-1, 1)]),
]


def padded_convolution() -> Case:
    """A Pad of zeros in front of a convolution, as exporters write it."""
    nodes = [helper.make_node("Pad", ["x", "pads"], ["p"]), helper.make_node("Conv", ["p", "w"], ["y"])]
    weights = np.random.default_rng(4).normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32)
    model = build(nodes, {"x": IMAGE}, ["y"], {"pads": ints(0, 0, 1, 1, 0, 0, 1, 1), "w": weights})
    return Case("Pad before Conv", model, tolerance=2e-6)


PADS.append(padded_convolution())

CASES = [*SHAPES, *PICKS, *PADS]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    case.check()


@settings(max_examples=40)
@given(st.data())
def test_any_slice(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    axes = data.draw(st.lists(st.sampled_from(range(len(shape))), unique=True, min_size=1))
    bounds = []
    for axis in axes:
        start, end = data.draw(st.integers(-8, 8)), data.draw(st.integers(-8, 8))
        step = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
        if not len(range(*slice(start, end, step).indices(shape[axis]))):
            start, end = (0, FAR) if step > 0 else (FAR, -FAR)
        bounds.append((start, end, axis, step))
    if all(d == 1 for d in shape):
        shape = (*shape, 4)
    constants = [ints(*values) for values in zip(*bounds, strict=True)]
    compare(single("Slice", [shape], constants=constants), tolerance=0.0, count=4)


@settings(max_examples=40)
@given(st.data())
def test_any_pad(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(2, 5), min_size=1, max_size=4)))
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge"]))
    reach = min(shape) - 1
    least = -((min(shape) - 1) // 2) if mode == "constant" else 0
    pads = data.draw(st.lists(st.integers(least, reach), min_size=2 * len(shape), max_size=2 * len(shape)))
    value = np.float32(data.draw(st.sampled_from([0.0, 1.5])))
    compare(single("Pad", [shape], constants=[ints(*pads), value], mode=mode), tolerance=0.0, count=4)
