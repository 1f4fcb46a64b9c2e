"""What training minimises: labels, the teacher's answers, its hidden tensors; any weighted sum of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError
from ..ir.graph import Graph
from .runtime import tensorflow

Tensor = Any


def logits_tensors(graph: Graph) -> tuple[str, ...]:
    """The tensors behind the outputs that hold logits: what goes into a closing softmax, or the outputs themselves."""
    producers = graph.producers()
    found = []
    for name in graph.outputs:
        node = producers.get(name)
        while node is not None and node.op in ("Dequantize", "Quantize"):
            name = node.inputs[0]
            node = producers.get(name)
        found.append(node.inputs[0] if node is not None and node.op == "Softmax" else name)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Answers:
    """All tensors of student and teacher on a batch, and its labels.

    `student_logits` and `teacher_logits` name the tensors that hold logits; `projections` are trained with the
    student, one for each pair of hinted tensors whose channels differ in number.
    """

    student: Mapping[str, Tensor]
    teacher: Mapping[str, Tensor]
    labels: Tensor | None
    student_logits: tuple[str, ...]
    teacher_logits: tuple[str, ...]
    student_outputs: tuple[str, ...]
    teacher_outputs: tuple[str, ...]
    projections: Mapping[str, Tensor] = field(default_factory=dict)

    def logits(self) -> list[tuple[Tensor, Tensor]]:
        """(student's, teacher's) logits of each output, (batch, classes)."""
        names = zip(self.student_logits, self.teacher_logits, strict=True)
        return [(_rows(self.student[own]), _rows(self.teacher[other])) for own, other in names]


@dataclass(frozen=True, slots=True)
class Labels:
    """Cross entropy of softmax(logits) and class labels; the first output."""

    weight: float = 1.0

    needs_labels = True
    needs_teacher = False

    def value(self, answers: Answers) -> Tensor:
        """Mean over the batch."""
        tf = tensorflow()
        logits = _rows(answers.student[answers.student_logits[0]])
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.reshape(answers.labels, [-1]), logits)
        return tf.reduce_mean(losses)


@dataclass(frozen=True, slots=True)
class Distillation:
    """Cross entropy with the teacher's softened answers (Hinton, Vinyals, Dean 2015).

    T**2 times the cross entropy of softmax(teacher / T) and softmax(student / T), summed over the outputs: the factor
    keeps the size of the gradients when T changes.
    """

    weight: float = 1.0
    temperature: float = 2.0

    needs_labels = False
    needs_teacher = True

    def value(self, answers: Answers) -> Tensor:
        """Mean over the batch."""
        tf = tensorflow()
        total = 0.0
        for student, teacher in answers.logits():
            soft = tf.nn.softmax(teacher / self.temperature)
            total += tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(soft, student / self.temperature))
        return self.temperature**2 * total


@dataclass(frozen=True, slots=True)
class OutputError:
    """Mean squared error of the outputs against the teacher's: for networks that end in no softmax."""

    weight: float = 1.0

    needs_labels = False
    needs_teacher = True

    def value(self, answers: Answers) -> Tensor:
        """Mean over batch and elements, summed over the outputs."""
        tf = tensorflow()
        pairs = zip(answers.student_outputs, answers.teacher_outputs, strict=True)
        return sum(tf.reduce_mean(tf.square(answers.student[a] - answers.teacher[b])) for a, b in pairs)


@dataclass(frozen=True, slots=True)
class LogitError:
    """Mean squared error of the logits, less their mean over the classes (Ba, Caruana 2014).

    What a softmax ignores, one number added to all logits of a sample, is ignored here too.
    """

    weight: float = 1.0

    needs_labels = False
    needs_teacher = True

    def value(self, answers: Answers) -> Tensor:
        """Mean over batch and classes, summed over the outputs."""
        tf = tensorflow()
        total = 0.0
        for student, teacher in answers.logits():
            error = student - teacher
            total += tf.reduce_mean(tf.square(error - tf.reduce_mean(error, axis=1, keepdims=True)))
        return total


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """Cross entropy with the classes the teacher names (Bucila, Caruana, Niculescu-Mizil 2006).

    Attributes:
        confidence: samples whose class the teacher gives a smaller probability count for nothing.
    """

    weight: float = 1.0
    confidence: float = 0.0

    needs_labels = False
    needs_teacher = True

    def value(self, answers: Answers) -> Tensor:
        """Mean over the batch, summed over the outputs."""
        tf = tensorflow()
        total = 0.0
        for student, teacher in answers.logits():
            sure = tf.cast(tf.reduce_max(tf.nn.softmax(teacher), axis=1) >= self.confidence, tf.float32)
            classes = tf.argmax(teacher, axis=1)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, student)
            total += tf.reduce_mean(sure * losses)
        return total


@dataclass(frozen=True, slots=True)
class Imitation:
    """Each output by its kind: softened classes behind a softmax, relative squared error elsewhere.

    For networks with several outputs, and for regression: an output without a softmax counts as its squared error over
    the variance of the teacher's answers in the batch, so that no output drowns another by its unit.
    """

    weight: float = 1.0
    temperature: float = 2.0

    needs_labels = False
    needs_teacher = True

    def value(self, answers: Answers) -> Tensor:
        """Mean over the batch, summed over the outputs."""
        tf = tensorflow()
        total = 0.0
        names = zip(answers.student_logits, answers.student_outputs, strict=True)
        for (own, output), (student, teacher) in zip(names, answers.logits(), strict=True):
            if own != output:
                soft = tf.nn.softmax(teacher / self.temperature)
                losses = tf.nn.softmax_cross_entropy_with_logits(soft, student / self.temperature)
                total += self.temperature**2 * tf.reduce_mean(losses)
            else:
                spread = tf.math.reduce_variance(teacher) + 1e-12
                total += tf.reduce_mean(tf.square(student - teacher)) / spread
        return total


@dataclass(frozen=True, slots=True)
class Hints:
    """Mean squared error of hidden tensors against the teacher's (FitNets: Romero et al. 2015).

    Where the student's tensor has fewer channels (last axis) than the teacher's, a linear map that is trained along
    and then dropped brings it to the same number.

    Attributes:
        tensors: student's tensor name -> teacher's tensor name.
    """

    tensors: Mapping[str, str]
    weight: float = 1.0

    needs_labels = False
    needs_teacher = True

    def value(self, answers: Answers) -> Tensor:
        """Mean over batch and elements, summed over the tensors."""
        tf = tensorflow()
        total = 0.0
        for own, other in self.tensors.items():
            student = answers.student[own]
            if own in answers.projections:
                student = tf.linalg.matmul(student, answers.projections[own])
            total += tf.reduce_mean(tf.square(student - answers.teacher[other]))
        return total


Loss = Labels | Distillation | OutputError | LogitError | PseudoLabels | Imitation | Hints


def check_losses(losses: tuple[Loss, ...], student: Graph, teacher: Graph | None, *, labelled: bool) -> None:
    """Refuse losses that cannot be computed.

    Raises:
        UsageError: none given, no labels, no teacher, no such tensor, or shapes that do not match.
    """
    if not losses:
        raise UsageError("no loss to train with", hint="give labels, a teacher, or both")
    for loss in losses:
        kind = type(loss).__name__
        if loss.needs_labels and not labelled:
            raise UsageError(f"loss {kind} needs labels, and the data has none", hint="distil from the original model")
        if loss.needs_teacher and teacher is None:
            raise UsageError(f"loss {kind} needs a teacher", hint="give the original model")
        if isinstance(loss, Hints):
            for own, other in loss.tensors.items():
                _check_hint(own, student, "the student")
                _check_hint(other, teacher, "the teacher")
                if teacher is not None and student.types[own].shape[:-1] != teacher.types[other].shape[:-1]:
                    raise UsageError(f"hinted tensors '{own}' and '{other}' differ in more than their channels")
    if teacher is not None and any(loss.needs_teacher for loss in losses):
        ours = [student.types[name].shape for name in student.outputs]
        theirs = [teacher.types[name].shape for name in teacher.outputs]
        if ours != theirs:
            raise UsageError(f"the teacher's outputs have shapes {theirs}, the network's {ours}")


def matching_hints(student: Graph, teacher: Graph, weight: float = 1.0) -> Hints:
    """Hints between tensors of one place and resolution.

    A student that was cut out of its teacher keeps the names of its tensors: all outputs of hidden layers that mix
    channels are hinted at. For any other one it is the last tensor of each resolution through which all of the network
    passes (FitNets hints at one tensor in the middle).

    Raises:
        UsageError: student and teacher have no resolution in common.
    """
    from ..compress.layers import weight_layers
    from ..compress.students import waists

    outputs = {*student.outputs, *logits_tensors(student)}
    named = {
        name: name
        for name in (layer.node.outputs[0] for layer in weight_layers(student) if not layer.depthwise)
        if name in teacher.types and name not in outputs and name not in teacher.constants
        if student.types[name].shape[:-1] == teacher.types[name].shape[:-1]
    }
    if named:
        return Hints(named, weight)

    def last(graph: Graph) -> dict[tuple[int, ...], str]:
        outside = {*graph.inputs, *graph.outputs, *logits_tensors(graph)}
        return {graph.types[name].shape[:-1]: name for name in waists(graph) if name not in outside}

    ours, theirs = last(student), last(teacher)
    pairs = {ours[shape]: theirs[shape] for shape in ours if shape in theirs}
    if not pairs:
        raise UsageError(
            "student and teacher have no tensors of one resolution to hint at",
            hint="name them: Hints(tensors), or take a recipe without hints: distil",
        )
    return Hints(pairs, weight)


def _check_hint(name: str, graph: Graph | None, whose: str) -> None:
    if graph is not None and (name not in graph.types or name in graph.constants):
        raise UsageError(f"{whose} has no tensor '{name}' to hint at")


def _rows(values: Tensor) -> Tensor:
    """(B, ..., classes) -> (rows, classes)."""
    return tensorflow().reshape(values, [-1, values.shape[-1]])
