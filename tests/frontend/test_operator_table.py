"""The operator table says what importers do: every row is tested, and names the ops that are emitted."""

from __future__ import annotations

from collections import defaultdict

import onnx
import pytest

from boardfit.frontend import import_model
from boardfit.frontend.registry import importers, operator_table, supported_operators
from boardfit.ops import OPS

from . import (
    test_activations,
    test_comparisons,
    test_elementwise,
    test_linear,
    test_movement,
    test_pooling,
    test_qonnx,
    test_quantized,
    test_reductions,
    test_resize,
)
from .harness import Case

CASES: list[Case] = [
    *test_activations.CASES,
    *test_comparisons.CASES,
    *test_elementwise.CASES,
    *test_linear.CASES,
    *test_movement.CASES,
    *test_pooling.CASES,
    *test_qonnx.ACTIVATIONS,
    *test_qonnx.LAYOUT,
    *test_quantized.CASES,
    *test_quantized.PAIRS,
    *test_reductions.CASES,
    *test_reductions.POSITIONS,
    *test_resize.CASES,
]
ELSEWHERE = {
    *("Constant", "ConstantOfShape", "Range", "Shape", "Size"),  # test_exporters: folded shape arithmetic
    *("ConvInteger", "MatMulInteger"),  # test_quantized: integer products
    "Swish",  # test_activations: its own test, for no runtime has it
}
"""Operators with a test of their own."""

MOVES = {"Transpose", "Reshape"}


def key(node: onnx.NodeProto) -> str:
    """Name of an operator in the table."""
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def test_every_operator_is_tested() -> None:
    covered = {key(node) for case in CASES for node in case.model.graph.node}
    assert set(supported_operators()) - covered - ELSEWHERE == set()


def test_the_table_names_every_op_that_is_emitted() -> None:
    rows = {row.name: row for row in operator_table()}
    emitted: dict[str, set[str]] = defaultdict(set)
    for case in CASES:
        names = {key(node) for node in case.model.graph.node}
        made = {node.op for node in import_model(case.model, "m.onnx", "m").nodes} - MOVES
        declared = {op for name in names for op in rows[name].ops}
        assert made <= declared | {"Dequantize"}, f"{case} emits {sorted(made - declared)}"
        for name in names:
            emitted[name] |= made
    for name, ops in emitted.items():
        if "::" not in name and "Linear" not in name:
            assert set(rows[name].ops) - MOVES <= ops, f"{name} never emits {sorted(set(rows[name].ops) - ops)}"


def test_rows_name_known_ops() -> None:
    rows = operator_table()
    assert [row.name for row in rows] == sorted((row.name for row in rows), key=str.lower)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert set(row.ops) <= set(OPS), row.name
        assert not (row.folded and row.ops)
    assert set(importers()) <= set(supported_operators())


REQUIRED = [
    *("Conv", "Gemm", "MatMul", "BatchNormalization", "Relu", "Clip", "LeakyRelu"),
    *("PRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus"),
    *("Softmax", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Add", "Sub", "Mul"),
    *("Div", "Min", "Max", "Concat", "Split", "Slice", "Gather", "Pad"),
    *("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"),
    *("Dropout", "Cast", "Constant", "Resize", "ConvTranspose", "ReduceMean", "ArgMax"),
    *("Shape", "ConstantOfShape", "QuantizeLinear"),
    *("DequantizeLinear", "QLinearConv", "QLinearMatMul", "com.microsoft::QLinearAdd"),
    *("com.microsoft::QLinearGlobalAveragePool",),
    *("com.microsoft::QGemm",),
]


@pytest.mark.parametrize("name", REQUIRED)
def test_required_operators_are_supported(name: str) -> None:
    assert name in supported_operators()
