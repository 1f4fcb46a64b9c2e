"""Reductions over any axes, ArgMax and ArgMin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from boardfit.passes.layout import CanonicalLayout

from .harness import NEWEST, Case, single

SHAPE = (1, 3, 4, 5)
KINDS = ("Mean", "Sum", "Max", "Min", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
AXES: tuple[list[int] | None, ...] = ([2, 3], [1, 2], [1], [-1], [1, 3], [3, 1, 2], None)
AXES_IN_INPUT = 18


def reduction(kind: str, axes: list[int] | None, keep: int, opset: int, shape: tuple[int, ...] = SHAPE) -> Case:
    """One reduction, axes in the form of its opset (ReduceSum changed earlier than the others)."""
    options: dict[str, Any] = {"keepdims": keep}
    if axes is not None:
        if opset >= (13 if kind == "Sum" else AXES_IN_INPUT):
            options["constants"] = [np.array(axes, np.int64)]
        else:
            options["axes"] = axes
    name = f"Reduce{kind}-{opset} {axes} keep {keep} rank {len(shape)}"
    model = single(f"Reduce{kind}", [shape], opset=opset, **options)
    return Case(name, model, tolerance=5e-6, between=(0.1, 3.0) if kind == "LogSum" else None)


CASES = [
    *(reduction(kind, axes, keep, 13) for kind in KINDS for axes in AXES for keep in (0, 1)),
    *(reduction(kind, [2, 3], 0, opset) for kind in KINDS for opset in (8, 11, 18)),
    *(reduction(kind, [1], 1, 18, (1, 6, 4)) for kind in KINDS),
    *(reduction(kind, [-1], 0, 11, (1, 6)) for kind in KINDS),
    Case("ReduceMean no-op", single("ReduceMean", [SHAPE], opset=18, noop_with_empty_axes=1)),
    Case(f"ReduceSum-{NEWEST}", single("ReduceSum", [SHAPE], opset=NEWEST)),
]

POSITIONS = [
    *(
        Case(f"{op}-{o} axis {a} keep {k}", single(op, [SHAPE], opset=o, axis=a, keepdims=k, kinds={"y0": 7}))
        for op in ("ArgMax", "ArgMin")
        for o, a, k in ((7, 1, 1), (13, -1, 0), (13, 2, 0))
    ),
    *(Case(f"{op} default", single(op, [(4, 3)], kinds={"y0": 7})) for op in ("ArgMax", "ArgMin")),
]


@pytest.mark.parametrize("case", [*CASES, *POSITIONS], ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    case.check()


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_equal_values(op: str, last: int) -> None:
    """Which of several equal values wins: inputs of few different values."""
    from onnx import helper

    from .harness import build

    nodes = [
        helper.make_node("Clip", ["x"], ["c"], min=-0.5, max=0.5),
        helper.make_node(op, ["c"], ["y"], axis=1, select_last_index=last),
    ]
    model = build(nodes, {"x": (1, 12)}, ["y"], kinds={"y": 7}, opset=13)
    model.graph.node[0].ClearField("attribute")
    model.graph.node[0].input.extend(["low", "high"])
    for name, value in (("low", -0.5), ("high", 0.5)):
        model.graph.initializer.append(helper.make_tensor(name, 1, [], [value]))
    Case(op, model).check()


def test_mean_of_an_image_becomes_a_pool() -> None:
    """The exporters' global average pool: no transpose is left for a channels-last network."""
    from onnx import helper

    from .harness import build

    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("ReduceMean", ["t"], ["y"], axes=[2, 3], keepdims=0),
    ]
    graph = Case("mean", build(nodes, {"x": (1, 4, 5, 3)}, ["y"])).check()
    assert [node.op for node in CanonicalLayout()(graph).nodes] == ["AveragePool2D", "Reshape"]
