"""Reference vectors: inputs, and the outputs the interpreter gives for them, kept with the emitted files."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import OutputError
from .interp import run
from .ir.graph import Graph
from .ir.types import Affine, FixedPoint, TensorType
from .numerics import quantize

FOLDER = "reference"
SEED = 20261122
RANDOM_PART = 4
"""One reference input in this many is random over the whole range of the type, so that saturation is met too."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One array for each graph input and output, in order, (S, *shape), as the interpreter takes and gives them."""

    inputs: tuple[np.ndarray, ...]
    outputs: tuple[np.ndarray, ...]

    @property
    def samples(self) -> int:
        """Number of inferences."""
        return len(self.inputs[0])

    def files(self) -> dict[str, bytes]:
        """Files of the artifact, each array in the smallest integer type that holds it."""
        made: dict[str, bytes] = {}
        for kind, arrays in (("input", self.inputs), ("output", self.outputs)):
            for index, array in enumerate(arrays):
                made[f"{FOLDER}/{kind}_{index}.npy"] = _npy(_smallest(array))
        return made


def make_reference(graph: Graph, data: Mapping[str, np.ndarray], count: int) -> Reference:
    """Run the interpreter on `count` inputs: calibration samples, and one in four random.

    Args:
        graph: integer graph.
        data: input -> real values or raw integers, (S, *shape), of the float graph; used as far as they go.
        count: number of inputs.
    """
    random = np.random.default_rng(SEED)
    wanted = count - count // RANDOM_PART
    inputs: dict[str, np.ndarray] = {}
    for name in graph.inputs:
        tensor_type = graph.types[name]
        given = data[name][:wanted] if name in data else np.zeros((0, *tensor_type.shape))
        raw = quantize(given, tensor_type.element, sample_axis=True) if given.dtype.kind == "f" else given
        inputs[name] = np.concatenate([raw, _random(tensor_type, count - len(raw), random, raw)])
    outputs = run(graph, inputs)
    return Reference(tuple(inputs[name] for name in graph.inputs), tuple(outputs[name] for name in graph.outputs))


def read_reference(folder: Path, inputs: int, outputs: int) -> Reference:
    """The reference vectors of an output folder with that many graph inputs and outputs.

    Raises:
        OutputError: they are missing or damaged.
    """

    def load(kind: str, index: int) -> np.ndarray:
        path = folder / FOLDER / f"{kind}_{index}.npy"
        try:
            array: np.ndarray = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise OutputError(f"cannot read the reference vectors: {error}", file=str(path)) from error
        return array if array.dtype.kind == "f" else array.astype(np.int64)

    return Reference(
        tuple(load("input", index) for index in range(inputs)),
        tuple(load("output", index) for index in range(outputs)),
    )


def _random(wanted: TensorType, count: int, random: np.random.Generator, like: np.ndarray) -> np.ndarray:
    shape = (count, *wanted.shape)
    if isinstance(wanted.element, (Affine, FixedPoint)):
        return random.integers(wanted.element.minimum, wanted.element.maximum, shape, endpoint=True)
    low, high = (float(like.min()), float(like.max())) if like.size else (-1.0, 1.0)
    return random.uniform(low, high, shape).astype(np.float32)


def _smallest(array: np.ndarray) -> np.ndarray:
    """The same values in the smallest integer type; float stays."""
    if array.dtype.kind == "f":
        return array
    low, high = int(array.min(initial=0)), int(array.max(initial=0))
    types: Sequence[type[np.signedinteger]] = (np.int8, np.int16, np.int32, np.int64)
    return array.astype(next(t for t in types if np.iinfo(t).min <= low and high <= np.iinfo(t).max))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
