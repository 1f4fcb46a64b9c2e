"""Binary and ternary weights: a dense network on MNIST and a convolutional one on CIFAR-10, executed on Cortex-M4.

Digits come with a deformed copy each. From one float network of each seed every method goes the same way:
normalization behind each layer, the same epochs, rate and losses (labels and the float network's softened answers), all
layers binary, the first and the last as well. Settings were compared on the last 5,000 training images of MNIST; epochs
and deformed copies were settled after test errors of the first seed had been seen once (1.81 and 1.73 %). CIFAR-10
stands for the 6,000 training images of the corpus, which went through JPEG: errors compare methods, and are no CIFAR-10
records. The int8 network beside them is the float one after post-training quantization.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boardfit.compress.narrow_activations import NarrowActivations
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.ir import Graph, GraphEditor, Node, Source, TensorType
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.options import Optimize, QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.passes.signed_integers import SignedIntegers
from boardfit.pipeline import run_passes
from boardfit.train.augment import ImageAugmentation, augmented
from boardfit.train.binary import BinaryMethod, BinaryWeights, LearnedForm, TernaryMethod, TernaryWeights
from boardfit.train.losses import Distillation, Labels, Loss
from boardfit.train.options import Constraints, TrainingData, TrainOptions, as_real
from boardfit.train.trainer import Training

from .. import corpus
from ..results import Row
from .measurement import cost, error_percent
from .networks import mnist

CALIBRATION = 1000
COPIES = 1
DEFORMATION = ImageAugmentation(28, 28, shift=1.0, rotation=6.0, scale=0.06, shear=0.06)
"""One deformed copy of every digit; images of CIFAR-10 are taken as they are."""

CIFAR_VALIDATION = 600


@dataclass(frozen=True, slots=True)
class Network:
    """A network of this benchmark.

    Attributes:
        name: of its rows.
        input: shape with the batch axis of 1.
        convolutions: (channels, stride), 3x3, with ReLU; each but the first is followed by a 2x2 max pool.
        dense: outputs; ReLU between them.
        base, binary: schedules of the float and of the other trainings.
    """

    name: str
    input: tuple[int, ...]
    convolutions: tuple[tuple[int, int], ...]
    dense: tuple[int, ...]
    base: TrainOptions
    binary: TrainOptions

    def graph(self, seed: int) -> Graph:
        """Random weights (He et al. 2015), zero biases."""
        random = np.random.default_rng(seed)
        editor = GraphEditor.empty(self.name)
        y = editor.add_input("input", TensorType(self.input))

        def parameters(*shape: int) -> list[str]:
            values = random.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
            weights = editor.add_constant("weights", values.astype(np.float32))
            return [weights, editor.add_constant("bias", np.zeros(shape[0], np.float32))]

        def add(op: str, name: str, attrs: Conv2DAttrs | DenseAttrs | MaxPool2DAttrs | ReshapeAttrs, *more: str) -> str:
            return editor.add_node(op, [y, *more], attrs, Source(self.name, name, op), name=name).outputs[0]

        for index, (channels, stride) in enumerate(self.convolutions, start=1):
            attrs = Conv2DAttrs((stride, stride), (1, 1, 1, 1), activation=RELU)
            y = add("Conv2D", f"conv{index}", attrs, *parameters(channels, 3, 3, editor.types[y].shape[-1]))
            if index > 1:
                y = add("MaxPool2D", f"pool{index}", MaxPool2DAttrs((2, 2), (2, 2)))
        if self.convolutions:
            y = add("Reshape", "flatten", ReshapeAttrs((1, editor.types[y].elements)))
        for index, outputs in enumerate(self.dense, start=1):
            attrs_of_dense = DenseAttrs(NONE if index == len(self.dense) else RELU)
            y = add("Dense", f"fc{index}", attrs_of_dense, *parameters(outputs, editor.types[y].shape[-1]))
        editor.outputs = [y]
        return editor.finish()

    def data(self, part: str) -> TrainingData:
        """Images as bytes and labels; `part` is 'train', 'validation' or 'test'."""
        if not self.convolutions:
            found = mnist(part, self.input)
            return augmented(found, DEFORMATION, COPIES, corpus.SEED) if part == "train" else found
        images, labels = corpus.cifar("test" if part == "test" else "train")
        last = CIFAR_VALIDATION
        chosen = {"train": slice(0, -last), "validation": slice(-last, None), "test": slice(None)}[part]
        return TrainingData({"input": images[chosen].astype(np.uint8)[:, None]}, labels[chosen])


NETWORKS = (
    Network(
        "mlp",
        (1, 784),
        (),
        (512, 512, 10),
        TrainOptions(2, 500, 3e-3, compile=True),
        TrainOptions(3, 500, 1e-3, compile=True),
    ),
    Network(
        "cnn",
        (1, 32, 32, 3),
        ((24, 2), (32, 1), (48, 1)),
        (10,),
        TrainOptions(8, 50, 2e-3),
        TrainOptions(6, 50, 1e-3),
    ),
)

METHODS: Mapping[str, LearnedForm] = {
    "connect": BinaryWeights(BinaryMethod.CONNECT, clip=2.0),
    "loss-aware": BinaryWeights(BinaryMethod.LOSS_AWARE),
    "connect, stochastic": BinaryWeights(BinaryMethod.CONNECT, clip=2.0, stochastic=True),
    "xnor": BinaryWeights(BinaryMethod.XNOR),
    "ternary, mean": TernaryWeights(TernaryMethod.MEAN),
    "ternary, trained": TernaryWeights(TernaryMethod.TRAINED),
    "ternary, loss-aware": TernaryWeights(TernaryMethod.LOSS_AWARE),
    "loss-aware, binary activations": BinaryWeights(BinaryMethod.LOSS_AWARE),
}
COMPARED = ("connect", "loss-aware")
"""Methods that run for every seed; the others for the first one, on the dense network."""


def _trained(network: Network, name: str, training: Training, folder: Path, *, progress: bool) -> tuple[Graph, float]:
    """The graph, and the seconds of processor time its training took."""
    path, clock = folder / f"{network.name}-{name.replace(', ', '-')}.npz", time.process_time()
    trained = replace(training, checkpoint=path).run(progress=progress)
    seconds = path.with_suffix(".seconds")
    if not seconds.exists():  # else the training was done before and only read
        seconds.write_text(f"{time.process_time() - clock:.1f}\n")
    last = trained.history[-1]
    print(f"  {path.stem}: loss {last.loss:.4f}, validation error {last.error:.2f} %", flush=True)
    return trained.graph, float(seconds.read_text())


def integers(graph: Graph, data: TrainingData) -> Graph:
    """The integer graph a backend takes, calibrated on training images."""
    inputs = {name: as_real(values[:CALIBRATION]) for name, values in data.inputs.items()}
    return run_passes(quantize_for_mcu(graph, inputs, QuantizeOptions()), [LowerQuantized(), SignedIntegers()]).graph


def _rows_of(network: Network, seed: int, folder: Path, part: str, *, progress: bool) -> list[Row]:
    data, validation, test = network.data("train"), network.data("validation"), network.data(part)
    plain = Constraints(normalize=True)
    schedule = replace(network.base, seed=seed)
    start = Training(network.graph(seed), data, (Labels(),), schedule, plain, validation=validation)
    base, base_seconds = _trained(network, "float", start, folder, progress=progress)
    dense = integers(base, data)
    dense_cost, base_error = cost(dense, test, Optimize.SPEED), error_percent(dense, test)
    rows: list[Row] = []
    losses: tuple[Loss, ...] = (Labels(0.4), Distillation(0.6, temperature=2.0))
    for method, form in METHODS.items():
        if method not in COMPARED and (seed != 1 or network.convolutions):
            continue
        graph = NarrowActivations()(base) if method.endswith("activations") else base
        constraints = Constraints(weights=form, normalize=True)
        schedule = replace(network.binary, seed=seed)
        training = Training(graph, data, losses, schedule, constraints, teacher=base, validation=validation)
        made, seconds = _trained(network, method, training, folder, progress=progress)
        graph = integers(made, data)
        stored = "codebook" if method == "ternary, trained" else "ternary" if "ternary" in method else "binary"
        found = cost(graph, test, Optimize.SPEED, stored)
        constants = [_weights(graph, node) for node in graph.nodes if node.op in ("Conv2D", "Dense")]
        ends = 8 * sum(len(values) for values in constants)  # start sum and multiplier of every output
        rows.append(
            {
                "case": "binary",
                "recipe": f"{network.name}, {method}",
                "seed": seed,
                "bytes": found.bytes,
                "decoder_bytes": found.code_bytes,
                "bits_a_weight": round(8 * (found.weight_bytes - ends) / sum(v.size for v in constants), 2),
                "error_percent": round(error_percent(graph, test), 2),
                "base_error_percent": round(base_error, 2),
                "processor_seconds": round(base_seconds + seconds),
                "instructions": found.instructions,
                "dense_instructions": dense_cost.instructions,
                "dense_bytes": dense_cost.bytes,
                "formats": " ".join(found.formats),
                "bytes_equal": found.equal and dense_cost.equal,
            }
        )
    return rows


def _weights(graph: Graph, node: Node) -> np.ndarray:
    return graph.constants[node.inputs[1]].values


def run_binary(seed: int, folder: Path, part: str, *, progress: bool) -> list[Row]:
    """Rows of both networks for a seed."""
    return [row for network in NETWORKS for row in _rows_of(network, seed, folder, part, progress=progress)]
