"""Deformed images: the identity is exact, known moves move, equal seeds give equal images."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.errors import UsageError
from boardfit.train.augment import ImageAugmentation, augmented
from boardfit.train.options import TrainingData

STILL = ImageAugmentation(8, 10, shift=0.0, rotation=0.0, scale=0.0, shear=0.0)


def images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random((5, *shape)).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 80), (1, 8, 10, 3), (1, 1, 8, 10)])
def test_without_deformation_images_stay(shape: tuple[int, ...]) -> None:
    x = images(*shape)
    np.testing.assert_allclose(STILL(x, np.random.default_rng(1)), x, atol=1e-6)


def test_a_shift_moves_pixels_and_brings_in_zeros() -> None:
    class Right:
        """Draws the same number every time."""

        def uniform(self, low: float, high: float, size: tuple[int, ...]) -> np.ndarray:
            return np.full(size, high)

        def random(self, size: tuple[int, ...]) -> np.ndarray:
            return np.zeros(size)

    x = images(1, 8, 10, 1)
    moved = ImageAugmentation(8, 10, shift=2.0, rotation=0.0, scale=0.0, shear=0.0)(x, Right())  # type: ignore[arg-type]
    np.testing.assert_allclose(moved[:, 0, :6, :8], x[:, 0, 2:, 2:], atol=1e-6)
    assert not moved[:, 0, 6:].any() and not moved[:, 0, :, 8:].any()


def test_equal_seeds_give_equal_images_and_strength_counts() -> None:
    x = images(1, 8, 10, 1)
    elastic = ImageAugmentation(8, 10, elastic=0.5)
    first, again = (elastic(x, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, elastic(x, np.random.default_rng(4)))
    assert np.abs(first - x).mean() > 0.01


def test_copies_keep_bytes_labels_and_the_originals() -> None:
    pixels = (255 * images(1, 80)).astype(np.uint8)
    labels = np.arange(5)
    found = augmented(TrainingData({"x": pixels}, labels), ImageAugmentation(8, 10), 2, seed=1)
    assert found.inputs["x"].dtype == np.uint8 and found.samples == 15
    assert np.array_equal(found.inputs["x"][:5], pixels)
    assert found.labels is not None and np.array_equal(found.labels, np.tile(labels, 3))
    assert not np.array_equal(found.inputs["x"][5:10], found.inputs["x"][10:])


def test_what_is_no_image_is_told() -> None:
    with pytest.raises(UsageError, match="holds no image of 8 x 10"):
        STILL.check((1, 81))


def test_mixtures_lie_between_two_copies_and_have_no_label() -> None:
    flat = np.repeat(np.arange(6, dtype=np.float32), 80).reshape(6, 1, 8, 10, 1)
    found = augmented(TrainingData({"x": flat[:, 0]}), STILL, 4, seed=2, mix=0.5).inputs["x"]
    levels = found.reshape(30, -1)
    np.testing.assert_allclose(levels.std(axis=1), 0.0, atol=1e-6)
    made = levels[6:, 0]
    mixed = np.abs(made - np.rint(made)) > 1e-6
    assert 4 <= mixed.sum() <= 20 and made.min() >= 0.0 and made.max() <= 5.0
    with pytest.raises(UsageError, match="has no label"):
        augmented(TrainingData({"x": flat[:, 0]}, np.arange(6)), STILL, 1, seed=2, mix=0.5)
    with pytest.raises(UsageError, match="no share"):
        augmented(TrainingData({"x": flat[:, 0]}), STILL, 1, seed=2, mix=1.5)
