"""Calibration data: what is taken, and the message for everything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from boardfit.data import check_samples, load_labels, load_samples
from boardfit.errors import DataError
from boardfit.ir import FLOAT32, Affine, ElementType, Graph, TensorType


def _graph(*shapes: tuple[int, ...], element: ElementType = FLOAT32) -> Graph:
    names = tuple(f"in{index}" for index in range(len(shapes)))
    types = {name: TensorType(shape, element) for name, shape in zip(names, shapes, strict=True)}
    return Graph("g", names, (), (), types, {}, {"in0": "image"})


IMAGE = _graph((1, 3, 4, 4))
X = np.arange(5 * 3 * 4 * 4, dtype=np.float32).reshape(5, 3, 4, 4)


def test_with_and_without_the_batch_axis() -> None:
    for given in (X, X[:, None]):
        found = check_samples({"": given}, IMAGE, "f")["in0"]
        assert found.shape == (5, 1, 3, 4, 4)
        assert found.dtype == np.float32


@pytest.mark.parametrize("key", ["image", "x", "data", "whatever"])
def test_keys_of_a_model_with_one_input(tmp_path: Path, key: str) -> None:
    arrays: dict[str, Any] = {key: X}
    np.savez(tmp_path / "d.npz", **arrays)
    assert load_samples(tmp_path / "d.npz", IMAGE)["in0"].shape == (5, 1, 3, 4, 4)


def test_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", X)
    assert load_samples(tmp_path / "d.npy", IMAGE, limit=2)["in0"].shape == (2, 1, 3, 4, 4)


def test_labels_beside_the_data_are_ignored() -> None:
    found = check_samples({"x": X, "y": np.arange(5)}, IMAGE, "f")
    assert np.array_equal(found["in0"][:, 0], X)


def test_integers_are_values_unless_a_scale_is_given() -> None:
    whole = X.astype(np.uint8)
    assert np.array_equal(check_samples({"x": whole}, IMAGE, "f")["in0"][:, 0], whole)
    scalars: dict[str, np.ndarray] = {"scale": np.asarray(0.5, np.float32), "zero_point": np.asarray(10, np.int8)}
    scaled = check_samples({"x": whole, **scalars}, IMAGE, "f")["in0"]
    assert np.array_equal(scaled[:, 0], (whole.astype(np.float32) - 10) * 0.5)


def test_integer_inputs_take_raw_integers_and_quantize_reals() -> None:
    graph = _graph((1, 2), element=Affine(True, 8, (0.5,), (3,)))
    raw = check_samples({"": np.array([[1, -7]], np.int8)}, graph, "f")["in0"]
    assert raw.tolist() == [[[1, -7]]]
    assert raw.dtype == np.int64
    real = check_samples({"": np.array([[1.0, -7.0]], np.float32)}, graph, "f")["in0"]
    assert real.tolist() == [[[5, -11]]]


def test_pixels_for_an_integer_input_are_real_values() -> None:
    graph = _graph((1, 2), element=Affine(True, 8, (1.0,), (-128,)))
    pixels = check_samples({"": np.array([[0, 255]], np.uint8)}, graph, "f")["in0"]
    assert pixels.tolist() == [[[-128, 127]]]


def test_labels_follow_the_samples(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=X, y=np.arange(5))
    kept = load_samples(tmp_path / "d.npz", IMAGE, limit=2)["in0"][:, 0]
    labels = load_labels(tmp_path / "d.npz", limit=2)
    assert labels is not None and np.array_equal(kept, X[labels])
    np.savez(tmp_path / "e.npz", x=X)
    assert load_labels(tmp_path / "e.npz") is None
    np.savez(tmp_path / "t.npz", x=X, y=np.full(5, "cat"))
    with pytest.raises(DataError, match="labels 'y' are no array of numbers"):
        load_labels(tmp_path / "t.npz")


def test_scales_of_several_inputs() -> None:
    graph = _graph((1, 2), (1, 2))
    whole = np.full((3, 2), 4, np.int8)
    arrays = {"image": whole, "in1": whole, "in1_scale": np.float32(0.5), "in1_zero_point": np.int8(2)}
    found = check_samples(arrays, graph, "f")
    assert found["in0"].max() == 4.0
    assert found["in1"].max() == 1.0


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_wrong_scales(scale: float) -> None:
    arrays = {"x": X.astype(np.int8), "scale": np.float32(scale), "zero_point": np.int8(0)}
    with pytest.raises(DataError, match=r"'scale' is .*, not a positive number"):
        check_samples(arrays, IMAGE, "f")


@pytest.mark.parametrize(
    ("given", "shape", "hint"),
    [
        ((5, 4, 4, 3), (1, 3, 4, 4), "channels-first images: array.transpose(0, 3, 1, 2)"),
        ((5, 3, 4, 4), (1, 4, 4, 3), "channels-last images: array.transpose(0, 2, 3, 1)"),
        ((3, 4, 4), (1, 3, 4, 4), "one sample: give it a first axis"),
        ((5, 48), (1, 3, 4, 4), "array.reshape(-1, 3, 4, 4)"),
        ((5, 47), (1, 3, 4, 4), "the first axis counts samples"),
    ],
)
def test_hints_for_wrong_shapes(given: tuple[int, ...], shape: tuple[int, ...], hint: str) -> None:
    with pytest.raises(DataError) as caught:
        check_samples({"": np.zeros(given, np.float32)}, _graph(shape), "f")
    assert caught.value.hint is not None and hint in caught.value.hint


def test_several_inputs_by_name() -> None:
    graph = _graph((1, 2), (1, 3))
    found = check_samples({"image": np.ones((4, 2)), "in1": np.ones((4, 3))}, graph, "f")
    assert found["in1"].shape == (4, 1, 3)
    with pytest.raises(DataError, match="different numbers of samples: 'image' has 4, 'in1' has 5"):
        check_samples({"image": np.ones((4, 2)), "in1": np.ones((5, 3))}, graph, "f")
    with pytest.raises(DataError, match=r"no array for input 'in1'; the file has 'image'"):
        check_samples({"image": np.ones((4, 2))}, graph, "f")


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.zeros((5, 4, 4, 3), np.float32), r"has shape \(5, 4, 4, 3\), but the model takes \(N, 3, 4, 4\)"),
        (np.float32(1.0), r"has shape \(\), but"),
        (np.zeros((0, 3, 4, 4), np.float32), "has no samples"),
        (np.full((2, 3, 4, 4), np.nan, np.float32), "contains 96 NaN or infinite values"),
        (np.zeros((2, 3, 4, 4), np.complex64), "element type complex64"),
        (np.full((2, 3, 4, 4), "a"), "element type <U1"),
    ],
)
def test_wrong_arrays(array: np.ndarray, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        check_samples({"": np.asarray(array)}, IMAGE, "f")


def test_wrong_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="file not found"):
        load_samples(tmp_path / "none.npz", IMAGE)
    with pytest.raises(DataError, match="no pictures in it"):
        load_samples(tmp_path, IMAGE)
    (tmp_path / "text.npz").write_text("hello")
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "whole.npz", x=X)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:200])
    for name in ("text.npz", "objects.npy", "cut.npz"):
        with pytest.raises(DataError, match=r"not a .npy or .npz file of plain numbers"):
            load_samples(tmp_path / name, IMAGE)
