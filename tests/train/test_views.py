"""A teacher that looks several times answers with the mean of the looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from boardfit.errors import UsageError
from boardfit.interp import run
from boardfit.ir import Graph, GraphEditor
from boardfit.ops.concat import ConcatAttrs
from boardfit.train.views import View, over_views, ten_views

from .networks import SOURCE, dense_network, image_network

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


VIEWS = (*ten_views(3), View(1, 0), View(0, -2, mirrored=True))


@pytest.mark.parametrize("tensor", ["pool2_out", "fc2_out"])
def test_the_mean_over_views_is_that_of_the_images_moved_and_mirrored(tensor: str) -> None:
    graph = image_network(1)
    assert graph.outputs == ("fc2_out",)
    together = over_views(graph, VIEWS, tensor)
    cut, averaged = (replace(one, outputs=(tensor,)) for one in (graph, together))
    expected = np.mean([answers(cut, looked_at(view)) for view in VIEWS], axis=0)
    np.testing.assert_allclose(answers(averaged, IMAGES), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(answers(together, IMAGES), answers(graph, IMAGES))


def test_the_logits_are_averaged_where_no_tensor_is_named() -> None:
    graph = image_network(1)
    named = over_views(graph, VIEWS, "fc2_out")
    np.testing.assert_array_equal(answers(over_views(graph, VIEWS), IMAGES), answers(named, IMAGES))


def test_a_tensor_that_something_goes_around_is_refused() -> None:
    editor = GraphEditor(image_network(1))
    inputs = [editor.outputs[0], editor.nodes[-2].outputs[0]]
    skipped = editor.add_node("Concat", inputs, ConcatAttrs(1), SOURCE, name="around").outputs[0]
    editor.outputs = [skipped]
    with pytest.raises(UsageError, match="'fc1_out' goes around 'fc2_out' to 'around'"):
        over_views(editor.finish(), VIEWS, "fc2_out")


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
        (image_network(), ten_views(12), "", "sees nothing of 12 x 12"),
        (image_network(), ten_views(), "nowhere", "no node computes 'nowhere'"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(graph: Graph, views: Sequence[View], tensor: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        over_views(graph, views, tensor)
