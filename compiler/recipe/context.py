"""What a recipe's steps may use: data, the original network, where checkpoints go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..board import Board
from ..errors import UsageError
from ..ir.graph import Graph


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What a step is given beside its options.

    Attributes:
        original: the float network that is compressed.
        calibration: graph input -> (S, *shape), unlabelled.
        training: the same, to train on; None without training data.
        labels: (S,) class numbers of `training`, or None.
        seed: of everything random.
        checkpoints: folder for checkpoints of trainings, or None to keep none.
        progress: show progress bars.
        board: whose costs count, or None.
        teachers: who is imitated in place of the original: one network, or several as one.
        refused: steps tell here which layers they left alone, and why.
    """

    original: Graph
    calibration: Mapping[str, np.ndarray]
    training: Mapping[str, np.ndarray] | None = None
    labels: np.ndarray | None = None
    seed: int = 0
    checkpoints: Path | None = None
    progress: bool = False
    board: Board | None = None
    teachers: Graph | None = None
    refused: list[str] = field(default_factory=list)

    @property
    def teacher(self) -> Graph:
        """The network that is imitated."""
        return self.original if self.teachers is None else self.teachers

    def training_inputs(self) -> Mapping[str, np.ndarray]:
        """The training data.

        Raises:
            UsageError: there is none.
        """
        if self.training is None:
            raise UsageError(
                "the recipe trains, and there is no training data", hint="give --train data.npz (labels 'y' optional)"
            )
        return self.training
