"""Folders of pictures as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boardfit.data import load_dataset, load_labels, load_samples
from boardfit.errors import DataError
from boardfit.images import PixelRange
from boardfit.ir import Graph, GraphEditor, TensorType

Image = pytest.importorskip("PIL.Image")


def network(*shape: int) -> Graph:
    editor = GraphEditor.empty("net")
    x = editor.add_input("x", TensorType(shape))
    editor.outputs = [x]
    return editor.finish()


def paint(path: Path, value: int, size: tuple[int, int] = (4, 3), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (value, 0, 255) if mode == "RGB" else value).save(path)


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for label, name in enumerate(("cat", "dog")):
        for index in range(3):
            paint(tmp_path / name / f"{index}.png", 10 * label + index)
    found = load_dataset(tmp_path, network(1, 3, 4, 3), pixels=PixelRange.BYTES)
    assert found.labels is not None and found.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.inputs["x"].shape == (6, 1, 3, 4, 3)
    assert found.inputs["x"][:, 0, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12]
    few = load_dataset(tmp_path, network(1, 3, 4, 3), 2, pixels=PixelRange.BYTES)
    assert few.labels is not None and few.labels.tolist() == [0, 1]
    labels = load_labels(tmp_path, 2)
    assert labels is not None and labels.tolist() == [0, 1]


def test_channels_first_and_pixel_ranges(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 255)
    first = load_samples(tmp_path, network(1, 3, 3, 4), pixels=PixelRange.SIGNED)["x"]
    assert first.shape == (1, 1, 3, 3, 4)
    assert first[0, 0, :, 0, 0].tolist() == [1.0, -1.0, 1.0]
    assert load_dataset(tmp_path, network(1, 3, 3, 4)).labels is None


def test_pictures_are_resized_and_made_grey(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", 100, (40, 30), "L")
    assert load_samples(tmp_path, network(1, 6, 8, 1), pixels=PixelRange.BYTES)["x"].mean() == pytest.approx(100)


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pictures"):
        load_samples(tmp_path, network(1, 3, 4, 3))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="damaged"):
        load_samples(tmp_path, network(1, 3, 4, 3))
    paint(tmp_path / "cat" / "a.png", 1)
    with pytest.raises(DataError, match="beside"):
        load_samples(tmp_path, network(1, 3, 4, 3))
    with pytest.raises(DataError, match="the model takes 640 values"):
        load_samples(tmp_path / "cat", network(1, 640))


def test_labels_must_be_one_for_each_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((4, 2), np.float32), y=np.zeros(3))
    with pytest.raises(DataError, match="3 labels for 4 samples"):
        load_dataset(tmp_path / "d.npz", network(1, 2))
