"""Design descriptions from rows of a table with the columns of hls-reports/designs.csv."""

from __future__ import annotations

import dataclasses
import json
import re

from .description import MATRIX_KINDS, RECURRENT_KINDS, DesignDescription, LayerDescription, whole_design
from .reuse import nearest_reuse_factor
from .rows import Row, Unreadable, canonical_kind, io_type_of, read_layer, text

DEFAULT_CLOCK_NS = 5.0  # hls4ml's default
LONGEST_CLOCK_NS = 1000.0


def _io_type(row: Row, layers: list[dict[str, object]]) -> str:
    """Stated io type of the design, else of a layer, else what the stream types of the layers show."""
    for stated in (row, *layers):
        if io_type_of(stated):
            return io_type_of(stated)
    if any("array" in text(layer, "input_precision") for layer in layers):
        return "io_stream"
    return "io_parallel"


def read_design(row: Row, paired: Row | None = None) -> DesignDescription | Unreadable:
    """The description of one table row from its `layers_json`, part, clock, io type, strategy and tool alone.

    A synthesis report names neither the HLS tool nor the clock it scheduled for; `paired` is the row of the HLS
    report of the same project (if the table has one), from which only these two are taken.
    """
    raw = text(row, "layers_json")
    if not raw:
        return Unreadable("no layers listed")
    try:
        listed = json.loads(raw)
    except ValueError:
        return Unreadable("layers_json is not valid JSON")
    if not isinstance(listed, list) or not all(isinstance(layer, dict) for layer in listed):
        return Unreadable("layers_json is not a list of layers")
    if not any(canonical_kind(text(layer, "kind")) in MATRIX_KINDS | RECURRENT_KINDS for layer in listed):
        return Unreadable("no dense or convolution layer listed")
    io_type = _io_type(row, listed)
    layers: list[LayerDescription] = []
    for entry in listed:
        merged = {"strategy": text(row, "strategy"), "mul_impl": text(row, "mul_impl"), **entry}
        layer = read_layer(merged, io_type=io_type)
        if isinstance(layer, Unreadable):
            return layer
        layers += expand_recurrent(layer) if layer.kind in RECURRENT_KINDS else [layer]
    return DesignDescription(
        name=text(row, "design_id"),
        layers=whole_design(_with_activations(_chain(layers))),
        part=text(row, "part"),
        clock_ns=_clock(row) or (_clock(paired) if paired else None) or DEFAULT_CLOCK_NS,
        io_type=io_type,
        tool=_hls_tool(text(paired, "tool") if paired else text(row, "tool")),
        timed=not any(canonical_kind(text(layer, "kind")) in RECURRENT_KINDS for layer in listed),
    )


def expand_recurrent(cell: LayerDescription) -> list[LayerDescription]:
    """A GRU or LSTM cell as what hls4ml builds for it: two matrix products into all gates, tables, gate products.

    The cell is built once and runs once per time step, so its resources do not depend on the sequence length.
    """
    gates, units = {"gru": 3, "lstm": 4}.get(cell.kind, 1), cell.n_out

    def matrix(name: str, n_in: int) -> LayerDescription:
        n_out = gates * units
        reuse = cell.reuse_factor
        if cell.strategy != "latency":
            reuse = nearest_reuse_factor(n_in, n_out, reuse)
        return dataclasses.replace(
            cell,
            name=f"{cell.name} {name}",
            kind="dense",
            n_in=n_in,
            n_out=n_out,
            products=n_in * n_out,
            input_pack=n_in,
            output_pack=n_out,
            reuse_factor=reuse,
            weights=None,
            n_zeros=None,
            inner=True,
        )

    def lanes(name: str, kind: str, count: int, inner: bool = True) -> LayerDescription:
        return dataclasses.replace(
            cell,
            name=f"{cell.name} {name}",
            kind=kind,
            n_in=count,
            n_out=count,
            products=0,
            input_pack=count,
            output_pack=count,
            inner=inner,
        )

    return [
        matrix("input product", cell.n_in),
        matrix("recurrent product", units),
        lanes("gates", "sigmoid", (gates - 1) * units),
        lanes("candidate", "tanh", units),
        lanes("gate products", "product", 3 * units),
        lanes("state", "linear", units, inner=False),
    ]


def _clock(row: Row) -> float | None:
    try:
        clock = float(text(row, "clock_target_ns"))
    except ValueError:
        return None
    return clock if 0 < clock <= LONGEST_CLOCK_NS else None


def _hls_tool(tool: str) -> str:
    """The HLS tool of a report's tool: Vivado from 2020.2 on has no Vivado HLS beside it, only Vitis HLS."""
    found = re.search(r"(20\d\d)\.(\d)", tool)
    if "hls" in tool or found is None:
        return tool
    return "vitis_hls" if (int(found.group(1)), int(found.group(2))) >= (2020, 2) else "vivado_hls"


def _with_activations(layers: list[LayerDescription]) -> list[LayerDescription]:
    """Put a ReLU between two matrix layers that stand side by side: a network has one there, the table left it out."""
    complete: list[LayerDescription] = []
    for layer in layers:
        front = complete[-1] if complete else None
        if front is not None and front.kind == layer.kind == "dense" and front.n_out == layer.n_in:
            complete.append(
                LayerDescription(
                    name=f"{front.name} activation",
                    kind="relu",
                    n_in=front.n_out,
                    n_out=front.n_out,
                    channels_in=front.n_out,
                    input_precision=front.result_precision,
                    result_precision=layer.input_precision,
                    input_pack=front.n_out,
                    output_pack=front.n_out,
                    io_type=layer.io_type,
                    strategy=layer.strategy,
                    assumed=("activation",),
                )
            )
        complete.append(layer)
    return complete


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
