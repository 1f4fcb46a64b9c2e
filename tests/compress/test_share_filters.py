"""Filters that are copies of others: tied, trained together, equal as integers, found again by the backend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.backends.mcu.kernels.transferred_filters import find_copies, refuse_copies
from boardfit.board import find_board
from boardfit.compress.cut_filters import CutFilters
from boardfit.compress.filter_transforms import TRANSFORMS, Group, Transform, filter_taps, tie_groups, weight_order
from boardfit.compress.layers import weight_layers
from boardfit.compress.prune import Prune
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.share_filters import ShareFilters
from boardfit.errors import InternalError, UsageError
from boardfit.interp import run
from boardfit.ir import Compressed, Graph, GraphEditor, Source, TensorType, Tie, verify_graph
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized

TURNS = ("mirror", "flip", "rotation-180", "rotation-90", "rotation-270")


def network(first: np.ndarray, seed: int = 0) -> Graph:
    """Two 3x3 convolutions on (1, 9, 9, 4) images; `first` the weights of the first one."""
    random = np.random.default_rng(seed)
    editor = GraphEditor.empty("net")
    y = editor.add_input("x", TensorType((1, 9, 9, first.shape[3])))
    second = (random.standard_normal((6, 3, 3, len(first))) / 6).astype(np.float32)
    for index, (weights, activation) in enumerate([(first, RELU), (second, NONE)], start=1):
        bias = (0.1 * random.standard_normal(len(weights))).astype(np.float32)
        inputs = [y, editor.add_constant("w", weights.astype(np.float32)), editor.add_constant("b", bias)]
        attrs = Conv2DAttrs(pads=(1, 1, 1, 1), activation=activation)
        y = editor.add_node("Conv2D", inputs, attrs, Source("m.onnx", f"conv{index}", "Conv")).outputs[0]
    editor.outputs = [y]
    return editor.finish()


def images(seed: int = 1, count: int = 8) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((count, 1, 9, 9, 4)).astype(np.float32)}


def filters(count: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((count, 3, 3, 4)) / 6).astype(np.float32)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([(3, 3), (1, 1), (2, 3), (5, 5), (1, 4)]), st.integers(1, 9))
def test_every_filter_is_made_from_a_stored_one_to_the_last_bit(seed: int, size: tuple[int, int], most: int) -> None:
    random = np.random.default_rng(seed)
    bases = random.integers(-127, 128, (most, *size, 3))
    made = []
    for _ in range(12):
        base = bases[random.integers(most)]
        turned = np.rot90(base, int(random.integers(4))) if size[0] == size[1] else base[:: random.choice([-1, 1])]
        made.append(turned[:, :: random.choice([-1, 1])] * random.choice([-1, 1]))
    weights = np.stack(made)
    found = find_copies(weights)
    assert len(found.bases) <= most
    for own, copy in zip(weights, found.copies, strict=True):
        flat = found.bases[copy.base].reshape(-1, 3)
        order = found.orders[copy.transform]  # tap of a stored filter -> tap of the window
        rebuilt = np.empty_like(flat)
        rebuilt[order] = flat
        np.testing.assert_array_equal((-1 if copy.negative else 1) * rebuilt.reshape(own.shape), own)
        first, end = found.span(copy.transform)
        assert first <= copy.base < end


def test_filters_that_differ_are_not_copies() -> None:
    weights = np.random.default_rng(0).integers(-127, 128, (8, 3, 3, 4))
    assert len(find_copies(weights).bases) == 8
    assert refuse_copies(find_copies(weights)) == "only 0 of its 8 filters are copies of others"
    almost = np.concatenate([weights, -weights])
    assert refuse_copies(find_copies(almost)) is None
    almost[8, 0, 0, 0] ^= 1
    assert len(find_copies(almost).bases) == 9


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_order_of_a_copy_is_the_transform(name: str) -> None:
    image = np.random.default_rng(0).standard_normal((3, 3, 2))
    transform = TRANSFORMS[name]
    expected = {
        "multi-bias": image,
        "negation": -image,
        "mirror": image[:, ::-1],
        "flip": image[::-1],
        "rotation-180": np.rot90(image, 2),
        "rotation-90": np.rot90(image),
        "rotation-270": np.rot90(image, 3),
    }[name]
    made = transform.sign * image.reshape(-1)[weight_order((1, 3, 3, 2), transform)]
    np.testing.assert_array_equal(made.reshape(image.shape), expected)
    assert len({taps.tobytes() for taps in filter_taps(3, 3)}) == 8


@pytest.mark.parametrize("transforms", [("negation",), ("multi-bias",), TURNS, ("negation", *TURNS)])
def test_half_of_the_filters_become_copies_and_stay_copies_as_integers(transforms: tuple[str, ...]) -> None:
    graph = ShareFilters(images(), transforms, {"conv1": 0.5})(network(filters(10)))
    tied = weight_layers(graph)[0]
    assert tied.promise.tie is not None
    assert len(find_copies(np.rint(tied.weights * 2**30).astype(np.int64)).bases) == 5
    integer = LowerQuantized()(quantize_for_mcu(graph, images(2), QuantizeOptions()))
    raw = integer.constants[integer.node("conv1").inputs[1]].values
    found = find_copies(raw.astype(np.int64))
    assert len(found.bases) == 5
    assert integer.constants[integer.node("conv1").inputs[1]].encoding.broken(raw) is None


def test_copies_that_are_there_are_found_and_nothing_is_lost() -> None:
    base = filters(5)
    mixed = np.concatenate([base, base[:, ::-1]])[np.random.default_rng(3).permutation(10)]
    graph, x = network(mixed), images(4)
    made = ShareFilters(images(), ("mirror", "flip"), most_error=1e-6)(graph)
    tie = weight_layers(made)[0].promise.tie
    assert tie is not None and tie.count == 5 * 36
    np.testing.assert_allclose(run(made, x)[made.outputs[0]], run(graph, x)[graph.outputs[0]], atol=1e-4)
    apart = ShareFilters(images(), ("mirror", "negation"), most_error=1e-6)(graph)
    assert weight_layers(apart)[0].promise.tie is None


def test_the_layer_behind_makes_up_for_what_is_lost() -> None:
    graph, x = network(filters(10)), images(5, 16)
    wanted = run(graph, x)[graph.outputs[0]]

    def error(refit: bool) -> float:
        made = ShareFilters(images(6, 16), ("negation",), {"conv1": 0.3}, refit=refit)(graph)
        return float(np.mean(np.square(run(made, x)[made.outputs[0]] - wanted)))

    assert error(refit=True) < 0.8 * error(refit=False)


def test_a_broken_tie_is_noticed() -> None:
    graph = ShareFilters(images(), ("negation",), {"conv1": 0.5})(network(filters(4)))
    name = graph.node("conv1").inputs[1]
    values = graph.constants[name].values.copy()
    values[0, 0, 0, 0] += 1
    editor = GraphEditor(graph)
    editor.constants[name] = type(graph.constants[name])(values, graph.constants[name].encoding)
    with pytest.raises(InternalError, match="differ from those they are tied to"):
        verify_graph(editor.finish(verify=False))


def test_passes_that_would_separate_copies_refuse() -> None:
    graph = ShareFilters(images(), ("negation",), {"conv1": 0.5})(network(filters(4)))
    with pytest.raises(UsageError, match="copies of others, which pruning would separate"):
        Prune(images(), 0.5)(graph)


def test_wrong_options_are_told() -> None:
    graph = network(filters(4))
    with pytest.raises(UsageError, match="no transform of filters is called 'mirorr'"):
        ShareFilters(images(), ("mirorr",))(graph)
    with pytest.raises(UsageError, match="is not in 0"):
        ShareFilters(images(), copies=1.5)(graph)
    with pytest.raises(UsageError, match="no layer with weights is called 'conv9'"):
        ShareFilters(images(), copies={"conv9": 0.5})(graph)


def test_a_tie_counts_and_projects() -> None:
    groups = (Group(((0, Transform(0)), (2, TRANSFORMS["negation"]))),)
    tie = tie_groups((3, 1, 1, 2), groups)
    assert tie.count == 4
    np.testing.assert_allclose(tie.expand(tie.free(np.array([1.0, 2, 5, 6, -3, -4]))), [2, 3, 5, 6, -2, -3])
    assert Compressed(tie=tie).broken(np.array([[1, 2], [5, 6], [-1, -2]])) is None
    assert Compressed(tie=tie).broken(np.array([[1, 2], [5, 6], [1, -2]])) is not None
    with pytest.raises(ValueError, match="signs"):
        Tie(np.zeros(2, np.int32), np.zeros(2, np.int8))


def test_filters_are_cut_out_of_meta_filters_and_stay_so_as_integers() -> None:
    graph = network(filters(10))
    made = CutFilters(images(), {"conv1": 4})(graph)
    layer = weight_layers(made)[0]
    assert layer.promise.tie is not None
    assert layer.promise.tie.count == 2 * 16 * 4 + 2 * 9 * 4  # two meta filters of four, two filters of their own
    integer = LowerQuantized()(quantize_for_mcu(made, images(2), QuantizeOptions()))
    constant = integer.constants[integer.node("conv1").inputs[1]]
    assert constant.encoding.broken(constant.values) is None
    refusing = CutFilters(images(), 4, board=find_board("nucleo-l4r5zi"))
    assert refusing(graph) is graph
    assert refusing.refused[0].startswith("conv1: ")


def test_filters_of_one_meta_filter_are_found() -> None:
    meta = np.random.default_rng(2).standard_normal((4, 4, 4))
    whole = np.stack([meta[y : y + 3, x : x + 3] for y in range(2) for x in range(2)])
    made = CutFilters(images(), {"conv1": 4})(network(whole[[0, 1, 2, 3]]))
    np.testing.assert_allclose(weight_layers(made)[0].weights, whole, atol=1e-6)
