"""Operators of several tensors, with every kind of broadcasting."""

from __future__ import annotations

import numpy as np
import pytest

from .harness import NEWEST, Case, single

IMAGE = (1, 3, 5, 4)
BINARY = ("Add", "Sub", "Mul", "Div")
RNG = np.random.default_rng(7)


def constant(*shape: int) -> np.ndarray:
    """Random numbers away from zero, so that they can be divided by."""
    return (RNG.uniform(0.5, 2.0, shape) * RNG.choice([-1, 1], shape)).astype(np.float32)


def two_inputs(op: str, a: tuple[int, ...], b: tuple[int, ...], opset: int = 13) -> Case:
    """Two activations."""
    return Case(f"{op}-{opset} {a} {b}", single(op, [a, b], opset=opset), between=(0.5, 3.0))


def with_constant(op: str, shape: tuple[int, ...], opset: int = 13) -> Case:
    """An activation and a constant."""
    return Case(f"{op}-{opset} constant {shape}", single(op, [IMAGE], constants=[constant(*shape)], opset=opset))


CASES = [
    *(two_inputs(op, IMAGE, IMAGE, opset) for op in (*BINARY, "Min", "Max") for opset in (8, NEWEST)),
    *(two_inputs(op, IMAGE, (1, 3, 1, 1)) for op in BINARY),
    *(two_inputs(op, (1, 5, 1), IMAGE) for op in BINARY),
    *(two_inputs(op, (1, 6), (1, 1)) for op in BINARY),
    *(with_constant(op, shape) for op in BINARY for shape in ((), (1,), (3, 1, 1), (1, 3, 1, 1), (4,), IMAGE)),
    *(with_constant(op, (3, 1, 1), 7) for op in BINARY),
    *(with_constant(op, (5, 1)) for op in ("Min", "Max")),
    *(Case(f"{op} of four", single(op, [IMAGE, (1, 3, 1, 1), (4,), ()])) for op in ("Min", "Max", "Sum", "Mean")),
    *(Case(f"{op} of one", single(op, [IMAGE])) for op in ("Min", "Max", "Sum", "Mean")),
    *(Case(f"{op}-8 of three", single(op, [IMAGE, IMAGE, (1, 1)], opset=8)) for op in ("Min", "Max", "Sum", "Mean")),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    case.check()


def test_constant_on_the_left() -> None:
    """Sub and Div do not commute."""
    from onnx import helper

    from .harness import build

    for op in ("Sub", "Div"):
        node = helper.make_node(op, ["c", "x"], ["y"])
        model = build([node], {"x": IMAGE}, ["y"], {"c": constant(3, 1, 1)})
        Case(op, model, between=(0.5, 3.0)).check()


@pytest.mark.parametrize("op", BINARY)
def test_broadcast_attribute_of_opset_6(op: str) -> None:
    values = constant(3)
    old = single(op, [IMAGE], constants=[values], opset=6, broadcast=1, axis=1)
    new = single(op, [IMAGE], constants=[values.reshape(3, 1, 1)], opset=7)
    Case(op, old, reference=new).check()
