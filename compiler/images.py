"""Folders of pictures as data: one subfolder a class, or pictures alone."""

from __future__ import annotations

import math
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import DataError, ToolError

if TYPE_CHECKING:
    from types import ModuleType

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


class PixelRange(str, Enum):
    """Which real values the pixels 0 to 255 become: what the model was trained on."""

    BYTES = "0..255"
    UNIT = "0..1"
    SIGNED = "-1..1"

    def convert(self, pixels: np.ndarray) -> np.ndarray:
        """Pixel bytes to real values, float32."""
        values = pixels.astype(np.float32)
        if self is PixelRange.UNIT:
            return values / np.float32(255)
        return values / np.float32(127.5) - np.float32(1) if self is PixelRange.SIGNED else values


def load_images(
    folder: Path, shape: tuple[int, ...], pixels: PixelRange, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Pictures of a folder, sorted by name, in the shape of a model's input.

    Pictures of another size are resized (bilinear); colours follow the model's channels, 1 or 3.

    Args:
        folder: pictures, or subfolders of pictures: the classes, numbered in the order of their names.
        shape: (1, H, W, C) or (1, C, H, W), C 1 or 3.
        pixels: real values of the pixels.
        limit: pictures to take, evenly spread over all.

    Returns:
        (S, *shape) float32, and labels (S,) int64 or None without subfolders.

    Raises:
        DataError: no pictures, a damaged one, pictures both beside and in subfolders, or a model that takes none.
        ToolError: Pillow is not installed.
    """
    height, width, channels, first = _geometry(shape, folder)
    files, labels = _spread(*_listed(folder), limit)
    pillow = _pillow(folder)
    samples = np.empty((len(files), height, width, channels), np.float32)
    for index, file in enumerate(files):
        try:
            with pillow.open(file) as image:
                picture = image.convert("L" if channels == 1 else "RGB")
                if picture.size != (width, height):
                    picture = picture.resize((width, height), pillow.Resampling.BILINEAR)
                samples[index] = pixels.convert(np.asarray(picture)).reshape(height, width, channels)
        except OSError as error:
            raise DataError("not a picture, or a damaged one", file=str(file.relative_to(folder.parent))) from error
    if first:
        samples = np.ascontiguousarray(samples.transpose(0, 3, 1, 2))
    return samples.reshape(len(files), *shape), None if labels is None else np.asarray(labels, np.int64)


def image_labels(folder: Path, limit: int | None = None) -> list[int] | None:
    """The labels `load_images` gives, without reading the pictures."""
    return _spread(*_listed(folder), limit)[1]


def _spread(files: list[Path], labels: list[int] | None, limit: int | None) -> tuple[list[Path], list[int] | None]:
    if limit is None or len(files) <= limit:
        return files, labels
    chosen = [index * len(files) // limit for index in range(limit)]
    return [files[i] for i in chosen], None if labels is None else [labels[i] for i in chosen]


def _geometry(shape: tuple[int, ...], folder: Path) -> tuple[int, int, int, bool]:
    """(height, width, channels, channels first)."""
    if len(shape) == 4 and shape[3] in (1, 3):
        return shape[1], shape[2], shape[3], False
    if len(shape) == 4 and shape[1] in (1, 3):
        return shape[2], shape[3], shape[1], True
    raise DataError(
        f"a folder of pictures, but the model takes {math.prod(shape)} values of shape {shape}",
        file=str(folder),
        hint="save the inputs with numpy.savez",
    )


def _listed(folder: Path) -> tuple[list[Path], list[int] | None]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=str(folder)) from error
    loose = [entry for entry in entries if entry.is_file() and entry.suffix.lower() in ENDINGS]
    classes = [entry for entry in entries if entry.is_dir()]
    if loose and classes:
        raise DataError(
            f"{len(loose)} pictures beside {len(classes)} subfolders",
            file=str(folder),
            hint="put all pictures into subfolders, one a class, or all into one folder (no labels)",
        )
    if loose:
        return loose, None
    files: list[Path] = []
    labels: list[int] = []
    for label, entry in enumerate(classes):
        own = sorted(file for file in entry.iterdir() if file.suffix.lower() in ENDINGS)
        files += own
        labels += [label] * len(own)
    if not files:
        raise DataError("no pictures in it", file=str(folder), hint=f"pictures end in {', '.join(ENDINGS)}")
    return files, labels


def _pillow(folder: Path) -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise ToolError(
            "reading pictures needs Pillow", file=str(folder), hint="pip install 'boardfit[images]'"
        ) from error
    return Image
