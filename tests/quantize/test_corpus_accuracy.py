"""Accuracy on real models: quantized by us against float, quantized by others against onnxruntime."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks import corpus
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.frontend import load_model
from boardfit.interp import run, run_chunks
from boardfit.ir import Affine, Graph
from boardfit.metrics import agreement, classes, snr_db, top1
from boardfit.numerics import dequantize, quantize
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.pipeline import canonicalize

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not corpus.available(), reason=corpus.missing()),
]


@cache
def float_graph(name: str) -> Graph:
    return canonicalize(load_model(corpus.model_path(name)))


@cache
def integer_graph(name: str) -> Graph:
    """Calibrated on data that no figure below is told on."""
    graph = float_graph(name)
    source = graph.inputs[0]
    data = None
    if not name.endswith("_int8"):
        shape = graph.types[source].shape
        data = {source: corpus.calibration(name, shape).reshape(-1, *shape)}
    return LowerQuantized()(quantize_for_mcu(graph, data, QuantizeOptions()))


def real_outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Outputs for real inputs of any graph, as real values."""
    source, target = graph.inputs[0], graph.outputs[0]
    values = quantize(x.reshape(-1, *graph.types[source].shape), graph.types[source].element, sample_axis=True)
    return dequantize(run(graph, {source: values})[target], graph.types[target].element, sample_axis=True)


def test_kws_int8_is_within_half_a_point() -> None:
    """Calibrated on 100 unlabelled inputs; all 600 and the 500 others."""
    x, y = corpus.kws()
    exact, rounded = real_outputs(float_graph("kws01"), x), real_outputs(integer_graph("kws01"), x)
    rest = corpus.kws_split()[1]
    for part in (np.arange(len(x)), rest):
        assert top1(rounded[part], y[part]) >= top1(exact[part], y[part]) - 0.005
    assert agreement(rounded, exact) >= 0.985


def test_ic_int8_is_within_a_point() -> None:
    x, y = corpus.cifar("test")
    exact, rounded = real_outputs(float_graph("ic01"), x), real_outputs(integer_graph("ic01"), x)
    assert top1(exact, y) == pytest.approx(0.7735, abs=0.0006)
    assert top1(rounded, y) >= top1(exact, y) - 0.01
    assert agreement(rounded, exact) >= 0.96


@pytest.mark.parametrize(("name", "decibel"), [("vww01", 25.0), ("ad01", 26.0)])
def test_outputs_stay_close(name: str, decibel: float) -> None:
    """No labels here: vww01's class scores and ad01's reconstruction as signals."""
    graph = float_graph(name)
    x = corpus.evaluation(name, graph.types[graph.inputs[0]].shape, 48)
    exact, rounded = real_outputs(graph, x), real_outputs(integer_graph(name), x)
    assert snr_db(rounded, exact) >= decibel
    if name == "vww01":
        assert agreement(rounded, exact) >= 0.95


def onnxruntime_outputs(path: Path, x: np.ndarray, tensors: tuple[str, ...]) -> list[np.ndarray]:
    """The model's output, and int8 tensors of it made outputs in a copy."""
    import onnx
    import onnxruntime

    model = onnx.load(path)
    for name in tensors:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT8, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: x.astype(np.int8)})
    return [np.asarray(values) for values in found]


def softmax_input(path: Path) -> str:
    """The int8 tensor a quantized classifier's softmax reads."""
    import onnx

    model = onnx.load(path)
    producers = {output: node for node in model.graph.node for output in node.output}
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    return producers[softmax.input[0]].input[0]


def test_kws_int8_file_equals_onnxruntime() -> None:
    x, y = corpus.kws_raw()
    compare_with_onnxruntime("kws01_int8", x, y, equal=0.999, within_one=0.9999)


def test_ic_int8_file_follows_onnxruntime() -> None:
    pixels, y = corpus.cifar("test")
    compare_with_onnxruntime("ic01_int8", pixels - 128, y, equal=0.97, within_one=0.99)


def compare_with_onnxruntime(name: str, x: np.ndarray, y: np.ndarray, *, equal: float, within_one: float) -> None:
    """Scales are kept; accuracy and pre-softmax integers are onnxruntime's."""
    path = corpus.model_path(name)
    graph = integer_graph(name)
    reference, logits = onnxruntime_outputs(path, x, (softmax_input(path),))
    softmax = next(node for node in graph.nodes if node.op == "Softmax")
    element = graph.types[softmax.inputs[0]].element
    assert isinstance(element, Affine)
    source, target = graph.inputs[0], graph.outputs[0]
    raw = x.astype(np.int64).reshape(-1, *graph.types[source].shape)
    parts = list(run_chunks(graph, {source: raw}, keep=(softmax.inputs[0], target)))
    found = np.concatenate([part[softmax.inputs[0]] for part in parts]).reshape(logits.shape)
    outputs = np.concatenate([part[target] for part in parts])
    distance = np.abs(found - logits.astype(np.int64))
    assert (distance <= 1).mean() >= within_one
    assert (distance == 0).mean() >= equal
    assert abs(top1(outputs, y) - top1(reference, y)) <= 0.003
    assert (classes(found) == classes(logits)).mean() >= 0.99


def test_weights_that_come_quantized_keep_their_integers() -> None:
    """kws01's weights arrive through DequantizeLinear: the integers of the file are the integers on the device."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(corpus.model_path("kws01"))
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    constants = [node for node in model.graph.node if node.op_type == "Constant"]
    arrays |= {node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in constants}
    brought = [arrays[n.input[0]] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in arrays]
    graph = integer_graph("kws01")
    used = [constant.values for name, constant in graph.constants.items() if graph.types[name].rank in (2, 4)]
    assert len(brought) == 5
    for values in brought:
        wanted = np.sort(values.astype(np.int64).reshape(-1))
        assert any(np.array_equal(np.sort(kept.astype(np.int64).reshape(-1)), wanted) for kept in used)
