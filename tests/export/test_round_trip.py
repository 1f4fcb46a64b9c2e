"""A quantized graph written as ONNX and read again is the same integer network, byte for byte.

That exported float graphs compute the same in onnxruntime is checked by `tests/frontend/harness.py` on every model
that the frontend's tests import.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.corpus import available, missing, model_path
from boardfit.compress.grids import Grid, GridKind
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.round_to_nearest import RoundToNearest
from boardfit.errors import ModelError, OutputError
from boardfit.export import export_model, write_model
from boardfit.export.operators import EXPORTERS, NOT_EXPORTED
from boardfit.frontend import import_model, load_model
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.ops import OPS
from boardfit.ops.activation import NONE
from boardfit.ops.average_pool2d import AveragePool2DAttrs, MeanArithmetic
from boardfit.ops.bipolar import BipolarAttrs
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.pipeline import canonical_passes, run_passes
from boardfit.prepare import guessed_inputs
from tests.quantize.networks import Network

DIGITS = Path(__file__).parents[2] / "examples" / "digits.onnx"


def canonical(graph: Graph) -> Graph:
    return run_passes(graph, canonical_passes(fuse=True)).graph


def check_round_trip(path: Path) -> None:
    graph = canonical(load_model(path))
    data = guessed_inputs(graph)
    quantized = quantize_for_mcu(graph, data, QuantizeOptions())
    again = canonical(import_model(export_model(quantized), "exported.onnx", "exported"))
    before = LowerQuantized()(quantized)
    after = LowerQuantized()(quantize_for_mcu(again, None, QuantizeOptions()))
    assert [node.op for node in before.nodes] == [node.op for node in after.nodes]
    expected = run(before, data)
    actual = run(after, dict(zip(after.inputs, data.values(), strict=True)))
    for ours, theirs in zip(actual.values(), expected.values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_digits() -> None:
    check_round_trip(DIGITS)


@pytest.mark.parametrize("name", ["ad01", "ic01", "kws01", "kws01_int8", "ic01_int8", "three_layer_bn_pytorch"])
def test_corpus(name: str) -> None:
    if not available():
        pytest.skip(missing())
    check_round_trip(model_path(name))


@pytest.mark.parametrize("arithmetic", list(MeanArithmetic))
def test_averages_keep_their_arithmetic(arithmetic: MeanArithmetic) -> None:
    """In a file, quantizers around a pool would state binary32; its metadata says what was meant."""
    net = Network(1, 8, 8, 4)
    attrs = AveragePool2DAttrs((2, 2), (2, 2), arithmetic=arithmetic)
    graph = net.done(net.add("AveragePool2D", [net.x], attrs))
    quantized = quantize_for_mcu(graph, guessed_inputs(graph), QuantizeOptions())
    again = canonical(import_model(export_model(quantized), "exported.onnx", "exported"))
    found = [node.attrs for node in again.nodes if isinstance(node.attrs, AveragePool2DAttrs)]
    assert [a.arithmetic for a in found] == [arithmetic]


def test_binary_networks(tmp_path: Path) -> None:
    """Signs of weights and activations: what the file says by Where and GreaterOrEqual is read back as signs."""
    net = Network(1, 8, 8, 4)
    y = net.add("Bipolar", [net.conv(net.x, 8, activation=NONE)], BipolarAttrs())
    y = net.add("Bipolar", [net.conv(y, 6, activation=NONE)], BipolarAttrs())
    graph = net.done(net.dense(net.flatten(y), 5))
    check_round_trip(write_model(RoundToNearest(Grid(GridKind.BINARY))(graph), tmp_path / "binary.onnx"))
    again = load_model(tmp_path / "binary.onnx")
    assert [node.op for node in again.nodes].count("Bipolar") == 2


def test_every_op_is_written_or_says_why_not() -> None:
    assert set(EXPORTERS) | set(NOT_EXPORTED) == set(OPS)
    assert not set(EXPORTERS) & set(NOT_EXPORTED)


def test_the_batch_is_symbolic() -> None:
    model = export_model(canonical(load_model(DIGITS)))
    dims = [value.type.tensor_type.shape.dim[0].dim_param for value in (*model.graph.input, *model.graph.output)]
    assert dims == ["batch"] * len(dims)


def test_layers_keep_their_names() -> None:
    graph = canonical(load_model(DIGITS))
    names = {node.name for node in export_model(graph).graph.node}
    assert {node.name for node in graph.nodes if node.op in ("Conv2D", "Dense")} <= names


def test_integer_graphs_are_refused() -> None:
    graph = canonical(load_model(DIGITS))
    lowered = LowerQuantized()(quantize_for_mcu(graph, guessed_inputs(graph), QuantizeOptions()))
    with pytest.raises(ModelError):
        export_model(lowered)


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    graph = canonical(load_model(DIGITS))
    written = write_model(graph, tmp_path / "small.onnx")
    assert written.read_bytes() == write_model(graph, tmp_path / "again.onnx").read_bytes()
    with pytest.raises(OutputError, match="cannot write"):
        write_model(graph, tmp_path / "missing" / "small.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.onnx", "small.onnx"]
