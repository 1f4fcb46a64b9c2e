"""Image augmentation: shift, rotation, scale, shear and elastic deformation, drawn from a seed.

Simard, Steinkraus, Platt, "Best practices for convolutional neural networks" (2003): affine and elastic distortions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError
from .options import TrainingData

CHUNK = 2048
"""Samples deformed at a time."""

COARSE = 4
"""Control points of an elastic deformation along each side, without the border."""


@dataclass(frozen=True, slots=True)
class ImageAugmentation:
    """Random small deformations of single-channel or multi-channel images.

    Attributes:
        height, width: of the image; an input of shape (1, height, width, C), or of height * width numbers, is taken.
        shift: pixels at most, each way.
        rotation: degrees at most, each way.
        scale: relative change at most, of each axis.
        shear: at most, each way.
        elastic: pixels (standard deviation) of a smooth random displacement; 0 for none.
        share: of the samples that are deformed.
        flip: mirror half of the samples left to right.
    """

    height: int
    width: int
    shift: float = 1.5
    rotation: float = 10.0
    scale: float = 0.1
    shear: float = 0.1
    elastic: float = 0.0
    share: float = 1.0
    flip: bool = False

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse inputs that are no such images.

        Raises:
            UsageError: the shape does not fit.
        """
        image = len(shape) == 4 and shape[1:3] == (self.height, self.width)
        if not image and int(np.prod(shape)) != self.height * self.width:
            raise UsageError(f"an input of shape {shape} holds no image of {self.height} x {self.width}")

    def __call__(self, samples: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Deformed copies of samples (B, *shape), see `check`: bilinear, zero outside."""
        count = len(samples)
        images = samples.reshape(count, self.height, self.width, -1)
        rows, columns = self._sources(count, random)
        deformed = _sample(images, rows, columns)
        if self.share < 1.0:
            keep = random.random(count) >= self.share
            deformed[keep] = images[keep]
        return deformed.reshape(samples.shape)

    def _sources(self, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Source row and column of every pixel of every image, (B, height, width) float32."""

        def draw(limit: float) -> np.ndarray:
            return random.uniform(-limit, limit, (count, 1, 1)).astype(np.float32)

        angle, shear = np.deg2rad(draw(self.rotation)), draw(self.shear)
        tall, wide = 1.0 + draw(self.scale), 1.0 + draw(self.scale)
        down, right = draw(self.shift), draw(self.shift)
        mirror = np.where(random.random((count, 1, 1)) < 0.5, -1.0, 1.0).astype(np.float32) if self.flip else 1.0
        middle = (np.float32(self.height - 1) / 2, np.float32(self.width - 1) / 2)
        y, x = np.mgrid[: self.height, : self.width].astype(np.float32)
        y, x = y[None] - middle[0], (x[None] - middle[1]) * mirror
        cosine, sine = np.cos(angle), np.sin(angle)
        rows = tall * (sine * x + cosine * y) + middle[0] + down
        columns = wide * (cosine * x + (shear - sine) * y) + middle[1] + right
        if self.elastic > 0.0:
            rows += self._smooth(count, random)
            columns += self._smooth(count, random)
        return rows, columns

    def _smooth(self, count: int, random: np.random.Generator) -> np.ndarray:
        """A smooth random field: random values at a few control points, cosine-interpolated between them."""
        points = random.normal(0.0, self.elastic, (count, COARSE + 2, COARSE + 2)).astype(np.float32)
        field: np.ndarray = np.einsum(
            "hi,bij,wj->bhw", _blend(self.height), points, _blend(self.width), optimize=True
        ).astype(np.float32)
        return field


def augmented(
    data: TrainingData, augmentation: ImageAugmentation, copies: int, seed: int, *, mix: float = 0.0
) -> TrainingData:
    """The data and `copies` deformed copies of every sample: deformed once, so that a teacher answers once.

    Pixels stay bytes where they are bytes (rounded to nearest).

    Args:
        mix: share of the copies that are mixed with another one in a random proportion: what a student needs to see
            to become the same function as its teacher (Beyer et al. 2022, "Knowledge distillation: a good teacher is
            patient and consistent"). Such copies have no label.

    Raises:
        UsageError: the inputs are no such images, or labelled data is to be mixed.
    """
    if len(data.inputs) != 1:
        raise UsageError("images are deformed only where they are the only input")
    if not 0.0 <= mix <= 1.0:
        raise UsageError(f"mix {mix:g} is no share between 0 and 1")
    if mix and data.labels is not None:
        raise UsageError("a mixture of two images has no label", hint="leave the labels out, or give no mix")
    ((name, values),) = data.inputs.items()
    augmentation.check(values.shape[1:])
    random = np.random.default_rng([seed, copies])
    made = np.empty(((copies + 1) * len(values), *values.shape[1:]), values.dtype)
    made[: len(values)] = values
    for start in range(len(values), len(made), CHUNK):
        source = values[np.arange(start, min(start + CHUNK, len(made))) % len(values)]
        deformed = augmentation(source.astype(np.float32), random)
        if mix:
            deformed = _mixed(deformed, mix, random)
        made[start : start + len(source)] = np.rint(deformed) if values.dtype == np.uint8 else deformed
    labels = None if data.labels is None else np.tile(data.labels, copies + 1)
    return TrainingData({name: made}, labels)


def _mixed(images: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Some of the images mixed with another one each."""
    parts = np.where(random.random(len(images)) < share, random.random(len(images)), 1.0).astype(np.float32)
    parts = parts.reshape(-1, *[1] * (images.ndim - 1))
    return images * parts + images[random.permutation(len(images))] * (np.float32(1.0) - parts)


def _blend(size: int) -> np.ndarray:
    """(size, COARSE + 2) weights that spread control points over `size` pixels."""
    place = np.linspace(0.0, COARSE + 1, size)
    distance = np.abs(place[:, None] - np.arange(COARSE + 2)[None])
    blend: np.ndarray = np.where(distance < 1.0, 0.5 + 0.5 * np.cos(np.pi * distance), 0.0).astype(np.float32)
    return blend


def _sample(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear samples of (B, H, W, C) images at real positions; zero outside."""
    count, height, width, channels = images.shape
    padded = np.pad(images, ((0, 0), (1, 2), (1, 2), (0, 0)))
    rows = np.clip(rows + np.float32(1.0), 0.0, np.float32(height + 1))
    columns = np.clip(columns + np.float32(1.0), 0.0, np.float32(width + 1))
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    down, right = rows - top.astype(np.float32), columns - left.astype(np.float32)
    stride = width + 3
    first = np.arange(count, dtype=np.int32)[:, None, None] * ((height + 3) * stride) + top * stride + left
    result = np.empty(images.shape, np.float32)
    for channel in range(channels):  # one after the other: numbers are fetched much faster than rows of them
        plane = np.ascontiguousarray(padded[..., channel]).reshape(-1)
        upper, lower = plane.take(first), plane.take(first + stride)
        upper += (plane.take(first + 1) - upper) * right
        lower += (plane.take(first + (stride + 1)) - lower) * right
        result[..., channel] = upper + (lower - upper) * down
    return result
