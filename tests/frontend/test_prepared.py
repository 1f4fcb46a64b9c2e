"""Every imported operator goes through the canonical passes unchanged, and through quantization to integers."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.board import find_board
from boardfit.compress.fpga import quantize_for_fpga
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.errors import ModelError
from boardfit.frontend import import_model
from boardfit.interp import run
from boardfit.ir.graph import Graph
from boardfit.numerics import dequantize, quantize
from boardfit.options import QuantizeOptions
from boardfit.passes.fold_dequantize import FoldDequantize
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.pipeline import PipelineOptions, canonical_passes, run_passes

from .harness import Case, samples
from .test_operator_table import CASES

FLOAT_CASES = [case for case in CASES if all(value.type.tensor_type.elem_type == 1 for value in case.model.graph.input)]
JUMPS = ("Bipolar", "Trunc", "ThresholdedRelu", "ArgMax", "ArgMin", "Reciprocal", "Pow -", "ReduceL2")
"""Operators whose result jumps, or is steep, where an input moves by one step: near is not near for them."""

MCU_REASONS = ("activations quantized per channel are not supported", "9-bit tensor needs a table of 512 entries")


def inputs_of(case: Case, graph: Graph, count: int) -> dict[str, np.ndarray]:
    """Random inputs, stacked."""
    feeds = samples(case.model, 0, count, case.between)
    return {name: np.stack([feed[name] for feed in feeds]) for name in graph.inputs}


def error_of(floating: Graph, integer: Graph, x: dict[str, np.ndarray]) -> float:
    """Largest error of an integer graph relative to the range of the float one's outputs."""
    raw = {
        after: quantize(x[before], integer.types[after].element, sample_axis=True)
        for before, after in zip(floating.inputs, integer.inputs, strict=True)
    }
    have, want = run(integer, raw), run(floating, x)
    worst = 0.0
    for before, after in zip(floating.outputs, integer.outputs, strict=True):
        got = have[after]
        if floating.types[before].is_float:
            got = dequantize(got, integer.types[after].element, sample_axis=True)
        worst = max(worst, float(np.abs(got - want[before]).max()) / (float(np.ptp(want[before])) or 1.0))
    return worst


@pytest.mark.parametrize("fuse", [False, True])
def test_canonical_passes_keep_every_case(fuse: bool) -> None:
    """The runner compares outputs after every pass."""
    for case in CASES:
        graph = import_model(case.model, "m.onnx", "m")
        run_passes(graph, canonical_passes(fuse=fuse), PipelineOptions(compare=inputs_of(case, graph, 4)))


@pytest.mark.slow
@pytest.mark.parametrize("case", FLOAT_CASES, ids=str)
def test_every_case_becomes_firmware(case: Case) -> None:
    """8-bit integers stay near the float network, and there is code for every node; or there is a clear reason."""
    from boardfit.backends.mcu.plan import make_plan
    from boardfit.board import McuBoard

    imported = import_model(case.model, "m.onnx", "m")
    x = inputs_of(case, imported, 16)
    floating = run_passes(imported, canonical_passes(fuse=True)).graph
    try:
        integer = run_passes(quantize_for_mcu(floating, x, QuantizeOptions()), [LowerQuantized()]).graph
    except ModelError as problem:
        assert any(reason in str(problem) for reason in MCU_REASONS)
        return
    board = find_board("nucleo-l4r5zi")
    assert isinstance(board, McuBoard)
    assert make_plan(integer, board).arena.bytes >= 0
    if not any(word in case.name for word in JUMPS):
        assert error_of(floating, integer, x) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("case", FLOAT_CASES, ids=str)
def test_every_case_becomes_fixed_point(case: Case) -> None:
    """16-bit fixed point stays near the float network, or there is a clear reason why there is none."""
    imported = import_model(case.model, "m.onnx", "m")
    x = inputs_of(case, imported, 16)
    floating = run_passes(imported, (FoldDequantize(), *canonical_passes(fuse=True))).graph
    try:
        integer = quantize_for_fpga(floating, x, QuantizeOptions())
    except ModelError as problem:
        assert "has no fixed-point form" in str(problem) or "which is no fixed-point type" in str(problem)
        return
    if not any(word in case.name for word in JUMPS):
        assert error_of(floating, integer, x) < 0.02
