"""Design descriptions from rows of a table with the columns of hls-reports/designs.csv."""

from __future__ import annotations

import dataclasses
import json

from .description import MATRIX_KINDS, DesignDescription, LayerDescription
from .rows import Row, Unreadable, canonical_kind, read_layer, text


def _io_type(row: Row, layers: list[dict[str, object]]) -> str:
    """Stated io type of the design, else of a layer, else what the stream types of the layers show."""
    stated = text(row, "io_type")
    if stated in ("io_parallel", "io_stream"):
        return stated
    for layer in layers:
        if text(layer, "io_type") in ("io_parallel", "io_stream"):
            return text(layer, "io_type")
    if any("array" in text(layer, "input_precision") for layer in layers):
        return "io_stream"
    return "io_parallel"


def read_design(row: Row) -> DesignDescription | Unreadable:
    """The description of one table row from its `layers_json`, part, clock, io type, strategy and tool alone."""
    raw = text(row, "layers_json")
    if not raw:
        return Unreadable("no layers listed")
    try:
        listed = json.loads(raw)
    except ValueError:
        return Unreadable("layers_json is not valid JSON")
    if not isinstance(listed, list) or not all(isinstance(layer, dict) for layer in listed):
        return Unreadable("layers_json is not a list of layers")
    if not any(canonical_kind(text(layer, "kind")) in MATRIX_KINDS for layer in listed):
        return Unreadable("no dense or convolution layer listed")
    io_type = _io_type(row, listed)
    layers: list[LayerDescription] = []
    for entry in listed:
        merged = {"strategy": text(row, "strategy"), "mul_impl": text(row, "mul_impl"), **entry}
        layer = read_layer(merged, io_type=io_type)
        if isinstance(layer, Unreadable):
            return layer
        layers.append(layer)
    return DesignDescription(
        name=text(row, "design_id"),
        layers=tuple(_chain(layers)),
        part=text(row, "part"),
        clock_ns=_clock(row),
        io_type=io_type,
        tool=text(row, "tool"),
    )


def _clock(row: Row) -> float:
    try:
        clock = float(text(row, "clock_target_ns"))
    except ValueError:
        return 5.0
    return clock if clock > 0 else 5.0


def _chain(layers: list[LayerDescription]) -> list[LayerDescription]:
    """Fill stream word sizes a layer does not state from the layer in front of it."""
    chained: list[LayerDescription] = []
    for layer in layers:
        if chained and layer.io_type == "io_stream" and layer.input_pack == layer.n_in > chained[-1].output_pack > 1:
            front = chained[-1].output_pack
            if layer.n_in % front == 0:
                layer = dataclasses.replace(layer, input_pack=front)
        chained.append(layer)
    return chained
