"""Calibration, training and evaluation data: `.npy`, `.npz` and folders of pictures to what the interpreter takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import DataError
from .images import PixelRange, image_labels, load_images
from .ir.graph import Graph
from .ir.types import Affine, TensorType
from .numerics import quantize_affine

USUAL_KEYS = ("x", "inputs", "input", "images", "data", "x_train", "x_calibration")
"""Keys looked for, in this order, when a model has one input and the file none of its name."""

LABELS = "y"

CALIBRATION_SAMPLES = 512
"""Enough for stable ranges; more only cost time."""

Samples = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Samples and, where there are some, their labels.

    Attributes:
        inputs: graph input -> (S, *shape), see `load_samples`.
        labels: (S,) or None.
    """

    inputs: Samples
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        return min(len(values) for values in self.inputs.values())


def load_dataset(
    path: str | Path, graph: Graph, limit: int | None = None, *, pixels: PixelRange = PixelRange.UNIT
) -> Dataset:
    """Inputs and labels from a file (labels under `y`) or a folder of pictures (labels from its subfolders).

    Args:
        path: see `load_samples`.
        graph: the graph whose inputs are wanted.
        limit: samples to keep, evenly spread.
        pixels: real values of pictures.

    Raises:
        DataError: see `load_samples`, or labels that are not one for each sample.
    """
    place = Path(path)
    if place.is_dir():
        samples, labels = _pictures(place, graph, limit, pixels)
        return Dataset(samples, labels)
    samples, labels = load_samples(place, graph, limit), load_labels(place, limit)
    found = Dataset(samples, labels)
    if labels is not None and len(labels) != len(found):
        raise DataError(f"{len(labels)} labels for {len(found)} samples", file=place.name)
    return found


def _pictures(folder: Path, graph: Graph, limit: int | None, pixels: PixelRange) -> tuple[Samples, np.ndarray | None]:
    if len(graph.inputs) != 1:
        raise DataError(
            f"a folder of pictures, but the model has {len(graph.inputs)} inputs",
            file=str(folder),
            hint="save the inputs with numpy.savez",
        )
    name = graph.inputs[0]
    images, labels = load_images(folder, graph.types[name].shape, pixels, limit)
    return check_samples({"": images}, graph, folder.name), labels


def load_samples(
    path: str | Path, graph: Graph, limit: int | None = None, *, pixels: PixelRange = PixelRange.UNIT
) -> Samples:
    """Inputs for `graph` from a file or a folder of pictures.

    A `.npy` file holds the values of the only input, a `.npz` file one array for each input under the input's
    name. A model with one input also takes the usual keys (`x`, `inputs`, ...) or the only array of the file.
    The first axis counts samples; the model's batch axis of 1 may follow it or be left out. Integers of exactly the
    type of an integer input are raw values. Other integers are real values, unless the file has scalars `scale` and
    `zero_point` (`<input>_scale`, `<input>_zero_point` if there are several inputs): then
    real = (x - zero_point) * scale.

    Args:
        path: the file, or the folder (see `images.load_images`).
        graph: the graph whose inputs are wanted.
        limit: samples to keep, evenly spread over the file (files are often sorted by class).
        pixels: real values of pictures.

    Returns:
        Input tensor name -> float32 array (S, *shape) of real values; raw integers (int64) for integer inputs.

    Raises:
        DataError: no such file, not such a file, a missing input, a wrong shape, a wrong type, not finite.
    """
    file = Path(path).name
    if Path(path).is_dir():
        return _pictures(Path(path), graph, limit, pixels)[0]
    return check_samples(_read(Path(path)), graph, file, limit)


def check_samples(arrays: Mapping[str, np.ndarray], graph: Graph, file: str, limit: int | None = None) -> Samples:
    """Like `load_samples`, from arrays in memory; the key of an unnamed array is the empty string."""
    found: Samples = {}
    for name in graph.inputs:
        label = graph.labels.get(name, name)
        array = _pick(arrays, label, len(graph.inputs) == 1, file)
        found[name] = _spread(_convert(array, arrays, graph.types[name], label, file), limit)
    counts = {graph.labels.get(name, name): len(array) for name, array in found.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"'{label}' has {count}" for label, count in counts.items())
        raise DataError(f"the inputs have different numbers of samples: {told}", file=file)
    return found


def load_labels(path: str | Path, limit: int | None = None) -> np.ndarray | None:
    """The labels `y` of a data file, spread like the samples of `load_samples`, or None if it has none.

    Raises:
        DataError: the file cannot be read, or its labels are no numbers.
    """
    if Path(path).is_dir():
        found = image_labels(Path(path), limit)
        return None if found is None else np.asarray(found, np.int64)
    labels = _read(Path(path)).get(LABELS)
    if labels is None:
        return None
    if labels.dtype.kind not in "fiub" or labels.ndim == 0:
        raise DataError(f"labels '{LABELS}' are no array of numbers", file=Path(path).name)
    return _spread(labels, limit)


def _spread(array: np.ndarray, limit: int | None) -> np.ndarray:
    if limit is None or len(array) <= limit:
        return array
    return array[np.arange(limit) * len(array) // limit]


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except FileNotFoundError:
        raise DataError("file not found", file=str(path), hint="check the path of the data") from None
    except IsADirectoryError:
        raise DataError("is a folder, not a file", file=str(path), hint="give a .npy or .npz file") from None
    except PermissionError as error:
        raise DataError("no permission to read it", file=str(path)) from error
    except Exception as error:  # numpy raises ValueError, EOFError, BadZipFile, zlib.error ... on damaged files
        raise DataError(
            "not a .npy or .npz file of plain numbers, or a damaged one",
            file=path.name,
            hint="write it with numpy.save or numpy.savez, without objects",
        ) from error


def _pick(arrays: Mapping[str, np.ndarray], label: str, only: bool, file: str) -> np.ndarray:
    keys = (label, "", *USUAL_KEYS) if only else (label,)
    for key in keys:
        if key in arrays:
            return arrays[key]
    inputs = [key for key in arrays if key not in (LABELS, "scale", "zero_point")]
    if only and len(inputs) == 1:
        return arrays[inputs[0]]
    have = ", ".join(f"'{key}'" for key in arrays if key) or "one unnamed array"
    raise DataError(
        f"no array for input '{label}'; the file has {have}",
        file=file,
        hint=f"save it with numpy.savez(..., **{{'{label}': array}})",
    )


def _convert(
    array: np.ndarray, arrays: Mapping[str, np.ndarray], wanted: TensorType, label: str, file: str
) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise DataError(
            f"input '{label}' has element type {array.dtype}, which is no number", file=file, hint="save float32 values"
        )
    samples = _with_batch_axis(array, wanted.shape, label, file)
    if len(samples) == 0:
        raise DataError(f"input '{label}' has no samples", file=file, hint="a few hundred are enough")
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        bad = int(samples.size - np.isfinite(samples).sum())
        raise DataError(f"input '{label}' contains {bad} NaN or infinite values", file=file)
    element = wanted.element
    if isinstance(element, Affine) and samples.dtype.name == f"{'int' if element.signed else 'uint'}{element.width}":
        return samples.astype(np.int64)
    prefix = f"{label}_" if f"{label}_scale" in arrays else ""
    if samples.dtype.kind in "iu" and {f"{prefix}scale", f"{prefix}zero_point"} <= arrays.keys():
        scale, zero = _scalar(arrays, f"{prefix}scale", file), _scalar(arrays, f"{prefix}zero_point", file)
        samples = (samples.astype(np.float64) - zero) * scale
    real = np.ascontiguousarray(samples, np.float32)
    return quantize_affine(real, element, sample_axis=True) if isinstance(element, Affine) else real


def _with_batch_axis(array: np.ndarray, shape: tuple[int, ...], label: str, file: str) -> np.ndarray:
    """The array as (S, *shape); the hint of the error says how to bring it there, where that is plain."""
    inner = shape[1:] if shape[:1] == (1,) else shape
    if array.ndim > 0 and array.shape[1:] == shape:
        return array
    if array.ndim > 0 and array.shape[1:] == inner:
        return array.reshape(len(array), *shape)
    hint = "the first axis counts samples; the others are those of the model file, in its order"
    given = array.shape
    if given == inner:
        hint = "this is one sample: give it a first axis, array[None]"
    elif len(given) == 4 and (given[2], given[3], given[1]) == inner:
        hint = "the model takes channels-last images: array.transpose(0, 2, 3, 1)"
    elif len(given) == 4 and (given[3], given[1], given[2]) == inner:
        hint = "the model takes channels-first images: array.transpose(0, 3, 1, 2)"
    elif given and math.prod(given[1:]) == math.prod(inner):
        hint = f"the number of values fits: array.reshape{_spell((-1, *inner))}"
    raise DataError(
        f"input '{label}' has shape {_spell(given)}, but the model takes {_spell(('N', *inner))}", file=file, hint=hint
    )


def _scalar(arrays: Mapping[str, np.ndarray], key: str, file: str) -> float:
    if arrays[key].size != 1 or arrays[key].dtype.kind not in "fiu":
        raise DataError(f"'{key}' must be one number", file=file)
    value = float(arrays[key].reshape(()))
    if key.endswith("scale") and not (math.isfinite(value) and value > 0.0):
        raise DataError(f"'{key}' is {value:g}, not a positive number", file=file)
    return value


def _spell(shape: tuple[object, ...]) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
