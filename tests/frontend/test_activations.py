"""Functions of one number, every attribute, several opsets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .harness import NEWEST, Case, single

IMAGE = (1, 3, 5, 4)
PER_CHANNEL = np.array([-0.4, 0.1, 1.7], np.float32)


def unary(op: str, opset: int = 13, between: tuple[float, float] | None = None, **attributes: Any) -> Case:
    """One operator without parameters."""
    text = "".join(f" {key}={value}" for key, value in attributes.items())
    return Case(f"{op}-{opset}{text}", single(op, [IMAGE], opset=opset, **attributes), between=between)


def prelu(slope: np.ndarray, shape: tuple[int, ...], opset: int) -> Case:
    """PRelu with constant slopes."""
    name = f"PRelu-{opset} {'x'.join(map(str, shape))} slope {'x'.join(map(str, slope.shape)) or 'scalar'}"
    return Case(name, single("PRelu", [shape], constants=[slope], opset=opset))


def swish(alpha: float) -> Case:
    """Swish of opset 24: no onnxruntime runs it yet; its contrib operator has the same formula."""
    same = single("QuickGelu", [IMAGE], domain="com.microsoft", alpha=alpha)
    return Case("Swish-24", single("Swish", [IMAGE], opset=24, alpha=alpha), reference=same)


POSITIVE = (0.05, 6.0)

CASES = [
    *(unary(op, opset) for op in ("Relu", "Sigmoid", "Tanh", "Abs", "Neg") for opset in (7, 13)),
    *(unary(op, 7, POSITIVE) for op in ("Log", "Sqrt", "Reciprocal")),
    *(unary(op, 13, POSITIVE) for op in ("Log", "Sqrt", "Reciprocal")),
    *(unary(op, opset) for op in ("Exp", "Softplus", "Softsign") for opset in (7, 13)),
    *(unary("Erf", opset) for opset in (9, 13)),
    *(unary("Elu", alpha=alpha) for alpha in (1.0, 0.3)),
    *(unary("Elu", opset) for opset in (7, 22)),
    *(unary("Celu", alpha=alpha) for alpha in (1.0, 0.5, 2.5)),
    unary("Selu"),
    unary("Selu", alpha=1.2, gamma=0.7),
    unary("LeakyRelu"),
    unary("LeakyRelu", 16, alpha=0.25),
    unary("HardSigmoid"),
    unary("HardSigmoid", alpha=1 / 6, beta=0.5),
    unary("HardSwish", 14),
    unary("Mish", 18),
    unary("ThresholdedRelu", alpha=0.8),
    unary("ThresholdedRelu"),
    Case("Gelu-20 exact", single("Gelu", [IMAGE], opset=20)),
    Case("Gelu-20 tanh", single("Gelu", [IMAGE], opset=20, approximate="tanh")),
    Case("Gelu microsoft", single("Gelu", [IMAGE], domain="com.microsoft")),
    swish(1.3),
    Case("QuickGelu microsoft", single("QuickGelu", [IMAGE], domain="com.microsoft", alpha=1.5)),
    Case("Clip-6", single("Clip", [IMAGE], opset=7, min=-1.0, max=2.0)),
    Case("Clip-6 lower", single("Clip", [IMAGE], opset=10, min=0.5)),
    Case("Clip-11", single("Clip", [IMAGE], opset=11, constants=[np.float32(-1), np.float32(0.5)])),
    Case("Clip-13 upper", single("Clip", [IMAGE], opset=13, constants=[None, np.float32(0.5)])),
    *(prelu(np.float32(0.2).reshape(1), IMAGE, opset) for opset in (7, 16)),
    prelu(PER_CHANNEL.reshape(3, 1, 1), IMAGE, 9),
    prelu(PER_CHANNEL.reshape(3, 1), (1, 3, 7), 9),
    prelu(np.array([0.5, -0.2, 0.1, 2.0], np.float32), (1, 4), 9),
    *(Case(f"Softmax-{o} axis {a}", single("Softmax", [(1, 3, 4)], opset=o, axis=a)) for o in (9, 13) for a in (1, 2)),
    *(Case(f"Softmax-{o}", single("Softmax", [(1, 3, 4)], opset=o)) for o in (7, 11, NEWEST)),
    *(Case(f"LogSoftmax-{o}", single("LogSoftmax", [(1, 3, 4)], opset=o), 5e-6) for o in (7, 11, NEWEST)),
    Case("LogSoftmax-13 axis 1", single("LogSoftmax", [(1, 5, 3, 2)], axis=1), 5e-6),
    Case("LogSoftmax-13 far apart", single("LogSoftmax", [(1, 9)]), 5e-6, between=(-150.0, 150.0)),
    *(
        Case(f"Pow {p}", single("Pow", [IMAGE], constants=[np.float32(p)]), between=POSITIVE, tolerance=5e-6)
        for p in (0.5, 2, 3, 5, 6, 7, 8, -1, -2, -0.5)
    ),
    *(Case(f"Pow {p} of any sign", single("Pow", [IMAGE], constants=[np.float32(p)])) for p in (1, 2, 3)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_onnxruntime(case: Case) -> None:
    case.check()


def test_prelu_before_opset_7_has_one_slope_per_channel() -> None:
    old = single("PRelu", [IMAGE], constants=[PER_CHANNEL], opset=6)
    new = single("PRelu", [IMAGE], constants=[PER_CHANNEL.reshape(3, 1, 1)], opset=9)
    Case("PRelu-6", old, reference=new).check()
