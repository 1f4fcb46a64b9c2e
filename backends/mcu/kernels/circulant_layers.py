"""Dense layers with block-circulant weights, as all kernels for them see them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np

from boardfit.ir.circulant import Circulant, find_circulant
from boardfit.ops.dense import DenseAttrs

from ..kernel import Const, Input, Output, Site, Table
from .common import LinearParameters, linear_parameters
from .int8_layers import refuse_linear, refuse_parameters

BLOCKS = tuple(range(2, 65))
"""Sizes of blocks that are looked for."""

INT32 = 1 << 31

ARGUMENTS = (Input(), Output(), Const("vectors"), Const("bias"), Const("multiplier"), Const("shape"))


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A dense layer as circulant kernels see it.

    Attributes:
        structure: of its blocks.
        vectors: (rows of blocks, blocks in a row, block) int64.
        bias: (out,) int32, the zero point folded in.
        multipliers: one for each row of blocks, or one.
        parameters: of the layer.
    """

    structure: Circulant
    vectors: np.ndarray
    bias: np.ndarray
    multipliers: np.ndarray
    parameters: LinearParameters


@functools.lru_cache(maxsize=64)
def _found(weights: bytes, shape: tuple[int, int]) -> Circulant | None:
    return find_circulant(np.frombuffer(weights, np.int8).reshape(shape), BLOCKS)


def structure_of(parameters: LinearParameters) -> Circulant | None:
    """The blocks of a layer's weights, or None if they are not block-circulant."""
    outputs, inputs = parameters.weights.shape
    return _found(parameters.weights.tobytes(), (outputs, inputs))


def parameters_of(site: Site) -> LinearParameters:
    """Weights, bias and requantization of the layer."""
    return linear_parameters(site, site.attrs(DenseAttrs).activation)


def layer_of(site: Site) -> Layer | None:
    """The layer, or None if its weights are not block-circulant or a block has several multipliers."""
    parameters = parameters_of(site)
    structure = structure_of(parameters)
    if structure is None:
        return None
    multipliers = parameters.multiplier
    if len(multipliers) > 1:
        starts = np.arange(0, len(multipliers), structure.block)
        first = multipliers[starts]
        if not np.array_equal(np.repeat(first, structure.block)[: len(multipliers)], multipliers):
            return None
        multipliers = first[:1] if np.all(first == first[0]) else first
    vectors = structure.exact_vectors(parameters.weights.astype(np.int64))
    return Layer(structure, vectors, parameters.folded, multipliers, parameters)


def refuse_layer(site: Site) -> str | None:
    """Why no kernel for circulant blocks can do a layer."""
    reason = refuse_linear(site)
    if reason:
        return reason
    parameters = parameters_of(site)
    reason = refuse_parameters(parameters)
    if reason:
        return reason
    if structure_of(parameters) is None:
        return "its weights are not block-circulant"
    layer = layer_of(site)
    if layer is None:
        return "rows of a circulant block have different scales"
    weights = parameters.weights.astype(np.int64)
    largest = int(np.abs(parameters.folded.astype(np.int64)).max(initial=0))
    products = 128 * int(np.abs(weights).sum(axis=1).max(initial=0))
    if largest + products * layer.structure.block >= INT32:
        return "the sums of its factors may exceed 32 bits"
    return None


def required_layer(site: Site) -> Layer:
    """The layer, which `refuse_layer` has let pass."""
    layer = layer_of(site)
    if layer is None:
        raise site.error("its weights are not block-circulant")
    return layer


def tables_of(layer: Layer, vectors: np.ndarray) -> tuple[Table, ...]:
    """The constants every kernel reads; `vectors` in the order of the kernel."""
    down, across = layer.vectors.shape[:2]
    note = f"{down} rows of {across} {layer.structure}"
    shift = layer.parameters.requantization.shift
    return (
        Table("vectors", vectors, note),
        Table("bias", layer.bias, "bias, the input's zero point folded in"),
        Table("multiplier", layer.multipliers, f"times 2^-{shift}, of each row of blocks"),
    )


def sizes_of(site: Site) -> dict[str, int]:
    """Fields of the shape that every kernel reads."""
    return {
        "rows": math.prod(site.y.shape[:-1]),
        "inputs": site.x(1).shape[1],
        "outputs": site.x(1).shape[0],
    }
