"""Every corpus file is imported raw and agrees with onnxruntime."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import version_converter

from boardfit.frontend import import_model, load_model

from .harness import relative_error, run_boardfit, run_onnxruntime, samples
from .reference_qonnx import standard_model

CORPUS = Path(os.environ.get("BOARDFIT_CORPUS", Path(__file__).parents[2].parent / "shared")) / "models"

FLOAT = [
    *("mlperf_tiny/ad01", "mlperf_tiny/ic01", "mlperf_tiny/kws01", "mlperf_tiny/vww01"),
    *("hls4ml_examples/two_layer_keras", "hls4ml_examples/three_layer_keras", "hls4ml_examples/conv2d_small_keras"),
    *("hls4ml_examples/three_layer_bn_pytorch", "hls4ml_examples/bnn_model_fc_1layer"),
    pytest.param("hls4ml_examples/tiny_unet_ch_last", marks=pytest.mark.slow),
]
QUANTIZED = ["mlperf_tiny/ic01_int8", "mlperf_tiny/kws01_int8"]
QONNX = ("bnn_model_fc_1layer", "tiny_unet_ch_last")
INPUTS = 8


def path_of(name: str) -> Path:
    """The corpus file, or a skipped test."""
    path = CORPUS / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"the corpus is not here ({path}); set BOARDFIT_CORPUS")
    return path


def feeds_of(name: str, model: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    """Inputs like the network's own: pixels for ic01 and vww01, normal numbers for the others."""
    feeds = samples(model, count=INPUTS)
    if name.endswith(("ic01", "vww01")):
        top = 255.0 if name.endswith("ic01") else 1.0
        rng = np.random.default_rng(1)
        feeds = [{k: rng.uniform(0.0, top, v.shape).astype(np.float32) for k, v in feed.items()} for feed in feeds]
    return feeds


def reference_of(path: Path) -> onnx.ModelProto:
    """What onnxruntime runs: QONNX operators rewritten, a fixed batch replaced by 1, old opsets converted."""
    model = onnx.load(str(path))
    if path.stem in QONNX:
        return standard_model(model)
    if path.stem == "three_layer_bn_pytorch":
        for value in (model.graph.input[0], *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        return version_converter.convert_version(model, 9)  # onnxruntime has no Gemm of opset 6
    return model


@pytest.mark.parametrize("name", FLOAT)
def test_float_models_agree_with_onnxruntime(name: str) -> None:
    path = path_of(name)
    model = reference_of(path)
    graph = load_model(path)
    feeds = feeds_of(name, model)
    theirs = np.stack([outputs[0] for outputs in run_onnxruntime(model, feeds)])
    (ours,) = run_boardfit(graph, feeds)
    assert ours.shape == theirs.shape
    assert np.ptp(theirs) > 0
    assert relative_error(ours, theirs) <= 1e-4


WITH_SOFTMAX = [name for name in FLOAT if isinstance(name, str) and name.endswith(("01", "_keras", "_pytorch"))]


@pytest.mark.parametrize("name", sorted(set(WITH_SOFTMAX) - {"mlperf_tiny/ad01", "hls4ml_examples/two_layer_keras"}))
def test_logits_agree_with_onnxruntime(name: str) -> None:
    """The input of the last softmax: it tells more where the softmax is saturated."""
    model = reference_of(path_of(name))
    logits = [node.input[0] for node in model.graph.node if node.op_type == "Softmax"][-1]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None))
    feeds = feeds_of(name, model)
    theirs = np.stack([outputs[0] for outputs in run_onnxruntime(model, feeds)])
    (ours,) = run_boardfit(import_model(model, f"{name}.onnx", "logits"), feeds)
    assert np.std(theirs, axis=0).max() > 1e-3 * np.ptp(theirs)
    assert relative_error(ours, theirs) <= 1e-5


@pytest.mark.parametrize("name", QUANTIZED)
def test_qdq_models_agree_with_onnxruntime(name: str) -> None:
    """The float interpreter of a QDQ file rounds where onnxruntime does: at most one step apart, and rarely."""
    path = path_of(name)
    model = onnx.load(str(path))
    graph = load_model(path)
    feeds = samples(model, count=INPUTS)
    theirs = np.stack([outputs[0] for outputs in run_onnxruntime(model, feeds)]).astype(np.int64)
    (ours,) = run_boardfit(graph, feeds)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 1
    assert (ours == theirs).mean() >= 0.98
