"""The chain that makes a small LeNet: base, gradual pruning with distillation, sharing, tuning, integers.

Every training keeps a checkpoint, so that an interrupted benchmark goes on where it was; a finished one is only read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from boardfit.compress.cluster import ShareWeights
from boardfit.compress.dead_units import RemoveDeadUnits
from boardfit.compress.layers import weight_layers
from boardfit.compress.prune_units import PruneUnits
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.round_biases import RoundBiases
from boardfit.frontend import load_model
from boardfit.ir import Graph
from boardfit.options import QuantizeOptions
from boardfit.passes.base import Pass
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.passes.signed_integers import SignedIntegers
from boardfit.pipeline import canonicalize, run_passes
from boardfit.train.augment import ImageAugmentation, augmented
from boardfit.train.losses import Distillation, Labels, Loss
from boardfit.train.options import Constraints, TrainingData, TrainOptions, as_real
from boardfit.train.pruning import GradualPruning
from boardfit.train.trainer import Training

from .networks import Architecture, mnist, write_onnx

CALIBRATION = 1000
BATCH = 128


@dataclass(frozen=True, slots=True)
class Stage:
    """One training on the way down.

    Attributes:
        kept: weights that stay.
        epochs: passes over the images and their deformed copies.
        learning_rate: of its start.
        batch: samples in a step.
    """

    kept: int
    epochs: int
    learning_rate: float = 2e-3
    batch: int = BATCH


@dataclass(frozen=True, slots=True)
class Target:
    """One compressed network.

    Attributes:
        stage: number of the stage it is made from (0 is the first).
        clusters: shared values of a layer, zero included.
        epochs, learning_rate: of the tuning of the shared values.
        bias_bits: width of the stored biases.
        stored: format all layers' weights are stored in, or None for what is smallest.
    """

    stage: int
    clusters: int
    epochs: int
    learning_rate: float = 1e-3
    bias_bits: int = 8
    stored: str | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings of a case, chosen on the validation images.

    Attributes:
        architecture: the network.
        base: training of the dense network.
        stages: what follows, each from the result of the one before.
        targets: name -> network that is measured.
        copies: deformed copies of every image.
        deformation: strength of the deformations, 1 is ten degrees, ten percent and 1.5 pixels.
        labels: share of the labels in the loss; the rest is distillation.
        temperature: of the distillation.
        compiled: whether XLA compiles the steps.
        units: share of the channels and neurons of each layer that are cut out of the dense network first.
    """

    architecture: Architecture
    base: TrainOptions
    stages: tuple[Stage, ...]
    targets: dict[str, Target]
    copies: int
    deformation: float
    labels: float
    temperature: float
    compiled: bool
    units: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds on the wall and of the processors: on a machine with other work the first says little."""

    wall: float
    processor: float

    @classmethod
    def now(cls) -> Clock:
        """Both clocks."""
        return cls(time.perf_counter(), time.process_time())

    @classmethod
    def read(cls, text: str) -> Clock:
        """What `str` wrote."""
        wall, processor = text.split()
        return cls(float(wall), float(processor))

    def __add__(self, other: Clock) -> Clock:
        return Clock(self.wall + other.wall, self.processor + other.processor)

    def __sub__(self, other: Clock) -> Clock:
        return Clock(self.wall - other.wall, self.processor - other.processor)

    def __str__(self) -> str:
        return f"{self.wall:.1f} {self.processor:.1f}"


class Chain:
    """The trainings of one case and seed, with files in `folder`."""

    def __init__(self, recipe: Recipe, seed: int, folder: Path, *, progress: bool) -> None:
        self.recipe = recipe
        self.seed = seed
        self.folder = folder
        self.progress = progress
        shape = recipe.architecture.input
        self.validation = mnist("validation", shape)
        s = recipe.deformation
        deformation = ImageAugmentation(28, 28, shift=1.5 * s, rotation=10 * s, scale=0.1 * s, shear=0.1 * s)
        self.data = augmented(mnist("train", shape), deformation, recipe.copies, seed)

    def _train(self, name: str, training: Training) -> Graph:
        data, validation = named(training.graph, self.data), named(training.graph, self.validation)
        path = self.folder / f"{name}.npz"
        whole = replace(training, data=data, validation=validation, checkpoint=path)
        start, clock = Clock.now(), self.folder / f"{name}.seconds"
        trained = whole.run(progress=self.progress)
        if not clock.exists():  # else the training was done before and only read
            clock.write_text(str(Clock.now() - start) + "\n")
        last = trained.history[-1]
        print(f"  {name}: loss {last.loss:.4f}, validation error {last.error:.2f} %", flush=True)
        return trained.graph

    def time(self, target: str) -> Clock:
        """Time of the trainings that led to a target, the base included."""
        last = self.recipe.targets[target].stage
        names = ["base", *(f"stage{index}" for index in range(last + 1)), target]
        total = Clock(0.0, 0.0)
        for name in names:
            total += Clock.read((self.folder / f"{name}.seconds").read_text())
        return total

    def base(self) -> Graph:
        """The dense network: trained, written as ONNX, and imported again."""
        architecture = self.recipe.architecture
        path = self.folder / f"{architecture.name}.onnx"
        start = self.folder / "start.onnx"
        write_onnx(start, architecture, architecture.initial(self.seed))
        graph = canonicalize(load_model(start))
        options = replace(self.recipe.base, seed=self.seed, compile=self.recipe.compiled)
        trained = self._train("base", Training(graph, self.data, (Labels(),), options))
        write_onnx(path, architecture, initialisers(architecture, trained))
        return canonicalize(load_model(path))

    def narrowed(self, graph: Graph) -> Graph:
        """The network without the units that the recipe cuts out; what reads them is refitted."""
        if not self.recipe.units:
            return graph
        inputs = {name: as_real(values[:CALIBRATION]) for name, values in named(graph, self.data).inputs.items()}
        return PruneUnits(inputs, self.recipe.units)(graph)

    def stage(self, index: int, graph: Graph, teacher: Graph) -> Graph:
        """One stage: prune with distillation, then cut dead units."""
        stage = self.recipe.stages[index]
        total = sum(layer.weights.size for layer in weight_layers(graph))
        pruning = GradualPruning(min(stage.kept / total, 1.0), end=0.6, every=50)
        options = TrainOptions(stage.epochs, stage.batch, stage.learning_rate, hold=0.6)
        pruned = self._train(f"stage{index}", self._training(graph, teacher, options, Constraints(pruning=pruning)))
        return RemoveDeadUnits()(pruned)

    def target(self, name: str, graph: Graph, teacher: Graph) -> Graph:
        """Share the weights of a stage's network and tune the shared values."""
        target = self.recipe.targets[name]
        shared = ShareWeights(target.clusters)(graph)
        options = TrainOptions(target.epochs, learning_rate=target.learning_rate, batch=BATCH)
        return self._train(name, self._training(shared, teacher, options, Constraints()))

    def _training(self, graph: Graph, teacher: Graph, options: TrainOptions, constraints: Constraints) -> Training:
        recipe = self.recipe
        options = replace(options, compile=recipe.compiled, seed=self.seed)
        losses: tuple[Loss, ...] = (Distillation(1.0 - recipe.labels, recipe.temperature),)
        if recipe.labels:
            losses = (*losses, Labels(recipe.labels))
        return Training(graph, self.data, losses, options, constraints, teacher)

    def integers(self, graph: Graph, bias_bits: int | None) -> Graph:
        """The integer graph a backend takes, calibrated on training images."""
        inputs = {name: as_real(values[:CALIBRATION]) for name, values in named(graph, self.data).inputs.items()}
        annotated = quantize_for_mcu(graph, inputs, QuantizeOptions())
        passes: list[Pass] = [LowerQuantized(), SignedIntegers()]
        if bias_bits is not None:
            passes.insert(0, RoundBiases(bias_bits))
        return run_passes(annotated, passes).graph


def named(graph: Graph, data: TrainingData) -> TrainingData:
    """The data under the name of the graph's input, in its layout (one channel: a reshape)."""
    (values,) = data.inputs.values()
    (name,) = graph.inputs
    return TrainingData({name: values.reshape(-1, *graph.types[name].shape)}, data.labels)


def initialisers(architecture: Architecture, graph: Graph) -> dict[str, np.ndarray]:
    """ONNX initialisers of a trained canonical graph: channels first again."""
    found: dict[str, np.ndarray] = {}
    layers = weight_layers(graph)
    names = [f"conv{i + 1}" for i in range(len(architecture.convolutions))]
    names += [f"fc{i + 1}" for i in range(len(architecture.dense))]
    for name, layer in zip(names, layers, strict=True):
        weights = layer.weights
        if weights.ndim == 4:
            weights = weights.transpose(0, 3, 1, 2)
        elif name == "fc1" and architecture.convolutions:
            channels = architecture.convolutions[-1]
            side = int(np.sqrt(weights.shape[1] // channels))
            weights = weights.reshape(-1, side, side, channels).transpose(0, 3, 1, 2).reshape(len(weights), -1)
        found[f"{name}.weight"] = np.ascontiguousarray(weights)
        if layer.bias is not None:
            found[f"{name}.bias"] = layer.bias
    return found
