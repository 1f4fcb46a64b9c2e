"""Calibration: streaming statistics, the three methods, data that breaks the model."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.calibrate import COVERAGE, Statistics, calibrated_range, collect
from boardfit.compress.ptq import activation_types
from boardfit.errors import DataError, ModelError
from boardfit.interp import run_chunks
from boardfit.ir import Graph
from boardfit.ir.affine import activation_type, natural_range, real_range, symmetric_type
from boardfit.numerics import dequantize, quantize
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.exp import ExpAttrs
from boardfit.options import CalibrationMethod, QuantizeOptions
from tests.quantize.networks import Network, both, samples


def network() -> Graph:
    net = Network(1, 6, 6, 3)
    return net.done(net.dense(net.flatten(net.conv(net.x, 4, activation=NONE)), 5))


def test_statistics_do_not_depend_on_chunks() -> None:
    graph = network()
    inputs = samples(graph, 100)
    whole = next(run_chunks(graph, inputs, chunk=100))
    for name, seen in collect(graph, inputs, whole, histogram=True).items():
        assert (seen.low, seen.high) == (whole[name].min(), whole[name].max())
        np.testing.assert_array_equal(seen.channel_high, whole[name].reshape(-1, whole[name].shape[-1]).max(axis=0))
        assert seen.counts is not None and seen.counts.sum() == whole[name].size
        assert np.average(seen.centres, weights=seen.counts) == pytest.approx(whole[name].mean(), abs=1e-3)


def test_two_runs_give_the_same_types() -> None:
    graph = network()
    for method in CalibrationMethod:
        options = QuantizeOptions(method=method)
        assert activation_types(graph, samples(graph), options) == activation_types(graph, samples(graph), options)


def heavy_tailed(count: int = 200_000) -> np.ndarray:
    """Mostly within (-4, 4), a few far outside."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=count)
    values[:5] = (60.0, -80.0, 75.0, 100.0, 90.0)
    return values


def statistics_of(values: np.ndarray) -> Statistics:
    low, high = float(values.min()), float(values.max())
    return Statistics(low, high, np.array([low]), np.array([high]), np.histogram(values, 4096, (low, high))[0])


def error(values: np.ndarray, low: float, high: float) -> float:
    element = activation_type(low, high)
    return float(np.square(dequantize(quantize(values, element), element) - values).mean())


def test_min_max_covers_everything() -> None:
    values = heavy_tailed()
    assert calibrated_range(statistics_of(values), CalibrationMethod.MIN_MAX) == (-80.0, 100.0)


def test_percentile_leaves_out_the_tails() -> None:
    values = heavy_tailed()
    low, high = calibrated_range(statistics_of(values), CalibrationMethod.PERCENTILE)
    inside = ((values >= low) & (values <= high)).mean()
    assert COVERAGE <= inside < 1.0
    assert high < 10.0 < 60.0 and low > -10.0


def test_mse_beats_both() -> None:
    values = heavy_tailed()
    statistics = statistics_of(values)
    errors = {method: error(values, *calibrated_range(statistics, method)) for method in CalibrationMethod}
    assert errors[CalibrationMethod.MSE] == min(errors.values())
    assert errors[CalibrationMethod.MSE] < 0.75 * errors[CalibrationMethod.MIN_MAX]


@pytest.mark.parametrize("method", list(CalibrationMethod))
@pytest.mark.parametrize("values", [np.array([2.0, 3.0]), np.array([-5.0, -4.0]), np.zeros(3), np.full(3, 7.0)])
def test_every_range_contains_zero(method: CalibrationMethod, values: np.ndarray) -> None:
    low, high = calibrated_range(statistics_of(values), method)
    assert low <= 0.0 <= high
    assert low <= values.min() and values.max() <= high + 1e-9


def test_zero_is_represented_exactly() -> None:
    rng = np.random.default_rng(0)
    for low, high in rng.normal(size=(200, 2)) * 10.0 ** rng.integers(-6, 6, (200, 1)):
        element = activation_type(min(low, high), max(low, high))
        assert dequantize(quantize(np.zeros(1), element), element)[0] == 0.0
        bottom, top = real_range(element)
        assert bottom <= min(low, high, 0.0) + element.scale[0]
        assert top >= max(low, high, 0.0) - element.scale[0]


def test_a_tensor_of_zeros_has_a_usable_type() -> None:
    assert activation_type(0.0, 0.0).scale == (1.0,)
    assert symmetric_type(np.array([0.0, 1.27]), axis=0).scale == pytest.approx((1 / 127, 0.01))
    net = Network(1, 6)
    dead = net.add("Clamp", [net.dense(net.x, 3)], ClampAttrs(RELU.then(type(RELU)(0.0, 0.0))))
    _, integer = both(net.done(net.dense(dead, 2)))
    assert integer.nodes


def test_natural_ranges_give_powers_of_two() -> None:
    for op, scale, zero in (("Softmax", 1 / 256, -128), ("Sigmoid", 1 / 256, -128), ("Tanh", 1 / 128, 0)):
        found = natural_range(op)
        assert found is not None
        element = activation_type(*found)
        assert (element.scale, element.zero_point) == ((scale,), (zero,))
    assert natural_range("Conv2D") is None


def test_no_samples_is_an_error() -> None:
    graph = network()
    with pytest.raises(DataError, match="no samples"):
        collect(graph, {"x": np.zeros((0, 1, 6, 6, 3), np.float32)}, graph.outputs)


def test_infinite_activations_name_their_node() -> None:
    net = Network(1, 4)
    graph = net.done(net.dense(net.add("Exp", [net.x], ExpAttrs()), 2))
    with pytest.raises(ModelError) as caught:
        both(graph, {"x": np.full((2, 1, 4), 1000.0, np.float32)})
    assert "test.onnx: node 'exp0' (Exp)" in str(caught.value)
    assert "not-a-number" in str(caught.value)
