"""Toeplitz-like and Fastfood layers: what a dense layer is replaced by, and that its structure is told from values."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.backends.mcu.plan import make_plan
from boardfit.board import McuBoard, find_board
from boardfit.compress.fastfood import MakeFastfood
from boardfit.compress.layers import weight_layers
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.toeplitz import Displacement, MakeToeplitzLike, factors
from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir.circulant import Circulant
from boardfit.ir.walsh import find_walsh
from boardfit.options import Optimize, QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.passes.signed_integers import SignedIntegers
from boardfit.pipeline import run_passes
from tests.train.networks import dense_network


@pytest.mark.parametrize(("shape", "block", "rank"), [((16, 24), 4, 2), ((13, 30), 4, 3)])
def test_a_product_of_structured_factors_is_found_again(shape: tuple[int, int], block: int, rank: int) -> None:
    random = np.random.default_rng(0)
    skew, plain, hidden = Circulant(block, True), Circulant(block), block * rank
    first = skew.matrix(random.standard_normal((*skew.grid((hidden, shape[1])), block)), (hidden, shape[1]))
    second = plain.matrix(random.standard_normal((*plain.grid((shape[0], hidden)), block)), (shape[0], hidden))
    product = second @ first
    inner, outer = factors(product, Displacement(block, rank))
    assert skew.holds(inner) and plain.holds(outer)
    assert np.linalg.norm(outer @ inner - product) < 1e-4 * np.linalg.norm(product)


def test_more_rank_comes_nearer() -> None:
    matrix = np.random.default_rng(1).standard_normal((24, 32))
    errors = []
    for rank in (1, 3, 6):
        inner, outer = factors(matrix, Displacement(4, rank))
        errors.append(float(np.linalg.norm(outer @ inner - matrix)))
    assert errors[0] > errors[1] > errors[2]


def test_two_layers_in_the_place_of_one() -> None:
    graph = MakeToeplitzLike({"fc1": Displacement(4, 6)})(dense_network(16))
    inner, outer, _ = weight_layers(graph)
    assert inner.promise.circulant == Circulant(4, True) and outer.promise.circulant == Circulant(4)
    assert inner.weights.shape == (24, 12) and outer.weights.shape == (16, 24)
    assert inner.bias is None and outer.bias is not None
    x = np.random.default_rng(2).standard_normal((50, 1, 12)).astype(np.float32)
    made, wanted = (run(g, {"x": x})[g.outputs[0]] for g in (graph, dense_network(16)))
    assert np.square(made - wanted).mean() < 0.2 * wanted.var()
    with pytest.raises(UsageError, match="no layer with weights is called 'fc9'"):
        MakeToeplitzLike({"fc9": Displacement()})(dense_network(16))


def test_fastfood_layers_are_told_from_their_values_and_run_without_multiplying_weights() -> None:
    graph = MakeFastfood(["fc1"])(dense_network(16))
    first, second, _ = weight_layers(graph)
    for layer, size in ((first, 16), (second, 16)):
        found = find_walsh(np.sign(layer.matrix))
        assert found is not None and found.size == size and layer.promise.signs
        assert layer.promise.broken(layer.weights * 1.5) is None
        changed = layer.weights.copy()
        changed[0, 0] *= 2
        assert "several magnitudes" in str(layer.promise.broken(changed))
    x = np.random.default_rng(1).standard_normal((50, 1, 12)).astype(np.float32)
    quantized = quantize_for_mcu(graph, {"x": x}, QuantizeOptions())
    integers = run_passes(quantized, [LowerQuantized(), SignedIntegers()]).graph
    board = find_board("nucleo-l4r5zi")
    assert isinstance(board, McuBoard)
    names = [layer.kernel.name for layer in make_plan(integers, board, Optimize.SPEED).layers]
    assert len(names) == 4
    for node in integers.nodes[1:3]:
        values = integers.constant(node.inputs[1])
        assert values is not None and find_walsh(values.astype(np.int64)) is not None
