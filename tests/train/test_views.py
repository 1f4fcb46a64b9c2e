"""A teacher that looks several times answers with the mean of the looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.train.views import View, over_views, ten_views

from .networks import dense_network, image_network

IMAGES = np.random.default_rng(4).normal(size=(5, 1, 12, 12, 1)).astype(np.float32)


def answers(graph: Graph, images: np.ndarray) -> np.ndarray:
    return run(graph, {"x": images})[graph.outputs[0]]


def looked_at(view: View) -> np.ndarray:
    """The images as a view shows them, made without it: padded by their border, cut, mirrored."""
    wide = np.pad(IMAGES, ((0, 0), (0, 0), (3, 3), (3, 3), (0, 0)), mode="edge")
    seen = wide[:, :, 3 - view.down : 15 - view.down, 3 - view.right : 15 - view.right]
    return seen[:, :, :, ::-1] if view.mirrored else seen


def test_ten_views_are_the_middle_four_corners_and_their_mirror_images() -> None:
    views = ten_views(2)
    assert len(set(views)) == 10
    assert {(abs(view.down), abs(view.right)) for view in views} == {(0, 0), (2, 2)}
    assert sum(view.mirrored for view in views) == 5


@pytest.mark.parametrize("tensor", ["", "pool2_out"])
def test_the_mean_over_views_is_that_of_the_images_moved_and_mirrored(tensor: str) -> None:
    graph = image_network(1)
    views = (*ten_views(3), View(1, 0), View(0, -2, mirrored=True))
    found = answers(over_views(graph, views, tensor), IMAGES)
    if not tensor:
        expected = np.mean([answers(graph, looked_at(view)) for view in views], axis=0)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    else:
        assert not np.allclose(found, answers(graph, IMAGES))


def test_one_look_is_the_network_itself_and_names_behind_the_mean_stay() -> None:
    graph = image_network(1)
    together = over_views(graph, [View()], "pool2_out")
    np.testing.assert_allclose(answers(together, IMAGES), answers(graph, IMAGES), rtol=1e-5, atol=1e-6)
    assert {"pool2_out", *graph.outputs} <= set(together.types)
    assert {node.name for node in graph.nodes} & {node.name for node in together.nodes} == {"flatten", "fc1", "fc2"}


@pytest.mark.parametrize(
    ("graph", "views", "tensor", "message"),
    [
        (dense_network(), ten_views(), "", "one image"),
        (image_network(), (), "", "no views"),
        (image_network(), ten_views(), "nowhere", "no node computes 'nowhere'"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(graph: Graph, views: Sequence[View], tensor: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        over_views(graph, views, tensor)
