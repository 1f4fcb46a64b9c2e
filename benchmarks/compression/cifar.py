"""A small convolutional network for CIFAR-10 as an ONNX file, and the corpus' images as it takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from boardfit.compress.layers import weight_layers
from boardfit.frontend import load_model
from boardfit.ir import Graph
from boardfit.pipeline import canonicalize
from boardfit.train.augment import ImageAugmentation
from boardfit.train.losses import Labels
from boardfit.train.options import TrainingData, TrainOptions
from boardfit.train.trainer import Training

from .. import corpus

CHANNELS = (16, 32, 64)
"""Output channels of the 3x3 convolutions; each is followed by ReLU and a 2x2 max pool."""

CLASSES = 10
SIDE = 32
VALIDATION = 500
"""The last training images choose settings."""

BASE = TrainOptions(epochs=14, batch=128, learning_rate=2e-3, hold=0.5, weight_decay=0.01)
AUGMENTATION = ImageAugmentation(SIDE, SIDE, shift=2.0, rotation=5.0, scale=0.05, shear=0.0, flip=True)


def initial(seed: int) -> dict[str, np.ndarray]:
    """Random weights (He et al. 2015), zero biases; ONNX initialiser name -> values."""
    random = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {}
    inputs = 3
    for index, out in enumerate(CHANNELS, start=1):
        values = random.standard_normal((out, inputs, 3, 3)) * np.sqrt(2 / (9 * inputs))
        found[f"conv{index}.weight"] = values.astype(np.float32)
        found[f"conv{index}.bias"] = np.zeros(out, np.float32)
        inputs = out
    flat = CHANNELS[-1] * (SIDE >> len(CHANNELS)) ** 2
    found["fc.weight"] = (random.standard_normal((CLASSES, flat)) / np.sqrt(flat)).astype(np.float32)
    found["fc.bias"] = np.zeros(CLASSES, np.float32)
    return found


def write_cnn(path: Path, weights: Mapping[str, np.ndarray]) -> None:
    """Write the network as an ONNX file: input (1, 32, 32, 3), output 10 logits."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = [helper.make_node("Transpose", ["input"], ["channels_first"], perm=[0, 3, 1, 2])]
    tensor = "channels_first"
    for index in range(1, len(CHANNELS) + 1):
        conv, relu, pool = f"conv{index}", f"relu{index}", f"pool{index}"
        names = [tensor, f"{conv}.weight", f"{conv}.bias"]
        nodes.append(helper.make_node("Conv", names, [conv], name=conv, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [conv], [relu], name=relu))
        nodes.append(helper.make_node("MaxPool", [relu], [pool], name=pool, kernel_shape=[2, 2], strides=[2, 2]))
        tensor = pool
    nodes.append(helper.make_node("Flatten", [tensor], ["flat"], name="flat"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["fc"], name="fc", transB=1))
    graph = helper.make_graph(
        nodes,
        "cifar_cnn",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("fc", TensorProto.FLOAT, [1, CLASSES])],
        [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    onnx.save(model, temporary)
    temporary.replace(path)


def cifar_data(graph: Graph, part: str) -> TrainingData:
    """CIFAR-10 through JPEG, bytes as the graph takes them; `part` is 'train', 'validation' or 'test'."""
    data = corpus.load_npz(corpus.CORPUS / "data" / f"cifar10_jpeg_{'test' if part == 'test' else 'train'}.npz")
    chosen = {"train": slice(0, -VALIDATION), "validation": slice(-VALIDATION, None), "test": slice(None)}[part]
    (name,) = graph.inputs
    return TrainingData({name: data["x"][chosen][:, None]}, data["y"][chosen].astype(np.int64))


def trained_base(seed: int, folder: Path, *, progress: bool = False) -> Graph:
    """The dense network, trained on labels, written as ONNX and imported; kept in `folder` and not trained again."""
    start = folder / "start.onnx"
    write_cnn(start, initial(seed))
    graph = canonicalize(load_model(start))
    training = Training(
        graph,
        cifar_data(graph, "train"),
        (Labels(),),
        replace(BASE, seed=seed),
        augmentation=AUGMENTATION,
        validation=cifar_data(graph, "validation"),
        checkpoint=folder / "base.npz",
    )
    trained = training.run(progress=progress)
    print(f"  base, seed {seed}: validation error {trained.history[-1].error:.2f} %", flush=True)
    path = folder / "cifar_cnn.onnx"
    write_cnn(path, initialisers(trained.graph))
    return canonicalize(load_model(path))


def initialisers(graph: Graph) -> dict[str, np.ndarray]:
    """ONNX initialisers of a trained canonical graph: channels first again."""
    found: dict[str, np.ndarray] = {}
    for layer in weight_layers(graph):
        name = layer.node.source.node
        weights = layer.weights
        if weights.ndim == 4:
            weights = weights.transpose(0, 3, 1, 2)
        else:
            side = SIDE >> len(CHANNELS)
            weights = weights.reshape(-1, side, side, CHANNELS[-1]).transpose(0, 3, 1, 2).reshape(len(weights), -1)
        found[f"{name}.weight"] = np.ascontiguousarray(weights)
        found[f"{name}.bias"] = np.zeros(len(weights), np.float32) if layer.bias is None else layer.bias
    return found
