"""kws01 taught to smaller copies of itself: half of the instructions, and half of the flash.

Students see 300 unlabelled inputs and variations of them (`spoken`, `posttrain.variations`); they are judged on
the other 300. All start from the copy with 48 of 64 channels that `posttrain` distils.

* half of the instructions: 40 channels (32 in the last layer), 8 bits, distilled once more, with hints;
* half of the flash: 40 channels in the last layer, convolutions but the depthwise ones in 4 bits, so that one kernel
  serves all of them; without more training.

Beside them a network of the first one's shape trained from the labels of the same 300 inputs, without a teacher.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boardfit.compress.gptq import Gptq
from boardfit.compress.layers import NewWeights, WeightLayer, replace_weights, weight_layers
from boardfit.compress.prune_units import PruneUnits
from boardfit.interp import run
from boardfit.ir import DENSE, Graph
from boardfit.metrics import top1
from boardfit.options import Optimize
from boardfit.train.losses import Distillation, Hints, Labels, Loss
from boardfit.train.options import TrainingData, TrainOptions
from boardfit.train.trainer import Training

from .. import corpus
from ..results import Row, print_rows
from .measurement import cost, error_percent
from .posttrain import distilled_keywords, float_error, integer, model, seen_keywords, shaped, variations
from .spoken import spoken_variations

VARIATIONS = 7_000
"""Of the 300 inputs, half of each kind, made once: the teacher answers once, and all it says fits a gigabyte."""

REPEATED = 4
"""Times the inputs themselves stand beside their variations."""

DISTILLED = TrainOptions(epochs=4, batch=64, learning_rate=1e-3)
LABELLED = TrainOptions(epochs=4, batch=64, learning_rate=2e-3)
HINT = 2.0


@dataclass(frozen=True, slots=True)
class Student:
    """What is left of kws01.

    Attributes:
        name: of the row.
        channels: of every layer.
        last: of the layer before the mean, whose channels go to the dense layer only.
        width: bits of the weights of convolutions that are not depthwise.
        optimize: what the kernels are chosen for.
        stored: their format; None for the best.
    """

    name: str
    channels: int
    last: int
    width: int
    optimize: Optimize
    stored: str | None = None


HALF_TIME = Student("half of the instructions: 40 channels", 40, 32, 8, Optimize.SPEED)
HALF_FLASH = Student("half of the flash: 48 channels, 4 bits", 48, 40, 4, Optimize.SIZE, "int4")


def run_student(seed: int, folder: Path, *, progress: bool) -> list[Row]:
    """Half of the instructions: rows of a seed, and of the same network trained from labels."""
    lesson = _Lesson.make(seed, folder, progress=progress)
    return [*lesson.taught(HALF_TIME), *lesson.from_labels(HALF_TIME)]


def run_half_flash(seed: int, folder: Path, *, progress: bool) -> list[Row]:
    """Half of the flash."""
    return _Lesson.make(seed, folder, progress=progress).packed(HALF_FLASH)


@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """A teacher, what its students see and start from, and what they are judged on.

    Attributes:
        teacher: kws01.
        start: its copy with 48 channels.
        seen: indices of the inputs that students see.
        data: these inputs.
        seed: of variations and training.
        folder: of checkpoints.
        progress: show bars.
    """

    teacher: Graph
    start: Graph
    seen: np.ndarray
    data: Mapping[str, np.ndarray]
    seed: int
    folder: Path
    progress: bool

    @classmethod
    def make(cls, seed: int, folder: Path, *, progress: bool) -> _Lesson:
        teacher = model("kws01")
        seen = seen_keywords()
        data = shaped(teacher, corpus.kws()[0][seen])
        shared = folder.parent / "posttrain-1"
        shared.mkdir(parents=True, exist_ok=True)
        start = distilled_keywords(teacher, data, shared, progress=progress)
        return cls(teacher, start, seen, data, seed, folder, progress)

    def taught(self, student: Student) -> list[Row]:
        """A student distilled from its larger copy on, with hints at every pointwise layer."""
        start = time.process_time()
        small = self.cut(student)
        hinted = [layer.node.outputs[0] for layer in pointwise_layers(small)]
        losses: tuple[Loss, ...] = (Distillation(temperature=2.0), Hints({name: name for name in hinted}, HINT))
        made = self.train(small, self.unlabelled(), losses, DISTILLED, f"{student.channels}")
        return self.rows(student.name, student, made, time.process_time() - start)

    def packed(self, student: Student) -> list[Row]:
        """A student whose convolutions are rounded with compensation, not trained again."""
        start = time.process_time()
        small = self.cut(student)
        made = Gptq(self.data, {layer.name: student.width for layer in convolutions(small)})(small)
        return self.rows(student.name, student, made, time.process_time() - start)

    def unlabelled(self) -> TrainingData:
        """The inputs and variations of them."""
        (name,) = self.data
        random = np.random.default_rng(self.seed)
        kinds = [made(self.data[name], VARIATIONS // 2, random) for made in (spoken_variations, variations)]
        return TrainingData({name: np.concatenate([*[self.data[name]] * REPEATED, *kinds])})

    def cut(self, student: Student) -> Graph:
        """The larger copy with fewer channels, readers refitted."""
        whole = len(pointwise_layers(self.start)[0].weights)
        shares = {layer.name: 1.0 - student.channels / whole for layer in weight_layers(self.start)}
        shares[pointwise_layers(self.start)[-1].name] = 1.0 - student.last / whole
        return PruneUnits(self.data, shares, multiple=4)(self.start)

    def train(
        self, graph: Graph, data: TrainingData, losses: tuple[Loss, ...], options: TrainOptions, name: str
    ) -> Graph:
        training = Training(
            graph,
            data,
            losses,
            replace(options, seed=self.seed),
            teacher=self.teacher if any(loss.needs_teacher for loss in losses) else None,
            checkpoint=self.folder / f"{name}.npz",
        )
        return training.run(progress=self.progress).graph

    def from_labels(self, student: Student) -> list[Row]:
        """A network of the student's shape and random weights, trained from the labels of the inputs seen.

        It sees as many variations as the students, made within each class, so that they keep their label.
        """
        start = time.process_time()
        (name,) = self.data
        labels = corpus.kws()[1][self.seen]
        random = np.random.default_rng(self.seed)
        parts: list[np.ndarray] = []
        answers: list[np.ndarray] = []
        for label in np.unique(labels):
            own = self.data[name][labels == label]
            count = VARIATIONS * len(own) // (2 * len(labels))
            parts += [*[own] * REPEATED, *[made(own, count, random) for made in (spoken_variations, variations)]]
            answers.append(np.full(REPEATED * len(own) + 2 * count, label))
        data = TrainingData({name: np.concatenate(parts)}, np.concatenate(answers))
        fresh = _fresh(self.cut(student), np.random.default_rng(self.seed))
        made = self.train(fresh, data, (Labels(),), LABELLED, f"{student.channels}-labels")
        return self.rows(
            f"{student.name}, from 300 labels without a teacher", student, made, time.process_time() - start
        )

    def rows(self, name: str, student: Student, made: Graph, seconds: float) -> list[Row]:
        """Costs and the errors on the inputs that were not seen, and on all."""
        images, labels = corpus.kws()
        unseen = np.setdiff1d(np.arange(len(images)), self.seen)
        everything = TrainingData(shaped(self.teacher, images), labels)
        stored = {layer.node.source.node: student.stored for layer in convolutions(made)} if student.stored else {}
        small = integer(made, self.data)
        plain = integer(self.teacher, self.data)
        found = cost(small, everything, student.optimize, stored)
        dense = {aim: cost(plain, everything, aim) for aim in (Optimize.SPEED, Optimize.SIZE)}
        rows: list[Row] = []
        for part, chosen in (("the other 300", unseen), ("all 600", np.arange(len(images)))):
            test = TrainingData(shaped(self.teacher, images[chosen]), labels[chosen])
            base, error = float_error(self.teacher, test), error_percent(small, test)
            rows.append(
                {
                    "case": "student" if student is HALF_TIME else "half-flash",
                    "recipe": f"kws01: {name}, {part}",
                    "seed": self.seed,
                    "error_percent": round(error, 2),
                    "base_error_percent": round(base, 2),
                    "drop": round(error - base, 2),
                    "agreement_percent": round(100 * self.agreement(made, images[chosen]), 2),
                    "flash": found.bytes + found.code_bytes,
                    "dense_flash": dense[Optimize.SPEED].bytes + dense[Optimize.SPEED].code_bytes,
                    "dense_flash_for_size": dense[Optimize.SIZE].bytes + dense[Optimize.SIZE].code_bytes,
                    "instructions": found.instructions,
                    "dense_instructions": dense[Optimize.SPEED].instructions,
                    "seconds": round(seconds),
                    "formats": " ".join(found.formats),
                    "bytes_equal": found.equal and all(one.equal for one in dense.values()),
                }
            )
        print_rows(name, rows)
        return rows

    def agreement(self, made: Graph, images: np.ndarray) -> float:
        """Share of the inputs that the float student puts in the teacher's class."""
        teacher, student = (run(g, shaped(g, images))[g.outputs[0]] for g in (self.teacher, made))
        return top1(student, np.argmax(teacher.reshape(len(teacher), -1), axis=1))


def convolutions(graph: Graph) -> list[WeightLayer]:
    """Convolutions that are not depthwise."""
    return [layer for layer in weight_layers(graph) if layer.node.op == "Conv2D" and not layer.depthwise]


def pointwise_layers(graph: Graph) -> list[WeightLayer]:
    """1x1 convolutions."""
    return [layer for layer in convolutions(graph) if layer.weights.shape[1:3] == (1, 1)]


def _fresh(graph: Graph, random: np.random.Generator) -> Graph:
    """The graph with random weights (He et al. 2015) and without biases."""
    changes: dict[str, NewWeights] = {}
    for layer in weight_layers(graph):
        fan_in = layer.weights[0].size
        values = random.standard_normal(layer.weights.shape) * np.sqrt(2.0 / fan_in)
        bias = None if layer.bias is None else np.zeros(len(layer.weights), np.float32)
        changes[layer.name] = NewWeights(values.astype(np.float32), DENSE, None, bias)
    return replace_weights(graph, changes)
