"""Reuse factors, the unroll limit and the board's DSPs."""

from __future__ import annotations

import pytest

from boardfit.backends.hls4ml.planning import plan_graph
from boardfit.board import FpgaBoard, find_board
from boardfit.errors import UsageError
from boardfit.ops.dense import DenseAttrs
from boardfit.options import BackendOptions, IoType, Strategy
from boardfit.plan.fpga import (
    UNROLL_LIMIT,
    Product,
    allowed_reuse_factors,
    find_candidates,
    legal_reuse_factors,
    product_of,
)
from boardfit.plan.fpga_choice import MARGINS

from .networks import Builder, every_op, lowered


def board() -> FpgaBoard:
    found = find_board("pynq-z2")
    assert isinstance(found, FpgaBoard)
    return found


def test_legal_reuse_factors_are_those_of_hls4ml() -> None:
    backends = pytest.importorskip("hls4ml.backends", reason="hls4ml is not installed")
    vivado = backends.get_backend("vivado")
    for n_in, n_out in [(1, 1), (6, 4), (27, 3), (16, 64), (40, 10), (7, 13), (128, 8)]:
        product = Product(n_in, n_out, False, 1)
        assert legal_reuse_factors(product) == vivado.get_valid_reuse_factors(n_in, n_out)
        depthwise = Product(n_in * n_out, n_out, True, 1)
        assert set(legal_reuse_factors(depthwise)) <= set(vivado.get_valid_reuse_factors(n_in * n_out, n_out))


def test_plans_keep_the_dsp_share_and_the_unroll_limit() -> None:
    b = Builder(0)
    x = b.input("x", 128)
    b.dense(b.dense(b.dense(x, 128), 64), 10, out=True)
    fixed = lowered(b.editor.finish(), width=16, samples=1).fixed
    planned = plan_graph(fixed, board(), BackendOptions())
    plan = planned.plan
    for node in fixed.nodes:
        product = product_of(node, fixed)
        assert product is not None
        layer = plan.layers[node.name]
        assert layer.reuse_factor in legal_reuse_factors(product)
        assert product.multipliers(layer.reuse_factor) < UNROLL_LIMIT
        assert layer.strategy is Strategy.RESOURCE or product.products < UNROLL_LIMIT
    assert planned.estimate.total.dsp <= MARGINS["dsp"] * board().budget.dsp
    assert planned.estimate.total.lut <= MARGINS["lut"] * board().budget.lut


def test_the_unroll_limit_excludes_4096_products() -> None:
    product = Product(128, 32, False, 1)
    assert product.products == UNROLL_LIMIT
    assert allowed_reuse_factors(product, IoType.PARALLEL)[0] == 2


def test_a_reuse_factor_of_the_user_becomes_the_next_legal_one() -> None:
    b = Builder(0)
    b.dense(b.input("x", 12), 5, out=True)
    fixed = lowered(b.editor.finish(), width=8, samples=1).fixed
    name = fixed.nodes[0].name
    for asked, given in [(1, 1), (5, 6), (7, 12), (13, 60), (1000, 60)]:
        layer = find_candidates(fixed, BackendOptions(reuse_factor=asked)).layers[name][0]
        assert layer.reuse_factor == given


def test_convolutions_are_streamed_and_dense_layers_are_not() -> None:
    images = lowered(every_op(streams=True), width=8, samples=1).fixed
    assert find_candidates(images, BackendOptions()).io_type is IoType.STREAM
    b = Builder(0)
    b.dense(b.input("x", 12), 5, out=True)
    vectors = lowered(b.editor.finish(), width=8, samples=1).fixed
    assert find_candidates(vectors, BackendOptions()).io_type is IoType.PARALLEL


def test_depthwise_has_no_resource_form_in_parallel() -> None:
    b = Builder(0)
    b.conv(b.input("x", 4, 4, 3), 3, (3, 3), groups=3, out=True)
    fixed = lowered(b.editor.finish(), width=8, samples=1).fixed
    options = BackendOptions(io_type=IoType.PARALLEL, strategy=Strategy.RESOURCE)
    with pytest.raises(UsageError, match="no strategy resource with io_parallel"):
        find_candidates(fixed, options)


@pytest.mark.parametrize("reuse", [None, 72])
def test_parallel_convolutions_share_multipliers_up_to_their_inputs(reuse: int | None) -> None:
    """Above that hls4ml's kernel gives wrong sums; streams and dense layers go on."""
    b = Builder(0)
    image = b.conv(b.input("x", 4, 4, 2), 4, (3, 3))
    b.node("Dense", [image, b.constant(6, 4)], DenseAttrs(), out=True)
    b.dense(b.flatten(image), 5, out=True)
    fixed = lowered(b.editor.finish(), width=8, samples=1).fixed

    def largest(io_type: IoType) -> list[int]:
        layers = find_candidates(fixed, BackendOptions(io_type=io_type, reuse_factor=reuse)).layers
        return [layers[node.name][-1].reuse_factor for node in fixed.nodes if node.name in layers]

    assert largest(IoType.PARALLEL) == [18, 4, 80]
    assert largest(IoType.STREAM) == [72, 24, 80]
