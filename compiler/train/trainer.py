"""The training loop: one graph in, the trained graph out; resumable bit for bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..compress.layers import check_names, pick, weight_layers
from ..errors import DataError, UsageError
from ..ir.graph import Graph
from ..ir.text import format_graph
from ..ops.conv2d import Conv2DAttrs
from .augment import ImageAugmentation
from .checkpoint import load, save
from .constraints import WeightRule, rule_of
from .losses import Answers, Hints, Loss, check_losses, logits_tensors
from .network import Network
from .normalization import check_normalized
from .options import Constraints, Epoch, Task, TrainingData, TrainOptions, as_real, told
from .progress import EpochBar
from .runtime import tensorflow

SALIENCY_SAMPLES = 2000
"""Samples the rms of the inputs is measured on."""

CALIBRATION_SAMPLES = 512

NORMALIZATION_SAMPLES = 1000
"""Samples normalization starts on."""

CACHED_NUMBERS = 1 << 28
"""Numbers of a teacher's answers that are kept in memory at most (1 GiB); else they are computed in every step."""

CACHE_CHUNK = 8192


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The trained graph and what each epoch brought."""

    graph: Graph
    history: tuple[Epoch, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """A training, ready to run.

    Attributes:
        graph: float canonical graph (see `boardfit.prepare`).
        data: what it is trained on.
        losses: what is minimised, a sum weighted by each loss's `weight`.
        options: schedule.
        constraints: pruning and rounding; promises of the graph are kept in any case.
        teacher: the graph that is imitated, usually the original one.
        augmentation: deformations of the first input.
        validation: data whose error is told after each epoch; never trained on.
        checkpoint: file written after every epoch; a run that finds one goes on from there.
    """

    graph: Graph
    data: TrainingData
    losses: tuple[Loss, ...]
    options: TrainOptions = field(default_factory=TrainOptions)
    constraints: Constraints = field(default_factory=Constraints)
    teacher: Graph | None = None
    augmentation: ImageAugmentation | None = None
    validation: TrainingData | None = None
    checkpoint: Path | None = None

    def run(self, *, progress: bool = False, after_epoch: Callable[[int, Epoch], None] | None = None) -> Trained:
        """Train.

        Args:
            progress: show a bar.
            after_epoch: told the number of epochs done and what the last one brought.

        Raises:
            UsageError: options, losses and data do not go together, or TensorFlow is missing.
            ModelError: an op cannot be trained.
            DataError: the checkpoint is of another training, or the loss is no longer finite.
            OutputError: a checkpoint cannot be written.
        """
        self._check()
        session = _Session(self)
        session.restore()
        epochs = self.options.epochs
        with EpochBar(epochs, session.epoch) if progress else nullcontext() as bar:
            while session.epoch < epochs:
                record = session.run_epoch()
                session.store()
                if bar is not None:
                    bar.show(record)
                if after_epoch is not None:
                    after_epoch(session.epoch, record)
        return Trained(session.network.finished(self.constraints.pruning), tuple(session.history))

    def _check(self) -> None:
        if set(self.data.inputs) != set(self.graph.inputs):
            raise UsageError(f"training data for inputs {sorted(self.data.inputs)}, not {sorted(self.graph.inputs)}")
        for name, values in self.data.inputs.items():
            if values.shape[1:] != self.graph.types[name].shape or len(values) != self.data.samples:
                raise DataError(f"training data of shape {values.shape} for input '{name}'")
        if self.data.labels is not None and len(self.data.labels) != self.data.samples:
            raise DataError(f"{len(self.data.labels)} labels for {self.data.samples} samples")
        self.options.check(self.data.samples)
        check_losses(self.losses, self.graph, self.teacher, labelled=self.data.labels is not None)
        if self.augmentation is not None:
            self.augmentation.check(self.graph.types[self.graph.inputs[0]].shape)
        if self.constraints.pruning is not None:
            self.constraints.pruning.check()
            if isinstance(self.constraints.pruning.density, Mapping):
                check_names(self.graph, self.constraints.pruning.density)
        if isinstance(self.constraints.weights, Mapping):
            check_names(self.graph, self.constraints.weights)
        if self.constraints.normalize:
            check_normalized(self.graph)

    def fingerprint(self) -> str:
        """Equal for trainings that must give equal results (on the same machine and TensorFlow)."""
        digest = hashlib.sha256()
        for graph in (self.graph, self.teacher):
            if graph is not None:
                digest.update(format_graph(graph).encode())
                for name in sorted(graph.constants):
                    digest.update(np.ascontiguousarray(graph.constants[name].values).tobytes())
        task = Task(self.options, self.constraints, self.losses, self.augmentation)
        digest.update(told(task).encode())
        digest.update(told([dict(self.data.inputs), self.data.labels]).encode())
        return digest.hexdigest()


class _Session:
    """Variables, optimizer state and history of a running training."""

    def __init__(self, training: Training) -> None:
        tf = tensorflow()
        self.training = training
        self.tf = tf
        rules = _rules(training)
        activations = _activation_types(training) if training.constraints.activations else {}
        start = training.data.pick(_few(training, NORMALIZATION_SAMPLES))[0] if training.constraints.normalize else None
        self.network = Network(training.graph, rules, activations, normalize=start)
        self.teacher = None if training.teacher is None else Network(training.teacher, trainable=False)
        self.layers = [layer for layer in weight_layers(training.graph) if layer.node.inputs[1] in self.network.masks]
        self.projections = _projections(training)
        self.trained: dict[str, Any] = {**self.network.variables, **self.projections}
        self.sizes = {name: _size(variable.numpy()) for name, variable in self.network.variables.items()}
        self.moments = {name: (tf.Variable(v * 0.0), tf.Variable(v * 0.0)) for name, v in self.trained.items()}
        self.network.seconds = {name: second for name, (_, second) in self.moments.items()}
        self._answers = self._cached_answers()
        self.first = {layer.name: float(np.mean(self._mask(layer.node.inputs[1]) != 0)) for layer in self.layers}
        self.epoch = 0
        self.history: list[Epoch] = []
        self.steps = training.data.samples // training.options.batch
        self.total = self.steps * training.options.epochs
        self._step = tf.function(self._one_step, jit_compile=training.options.compile)
        self._fingerprint = training.fingerprint() if training.checkpoint is not None else ""

    def _mask(self, name: str) -> np.ndarray:
        mask: np.ndarray = self.network.masks[name].numpy()
        return mask

    def _cached_answers(self) -> dict[str, np.ndarray]:
        """What the teacher says of every sample, computed once, where samples do not change and memory allows."""
        training = self.training
        if self.teacher is None or training.teacher is None or training.augmentation is not None:
            return {}
        wanted = [*logits_tensors(training.teacher), *training.teacher.outputs]
        for loss in training.losses:
            wanted += loss.tensors.values() if isinstance(loss, Hints) else []
        names = tuple(dict.fromkeys(wanted))
        numbers = sum(training.teacher.types[name].elements for name in names) * training.data.samples
        if numbers > CACHED_NUMBERS:
            return {}
        parts: list[dict[str, np.ndarray]] = []
        for start in range(0, training.data.samples, CACHE_CHUNK):
            inputs, _ = training.data.pick(np.arange(start, min(start + CACHE_CHUNK, training.data.samples)))
            parts.append(self.teacher.run(inputs, names))
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    # ---- one epoch

    def run_epoch(self) -> Epoch:
        """Train for one epoch; its randomness depends on the seed and its number only."""
        tf, training = self.tf, self.training
        options, pruning = training.options, training.constraints.pruning
        random = np.random.default_rng([options.seed, self.epoch])
        order = random.permutation(training.data.samples)
        losses = []
        for index in range(self.steps):
            step = self.epoch * self.steps + index
            if pruning is not None and pruning.due(step, self.total):
                self._prune(pruning.progress(step, self.total))
            picked = order[index * options.batch : (index + 1) * options.batch]
            inputs, labels = training.data.pick(picked)
            if training.augmentation is not None:
                name = training.graph.inputs[0]
                inputs[name] = training.augmentation(inputs[name], random)
            labels = np.zeros(0, np.int64) if labels is None else labels.astype(np.int64)
            rate = tf.constant(options.rate(step, self.total), tf.float32)
            seed = tf.constant([options.seed, step], tf.int32)
            count = tf.constant(float(step + 1), tf.float32)
            told = {name: tf.constant(values[picked]) for name, values in self._answers.items()}
            given = {name: tf.constant(values) for name, values in inputs.items()}
            losses.append(self._step(given, told, labels, rate, count, seed))
        loss = float(np.mean([value.numpy() for value in losses], dtype=np.float64))
        if not np.isfinite(loss):
            raise DataError("the loss is no longer finite", hint="lower the learning rate, check the scale of the data")
        self.epoch += 1
        record = Epoch(loss, self._density(), self._error())
        self.history.append(record)
        return record

    def _one_step(self, inputs: Any, told: Any, labels: Any, rate: Any, count: Any, seed: Any) -> Any:
        tf, training = self.tf, self.training
        teacher = told if told or self.teacher is None else self.teacher.forward(inputs)
        with tf.GradientTape() as tape:
            student = self.network.forward(inputs, seed)
            other = training.teacher or training.graph
            answers = Answers(
                student,
                teacher,
                labels,
                logits_tensors(training.graph),
                logits_tensors(other),
                training.graph.outputs,
                other.outputs,
                self.projections,
            )
            loss = sum(part.weight * part.value(answers) for part in training.losses)
        gradients = tape.gradient(loss, list(self.trained.values()), unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for (name, variable), gradient in zip(self.trained.items(), gradients, strict=True):
            self._update(name, variable, tf.convert_to_tensor(gradient), rate, count, seed)
        return loss

    def _update(self, name: str, variable: Any, gradient: Any, rate: Any, count: Any, seed: Any) -> None:
        """One step of Adam, decay, mask and grid."""
        tf, options, network = self.tf, self.training.options, self.network
        first, second = self.moments[name]
        first.assign(0.9 * first + 0.1 * gradient)
        second.assign(0.999 * second + 0.001 * tf.square(gradient))
        correction = tf.sqrt(1.0 - tf.pow(0.999, count)) / (1.0 - tf.pow(0.9, count))
        step = rate * self.sizes.get(name, 1.0) if options.relative else rate
        value = variable - step * correction * first / (tf.sqrt(second) + 1e-7)
        if network.is_weight(name):
            if options.weight_decay:
                value -= rate * options.weight_decay * variable
            if options.biased_decay:
                pull = tf.sign(variable) / tf.square(1.0 + tf.abs(variable) / options.biased_scale)
                value -= rate * options.biased_decay * pull
        grid = self.training.constraints.fixed_point
        if grid is not None and name in network.variables:
            place = list(self.trained).index(name)
            value = grid(value, seed + tf.constant([0, place * 1_000_003], tf.int32))
        if name in network.masks:
            value = network.kept(name, value * network.masks[name])
        variable.assign(value)

    # ---- pruning

    def _prune(self, done: float) -> None:
        pruning = self.training.constraints.pruning
        if pruning is None:
            return
        names = {layer.name: layer.node.inputs[1] for layer in self.layers}
        weights = {name: self.network.variables[w].numpy() * self._mask(w) for name, w in names.items()}
        for name, mask in pruning.masks(weights, self._input_sizes(), self.first, done).items():
            keep = (mask & (self._mask(names[name]) != 0)).astype(np.float32)
            self.network.masks[names[name]].assign(keep)
            self.network.variables[names[name]].assign(weights[name] * keep)

    def _input_sizes(self) -> dict[str, np.ndarray]:
        """Layer name -> rms of each input channel on a fixed sample, of the shape (1 or out, ..., channels)."""
        data = self.training.data
        few = np.arange(min(data.samples, SALIENCY_SAMPLES)) * data.samples // min(data.samples, SALIENCY_SAMPLES)
        tensors = tuple(dict.fromkeys(layer.node.inputs[0] for layer in self.layers))
        inputs, _ = data.pick(few)
        given = {name: inputs[name] for name in tensors if name in inputs}
        computed = tuple(name for name in tensors if name not in inputs)
        given.update(self.network.run(inputs, computed) if computed else {})
        found: dict[str, np.ndarray] = {}
        for layer in self.layers:
            values = given[layer.node.inputs[0]]
            rms = np.sqrt(np.mean(np.square(values.reshape(-1, values.shape[-1])), axis=0))
            if isinstance(layer.node.attrs, Conv2DAttrs) and layer.groups > 1:
                per_group = rms.reshape(layer.groups, -1)
                rms = np.repeat(per_group, len(layer.weights) // layer.groups, axis=0)[:, None, None, :]
            found[layer.name] = rms
        return found

    def _density(self) -> float:
        kept = total = 0
        for layer in weight_layers(self.training.graph):
            name = layer.node.inputs[1]
            live = self._mask(name) if name in self.network.masks else layer.weights
            kept, total = kept + int(np.count_nonzero(live)), total + layer.weights.size
        return kept / max(total, 1)

    def _error(self) -> float | None:
        data = self.training.validation
        if data is None or data.labels is None:
            return None
        name = logits_tensors(self.training.graph)[0]
        inputs = {key: as_real(values) for key, values in data.inputs.items()}
        logits = self.network.run(inputs, (name,))[name].reshape(data.samples, -1)
        return 100.0 * float(np.mean(np.argmax(logits, axis=1) != data.labels))

    # ---- checkpoints

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for name, variable in self.trained.items():
            state[f"value/{name}"] = variable
            state[f"first/{name}"], state[f"second/{name}"] = self.moments[name]
        state.update({f"mask/{name}": mask for name, mask in self.network.masks.items()})
        for norm in self.network.normalizations.values():
            state.update(norm.averages)
        return state

    def store(self) -> None:
        """Write the checkpoint, if one is wanted."""
        if self.training.checkpoint is None:
            return
        arrays = {name: variable.numpy() for name, variable in self._state().items()}
        nan = float("nan")
        rows = [(r.loss, r.density, nan if r.error is None else r.error) for r in self.history]
        save(self.training.checkpoint, {**arrays, "history": np.asarray(rows, np.float64)}, self._fingerprint)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.training.checkpoint is None:
            return
        arrays = load(self.training.checkpoint, self._fingerprint)
        if arrays is None:
            return
        for name, variable in self._state().items():
            variable.assign(arrays[name])
        rows = arrays["history"].tolist()
        self.history = [Epoch(a, b, None if np.isnan(c) else c) for a, b, c in rows]
        self.epoch = len(self.history)


def _size(values: np.ndarray) -> float:
    """Root of the mean square; 1 where all is zero."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) or 1.0


def _rules(training: Training) -> dict[str, WeightRule]:
    quantizers = training.constraints.weights
    layers = weight_layers(training.graph)
    named = quantizers if isinstance(quantizers, Mapping) else {"*": quantizers}
    return {layer.name: rule_of(layer, pick(named, layer.name)) for layer in layers}


def _few(training: Training, count: int) -> np.ndarray:
    return np.arange(min(training.data.samples, count))


def _activation_types(training: Training) -> dict[str, Any]:
    from ..compress.ptq import activation_types
    from ..options import QuantizeOptions

    inputs, _ = training.data.pick(_few(training, CALIBRATION_SAMPLES))
    return activation_types(training.graph, inputs, QuantizeOptions())


def _projections(training: Training) -> dict[str, Any]:
    """Linear maps from the student's channels to the teacher's, for hinted tensors where they differ in number."""
    tf, found = tensorflow(), {}
    random = np.random.default_rng([training.options.seed, 1 << 20])
    for loss in training.losses:
        if not isinstance(loss, Hints) or training.teacher is None:
            continue
        for own, other in loss.tensors.items():
            ours, theirs = training.graph.types[own].shape[-1], training.teacher.types[other].shape[-1]
            if ours != theirs:
                start = random.standard_normal((ours, theirs)) / np.sqrt(ours)
                found[own] = tf.Variable(start.astype(np.float32))
    return found
