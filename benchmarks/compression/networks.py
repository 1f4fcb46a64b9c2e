"""LeNet-300-100 and LeNet-5 (Caffe) as ONNX files, and MNIST as they take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from boardfit.train.options import TrainingData

from .. import corpus

VALIDATION = 5000
"""The last training images choose settings; the test images are used once, for the rows."""

Weights = Mapping[str, np.ndarray]
"""ONNX initialiser name -> values."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network as a list of layers.

    Attributes:
        name: of the case and the file.
        input: shape with the batch axis of 1.
        convolutions: output channels; 5x5 kernels, each followed by a 2x2 max pool, without activation.
        dense: outputs; ReLU between them.
    """

    name: str
    input: tuple[int, ...]
    convolutions: tuple[int, ...]
    dense: tuple[int, ...]

    @property
    def flat(self) -> int:
        """Inputs of the first dense layer."""
        if not self.convolutions:
            return self.input[1]
        side = self.input[2]
        for _ in self.convolutions:
            side = (side - 4) // 2
        return self.convolutions[-1] * side * side

    def initial(self, seed: int) -> Weights:
        """Random weights (He et al. 2015: variance 2 / fan-in before a ReLU, else 1 / fan-in), zero biases."""
        random = np.random.default_rng(seed)
        found: dict[str, np.ndarray] = {}
        channels = self.input[1]
        for index, out in enumerate(self.convolutions, start=1):
            values = random.standard_normal((out, channels, 5, 5)) / np.sqrt(25 * channels)
            found[f"conv{index}.weight"] = values.astype(np.float32)
            found[f"conv{index}.bias"] = np.zeros(out, np.float32)
            channels = out
        width = self.flat
        for index, out in enumerate(self.dense, start=1):
            found[f"fc{index}.weight"] = (random.standard_normal((out, width)) * np.sqrt(2 / width)).astype(np.float32)
            found[f"fc{index}.bias"] = np.zeros(out, np.float32)
            width = out
        return found

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return sum(values.size for values in self.initial(0).values())


LENET300 = Architecture("lenet300", (1, 784), (), (300, 100, 10))
LENET5 = Architecture("lenet5", (1, 1, 28, 28), (20, 50), (500, 10))


def write_onnx(path: Path, architecture: Architecture, weights: Weights) -> None:
    """Write the network as an ONNX file."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes: list[Any] = []
    tensor = "input"

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    for index in range(1, len(architecture.convolutions) + 1):
        parameters = [f"conv{index}.weight", f"conv{index}.bias"]
        tensor = add("Conv", [tensor, *parameters], f"conv{index}", kernel_shape=[5, 5])
        tensor = add("MaxPool", [tensor], f"pool{index}", kernel_shape=[2, 2], strides=[2, 2])
    if architecture.convolutions:
        tensor = add("Flatten", [tensor], "flatten")
    for index in range(1, len(architecture.dense) + 1):
        tensor = add("Gemm", [tensor, f"fc{index}.weight", f"fc{index}.bias"], f"fc{index}", transB=1)
        if index < len(architecture.dense):
            tensor = add("Relu", [tensor], f"relu{index}")
    graph = helper.make_graph(
        nodes,
        architecture.name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, list(architecture.input))],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [1, architecture.dense[-1]])],
        [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    onnx.save(model, temporary)
    temporary.replace(path)


def mnist(part: str, shape: tuple[int, ...]) -> TrainingData:
    """MNIST images as bytes (S, *shape) and labels; `part` is 'train', 'validation' or 'test'."""
    images, labels = corpus.mnist("t10k" if part == "test" else "train")
    chosen = {"train": slice(0, -VALIDATION), "validation": slice(-VALIDATION, None), "test": slice(None)}[part]
    pixels = images[chosen].reshape(-1, *shape)
    return TrainingData({"input": pixels}, labels[chosen].astype(np.int64))
