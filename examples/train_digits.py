"""Train the example network: a small CNN on scikit-learn's handwritten digits, in plain numpy.

Writes, beside this file:

* `digits.onnx`: Conv, Relu, MaxPool, Conv, Relu, MaxPool, Flatten, Gemm, Softmax; channels-first, symbolic batch,
  as a PyTorch export would be;
* `digits_calibration.npz`: training images, without labels, for post-training quantization;
* `digits_test.npz`: the test images and their labels.

The data set (1,797 images of 8 x 8 pixels, 0 to 16) is split by a fixed seed; the network sees pixels divided by 16.
Run with `python examples/train_digits.py`; it takes about a minute. The number of epochs and
the shifts were chosen on a part of the training images, not on the test images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).resolve().parent
SEED = 2026
EPOCHS = 100
BATCH = 32
TEST_SIZE = 500
CALIBRATION_SIZE = 256

Array = np.ndarray
Parameters = dict[str, Array]


@dataclass
class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1) over a dictionary of parameters."""

    rate: float = 2e-3
    first: Parameters = field(default_factory=dict)
    second: Parameters = field(default_factory=dict)
    step: int = 0

    def update(self, parameters: Parameters, gradients: Parameters) -> None:
        """Move every parameter against its gradient, in place."""
        self.step += 1
        for name, gradient in gradients.items():
            m = self.first[name] = 0.9 * self.first.get(name, 0.0) + 0.1 * gradient
            v = self.second[name] = 0.999 * self.second.get(name, 0.0) + 0.001 * gradient**2
            scale = self.rate / (1 - 0.9**self.step)
            parameters[name] -= (scale * m / (np.sqrt(v / (1 - 0.999**self.step)) + 1e-8)).astype(np.float32)


def initial_parameters(random: np.random.Generator) -> Parameters:
    """He initialisation (He et al., 2015) of two convolutions (out, in, 3, 3) and one dense layer (out, in)."""

    def he(*shape: int) -> Array:
        return random.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape).astype(np.float32)

    zeros = {"b1": np.zeros(8, np.float32), "b2": np.zeros(16, np.float32), "b3": np.zeros(10, np.float32)}
    return {"w1": he(8, 1, 3, 3), "w2": he(16, 8, 3, 3), "w3": he(10, 64), **zeros}


def patches(images: Array) -> Array:
    """3 x 3 neighbourhoods with zero padding: (N, C, H, W) -> (N, H, W, C, 3, 3)."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sliding_window_view(padded, (3, 3), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)


def convolve(images: Array, weights: Array, bias: Array | float = 0.0) -> Array:
    """3 x 3 convolution, stride 1, zero padding 1."""
    made = np.tensordot(patches(images), weights, axes=([3, 4, 5], [1, 2, 3])) + bias
    return np.ascontiguousarray(made.transpose(0, 3, 1, 2))


def convolve_back(images: Array, weights: Array, gradient: Array) -> tuple[Array, Array, Array]:
    """Gradients of `convolve` with respect to images, weights and bias."""
    moved = gradient.transpose(0, 2, 3, 1)
    of_weights = np.tensordot(moved, patches(images), axes=([0, 1, 2], [0, 1, 2]))
    turned = weights[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return convolve(gradient, turned), of_weights, moved.sum(axis=(0, 1, 2))


def pool(images: Array) -> tuple[Array, Array]:
    """2 x 2 maximum; also the mask of the places it came from."""
    n, c, h, w = images.shape
    blocks = images.reshape(n, c, h // 2, 2, w // 2, 2)
    top = blocks.max(axis=(3, 5))
    return top, blocks == top[:, :, :, None, :, None]


def pool_back(mask: Array, gradient: Array) -> Array:
    """Gradient of `pool`; a tie shares it."""
    share = mask / mask.sum(axis=(3, 5), keepdims=True)
    n, c, h, _, w, _ = mask.shape
    return (share * gradient[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w).astype(np.float32)


def logits(parameters: Parameters, images: Array) -> Array:
    """Class scores before the softmax, (N, 10)."""
    first, _ = pool(np.maximum(convolve(images, parameters["w1"], parameters["b1"]), 0))
    second, _ = pool(np.maximum(convolve(first, parameters["w2"], parameters["b2"]), 0))
    return second.reshape(len(images), -1) @ parameters["w3"].T + parameters["b3"]


def gradients(parameters: Parameters, images: Array, labels: Array) -> Parameters:
    """Gradients of the mean cross-entropy plus weight decay."""
    a1 = convolve(images, parameters["w1"], parameters["b1"])
    p1, mask1 = pool(np.maximum(a1, 0))
    a2 = convolve(p1, parameters["w2"], parameters["b2"])
    p2, mask2 = pool(np.maximum(a2, 0))
    flat = p2.reshape(len(images), -1)
    scores = flat @ parameters["w3"].T + parameters["b3"]
    chance = np.exp(scores - scores.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    chance[np.arange(len(labels)), labels] -= 1.0
    chance /= len(labels)
    found: Parameters = {"w3": chance.T @ flat, "b3": chance.sum(axis=0)}
    back = (chance @ parameters["w3"]).reshape(p2.shape)
    back = pool_back(mask2, back) * (a2 > 0)
    back, found["w2"], found["b2"] = convolve_back(p1, parameters["w2"], back)
    back = pool_back(mask1, back) * (a1 > 0)
    _, found["w1"], found["b1"] = convolve_back(images, parameters["w1"], back)
    for name in ("w1", "w2", "w3"):
        found[name] = found[name] + 1e-4 * parameters[name]
    return found


def shifted(images: Array, random: np.random.Generator) -> Array:
    """Three images in ten moved by up to one pixel in each direction."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moves = np.where(random.random((len(images), 1)) < 0.3, random.integers(0, 3, (len(images), 2)), 1)
    return np.stack([image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, moves, strict=True)])


def batches(count: int, random: np.random.Generator) -> Iterator[Array]:
    """Indices of one epoch, shuffled."""
    order = random.permutation(count)
    for start in range(0, count, BATCH):
        yield order[start : start + BATCH]


def train(images: Array, labels: Array) -> Parameters:
    """Train with Adam and a cosine learning rate."""
    random = np.random.default_rng(SEED)
    parameters = initial_parameters(random)
    optimizer = Adam()
    for epoch in range(EPOCHS):
        optimizer.rate = 2e-3 * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        for index in batches(len(images), random):
            optimizer.update(parameters, gradients(parameters, shifted(images[index], random), labels[index]))
    return parameters


def to_onnx(parameters: Parameters) -> onnx.ModelProto:
    """The network as a PyTorch export spells it."""
    names = {"w1": "conv1.weight", "b1": "conv1.bias", "w2": "conv2.weight", "b2": "conv2.bias"}
    names |= {"w3": "classifier.weight", "b3": "classifier.bias"}
    same: dict[str, Any] = {
        "kernel_shape": [3, 3],
        "pads": [1, 1, 1, 1],
        "strides": [1, 1],
        "dilations": [1, 1],
        "group": 1,
    }
    half: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}

    def node(kind: str, name: str, inputs: list[str], output: str = "", **more: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs, [output or f"{name}_output_0"], name=name, **more)

    nodes = [
        node("Conv", "/conv1/Conv", ["input", names["w1"], names["b1"]], **same),
        node("Relu", "/relu1/Relu", ["/conv1/Conv_output_0"]),
        node("MaxPool", "/pool1/MaxPool", ["/relu1/Relu_output_0"], **half),
        node("Conv", "/conv2/Conv", ["/pool1/MaxPool_output_0", names["w2"], names["b2"]], **same),
        node("Relu", "/relu2/Relu", ["/conv2/Conv_output_0"]),
        node("MaxPool", "/pool2/MaxPool", ["/relu2/Relu_output_0"], **half),
        node("Flatten", "/Flatten", ["/pool2/MaxPool_output_0"], axis=1),
        node("Gemm", "/classifier/Gemm", ["/Flatten_output_0", names["w3"], names["b3"]], transB=1),
        node("Softmax", "/softmax/Softmax", ["/classifier/Gemm_output_0"], "probabilities", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(parameters[key], name) for key, name in names.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Train, report, write the three files."""
    digits: Any = load_digits()
    images = (digits.images / 16.0).astype(np.float32)[:, None]
    parts: list[Any] = train_test_split(
        images, digits.target, test_size=TEST_SIZE, random_state=SEED, stratify=digits.target
    )
    x_train, x_test, y_train, y_test = parts
    parameters = train(x_train, y_train)
    for name, x, y in (("training", x_train, y_train), ("test", x_test, y_test)):
        correct = (logits(parameters, x).argmax(axis=1) == y).mean()
        print(f"{name} accuracy {100 * correct:.2f} % of {len(y)}")
    onnx.save(to_onnx(parameters), FOLDER / "digits.onnx")
    np.savez_compressed(FOLDER / "digits_calibration.npz", x=x_train[:CALIBRATION_SIZE])
    np.savez_compressed(FOLDER / "digits_test.npz", x=x_test, y=y_test.astype(np.int64))


if __name__ == "__main__":
    main()
