"""Rounding and pruning of one layer against its least-squares problem, and the promises of the passes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.compress.adaround import AdaRound, _pull, activation_errors
from boardfit.compress.gptq import Gptq, best_bias
from boardfit.compress.grids import Grid, GridKind, best_scales, min_max_scales
from boardfit.compress.layers import WeightLayer, weight_layers
from boardfit.compress.prune import Allocation, Pattern, Prune, pruned
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.reconstruction import LayerProblem, compress_layers, evaluate, joined
from boardfit.compress.round_to_nearest import RoundToNearest
from boardfit.compress.saliency import Criterion
from boardfit.errors import DataError, UsageError
from boardfit.interp import run
from boardfit.ir import Compressed, Graph, GraphEditor, Source, TensorType
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.pipeline import run_passes

SEEDS = st.integers(0, 10_000)


def correlated(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Inputs whose last axis has few directions and a scale of its own for each entry."""
    mix = random.standard_normal((shape[-1], shape[-1])) * (random.random(shape[-1]) ** 3)[:, None]
    x = random.standard_normal(shape) @ mix + 0.2 * random.standard_normal(shape)
    return (np.maximum(x, 0) * random.uniform(0.1, 2, shape[-1])).astype(np.float32)


def mlp(seed: int = 0, hidden: int = 12) -> Graph:
    random = np.random.default_rng(seed)
    editor = GraphEditor.empty("net")
    x = editor.add_input("x", TensorType((1, 16)))
    for name, size, activation in (("fc1", hidden, RELU), ("fc2", 4, NONE)):
        inputs = editor.types[x].shape[-1]
        weights = editor.add_constant("w", (random.standard_normal((size, inputs)) / 3).astype(np.float32))
        bias = editor.add_constant("b", random.standard_normal(size).astype(np.float32))
        node = editor.add_node(
            "Dense", [x, weights, bias], DenseAttrs(activation), Source("net.onnx", name, "Gemm"), name=name
        )
        x = node.outputs[0]
    editor.outputs = [x]
    return editor.finish()


def cnn(groups: int) -> Graph:
    random = np.random.default_rng(groups)
    editor = GraphEditor.empty("net")
    x = editor.add_input("x", TensorType((1, 6, 5, 4)))
    weights = editor.add_constant("w", random.standard_normal((8, 3, 3, 4 // groups)).astype(np.float32))
    attrs = Conv2DAttrs(strides=(2, 1), pads=(1, 0, 1, 1), groups=groups, activation=RELU)
    editor.outputs = [editor.add_node("Conv2D", [x, weights], attrs, Source("n", "c", "Conv"), name="c").outputs[0]]
    return editor.finish()


def problem_of(graph: Graph, data: dict[str, np.ndarray], name: str) -> LayerProblem:
    found: list[LayerProblem] = []

    def look(problem: LayerProblem) -> None:
        if problem.layer.name == name:
            found.append(problem)

    compress_layers(graph, data, look)
    return found[0]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_columns_times_weights_are_the_convolution(groups: int) -> None:
    graph = cnn(groups)
    data = {"x": np.random.default_rng(1).standard_normal((40, 1, 6, 5, 4)).astype(np.float32)}
    problem = problem_of(graph, data, "c")
    ours = np.maximum(problem.outputs(), 0.0)  # (groups, rows, out / groups)
    expected = run(graph, data)[graph.outputs[0]].reshape(-1, groups, 8 // groups).transpose(1, 0, 2)
    assert np.allclose(ours, expected, atol=1e-4)
    assert evaluate(graph, graph.nodes[0], data)[0].shape == (40, 1, 3, 4, 8)


@given(SEEDS, st.sampled_from([2, 3, 4, 6]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_gptq_is_never_worse_than_rounding_to_nearest(seed: int, width: int, narrow: bool) -> None:
    random = np.random.default_rng(seed)
    graph, data = mlp(seed), {"x": correlated(random, 60, 1, 16)}
    kind = GridKind.TERNARY if narrow else GridKind.UNIFORM
    grid = Grid(kind, width)
    problem = problem_of(graph, data, "fc1")
    new = Gptq(data, grid).solve(problem)
    assert new is not None and new.bias is not None
    scales = best_scales(problem.target[:, :-1], grid, problem.importance)
    scales = np.maximum(scales, problem.least_scale).astype(np.float32).astype(np.float64)[:, None]
    nearest = grid.round(problem.target[:, :-1] / scales) * scales
    bias = best_bias(problem.target, problem.damped[0], nearest)
    lost = np.concatenate([nearest, bias[:, None]], axis=1) - problem.target
    theirs = ((lost @ problem.damped[0]) * lost).sum(axis=1)
    ours = joined(new, new.bias) - problem.target
    assert np.all(((ours @ problem.damped[0]) * ours).sum(axis=1) <= theirs * (1 + 1e-5) + 1e-9)


@given(SEEDS, st.sampled_from([0.3, 0.5, 0.8]), st.sampled_from([Pattern(), Pattern(4), Pattern(keep=2, group=4)]))
@settings(max_examples=40, deadline=None)
def test_obs_is_never_worse_than_magnitude_without_compensation(seed: int, share: float, pattern: Pattern) -> None:
    random = np.random.default_rng(seed)
    graph, data = mlp(seed), {"x": correlated(random, 60, 1, 16)}
    problem = problem_of(graph, data, "fc1")
    obs = pruned(problem, share, pattern, Criterion.OBS)
    plain = pruned(problem, share, pattern, Criterion.MAGNITUDE, compensate=False)
    assert (obs[:, :-1] == 0).sum() >= (plain[:, :-1] == 0).sum() * (pattern.group == 0)
    assert problem.errors(obs).sum() <= problem.errors(plain).sum() * (1 + 1e-6) + 0.02 * problem.errors(0 * obs).sum()


def test_refitted_weights_are_the_least_squares_solution_on_their_support() -> None:
    data = {"x": correlated(np.random.default_rng(0), 200, 1, 16)}
    problem = problem_of(mlp(), data, "fc1")
    weights = pruned(problem, 0.5, Pattern(), Criterion.INPUT)
    slope = (weights - problem.target) @ problem.damped[0]
    live = np.concatenate([weights[:, :-1] != 0, np.ones((len(weights), 1), bool)], axis=1)
    assert np.abs(slope[live]).max() < 1e-6 * np.abs(problem.damped[0]).max()
    assert np.abs(slope[~live]).max() > 1e-3 * np.abs(problem.damped[0]).max()


def test_one_removal_by_obs_is_the_best_single_removal() -> None:
    data = {"x": correlated(np.random.default_rng(3), 200, 1, 16)}
    problem = problem_of(mlp(3, hidden=1), data, "fc1")
    chosen = pruned(problem, 1 / 16, Pattern(), Criterion.OBS, steps=1)
    gram, target = problem.damped[0], problem.target[0]
    inverse = np.linalg.inv(gram)
    costs = target[:-1] ** 2 / (2 * np.diag(inverse)[:-1])
    lost = chosen[0] - target
    assert chosen[0, int(np.argmin(costs))] == 0.0
    assert lost @ gram @ lost / 2 == pytest.approx(float(costs.min()), rel=1e-6)


@given(st.sampled_from(list(GridKind)), st.integers(2, 8), SEEDS)
@settings(max_examples=80, deadline=None)
def test_best_scales_are_never_worse_than_covering_the_range(kind: GridKind, width: int, seed: int) -> None:
    grid = Grid(kind, min(width, 4) if kind is GridKind.POWER_OF_TWO else width)
    matrix = np.random.default_rng(seed).laplace(size=(5, 20))
    errors: list[np.ndarray] = []
    for scales in (best_scales(matrix, grid), min_max_scales(matrix, grid)):
        raw = grid.round(matrix / scales[:, None])
        assert np.isin(raw, grid.levels).all()
        errors.append(((raw * scales[:, None] - matrix) ** 2).sum(axis=1))
    assert np.all(errors[0] <= errors[1] + 1e-12)


def test_binary_scale_is_the_mean_magnitude() -> None:
    matrix = np.random.default_rng(0).standard_normal((3, 50))
    assert best_scales(matrix, Grid(GridKind.BINARY)) == pytest.approx(np.abs(matrix).mean(axis=1))


def test_grids_of_every_kind() -> None:
    assert Grid(GridKind.POWER_OF_TWO, 3).levels.tolist() == [-4, -2, -1, 0, 1, 2, 4]
    assert Grid(width=3).levels.tolist() == [-4, -3, -2, -1, 0, 1, 2, 3]
    assert Grid(width=8).levels[0] == -127
    with pytest.raises(UsageError, match="5 bits on a power-of-two grid"):
        Grid(GridKind.POWER_OF_TWO, 5)


@pytest.mark.parametrize("kind", list(GridKind))
def test_integer_weights_reach_the_integer_network_as_they_are(kind: GridKind) -> None:
    graph, data = mlp(), {"x": correlated(np.random.default_rng(0), 60, 1, 16)}
    made = run_passes(graph, [Gptq(data, Grid(kind, 4))]).graph
    lowered = run_passes(quantize_for_mcu(made, data, QuantizeOptions()), [LowerQuantized()]).graph
    for layer, node in zip(weight_layers(made), lowered.nodes, strict=False):
        constant = lowered.constants[node.inputs[1]]
        stored = made.constants[next(n for n in made.nodes if n.outputs[0] == layer.node.inputs[1]).inputs[0]]
        assert np.array_equal(constant.values, stored.values)
        assert isinstance(constant.encoding, Compressed)
        assert constant.encoding.clusters == Grid(kind, 4).clusters


@pytest.mark.parametrize("pattern", [Pattern(), Pattern(4), Pattern(keep=1, group=4)])
def test_pruned_weights_stay_pruned_through_rounding(pattern: Pattern) -> None:
    graph, data = mlp(), {"x": correlated(np.random.default_rng(0), 60, 1, 16)}
    sparse = run_passes(graph, [Prune(data, 0.5, pattern)]).graph
    for step in (Gptq(data, 4), RoundToNearest(4)):
        rounded = run_passes(sparse, [step]).graph
        for before, after in zip(weight_layers(sparse), weight_layers(rounded), strict=True):
            assert not np.any(after.weights[before.weights == 0])
            assert after.promise.width == 4 and after.promise.zeros == before.promise.zeros
            assert (after.promise.block, after.promise.group) == (pattern.block, pattern.group)


def test_global_allocation_removes_the_share_asked_for() -> None:
    graph, data = mlp(), {"x": correlated(np.random.default_rng(0), 60, 1, 16)}
    sparse = run_passes(graph, [Prune(data, 0.6, allocation=Allocation.GLOBAL)]).graph
    zeros = [float((layer.weights == 0).mean()) for layer in weight_layers(sparse)]
    total = sum(int((layer.weights == 0).sum()) for layer in weight_layers(sparse))
    assert total == pytest.approx(0.6 * 240, abs=2)
    assert zeros[0] != pytest.approx(zeros[1], abs=0.02)


def test_what_means_nothing_is_refused() -> None:
    graph, data = mlp(), {"x": correlated(np.random.default_rng(0), 60, 1, 16)}
    with pytest.raises(UsageError, match="not in 0"):
        Prune(data, 1.0)(graph)
    with pytest.raises(UsageError, match="no layer"):
        Gptq(data, {"fc3": 4})(graph)
    with pytest.raises(DataError, match="no samples"):
        Gptq({"x": data["x"][:0]}, 4)(graph)
    with pytest.raises(UsageError, match="no pruning pattern"):
        Pattern(block=4, keep=2, group=4)
    sparse = Prune(data, 0.5)(graph)
    with pytest.raises(UsageError, match="has no zero"):
        Gptq(data, Grid(GridKind.BINARY))(sparse)


def test_layers_read_weights_behind_dequantize() -> None:
    graph = Gptq({"x": correlated(np.random.default_rng(0), 60, 1, 16)}, 4)(mlp())
    layers: list[WeightLayer] = weight_layers(graph)
    assert [layer.name for layer in layers] == ["fc1", "fc2"]
    assert all(layer.element is not None and layer.element.width == 4 for layer in layers)


def test_learned_rounding_is_never_worse_behind_the_activation() -> None:
    data = {"x": correlated(np.random.default_rng(0), 300, 1, 16)}
    problem = problem_of(mlp(1), data, "fc1")
    start, learned = Gptq(data, 3).solve(problem), AdaRound(data, 3, steps=200, rate=0.05).solve(problem)
    assert start is not None and learned is not None and start.bias is not None and learned.bias is not None
    before = activation_errors(problem, joined(start, start.bias))
    after = activation_errors(problem, joined(learned, learned.bias))
    assert np.all(after <= before * (1 + 1e-5) + 1e-12)
    assert learned.element == start.element
    nearest = RoundToNearest(3).rounded(problem.layer)
    assert nearest is not None and problem.layer.bias is not None
    assert after.sum() < 0.7 * activation_errors(problem, joined(nearest, problem.layer.bias)).sum()


def test_learned_rounding_keeps_pruned_weights() -> None:
    graph, data = mlp(), {"x": correlated(np.random.default_rng(0), 60, 1, 16)}
    sparse = run_passes(graph, [Prune(data, 0.5)]).graph
    rounded = run_passes(sparse, [AdaRound(data, 3, steps=50)]).graph
    for before, after in zip(weight_layers(sparse), weight_layers(rounded), strict=True):
        assert not np.any(after.weights[before.weights == 0])


def test_the_learned_slope_is_that_of_the_regulariser() -> None:
    share = np.array([0.1, 0.4, 0.6, 0.95])
    for progress in (0.3, 0.7, 1.0):
        rest = (progress - 0.2) / 0.8
        beta = 2.0 + 9.0 * (1.0 + np.cos(rest * np.pi))
        step = 1e-6
        numeric = np.abs(2 * (share - step) - 1) ** beta - np.abs(2 * (share + step) - 1) ** beta
        assert _pull(share, progress) == pytest.approx(numeric / (2 * step), rel=1e-4, abs=1e-6)
