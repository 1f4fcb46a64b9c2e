"""Low rank: exact at full rank, never worse than its start, never used where it saves nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardfit.board import find_board
from boardfit.compress.chains import Chain, Piece, replace_layers, run_chain, run_layer
from boardfit.compress.factoring import Factoring, factored, in_chain
from boardfit.compress.factors import Fit, whitened_svd
from boardfit.compress.gptq import Gptq
from boardfit.compress.layers import NewWeights, weight_layers
from boardfit.compress.low_rank import LowRank, chain_error
from boardfit.compress.reconstruction import LayerProblem, compress_layers
from boardfit.compress.resource_rule import kept_dear
from boardfit.compress.schemes import (
    EQUATIONS,
    Ranks,
    Scheme,
    applies,
    fitted,
    full_ranks,
    parameters,
    pieces,
    ranks_for,
    saves,
)
from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Graph, GraphEditor, Source, TensorType, verify_graph
from boardfit.ir.encoding import DENSE
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.conv2d import Conv2DAttrs, convolve
from boardfit.ops.dense import DenseAttrs
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.passes.signed_integers import SignedIntegers
from boardfit.pipeline import run_passes


def network(seed: int = 0, channels: int = 16) -> Graph:
    """Two convolutions, a pooling one and a dense layer."""
    random = np.random.default_rng(seed)
    editor = GraphEditor.empty("net")

    def layer(name: str, op: str, x: str, shape: tuple[int, ...], attrs: Conv2DAttrs | DenseAttrs) -> str:
        weights = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        constants = [editor.add_constant("w", weights.astype(np.float32))]
        constants.append(editor.add_constant("b", random.standard_normal(shape[0]).astype(np.float32)))
        return editor.add_node(op, [x, *constants], attrs, Source("net.onnx", name, op), name=name).outputs[0]

    x = editor.add_input("x", TensorType((1, 8, 8, 4)))
    y = layer("first", "Conv2D", x, (channels, 3, 3, 4), Conv2DAttrs(pads=(1, 1, 1, 1), activation=RELU))
    attrs = Conv2DAttrs((2, 2), (0, 0, 1, 1), activation=RELU)
    y = layer("second", "Conv2D", y, (channels, 3, 3, channels), attrs)
    y = layer("whole", "Conv2D", y, (24, 4, 4, channels), Conv2DAttrs(activation=RELU))
    y = layer("out", "Dense", y, (20, 24), DenseAttrs(NONE))
    editor.outputs = [y]
    return editor.finish()


def samples(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Smooth inputs, whose covariance is far from the identity."""
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((count, 1, 4, 4, 4))
    return {"x": np.repeat(np.repeat(coarse, 2, axis=2), 2, axis=3).astype(np.float32)}


def problems(graph: Graph, count: int = 40) -> dict[str, LayerProblem]:
    """The problem of every layer, with the inputs of the original network."""
    found: dict[str, LayerProblem] = {}

    def look(problem: LayerProblem) -> None:
        found[problem.layer.name] = problem

    compress_layers(graph, samples(count), look)
    return found


shapes = st.tuples(st.integers(1, 5), st.sampled_from([1, 2, 3]), st.sampled_from([1, 3]), st.integers(1, 5))


@given(shape=shapes, scheme=st.sampled_from([Scheme.SVD, Scheme.SEPARABLE, Scheme.TUCKER]), seed=st.integers(0, 99))
def test_full_rank_is_exact(shape: tuple[int, ...], scheme: Scheme, seed: int) -> None:
    target = np.random.default_rng(seed).standard_normal(shape)
    factors = fitted(scheme, target, full_ranks(scheme, shape), None)
    assert sum(factor.size for factor in factors) == parameters(scheme, shape, full_ranks(scheme, shape))
    np.testing.assert_allclose(np.einsum(EQUATIONS[scheme], *factors), target, atol=1e-8)


@pytest.mark.parametrize(
    ("scheme", "taps"), [(Scheme.CP, ((2, 3), (2, 3))), (Scheme.DEPTHWISE, ((2, 3, 3),))], ids=["cp", "depthwise"]
)
def test_canonical_factors_of_known_rank_are_found(scheme: Scheme, taps: tuple[tuple[int, ...], ...]) -> None:
    random = np.random.default_rng(3)
    exact = [random.standard_normal(shape) for shape in ((2, 6), *taps, (8, 2))]
    target = np.einsum(EQUATIONS[scheme], *exact)
    factors = fitted(scheme, target, (2,), np.eye(54))
    assert np.square(np.einsum(EQUATIONS[scheme], *factors) - target).sum() < 1e-3 * np.square(target).sum()


@given(
    scheme=st.sampled_from(list(Scheme)),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    seed=st.integers(0, 99),
)
def test_pieces_compute_the_product_of_the_factors(
    scheme: Scheme,
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    dilations: tuple[int, int],
    seed: int,
) -> None:
    """Strides, padding and dilation are divided among the pieces so that nothing changes at the borders either."""
    random = np.random.default_rng(seed)
    attrs = Conv2DAttrs(strides, pads, dilations)
    target = random.standard_normal((6, 3, 3, 5))
    factors = fitted(scheme, target, (2, 3) if scheme is Scheme.TUCKER else (3,), None)
    x = random.standard_normal((2, 7, 6, 5))
    whole = convolve(x, np.einsum(EQUATIONS[scheme], *factors), attrs, None)
    for _, own, weights in pieces(scheme, factors, attrs):
        assert isinstance(own, Conv2DAttrs)
        x = convolve(x, weights, own, None)
    np.testing.assert_allclose(x, whole, atol=1e-9)


@given(shape=shapes, scheme=st.sampled_from(list(Scheme)), share=st.floats(0.05, 1.0), multiple=st.sampled_from([1, 4]))
def test_ranks_save_weights(shape: tuple[int, ...], scheme: Scheme, share: float, multiple: int) -> None:
    ranks = ranks_for(scheme, shape, share, multiple)
    if ranks is not None:
        assert parameters(scheme, shape, ranks) < np.prod(shape)
        assert parameters(scheme, shape, ranks) <= share * np.prod(shape)


def test_the_limit_of_a_matrix_is_mn_over_m_plus_n() -> None:
    limit = 300 * 784 / (300 + 784)  # 216.97
    assert saves(Scheme.SVD, (300, 1, 1, 784), (int(limit),))
    assert not saves(Scheme.SVD, (300, 1, 1, 784), (int(limit) + 1,))
    assert not applies(Scheme.SEPARABLE, (300, 1, 1, 784))


def test_whitening_is_the_best_for_the_inputs() -> None:
    random = np.random.default_rng(5)
    target = random.standard_normal((12, 20))
    mix = random.standard_normal((20, 20)) * np.geomspace(1, 1e-2, 20)
    metric = mix.T @ mix
    fit = Fit("ri,or->oi", target, metric)
    plain, white = (list(whitened_svd(target, 4, m)) for m in (None, metric))
    assert fit.error(white) < fit.error(plain)
    assert fit.error(fit.refined(plain, 200)) >= fit.error(white) * (1 - 1e-9)


@pytest.mark.parametrize("scheme", [Scheme.SEPARABLE, Scheme.TUCKER, Scheme.CP, Scheme.DEPTHWISE])
def test_fitting_to_the_inputs_lowers_the_error(scheme: Scheme) -> None:
    problem = problems(network())["second"]
    target, ranks = problem.layer.weights.astype(np.float64), (4, 4) if scheme is Scheme.TUCKER else (4,)
    fit = Fit(EQUATIONS[scheme], target, problem.gram[0][:-1, :-1])
    plain, fitted_to = (fitted(scheme, target, ranks, metric) for metric in (None, fit.metric))
    assert fit.error(fitted_to) < fit.error(plain)


def test_a_chain_replaces_a_layer() -> None:
    graph = network()
    made = LowRank(samples(40), 0.5, Scheme.SEPARABLE)(graph)
    verify_graph(made)
    assert [layer.name for layer in weight_layers(made)] == [
        *("first/vertical", "first/horizontal", "second/vertical", "second/horizontal"),
        *("whole/vertical", "whole/horizontal", "out"),
    ]
    assert made.parameters < 0.6 * graph.parameters
    assert made.outputs == graph.outputs


@pytest.mark.parametrize("scheme", list(Scheme))
def test_the_chain_is_what_was_fitted(scheme: Scheme) -> None:
    """The balanced chain gives the outputs of the factors, and its inner tensors have channels of equal range."""
    graph = network()
    problem = problems(graph)["second"]
    chain = Factoring(scheme, 0.6)(problem)
    assert chain is not None
    assert 0.0 < chain_error(problem, chain) < np.square(run_layer(problem.layer, problem.inputs)).mean()
    first = run_chain(problem.layer, type(chain)(chain.pieces[:1]), problem.inputs)
    sizes = np.abs(first).reshape(-1, first.shape[-1]).max(axis=0)
    np.testing.assert_allclose(sizes, 1.0, rtol=1e-4)


def test_later_layers_make_up_for_earlier_ones() -> None:
    graph, data = network(), samples(60)
    wanted = run(graph, data)[graph.outputs[0]]

    def error(*, asymmetric: bool) -> float:
        made = LowRank(data, 0.4, Scheme.SEPARABLE, asymmetric=asymmetric)(graph)
        return float(np.square(run(made, data)[made.outputs[0]] - wanted).mean())

    assert error(asymmetric=True) < error(asymmetric=False)


def test_factors_are_rounded_one_after_the_other() -> None:
    problem = problems(network())["whole"]
    chain = Factoring(Scheme.SVD, 0.5)(problem)
    assert chain is not None
    rounded = in_chain(problem, chain, Gptq({}, 4).solve)
    assert all(piece.new.element is not None for piece in rounded.pieces)
    best, plain = chain_error(problem, chain), chain_error(problem, rounded)
    assert best < plain < 2 * best


def test_a_rank_that_saves_nothing_is_refused() -> None:
    graph, data = network(), samples(20)
    with pytest.raises(UsageError, match="saves nothing"):
        LowRank(data, ranks={"out": 11}, scheme=Scheme.SVD)(graph)
    assert factored(problems(graph)["out"], Scheme.SVD, (11,)) is None
    unchanged = LowRank(data, ranks={"*": 11}, scheme=Scheme.SVD)(graph)
    assert "out" in [layer.name for layer in weight_layers(unchanged)]
    with pytest.raises(UsageError, match="not between"):
        LowRank(data, ranks={"out": 21}, scheme=Scheme.SVD)(graph)
    with pytest.raises(UsageError, match="need a scheme"):
        LowRank(data, ranks={"out": 2})(graph)
    with pytest.raises(UsageError, match="shares"):
        LowRank(data, 0.0)(graph)


def test_layers_that_get_no_cheaper_on_the_board_stay() -> None:
    """A rank of 10 of 20 x 24 saves 40 weights and no time: two layers cost more than one."""
    graph, data = network(), samples(20)
    ranks: dict[str, int | tuple[int, int]] = {"out": 10, "whole": 4}
    step = LowRank(data, scheme=Scheme.SVD, ranks=ranks)
    assert {"out/in", "whole/in"} <= {layer.name for layer in weight_layers(step(graph))}
    fitted_to = LowRank(data, scheme=Scheme.SVD, ranks=ranks, board=find_board("nucleo-l4r5zi"))(graph)
    names = {layer.name for layer in weight_layers(fitted_to)}
    assert {"out", "whole/in"} <= names


@pytest.mark.parametrize("board", ["nucleo-l4r5zi", "zcu104"])
def test_the_rule_finds_what_did_not_get_cheaper(board: str) -> None:
    pytest.importorskip("hls4ml", reason="hls4ml is not installed")
    graph, data = network(channels=8), samples(20)
    problem = problems(graph, 20)["out"]
    whole = problem.layer.weights
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((24, 24)))[0].astype(np.float32)
    pair = (turn, whole @ turn.T)  # the same function in more weights
    attrs = (DenseAttrs(), problem.layer.node.attrs)
    parts = [
        Piece(name, own, NewWeights(values, DENSE))
        for name, own, values in zip(("in", "out"), attrs, pair, strict=True)
        if isinstance(own, DenseAttrs)
    ]
    factors = LowRank(data, scheme=Scheme.SVD, ranks={"second": 2})(graph)
    made = replace_layers(factors, {"out": Chain(tuple(parts))})
    assert {"out/in", "second/in"} <= {layer.name for layer in weight_layers(made)}
    assert kept_dear(graph, made, find_board(board), data) == {"out"}


@pytest.mark.parametrize(("scheme", "ranks"), [(Scheme.CP, (3,)), (Scheme.DEPTHWISE, (4,)), (Scheme.TUCKER, (2, 5))])
def test_integers_and_execution(scheme: Scheme, ranks: Ranks) -> None:
    """Factored layers are ordinary layers: quantized, run on the emulated core, equal to the interpreter."""
    from boardfit.backends.mcu.emulator import measure
    from boardfit.backends.mcu.machines import MACHINES
    from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
    from boardfit.backends.mcu.plan import make_plan
    from boardfit.board import McuBoard
    from boardfit.compress.ptq import quantize_for_mcu
    from boardfit.numerics import quantize
    from boardfit.options import Optimize, QuantizeOptions

    graph, data = network(channels=8), samples(20)
    rank = ranks[0] if len(ranks) == 1 else (ranks[0], ranks[1])
    made = LowRank(data, ranks={"first": rank, "second": rank}, scheme=scheme)(graph)
    integer = run_passes(quantize_for_mcu(made, data, QuantizeOptions()), [LowerQuantized(), SignedIntegers()]).graph
    board = find_board("mps2-an386")
    assert isinstance(board, McuBoard)
    x = quantize(data["x"][:4], integer.types[integer.inputs[0]].element, sample_axis=True)
    plan = make_plan(integer, board, Optimize.SPEED)
    result = measure(model_program(plan, board), MACHINES["m4"], packed_inputs(integer, x))
    expected = run(integer, {integer.inputs[0]: x})[integer.outputs[0]]
    assert np.array_equal(unpacked_outputs(integer, result.outputs), expected)
