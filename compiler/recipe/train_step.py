"""The step that trains: options of the trainer in the words of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ..compress.grids import Grid, GridKind
from ..compress.layers import weight_layers
from ..errors import UsageError
from ..ir.graph import Graph
from ..passes.base import Preserves
from ..solver.spared import most_sensitive
from ..train.augment import ImageAugmentation
from ..train.binary import BinaryWeights, LearnedForm, TernaryWeights
from ..train.constraints import FixedPointParameters, WeightQuantizer
from ..train.losses import Distillation, Imitation, Labels, LogitError, Loss, OutputError, PseudoLabels, matching_hints
from ..train.options import Constraints, TrainingData, TrainOptions
from ..train.pruning import GradualPruning
from ..train.pseudo_data import PseudoData, with_pseudo_data
from ..train.trainer import Training
from ..train.views import over_views, ten_views
from .context import Context


@dataclass(frozen=True, slots=True, eq=False)
class Train:
    """Train, keeping what the steps before have promised.

    The teacher is the original network, or the teachers that were named in its place.

    Attributes:
        context: data, the original network, where checkpoints go.
        number: place in the recipe, for the name of the checkpoint.
        options: the schedule; a batch is at most a quarter of the samples.
        steps: least number of steps: few samples are passed more often than `options.epochs` says.
        pruning: prune on the way.
        labels: weight of the cross entropy with labels; ignored without labels.
        distillation: imitate the teacher's softened classes.
        outputs: weight of the squared error to the teacher's outputs.
        logits: weight of the squared error to the teacher's logits.
        imitation: each output by its kind: several outputs, regression.
        pseudo_labels: take the teacher's classes for labels.
        hints: weight of the hints at hidden layers that student and teacher share (`matching_hints`).
        weights: round the weights of all layers in the forward pass.
        activations: round activations to 8 bits in training.
        fixed_point: keep parameters on a fixed-point grid.
        binary: signs with a scale for the weights of the layers that are not spared.
        ternary: -, 0 and + with a scale (or two) for them.
        spared: largest share of the weights in layers that stay as they are while the others become binary or ternary:
            those the outputs would feel most (`solver.spared`).
        normalize: batch normalization of the layers in training, folded in at its end.
        augmentation: deform images.
        pseudo_data: make more inputs of the data there are; labels are then not used.
        views: the teacher answers with the mean of ten looks at an image, moved by so many pixels and mirrored
            (`train.views`); 0 for one look.
    """

    context: Context
    number: int = 1
    options: TrainOptions = field(default_factory=TrainOptions)
    steps: int = 0
    pruning: GradualPruning | None = None
    labels: float = 0.0
    distillation: Distillation | None = None
    outputs: float = 0.0
    logits: float = 0.0
    imitation: Imitation | None = None
    pseudo_labels: PseudoLabels | None = None
    hints: float = 0.0
    weights: WeightQuantizer | None = None
    activations: bool = False
    fixed_point: FixedPointParameters | None = None
    binary: BinaryWeights | None = None
    ternary: TernaryWeights | None = None
    spared: float = 0.0
    normalize: bool = False
    augmentation: ImageAugmentation | None = None
    pseudo_data: PseudoData | None = None
    views: int = 0

    name: ClassVar[str] = "train"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The trained graph.

        Raises:
            UsageError: no training data, or nothing to learn from.
        """
        context = self.context
        checkpoint = None if context.checkpoints is None else context.checkpoints / f"step-{self.number}.npz"
        data = TrainingData(context.training_inputs(), context.labels)
        if self.pseudo_data is not None:
            data = TrainingData(with_pseudo_data(data.inputs, self.pseudo_data, context.seed))
        training = Training(
            graph,
            data,
            self._losses(graph, labelled=data.labels is not None),
            self._schedule(data.samples, context.seed),
            Constraints(self.pruning, self._forms(graph), self.activations, self.fixed_point, self.normalize),
            teacher=self._teacher(),
            augmentation=self.augmentation,
            checkpoint=checkpoint,
        )
        return training.run(progress=context.progress).graph

    def _teacher(self) -> Graph:
        """Who is imitated."""
        if self.views < 0:
            raise UsageError(f"views are moved by pixels, not by {self.views}", hint="give 0 for one look at an image")
        if not self.views:
            return self.context.teacher
        if self.hints:
            raise UsageError("hidden layers have no mean over views", hint="give hints or views")
        return over_views(self.context.teacher, ten_views(self.views))

    def _forms(self, graph: Graph) -> WeightQuantizer | Mapping[str, WeightQuantizer | LearnedForm] | None:
        """How the weights are rounded: all alike, or binary or ternary where a layer is not spared."""
        form = self.binary or self.ternary
        if form is None:
            return self.weights
        if (self.binary and self.ternary) or self.weights is not None:
            raise UsageError("give one of weights, binary and ternary")
        grid = Grid(GridKind.TERNARY if self.binary is None else GridKind.BINARY)
        spared = most_sensitive(graph, self.context.calibration, grid, self.spared)
        return {layer.name: form for layer in weight_layers(graph) if layer.name not in spared}

    def _losses(self, graph: Graph, *, labelled: bool) -> tuple[Loss, ...]:
        losses: list[Loss] = []
        if self.labels and labelled:
            losses.append(Labels(self.labels))
        losses += [loss for loss in (self.distillation, self.imitation, self.pseudo_labels) if loss is not None]
        if self.outputs:
            losses.append(OutputError(self.outputs))
        if self.logits:
            losses.append(LogitError(self.logits))
        if self.hints:
            losses.append(matching_hints(graph, self.context.teacher, self.hints))
        return tuple(losses)

    def _schedule(self, samples: int, seed: int) -> TrainOptions:
        batch = max(min(self.options.batch, samples // 4), 1)
        epochs = max(self.options.epochs, -(-self.steps // (samples // batch)))
        return replace(self.options, batch=batch, epochs=epochs, seed=self.options.seed + seed)
