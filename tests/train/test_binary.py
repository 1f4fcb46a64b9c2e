"""Binary and ternary weights in training: the scales the papers give, and what comes out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boardfit.compress.grids import Grid, GridKind
from boardfit.compress.layers import weight_layers
from boardfit.compress.narrow_activations import NarrowActivations
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.errors import UsageError
from boardfit.interp import run, run_chunks
from boardfit.ir import Affine
from boardfit.ir.encoding import Compressed
from boardfit.ops.quantize import QuantizeAttrs
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.solver.spared import most_sensitive
from boardfit.train.binary import (
    BinaryMethod,
    BinaryWeights,
    FormState,
    LearnedForm,
    TernaryMethod,
    TernaryWeights,
)
from boardfit.train.losses import Labels
from boardfit.train.network import Network
from boardfit.train.options import Constraints, TrainOptions
from boardfit.train.trainer import Training

from .networks import dense_network, image_network, task

tensorflow = pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'boardfit[train]'")


WEIGHTS = np.random.default_rng(1).normal(size=(4, 9)).astype(np.float32)
FORMS = [
    BinaryWeights(BinaryMethod.CONNECT, clip=2.0),
    BinaryWeights(BinaryMethod.CONNECT, clip=2.0, stochastic=True),
    BinaryWeights(BinaryMethod.XNOR),
    BinaryWeights(),
    TernaryWeights(TernaryMethod.MEAN),
    TernaryWeights(TernaryMethod.TRAINED),
    TernaryWeights(),
]


def training(form: LearnedForm, epochs: int = 4, **changes: object) -> Training:
    options = TrainOptions(epochs, 50, 1e-2, seed=3)
    constraints = Constraints(weights=form, normalize=True)
    base = Training(dense_network(), task(), (Labels(),), options, constraints, validation=task(200, 7))
    return replace(base, **changes)  # type: ignore[arg-type]


def test_the_loss_aware_scale_has_the_least_loss() -> None:
    """Hou 2017, proposition 3.2: it minimises sum(d * (w - scale * sign(w))**2) of each output."""
    second = np.random.default_rng(2).uniform(0.0, 4.0, WEIGHTS.shape).astype(np.float32)
    state = FormState(1.0, tensorflow.constant(second))
    found = BinaryWeights().scale(tensorflow.constant(WEIGHTS), state).numpy()

    def loss(scale: np.ndarray) -> np.ndarray:
        return (np.sqrt(second) * (WEIGHTS - scale * np.sign(WEIGHTS)) ** 2).sum(axis=1)

    assert found.shape == (4, 1)
    assert (loss(found) < loss(found * 1.01)).all() and (loss(found) < loss(found * 0.99)).all()
    plain = BinaryWeights(BinaryMethod.XNOR).scale(tensorflow.constant(WEIGHTS), state).numpy()
    np.testing.assert_allclose(plain, np.abs(WEIGHTS).mean(axis=1, keepdims=True), rtol=1e-6)


def test_gradients_go_straight_through() -> None:
    weights = tensorflow.Variable(WEIGHTS)
    with tensorflow.GradientTape() as tape:
        made = BinaryWeights()(weights, FormState(1.0))
        loss = tensorflow.reduce_sum(made * tensorflow.range(9, dtype="float32"))
    np.testing.assert_array_equal(tape.gradient(loss, weights), np.broadcast_to(np.arange(9), (4, 9)))
    assert len(np.unique(np.abs(np.round(made.numpy()[0], 6)))) == 1


def test_connect_clips_and_draws() -> None:
    form, state = BinaryWeights(BinaryMethod.CONNECT, clip=2.0, stochastic=True), FormState(0.5)
    assert np.abs(form.kept(tensorflow.constant(WEIGHTS), state)).max() == 1.0
    some = tensorflow.fill([20000, 1], 0.5)  # half way to the limit: 1 with the chance 3/4
    drawn = form(some, replace(state, seed=tensorflow.constant([1, 2])))
    assert abs(float(tensorflow.reduce_mean(drawn)) / 0.5 - 0.5) < 0.03
    np.testing.assert_array_equal(form(some, state), np.full((20000, 1), 0.5))


@pytest.mark.parametrize("form", FORMS[1::2], ids=str)
def test_the_graph_is_what_was_trained(form: LearnedForm) -> None:
    done = training(form)
    trained, data = done.run(), task(200, 7)
    logits = run(trained.graph, data.inputs)[trained.graph.outputs[0]]
    assert data.labels is not None
    error = 100 * np.mean(logits.reshape(200, -1).argmax(axis=1) != data.labels)
    assert trained.history[-1].error == pytest.approx(error, abs=0.6)
    assert trained.history[-1].loss < trained.history[0].loss
    for layer in weight_layers(trained.graph):
        assert isinstance(layer.element, Affine) and layer.promise.clusters == form.values
        values = [len(np.unique(np.round(row / np.abs(row).max(), 4))) for row in layer.matrix]
        assert max(values) <= form.values
    integer = LowerQuantized()(quantize_for_mcu(trained.graph, data.inputs, QuantizeOptions()))
    raw = [constant for constant in integer.constants.values() if isinstance(constant.encoding, Compressed)]
    assert len(raw) == 2 and all(len(np.unique(constant.values)) <= form.values for constant in raw)


def test_a_training_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    form = BinaryWeights(BinaryMethod.CONNECT, clip=2.0, stochastic=True)
    straight = training(form, 2).run().graph
    stopped = training(form, 2, checkpoint=tmp_path / "state.npz")

    class StoppedError(Exception):
        pass

    def stop(epoch: int, record: object) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        stopped.run(after_epoch=stop)
    again = stopped.run().graph
    for ours, theirs in zip(weight_layers(again), weight_layers(straight), strict=True):
        np.testing.assert_array_equal(ours.weights, theirs.weights)
        np.testing.assert_array_equal(ours.bias, theirs.bias)


def test_normalization_starts_where_the_network_is() -> None:
    graph = image_network()
    images = task().inputs  # only for their number
    data = {"x": np.random.default_rng(0).uniform(size=(len(images["x"]), 1, 12, 12, 1)).astype(np.float32)}
    network = Network(graph, normalize={"x": data["x"][:300]})
    expected = run(graph, {"x": data["x"][:20]})[graph.outputs[0]]
    np.testing.assert_allclose(
        network.run({"x": data["x"][:20]}, (graph.outputs[0],))[graph.outputs[0]], expected, atol=1e-3
    )
    folded = run(network.finished(), {"x": data["x"][:20]})[graph.outputs[0]]
    np.testing.assert_allclose(folded, expected, atol=1e-3)


def test_narrow_activations() -> None:
    graph, data = dense_network(), task(100)
    binary = NarrowActivations()(graph)
    assert [node.op for node in binary.nodes] == ["Dense", "Bipolar", "Dense"]
    found = next(run_chunks(binary, data.inputs))[binary.nodes[1].outputs[0]]
    assert set(np.unique(found)) == {-1.0, 1.0}
    narrow = NarrowActivations(data.inputs, {"fc1": 3})(graph)
    (found_quantize,) = [node for node in narrow.nodes if node.op == "Quantize"]
    assert isinstance(found_quantize.attrs, QuantizeAttrs)
    assert isinstance(found_quantize.attrs.element, Affine) and found_quantize.attrs.element.width == 3
    trained = training(BinaryWeights(), graph=binary).run().graph
    assert [node.op for node in trained.nodes if node.op != "Dequantize"] == ["Dense", "Bipolar", "Dense"]
    with pytest.raises(UsageError, match="activations of 9 bits"):
        NarrowActivations(width=9)(graph)
    with pytest.raises(UsageError, match="need data"):
        NarrowActivations(width=4)(graph)


def test_the_layers_that_matter_most_are_spared() -> None:
    graph, data = dense_network(), task(64).inputs
    sizes = {layer.name: layer.weights.size for layer in weight_layers(graph)}
    total = sum(sizes.values())
    assert most_sensitive(graph, data, Grid(GridKind.BINARY), 0.0) == ()
    assert set(most_sensitive(graph, data, Grid(GridKind.BINARY), 1.0)) == set(sizes)
    small = min(sizes, key=lambda name: sizes[name])
    assert most_sensitive(graph, data, Grid(GridKind.BINARY), sizes[small] / total) == (small,)
