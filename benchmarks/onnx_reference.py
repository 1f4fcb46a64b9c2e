"""What onnxruntime computes: the reference that is not ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, version_converter

from boardfit.interp import run_chunks
from boardfit.ir import Graph
from tests.frontend.reference_qonnx import standard_model

QONNX = ("bnn_model_fc_1layer", "tiny_unet_ch_last")


def model_for_onnxruntime(path: Path) -> onnx.ModelProto:
    """The file, made runnable: QONNX operators written in standard ones, a fixed batch set to 1, opset 6 converted."""
    model = onnx.load(str(path))
    if path.stem in QONNX:
        return standard_model(model)
    if path.stem == "three_layer_bn_pytorch":
        for value in (model.graph.input[0], *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
        return version_converter.convert_version(model, 9)  # onnxruntime has no Gemm of opset 6
    return model


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """An inference session without graph optimizations, so that every operator is computed as it stands."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def run_samples(model: onnx.ModelProto, samples: np.ndarray) -> list[np.ndarray]:
    """Outputs for samples of shape (S, *input shape at batch 1), one inference each, stacked."""
    runner = session(model)
    given = runner.get_inputs()[0]
    dtype = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(uint8)": np.uint8}[given.type]
    parts = [runner.run(None, {given.name: sample.astype(dtype)}) for sample in samples]
    return [np.stack([np.asarray(part[i]) for part in parts]) for i in range(len(parts[0]))]


def outputs(path: Path, samples: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime gives for a file."""
    return run_samples(model_for_onnxruntime(path), samples)


def logits(path: Path, graph: Graph, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The quantized input of the last softmax: (boardfit's interpreter, onnxruntime), raw integers.

    Args:
        path: a file with QuantizeLinear and DequantizeLinear around its softmax.
        graph: its integer graph.
        samples: (S, *input shape at batch 1) raw integers.
    """
    model = onnx.load(str(path))
    softmax = [node for node in model.graph.node if node.op_type == "Softmax"][-1]
    makers = {output: node for node in model.graph.node for output in node.output}
    quantized = makers[softmax.input[0]].input[0]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(quantized, TensorProto.INT8, None))
    theirs = run_samples(model, samples)[0].astype(np.int64)
    tensor = [node for node in graph.nodes if node.op == "Softmax"][-1].inputs[0]
    parts = run_chunks(graph, {graph.inputs[0]: samples.astype(np.int64)}, keep=(tensor,))
    ours = np.concatenate([part[tensor] for part in parts])
    return ours.reshape(theirs.shape), theirs
