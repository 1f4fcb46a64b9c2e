"""The step that trains: options of the trainer in the words of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..ir.graph import Graph
from ..train.augment import ImageAugmentation
from ..train.losses import Distillation, Labels, Loss, OutputError
from ..train.options import Constraints, TrainingData, TrainOptions
from ..train.pruning import GradualPruning
from ..train.trainer import Training
from .context import Context


@dataclass(frozen=True, slots=True)
class TrainStep:
    """Train, keeping what the steps before have promised.

    Attributes:
        options: the schedule; a batch is at most a quarter of the samples.
        steps: least number of steps: few samples are passed more often than `options.epochs` says.
        pruning: prune on the way.
        labels: weight of the cross entropy with labels; ignored without labels.
        distillation: imitate the original network's softened classes.
        outputs: weight of the squared error to the original network's outputs.
        activations: round activations to 8 bits in training.
        augmentation: deform images.
    """

    options: TrainOptions = field(default_factory=TrainOptions)
    steps: int = 0
    pruning: GradualPruning | None = None
    labels: float = 0.0
    distillation: Distillation | None = None
    outputs: float = 0.0
    activations: bool = False
    augmentation: ImageAugmentation | None = None

    def run(self, graph: Graph, context: Context, number: int) -> Graph:
        """The trained graph.

        Raises:
            UsageError: no training data, or nothing to learn from.
        """
        losses: list[Loss] = []
        if self.labels and context.labels is not None:
            losses.append(Labels(self.labels))
        if self.distillation is not None:
            losses.append(self.distillation)
        if self.outputs:
            losses.append(OutputError(self.outputs))
        checkpoint = None if context.checkpoints is None else context.checkpoints / f"step-{number}.npz"
        data = TrainingData(context.training_inputs(), context.labels)
        training = Training(
            graph,
            data,
            tuple(losses),
            self._schedule(data.samples, context.seed),
            Constraints(self.pruning, activations=self.activations),
            teacher=context.original,
            augmentation=self.augmentation,
            checkpoint=checkpoint,
        )
        return training.run(progress=context.progress).graph

    def _schedule(self, samples: int, seed: int) -> TrainOptions:
        batch = max(min(self.options.batch, samples // 4), 1)
        epochs = max(self.options.epochs, -(-self.steps // (samples // batch)))
        return replace(self.options, batch=batch, epochs=epochs, seed=self.options.seed + seed)
