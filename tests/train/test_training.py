"""Training: it learns, keeps promises, repeats bit for bit, goes on where it was stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from boardfit.compress.chains import replace_layers
from boardfit.compress.cluster import ShareWeights, TieWeights
from boardfit.compress.layers import NewWeights, weight_layers
from boardfit.compress.share_filters import ShareFilters
from boardfit.errors import DataError, OutputError, UsageError
from boardfit.interp import run
from boardfit.ir import Graph, verify_graph
from boardfit.ir.encoding import DENSE, Compressed
from boardfit.train.constraints import FixedPointParameters, WeightQuantizer
from boardfit.train.losses import Distillation, Hints, Labels, Loss
from boardfit.train.losses import OutputError as OutputLoss
from boardfit.train.options import Constraints, TrainingData, TrainOptions, told
from boardfit.train.pruning import GradualPruning, Saliency
from boardfit.train.trainer import Trained, Training

from .networks import dense_network, image_network, task

pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'boardfit[train]'")

OPTIONS = TrainOptions(epochs=4, batch=50, learning_rate=1e-2, seed=3)


def error(graph: Graph, data: TrainingData) -> float:
    logits = run(graph, dict(data.inputs))[graph.outputs[0]].reshape(data.samples, -1)
    return 100.0 * float(np.mean(np.argmax(logits, axis=1) != data.labels))


def constants(graph: Graph) -> dict[str, np.ndarray]:
    return {name: constant.values for name, constant in graph.constants.items()}


def same(left: Graph, right: Graph) -> bool:
    a, b = constants(left), constants(right)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def teacher() -> Graph:
    options = TrainOptions(epochs=25, batch=50, learning_rate=1e-2, weight_decay=0.01)
    return Training(dense_network(), task(), (Labels(),), options).run().graph


def test_learns_from_labels(teacher: Graph) -> None:
    assert error(dense_network(), task(seed=1)) > 60.0
    assert error(teacher, task(seed=1)) < 25.0


def test_equal_seeds_give_equal_bits_and_other_seeds_others() -> None:
    def trained(seed: int) -> Graph:
        options = TrainOptions(epochs=2, batch=50, seed=seed)
        return Training(dense_network(), task(), (Labels(),), options).run().graph

    assert same(trained(1), trained(1))
    assert not same(trained(1), trained(2))


@pytest.mark.parametrize("losses", [(Distillation(0.6, 2.0), Labels(0.4)), (OutputLoss(),)], ids=["soft", "mse"])
def test_learns_from_a_teacher(teacher: Graph, losses: tuple[Loss, ...]) -> None:
    options = TrainOptions(epochs=15, batch=50, learning_rate=1e-2)
    student = Training(dense_network(8, seed=5), task(), losses, options, teacher=teacher).run().graph
    assert error(student, task(seed=1)) < 32.0


def test_distils_without_labels_into_a_network_that_ends_in_softmax(teacher: Graph) -> None:
    unlabelled = TrainingData(task().inputs)
    options = TrainOptions(epochs=15, batch=50, learning_rate=1e-2)
    student = dense_network(8, seed=5, softmax=True)
    found = Training(student, unlabelled, (Distillation(),), options, teacher=teacher).run().graph
    assert error(found, task(seed=1)) < 32.0


def test_temperature_keeps_the_size_of_the_gradient(teacher: Graph) -> None:
    """Hinton's T**2: without it the loss at T = 8 would be some 64 times flatter than at T = 1."""

    def moved(temperature: float) -> float:
        options = TrainOptions(epochs=1, batch=1000, learning_rate=1e-3)
        history = Training(teacher, task(), (Distillation(1.0, temperature),), options, teacher=dense_network()).run()
        return history.history[0].loss / temperature**2

    assert moved(8.0) == pytest.approx(np.log(4.0), rel=0.1)


def test_hints_bring_hidden_tensors_close_also_of_other_width(teacher: Graph) -> None:
    hint = {"fc1_out": "fc1_out"}
    options = TrainOptions(epochs=10, batch=50, learning_rate=1e-2)
    training = Training(dense_network(16, seed=5), task(), (Hints(hint),), options, teacher=teacher).run()
    assert training.history[-1].loss < 0.5 * training.history[0].loss


def test_pruned_stays_pruned_and_is_promised(teacher: Graph) -> None:
    pruning = GradualPruning(0.25, every=5)
    found = Training(teacher, task(), (Labels(),), OPTIONS, Constraints(pruning=pruning)).run().graph
    zeros = {layer.name: int((layer.weights == 0).sum()) for layer in weight_layers(found)}
    assert sum(zeros.values()) == pytest.approx(0.75 * 32 * 16, abs=2)
    again = Training(found, task(), (Labels(),), OPTIONS).run().graph
    verify_graph(again)
    for before, after in zip(weight_layers(found), weight_layers(again), strict=True):
        assert before.promise.zeros == zeros[before.name]
        assert np.array_equal(before.weights == 0, after.weights == 0)
        assert not np.array_equal(before.weights, after.weights)


@pytest.mark.parametrize("saliency", list(Saliency))
def test_gradual_pruning_beats_one_step_without_training(teacher: Graph, saliency: Saliency) -> None:
    pruning = GradualPruning({"fc1": 0.3}, saliency, every=5)
    options = TrainOptions(epochs=10, batch=50, learning_rate=1e-2)
    found = Training(teacher, task(), (Labels(),), options, Constraints(pruning=pruning)).run().graph
    assert error(found, task(seed=1)) < 35.0
    kept = {layer.name: float((layer.weights != 0).mean()) for layer in weight_layers(found)}
    assert kept == {"fc1": pytest.approx(0.3, abs=0.01), "fc2": 1.0}


def test_blocks_and_patterns(teacher: Graph) -> None:
    blocks = GradualPruning({"fc1": 0.5}, block=4, every=5)
    found = weight_layers(Training(teacher, task(), (Labels(),), OPTIONS, Constraints(blocks)).run().graph)[0]
    runs = (found.weights.reshape(32, -1, 4) != 0).sum(axis=2)
    assert set(np.unique(runs)) == {0, 4}
    assert found.promise.block == 4 and found.promise.zeros == int((found.weights == 0).sum())
    pattern = GradualPruning(keep=2, group=4, every=5)
    found = weight_layers(Training(teacher, task(), (Labels(),), OPTIONS, Constraints(pattern)).run().graph)[0]
    assert (found.weights.reshape(32, -1, 4) != 0).sum(axis=2).max() == 2
    assert (found.promise.keep, found.promise.group) == (2, 4)


def test_shared_weights_stay_shared_and_are_tuned(teacher: Graph) -> None:
    shared = ShareWeights(5)(teacher)
    found = Training(shared, task(), (Labels(),), OPTIONS).run().graph
    for before, after in zip(weight_layers(shared), weight_layers(found), strict=True):
        assert len(np.unique(after.weights)) <= 5
        assert np.array_equal(
            np.unique(before.weights, return_inverse=True)[1], np.unique(after.weights, return_inverse=True)[1]
        )
        assert not np.array_equal(before.weights, after.weights)
    assert error(found, task(seed=1)) < error(shared, task(seed=1))


def test_hashed_weights_keep_one_magnitude_a_bucket(teacher: Graph) -> None:
    tied = TieWeights(16)(teacher)
    found = Training(tied, task(), (Labels(),), OPTIONS).run().graph
    for layer in weight_layers(found):
        assert len(np.unique(np.abs(layer.weights))) <= 16
    assert error(found, task(seed=1)) < error(tied, task(seed=1))


@pytest.mark.parametrize("width", [2, 4])
def test_trained_for_few_bits_beats_rounding_afterwards(teacher: Graph, width: int) -> None:
    quantizer = WeightQuantizer(width)
    options = TrainOptions(epochs=10, batch=50, learning_rate=5e-3)
    found = Training(teacher, task(), (Labels(),), options, Constraints(weights=quantizer)).run().graph
    assert all(layer.promise.width == width for layer in weight_layers(found))
    assert rounded_error(found, width) <= rounded_error(teacher, width) + (1.0 if width == 4 else -2.0)


def rounded_error(graph: Graph, width: int) -> float:
    from boardfit.compress.ptq import quantize_for_mcu
    from boardfit.ir.graph import Constant
    from boardfit.ir.rewrite import GraphEditor
    from boardfit.options import QuantizeOptions

    editor = GraphEditor(graph)
    for layer in weight_layers(graph):
        name = layer.node.inputs[1]
        editor.constants[name] = Constant(editor.constants[name].values, Compressed(width))
    data = task(seed=1)
    return error(quantize_for_mcu(editor.finish(), dict(data.inputs), QuantizeOptions()), data)


def test_powers_of_two(teacher: Graph) -> None:
    quantizer = WeightQuantizer(4, per_channel=False, power_of_two=True)
    found = Training(teacher, task(), (Labels(),), OPTIONS, Constraints(weights=quantizer)).run().graph
    for layer in weight_layers(found):
        live = np.abs(layer.weights[layer.weights != 0])
        assert np.array_equal(np.log2(live), np.round(np.log2(live)))
        assert len(np.unique(live)) <= 7


def test_activations_of_eight_bits(teacher: Graph) -> None:
    found = Training(teacher, task(), (Labels(),), OPTIONS, Constraints(activations=True)).run()
    assert found.history[-1].loss < 0.5


def test_stochastic_rounding_learns_where_rounding_to_nearest_stands_still(teacher: Graph) -> None:
    """Gupta et al. 2015: at low width updates below half a step are lost unless rounding is random."""

    def loss(stochastic: bool, fraction: int) -> float:
        grid = FixedPointParameters(fraction + 4, fraction, stochastic)
        options = TrainOptions(epochs=12, batch=50, learning_rate=2e-3)
        constraints = Constraints(fixed_point=grid)
        return Training(dense_network(), task(), (Labels(),), options, constraints).run().history[-1].loss

    assert loss(True, 6) < 0.8 * loss(False, 6)
    assert loss(True, 12) == pytest.approx(loss(False, 12), rel=0.1)


def test_relative_rates_are_gentle_to_small_weights(teacher: Graph) -> None:
    """A network that takes inputs 255 times as large has first weights 255 times as small."""
    first = weight_layers(teacher)[0]
    small = replace_layers(teacher, {first.name: NewWeights(first.weights / np.float32(255), DENSE)})
    large, unseen = (
        TrainingData({name: 255 * values for name, values in part.inputs.items()}, part.labels)
        for part in (task(), task(seed=1))
    )

    def tuned(*, relative: bool) -> float:
        options = TrainOptions(1, 50, 0.01, relative=relative)
        return error(Training(small, large, (Labels(),), options).run().graph, unseen)

    assert tuned(relative=True) < 19.0 < 21.0 < tuned(relative=False)


def test_fields_added_later_leave_older_checkpoints_alone() -> None:
    assert "relative" not in told(TrainOptions())
    assert "relative=True" in told(TrainOptions(relative=True))


def test_biased_decay_leaves_more_small_weights(teacher: Graph) -> None:
    def small(options: TrainOptions) -> float:
        found = Training(teacher, task(), (Labels(),), options).run().graph
        return float(np.mean(np.abs(weight_layers(found)[0].weights) < 0.01))

    plain = TrainOptions(epochs=8, batch=50, learning_rate=5e-3)
    biased = TrainOptions(epochs=8, batch=50, learning_rate=5e-3, biased_decay=0.5)
    assert small(biased) > 2.0 * small(plain)


def interrupted(path: Path) -> Training:
    pruning = GradualPruning(0.4, every=7)
    return Training(
        dense_network(),
        task(),
        (Labels(0.5), Distillation(0.5)),
        OPTIONS,
        Constraints(pruning, fixed_point=FixedPointParameters(16, 12)),
        teacher=dense_network(16, seed=9),
        checkpoint=path,
    )


class StopError(Exception):
    pass


def stop_after_two(epochs: int, record: object) -> None:
    if epochs == 2:
        raise StopError


def test_resumed_is_uninterrupted(tmp_path: Path) -> None:
    whole = interrupted(tmp_path / "whole.npz").run()
    with pytest.raises(StopError):
        interrupted(tmp_path / "part.npz").run(after_epoch=stop_after_two)
    seen: list[int] = []
    resumed = interrupted(tmp_path / "part.npz").run(after_epoch=lambda epochs, _: seen.append(epochs))
    assert seen == [3, 4]
    assert same(whole.graph, resumed.graph)
    assert whole.history == resumed.history


KILLED = """
import os, sys
from pathlib import Path
from tests.train.test_training import interrupted
interrupted(Path(sys.argv[1])).run(after_epoch=lambda epochs, _: os._exit(9) if epochs == 2 else None)
"""


@pytest.mark.slow
def test_killed_process_resumes_to_the_same_bits(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "part.npz")], cwd=root, check=False)
    assert done.returncode == 9
    assert [path.name for path in tmp_path.iterdir()] == ["part.npz"]
    resumed = interrupted(tmp_path / "part.npz").run()
    assert same(interrupted(tmp_path / "whole.npz").run().graph, resumed.graph)


def test_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part.npz"
    with pytest.raises(StopError):
        interrupted(path).run(after_epoch=stop_after_two)
    before = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("boardfit.train.checkpoint.os.fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            interrupted(path).run()
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["part.npz"]


def test_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    Training(dense_network(), task(), (Labels(),), OPTIONS, checkpoint=path).run()
    with pytest.raises(DataError, match="another training"):
        Training(dense_network(seed=1), task(), (Labels(),), OPTIONS, checkpoint=path).run()
    path.write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match="damaged"):
        Training(dense_network(), task(), (Labels(),), OPTIONS, checkpoint=path).run()


def test_trains_convolutions_with_augmentation() -> None:
    from boardfit.train.augment import ImageAugmentation

    random = np.random.default_rng(0)
    x = random.normal(size=(200, 1, 12, 12, 1)).astype(np.float32)
    labels = (x[:, 0, 3:9, 3:9, 0].mean(axis=(1, 2)) > 0).astype(np.int64)
    augmentation = ImageAugmentation(12, 12, shift=0.5, rotation=3.0, elastic=0.3)

    def trained() -> Trained:
        data = TrainingData({"x": x}, labels)
        return Training(image_network(), data, (Labels(),), OPTIONS, augmentation=augmentation).run()

    first = trained()
    assert first.history[-1].loss < first.history[0].loss
    assert same(first.graph, trained().graph)


@pytest.mark.parametrize(
    ("losses", "teacher", "words"),
    [
        ((), None, "no loss"),
        ((Distillation(),), None, "needs a teacher"),
        ((Hints({"nothing": "fc1_out"}),), dense_network(), "no tensor 'nothing'"),
    ],
)
def test_what_cannot_be_trained_is_told(losses: tuple[Loss, ...], teacher: Graph | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Training(dense_network(), task(), losses, OPTIONS, teacher=teacher).run()


def test_labels_are_needed_for_a_loss_on_labels() -> None:
    with pytest.raises(UsageError, match="needs labels"):
        Training(dense_network(), TrainingData(task().inputs), (Labels(),), OPTIONS).run()


def test_tied_filters_stay_copies_and_learn_together() -> None:
    random = np.random.default_rng(0)
    data = TrainingData({"x": random.normal(size=(200, 1, 12, 12, 1)).astype(np.float32)})
    graph, other = image_network(), image_network(seed=1)
    tied = ShareFilters(data.inputs, ("negation", "mirror"), {"conv1": 0.5})(graph)
    options = TrainOptions(epochs=2, batch=50, learning_rate=1e-2)
    trained = Training(tied, data, (OutputLoss(),), options, teacher=other).run()
    first = weight_layers(trained.graph)[0]
    assert first.promise.tie is not None and first.promise.tie.broken(first.weights) is None
    assert np.abs(first.weights - weight_layers(tied)[0].weights).max() > 1e-3
    assert trained.history[-1].loss < trained.history[0].loss
