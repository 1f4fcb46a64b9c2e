"""A small task and the networks the training tests share."""

from __future__ import annotations

import numpy as np

from boardfit.ir import Graph, GraphEditor, Source, TensorType
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.train.options import TrainingData

SOURCE = Source("m.onnx", "node", "Gemm")
INPUTS, CLASSES = 12, 4


def task(samples: int = 1000, seed: int = 0) -> TrainingData:
    """Four classes told apart by a random network: learnable, but not linear."""
    random = np.random.default_rng(99)
    hidden, last = random.normal(size=(INPUTS, 8)), random.normal(size=(8, CLASSES))
    x = np.random.default_rng(seed).normal(size=(samples, 1, INPUTS)).astype(np.float32)
    labels = np.argmax(np.tanh(x[:, 0] @ hidden) @ last, axis=1)
    return TrainingData({"x": x}, labels)


def dense_network(hidden: int = 32, seed: int = 0, *, softmax: bool = False) -> Graph:
    """INPUTS - hidden - CLASSES."""
    random = np.random.default_rng(seed)
    editor = GraphEditor.empty("dense")
    y = editor.add_input("x", TensorType((1, INPUTS)))
    for index, (out, activation) in enumerate([(hidden, RELU), (CLASSES, NONE)], start=1):
        width = editor.types[y].shape[-1]
        weights = (random.normal(size=(out, width)) / np.sqrt(width)).astype(np.float32)
        parameters = [editor.add_constant("w", weights), editor.add_constant("b", np.zeros(out, np.float32))]
        node = editor.add_node("Dense", [y, *parameters], DenseAttrs(activation), SOURCE, name=f"fc{index}")
        y = node.outputs[0]
    if softmax:
        y = editor.add_node("Softmax", [y], SoftmaxAttrs(1), SOURCE, name="softmax").outputs[0]
    editor.outputs = [y]
    return editor.finish()


def image_network(seed: int = 0) -> Graph:
    """conv - pool - conv - pool - flatten - dense - dense on (1, 12, 12, 1) images."""
    random = np.random.default_rng(seed)
    editor = GraphEditor.empty("images")
    y = editor.add_input("x", TensorType((1, 12, 12, 1)))

    def constant(*shape: int) -> str:
        values = random.normal(size=shape) / np.sqrt(max(int(np.prod(shape[1:])), 1))
        return editor.add_constant("c", values.astype(np.float32))

    for index, (channels, kernel) in enumerate([(6, 3), (8, 2)], start=1):
        inputs = [y, constant(channels, kernel, kernel, editor.types[y].shape[-1]), constant(channels)]
        y = editor.add_node("Conv2D", inputs, Conv2DAttrs(activation=RELU), SOURCE, name=f"conv{index}").outputs[0]
        y = editor.add_node("MaxPool2D", [y], MaxPool2DAttrs((2, 2), (2, 2)), SOURCE, name=f"pool{index}").outputs[0]
    flat = editor.types[y].elements
    y = editor.add_node("Reshape", [y], ReshapeAttrs((1, flat)), SOURCE, name="flatten").outputs[0]
    for index, (out, activation) in enumerate([(10, RELU), (CLASSES, NONE)], start=1):
        inputs = [y, constant(out, editor.types[y].shape[-1]), constant(out)]
        y = editor.add_node("Dense", inputs, DenseAttrs(activation), SOURCE, name=f"fc{index}").outputs[0]
    editor.outputs = [y]
    return editor.finish()
