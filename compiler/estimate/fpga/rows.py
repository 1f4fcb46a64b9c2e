"""Layer descriptions from rows of a report table (the `layers_json` of designs.csv, the columns of layers.csv)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .adder_graph import STRATEGY
from .description import MATRIX_KINDS, RECURRENT_KINDS, TABLE_KINDS, LayerDescription, WeightStatistics
from .precision import Precision, parse_pack, parse_precision
from .reuse import nearest_reuse_factor

Row = Mapping[str, object]

# First match wins; the longer, more special names stand before the names they begin with.
_KINDS: tuple[tuple[str, str], ...] = (
    ("depthwise", "depthwise"),
    ("pointwise", "pointwise"),
    ("conv", "conv"),
    ("dense", "dense"),
    ("leaky_relu", "leaky_relu"),
    ("leakyrelu", "leaky_relu"),
    ("prelu", "leaky_relu"),
    ("thresholded_relu", "relu"),
    ("relu", "relu"),
    ("hard_", "relu"),
    ("log_softmax", "softmax"),
    ("softmax", "softmax"),
    ("argmax", "softmax"),
    ("softplus", "softplus"),
    ("softsign", "softsign"),
    ("sigmoid", "sigmoid"),
    ("tanh", "tanh"),
    ("elu", "elu"),
    ("selu", "selu"),
    ("normalize", "normalize"),
    ("batchnorm", "normalize"),
    ("global_pooling", "global_pool"),
    ("globalaveragepooling", "global_pool"),
    ("globalmaxpooling", "global_pool"),
    ("pooling", "pool"),
    ("maxpooling", "pool"),
    ("averagepooling", "pool"),
    ("zeropad", "pad"),
    ("resize", "resize"),
    ("upsampling", "resize"),
    ("concat", "concat"),
    ("clone", "clone"),
    ("repack", "clone"),
    ("transpose", "transpose"),
    ("add", "merge"),
    ("subtract", "merge"),
    ("multiply", "merge"),
    ("average", "merge"),
    ("maximum", "merge"),
    ("minimum", "merge"),
    ("linear", "linear"),
    ("activation", "linear"),
    ("quant", "linear"),
    ("flatten", "none"),
    ("reshape", "none"),
    ("dropout", "none"),
    ("input", "none"),
    ("gru", "gru"),
    ("lstm", "lstm"),
)


# Spellings of hls4ml's strategies; "mixed" is what a table says of a design whose layers differ.
_STRATEGIES: Mapping[str, str] = {
    "": "",
    "mixed": "",
    "latency": "latency",
    "resource": "resource",
    "unrolled": "resource",
    "resource_unrolled": "resource",
    "compressed": "compressed",
    "distributed_arithmetic": STRATEGY,
    "da": STRATEGY,
}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a row does not say enough to be estimated."""

    reason: str

    @property
    def summary(self) -> str:
        """The reason without the layer's name, so that equal reasons can be counted."""
        return re.sub(r" \([^()]*'[^']*'[^()]*\)", "", self.reason)


LARGEST_COUNT = 10**9
"""No report counts further; what does is a fault of the table."""

LARGEST_PRODUCTS = 2**32
"""Products per output position; finding the legal reuse factors takes as many steps as their square root."""


def number(row: Row, key: str) -> int | None:
    """The count in a column, None if it is empty, absent or no count at all (text, negative, beyond all reports)."""
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        count = int(float(str(value)))
    except (ValueError, OverflowError):
        return None
    return count if 0 <= count <= LARGEST_COUNT else None


def text(row: Row, key: str) -> str:
    """The text in a column, empty if absent."""
    value = row.get(key)
    return "" if value is None else str(value)


def io_type_of(row: Row) -> str:
    """`io_parallel` or `io_stream` if the row says one of them, else empty."""
    stated = text(row, "io_type").strip().lower()
    return stated if stated in ("io_parallel", "io_stream") else ""


def canonical_kind(name: str) -> str | None:
    """The estimator's kind of an hls4ml function or Keras class (`conv_2d_cl`, `MaxPooling2D`); None if unknown."""
    lowered = name.lower()
    for start, kind in _KINDS:
        if lowered.startswith(start):
            return kind
    return None


def _geometry(row: Row, kind: str, n_in: int, pack: int) -> dict[str, int]:
    """Positions and kernel; 1-D layers have height 1, vectors have one position."""
    width_in = number(row, "in_width")
    if not width_in:
        beats = max(1, n_in // pack) if pack > 1 and kind not in MATRIX_KINDS else 1
        return {"width_in": beats, "width_out": beats, "channels_in": pack}
    channels = number(row, "n_chan") or number(row, "n_filt") or pack
    height_in = number(row, "in_height") or 1
    stride = number(row, "stride_width") or number(row, "pool_width") or 1
    kernel_width = number(row, "pool_width") or number(row, "filt_width") or 1
    kernel_height = number(row, "pool_height") or number(row, "filt_height") or 1
    return {
        "height_in": height_in,
        "width_in": width_in,
        "channels_in": channels,
        "height_out": number(row, "out_height") or -(-height_in // (stride if height_in > 1 else 1)),
        "width_out": number(row, "out_width") or -(-width_in // stride),
        "kernel_height": kernel_height,
        "kernel_width": kernel_width,
        "stride": stride,
    }


def _sizes(row: Row, kind: str, geometry: Mapping[str, int]) -> tuple[int, int, int]:
    """(n_in, n_out, products) of the matrix product, 0 where the row does not tell."""
    n_in, n_out = number(row, "n_in") or 0, number(row, "n_out") or 0
    channels = geometry.get("channels_in", 1)
    window = geometry.get("kernel_height", 1) * geometry.get("kernel_width", 1)
    filters = number(row, "n_filt")
    products = number(row, "products") or 0
    if kind in ("conv", "pointwise") and filters and number(row, "n_chan"):
        n_in, n_out = window * channels, filters
        products = n_in * n_out
    elif kind == "depthwise" and number(row, "n_chan"):
        n_in, n_out = window * channels, channels
        products = n_in
    elif kind == "dense" and n_in and n_out:
        products = n_in * n_out
    return n_in, n_out, products


def _weights(row: Row, products: int) -> WeightStatistics | None:
    count, nonzero = number(row, "w_count"), number(row, "w_nonzero_q")
    digits, powers = number(row, "w_csd_q"), number(row, "w_pow2_q")
    if not count or nonzero is None or digits is None or powers is None or not products:
        return None
    # Repeated or concatenated weight files hold more words than the layer has products; scale them down.
    scale = min(1.0, products / count)
    return WeightStatistics(min(count, products), nonzero * scale, digits * scale, powers * scale)


def read_layer(row: Row, *, io_type: str, default_reuse: int | None = None) -> LayerDescription | Unreadable:
    """One layer row as a description; `io_type` stands in where the row has none.

    A matrix layer needs its sizes, a reuse factor and the weight width; the rest has hls4ml's defaults and is
    listed in `assumed`.
    """
    kind_name = text(row, "kind")
    kind = canonical_kind(kind_name)
    name = text(row, "layer") or kind_name
    if kind is None:
        return Unreadable(f"no model for the kind of a layer (kind '{kind_name}')")
    assumed: list[str] = []
    default = parse_precision(text(row, "default_precision"))

    def precision(key: str, fallback: Precision) -> Precision:
        found = parse_precision(text(row, key)) or default
        if found is None:
            assumed.append(key)
        return found or fallback

    input_text, result_text = text(row, "input_precision"), text(row, "result_precision")
    input_pack, output_pack = parse_pack(input_text), parse_pack(result_text)
    input_precision = precision("input_precision", Precision(16, 6))
    result_precision = precision("result_precision", Precision(16, 6))
    weight_bits = number(row, "weight_bits")
    weight_precision = Precision(16, 6)
    if kind in MATRIX_KINDS or kind in RECURRENT_KINDS or kind == "normalize":
        found = parse_precision(text(row, "weight_precision")) or default
        if found is None and weight_bits is not None:
            found = Precision(weight_bits, 1)
        if found is None:
            if kind != "normalize":
                return Unreadable(f"weight precision not stated (layer '{name}')")
            assumed.append("weight_precision")
        weight_precision = found or weight_precision
    has_accumulator = kind in MATRIX_KINDS or kind in RECURRENT_KINDS
    accum_precision = precision("accum_precision", Precision(16, 6)) if has_accumulator else result_precision

    stated_io = io_type_of(row)
    stream = (stated_io or io_type) == "io_stream"
    pack_in = input_pack or number(row, "n_chan") or number(row, "n_in") or 1
    geometry = _geometry(row, kind, number(row, "n_in") or 0, pack_in if stream else 1)
    n_in, n_out, products = _sizes(row, kind, geometry)
    if (kind in MATRIX_KINDS and not products) or (kind in MATRIX_KINDS | RECURRENT_KINDS and (not n_in or not n_out)):
        return Unreadable(f"sizes not stated (layer '{name}')")
    if kind in ("pool", "pad", "global_pool") and not number(row, "in_width"):
        return Unreadable(f"sizes not stated (layer '{name}')")
    if max(products, n_in * n_out) > LARGEST_PRODUCTS:
        return Unreadable(f"sizes beyond any design (layer '{name}')")
    positions_out = geometry.get("height_out", 1) * geometry.get("width_out", 1)
    if not has_accumulator:
        if not n_in:
            n_in = geometry.get("height_in", 1) * geometry["width_in"] * geometry["channels_in"]
        n_out = positions_out * geometry["channels_in"] if "height_in" in geometry else n_in

    strategy = _STRATEGIES.get(text(row, "strategy").strip().lower())
    if strategy is None:
        if kind in MATRIX_KINDS:
            return Unreadable(f"no model for the strategy of a layer (strategy '{text(row, 'strategy')}')")
        strategy = "latency"
    if not strategy:
        strategy = "latency"
        if kind in MATRIX_KINDS:
            assumed.append("strategy")
    reuse = number(row, "reuse_factor")
    if reuse is None:
        reuse = default_reuse
    if not reuse:
        if has_accumulator:
            return Unreadable(f"reuse factor not stated (layer '{name}')")
        reuse = 1
    if kind in ("dense", "conv", "pointwise") and strategy != "latency":
        reuse = nearest_reuse_factor(n_in, n_out, reuse)
    statistics = _weights(row, products)
    if statistics is None and kind in MATRIX_KINDS:
        assumed.append("weights")
    table = parse_precision(text(row, "table_precision"))
    if table is None and kind in TABLE_KINDS | {"softmax"}:
        assumed.append("table_precision")
    return LayerDescription(
        name=name,
        kind=kind,
        n_in=n_in,
        n_out=n_out,
        products=products if kind in MATRIX_KINDS else (number(row, "products") or 0),
        weights=statistics,
        input_precision=input_precision,
        weight_precision=weight_precision,
        accum_precision=accum_precision,
        result_precision=result_precision,
        input_pack=pack_in,
        output_pack=output_pack or (n_out if positions_out == 1 else max(1, math.ceil(n_out / positions_out))),
        strategy=strategy,
        reuse_factor=max(1, reuse),
        io_type=stated_io or io_type,
        table_size=number(row, "table_size") or 1024,
        table_bits=table.width if table else 18,
        implementation=text(row, "impl").split("::")[-1].lower(),
        multiplier=text(row, "mul_impl"),
        n_zeros=number(row, "n_zeros"),
        partitions=number(row, "n_partitions"),
        assumed=tuple(assumed),
        height_in=geometry.get("height_in", 1),
        width_in=geometry["width_in"],
        channels_in=geometry["channels_in"],
        height_out=geometry.get("height_out", 1),
        width_out=geometry["width_out"],
        kernel_height=geometry.get("kernel_height", 1),
        kernel_width=geometry.get("kernel_width", 1),
        stride=geometry.get("stride", 1),
    )
