"""Compression without labels and without training: LeNet-300-100, ic01 and kws01; and kws01 made half as large.

Every error is the integer interpreter's on the final graph, activations of 8 bits. LeNet is calibrated on 2,000
training images, ic01 on 512 training images; of kws01 only the test inputs exist: passes get 100 of them, the
distilled network 300, unlabelled, and errors are told on the others and on all.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from boardfit.compress.adaround import AdaRound
from boardfit.compress.gptq import Gptq
from boardfit.compress.layers import weight_layers
from boardfit.compress.prune import Prune
from boardfit.compress.prune_units import PruneUnits
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.round_to_nearest import RoundToNearest, ScaleChoice
from boardfit.compress.saliency import Criterion
from boardfit.frontend import load_model
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.metrics import top1
from boardfit.options import Optimize, QuantizeOptions
from boardfit.passes.base import Pass
from boardfit.passes.fold_dequantize import FoldDequantize
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.passes.output_softmax import DropOutputSoftmax
from boardfit.passes.signed_integers import SignedIntegers
from boardfit.pipeline import canonical_passes, run_passes
from boardfit.train.losses import Distillation
from boardfit.train.options import TrainingData, TrainOptions
from boardfit.train.trainer import Training

from .. import corpus
from ..results import Row, Value, print_rows
from .measurement import cost, error_percent

MNIST_CALIBRATION = 2000
CIFAR_CALIBRATION = 512
AUGMENTED = 8000
UNIT_SHARE = 0.25
MOST_SHIFT = 6
"""Frames (of 49) an input of kws01 is shifted at most."""

DISTILLATION = TrainOptions(epochs=16, batch=64, learning_rate=1.5e-3)


def model(name: str) -> Graph:
    """A model of the corpus as a float graph that ends in logits."""
    passes = (*canonical_passes(fuse=True), DropOutputSoftmax(), FoldDequantize())
    return run_passes(load_model(corpus.model_path(name)), passes).graph


def shaped(graph: Graph, images: np.ndarray) -> dict[str, np.ndarray]:
    """Images as the only input of a graph."""
    name = graph.inputs[0]
    return {name: images.reshape(len(images), *graph.types[name].shape).astype(np.float32)}


def integer(graph: Graph, data: Mapping[str, np.ndarray]) -> Graph:
    """The integer graph, activations of 8 bits."""
    annotated = quantize_for_mcu(graph, data, QuantizeOptions())
    return run_passes(annotated, [LowerQuantized(), SignedIntegers()]).graph


def float_error(graph: Graph, test: TrainingData) -> float:
    """Error of a float graph in percent."""
    if test.labels is None:
        raise SystemExit("labels are needed to count errors")
    inputs = {graph.inputs[0]: next(iter(test.inputs.values()))}
    return 100.0 - 100.0 * top1(run(graph, inputs)[graph.outputs[0]], test.labels)


def row(
    name: str, seed: int, graph: Graph, data: Mapping[str, np.ndarray], test: TrainingData, base: float, seconds: float
) -> dict[str, Value]:
    """One row without costs on the device."""
    error = error_percent(integer(graph, data), test)
    made: dict[str, Value] = {
        "case": "posttrain",
        "recipe": name,
        "seed": seed,
        "error_percent": round(error, 2),
        "base_error_percent": round(base, 2),
        "drop": round(error - base, 2),
        "seconds": round(seconds, 1),
    }
    print_rows(name, [made])
    return made


def applied(step: Pass, graph: Graph) -> tuple[Graph, float]:
    """The graph after a pass, and the seconds of processor time it took (the machine may be shared)."""
    start = time.process_time()
    made = step(graph)
    return made, time.process_time() - start


def lenet_rows(base: Graph, seed: int) -> list[Row]:
    """4, 3 and 2 bits; 80 % of the first two layers pruned."""
    train, _ = corpus.mnist("train")
    images, answers = corpus.mnist("t10k")
    data = shaped(base, train[:MNIST_CALIBRATION] / np.float32(255))
    test = TrainingData(shaped(base, images / np.float32(255)), answers.astype(np.int64))
    first, second, _ = (node.name for node in base.nodes if node.op == "Dense")
    shares = {first: 0.8, second: 0.8}
    steps: dict[str, Pass] = {
        **{f"lenet300: {w} bits, nearest": RoundToNearest(w) for w in (4, 3, 2)},
        **{f"lenet300: {w} bits, gptq": Gptq(data, w) for w in (4, 3, 2)},
        "lenet300: 80 % pruned, magnitude": Prune(data, shares, criterion=Criterion.MAGNITUDE, compensate=False),
        "lenet300: 80 % pruned, |w| rms": Prune(data, shares, criterion=Criterion.INPUT, compensate=False),
        "lenet300: 80 % pruned, obs": Prune(data, shares),
    }
    error = float_error(base, test)
    return [_row(name, step, base, data, test, error, seed) for name, step in steps.items()]


def _row(
    name: str, step: Pass, base: Graph, data: Mapping[str, np.ndarray], test: TrainingData, error: float, seed: int
) -> Row:
    made, seconds = applied(step, base)
    return row(name, seed, made, data, test, error, seconds)


def cifar_rows() -> list[Row]:
    """ic01 with 4-bit weights."""
    graph = model("ic01")
    data = shaped(graph, corpus.cifar("train")[0][:CIFAR_CALIBRATION])
    images, labels = corpus.cifar("test")
    test = TrainingData(shaped(graph, images), labels)
    steps: dict[str, Pass] = {
        "ic01: 4 bits, nearest min-max": RoundToNearest(4, ScaleChoice.MIN_MAX),
        "ic01: 4 bits, nearest": RoundToNearest(4),
        "ic01: 4 bits, gptq": Gptq(data, 4),
        "ic01: 4 bits, adaround": AdaRound(data, 4),
    }
    error = float_error(graph, test)
    return [_row(name, step, graph, data, test, error, 1) for name, step in steps.items()]


def keyword_rows(folder: Path, *, progress: bool) -> list[Row]:
    """kws01 with 4-bit weights; and with fewer channels, distilled, half as large."""
    graph = model("kws01")
    images, labels = corpus.kws()
    known, others = corpus.kws_split()
    data = shaped(graph, images[known])
    rows: list[Row] = []
    for part, chosen in (("the other 500", others), ("all 600", np.arange(600))):
        test = TrainingData(shaped(graph, images[chosen]), labels[chosen])
        steps: dict[str, Pass] = {
            "nearest min-max": RoundToNearest(4, ScaleChoice.MIN_MAX),
            "nearest": RoundToNearest(4),
            "gptq": Gptq(data, 4),
        }
        for name, step in steps.items():
            rows.append(_row(f"kws01: 4 bits, {name}, {part}", step, graph, data, test, float_error(graph, test), 1))
    return rows + half_size_rows(graph, folder, progress=progress)


def seen_keywords() -> np.ndarray:
    """Indices of the 300 KWS inputs that students see, unlabelled; they are judged on the other 300."""
    known, others = corpus.kws_split()
    return np.sort(np.concatenate([known, others[:200]]))


def distilled_keywords(graph: Graph, data: Mapping[str, np.ndarray], folder: Path, *, progress: bool) -> Graph:
    """kws01 with three quarters of its channels, distilled on unlabelled inputs and variations of them."""
    (name,) = data
    small = PruneUnits(data, UNIT_SHARE, multiple=4)(graph)
    more = np.concatenate([*[data[name]] * 4, variations(data[name], AUGMENTED, np.random.default_rng(0))])
    training = Training(
        small,
        TrainingData({name: more}),
        (Distillation(temperature=2.0),),
        DISTILLATION,
        teacher=graph,
        checkpoint=folder / "kws01.npz",
    )
    return training.run(progress=progress).graph


def half_size_rows(graph: Graph, folder: Path, *, progress: bool) -> list[Row]:
    """A quarter of the channels cut, distilled on 300 unlabelled inputs and variations of them, pointwise in 4 bits.

    The first and the depthwise layers are few weights that everything passes through: they keep 8 bits.
    """
    images, labels = corpus.kws()
    seen = seen_keywords()
    unseen = np.setdiff1d(np.arange(600), seen)
    data = shaped(graph, images[seen])
    start = time.process_time()
    student = distilled_keywords(graph, data, folder, progress=progress)
    pointwise = [layer for layer in weight_layers(student) if layer.weights.shape[1:3] == (1, 1) and layer.groups == 1]
    packed = Gptq(data, {layer.name: 4 for layer in pointwise})(student)
    stored = {layer.node.source.node: "int4" for layer in pointwise}
    seconds = time.process_time() - start
    everything = TrainingData(shaped(graph, images), labels)
    dense = cost(integer(graph, data), everything, Optimize.SPEED)
    rows: list[Row] = []
    for what, made, forced in (("distilled", student, None), ("distilled, pointwise in 4 bits", packed, stored)):
        found = cost(integer(made, data), everything, Optimize.SPEED, forced)
        for part, chosen in (("the other 300", unseen), ("all 600", np.arange(600))):
            test = TrainingData(shaped(graph, images[chosen]), labels[chosen])
            base = float_error(graph, test)
            rows.append(
                {
                    **row(f"kws01: 48 channels, {what}, {part}", 1, made, data, test, base, seconds),
                    "bytes": found.bytes,
                    "decoder_bytes": found.code_bytes,
                    "dense_bytes": dense.bytes,
                    "dense_decoder_bytes": dense.code_bytes,
                    "instructions": found.instructions,
                    "dense_instructions": dense.instructions,
                    "formats": " ".join(found.formats),
                    "bytes_equal": found.equal and dense.equal,
                }
            )
            print_rows("costs", rows[-1:])
    return rows


def variations(inputs: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Inputs (S, 1, frames, features, 1) shifted in time, mixed in pairs, with noise and an offset of each feature."""

    def shifted() -> np.ndarray:
        chosen = inputs[random.integers(0, len(inputs), count)]
        moves = random.integers(-MOST_SHIFT, MOST_SHIFT + 1, count)
        frames = np.clip(np.arange(inputs.shape[2]) - moves[:, None], 0, inputs.shape[2] - 1)
        return np.take_along_axis(chosen, frames[:, None, :, None, None], axis=2)

    spread = inputs.std(axis=(0, 1, 2))
    share = np.where(random.random(count) < 0.5, 1.0, random.uniform(0.5, 1.0, count)).reshape(-1, 1, 1, 1, 1)
    mixed = share * shifted() + (1.0 - share) * shifted()
    loud = random.uniform(0.0, 0.25, count).reshape(-1, 1, 1, 1, 1)
    noise = random.normal(size=mixed.shape) * spread * loud
    offset = random.normal(size=(count, 1, 1, *spread.shape)) * spread * 0.2
    return (mixed + noise + offset).astype(np.float32)


def run_posttrain(base: Graph, seed: int, folder: Path, *, progress: bool) -> list[Row]:
    """Rows of a seed: LeNet-300-100 trained with it; the fixed networks with the first."""
    rows = lenet_rows(base, seed)
    return rows if seed != 1 else [*rows, *cifar_rows(), *keyword_rows(folder, progress=progress)]
