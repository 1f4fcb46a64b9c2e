"""Biases that make up for rounded weights, and bounds that hold with confidence."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.fidelity import lower_limit
from boardfit.compress.fixed_form import FixedForm
from boardfit.compress.fixed_point_biases import input_means
from boardfit.compress.fpga import calibrated_ranges
from boardfit.compress.widths import WidthSpace, fixed_outputs, float_outputs
from boardfit.options import QuantizeOptions
from tests.fpga.networks import Builder


@pytest.mark.parametrize("groups", [1, 4])
def test_the_mean_of_the_outputs_comes_back(groups: int) -> None:
    b = Builder(0)
    x = b.conv(b.input("x", 6, 6, 4), 4, (3, 3), groups=groups)
    b.dense(b.flatten(x), 5, out=True)
    graph = FixedForm()(b.editor.finish())
    data = {"x": np.random.default_rng(1).normal(1.0, 0.3, (64, 1, 6, 6, 4)).astype(np.float32)}
    ranges = calibrated_ranges(graph, data, QuantizeOptions())
    reference = float_outputs(graph, data)

    def shift(means: dict[str, np.ndarray]) -> float:
        space = WidthSpace.of(graph, ranges, 16, means)
        widths = space.uniform(16)
        narrow = space.graph(type(widths)(dict.fromkeys(space.linear, 4), widths.groups))
        return float(np.abs((fixed_outputs(narrow, data) - reference).mean(axis=0)).max())

    assert shift(dict(input_means(graph, data))) < 0.2 * shift({})


@pytest.mark.parametrize(("count", "lost", "holds"), [(50, 0, True), (100, 1, False), (256, 1, True), (256, 2, False)])
def test_a_share_of_hits_holds_with_confidence(count: int, lost: int, holds: bool) -> None:
    scores = np.ones(count)
    scores[:lost] = 0.0
    assert (lower_limit(scores) >= 0.98) == holds
    assert lower_limit(scores) <= scores.mean()


def test_differences_of_hits_use_the_normal_limit() -> None:
    scores = np.zeros(400)
    scores[:4], scores[4:6] = -1.0, 1.0
    assert -0.02 < lower_limit(scores) < scores.mean()
    assert lower_limit(np.zeros(10)) == 0.0
