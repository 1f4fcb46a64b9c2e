"""What a training is: data, schedule, and what is done to the weights on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np

from ..errors import UsageError
from .binary import LearnedForm
from .constraints import FixedPointParameters, WeightQuantizer
from .pruning import GradualPruning

LATER = "later"
"""Marks fields that are younger than the first checkpoints: at their default they are no part of a fingerprint."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Samples and, where there are some, labels.

    Attributes:
        inputs: graph input -> real values (S, *shape), float32 (uint8 is taken as it is and divided by 255).
        labels: (S,) class numbers, or None.
    """

    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(next(iter(self.inputs.values())))

    def pick(self, indices: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Inputs as float32 and labels of some samples."""
        inputs = {name: as_real(values[indices]) for name, values in self.inputs.items()}
        return inputs, None if self.labels is None else self.labels[indices]


def as_real(values: np.ndarray) -> np.ndarray:
    """float32 values; bytes are pixels, 255 is 1."""
    if values.dtype == np.uint8:
        return values.astype(np.float32) / np.float32(255.0)
    return np.asarray(values, np.float32)


@dataclass(frozen=True, slots=True)
class TrainOptions:
    """Adam (Kingma, Ba 2015) with a rate that is held and then falls like a cosine.

    Attributes:
        epochs: passes over the data.
        batch: samples in a step; what is left over at the end of an epoch is not used in it.
        learning_rate: of the first step.
        hold: share of the steps at the full rate; then it falls to zero along half a cosine.
        weight_decay: decoupled (Loshchilov, Hutter 2019): weights shrink by rate * decay each step.
        biased_decay: strength of the hyperbolic decay of Hanson, Pratt (1989), whose pull sign(w) / (1 + |w| / w0)**2
            drives small weights to zero and leaves large ones alone.
        biased_scale: its w0.
        seed: of order, augmentation and random rounding.
        compile: let XLA compile the step (faster for dense layers, often slower for convolutions).
        relative: the rate is a share of each parameter's size (rms) at the start, as in Adafactor (Shazeer, Stern
            2018): for networks whose layers differ much in scale, such as those that take pixels of 0 to 255.
    """

    epochs: int = 10
    batch: int = 256
    learning_rate: float = 1e-3
    hold: float = 0.0
    weight_decay: float = 0.0
    biased_decay: float = 0.0
    biased_scale: float = 0.05
    seed: int = 0
    compile: bool = False
    relative: bool = field(default=False, metadata={LATER: True})

    def check(self, samples: int) -> None:
        """Refuse options out of range.

        Raises:
            UsageError: such an option.
        """
        if self.epochs < 1 or self.batch < 1 or not self.learning_rate > 0.0 or not 0.0 <= self.hold <= 1.0:
            raise UsageError("epochs, batch and learning rate must be positive, hold between 0 and 1")
        if min(self.weight_decay, self.biased_decay) < 0.0 or not self.biased_scale > 0.0:
            raise UsageError("weight decay must not be negative")
        if samples < self.batch:
            raise UsageError(f"{samples} samples are less than a batch of {self.batch}", hint="give a smaller batch")

    def rate(self, step: int, total: int) -> float:
        """Learning rate of a step."""
        held = int(self.hold * total)
        if step < held:
            return self.learning_rate
        return self.learning_rate * 0.5 * (1.0 + float(np.cos(np.pi * (step - held) / max(total - held, 1))))


@dataclass(frozen=True, slots=True, eq=False)
class Constraints:
    """What is done to parameters and activations beside the promises of the graph, which are always kept.

    Attributes:
        pruning: prune on the way.
        weights: round weights in the forward pass: all layers alike, or by layer name or pattern; binary and ternary
            weights come out as the integers and scales they were trained to.
        activations: round activations to 8 bits, ranges from the training data (as post-training quantization).
        fixed_point: keep parameters on a fixed-point grid.
        normalize: batch normalization of the layers with trained weights, folded into them at the end.
    """

    pruning: GradualPruning | None = None
    weights: WeightQuantizer | LearnedForm | Mapping[str, WeightQuantizer | LearnedForm] | None = None
    activations: bool = False
    fixed_point: FixedPointParameters | None = None
    normalize: bool = field(default=False, metadata={LATER: True})


@dataclass(frozen=True, slots=True)
class Epoch:
    """What an epoch brought: mean loss, share of weights left, error in percent on the validation data if any."""

    loss: float
    density: float
    error: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Everything a training depends on, for its fingerprint."""

    options: TrainOptions
    constraints: Constraints
    losses: tuple[Any, ...]
    augmentation: Any = None


def told(value: Any) -> str:
    """A text that is equal for equal options; arrays by their bytes."""
    if is_dataclass(value) and not isinstance(value, type):
        shown = [f for f in fields(value) if not (f.metadata.get(LATER) and getattr(value, f.name) == f.default)]
        parts = ", ".join(f"{f.name}={told(getattr(value, f.name))}" for f in shown)
        return f"{type(value).__name__}({parts})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {told(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(told, value)) + "]"
    if isinstance(value, np.ndarray):
        import hashlib

        return (
            f"array({value.dtype}, {value.shape}, {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()})"
        )
    return repr(value)
