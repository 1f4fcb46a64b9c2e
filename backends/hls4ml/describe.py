"""The layer list as the estimator wants it: plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from boardfit.board import FpgaBoard
from boardfit.errors import InternalError
from boardfit.estimate.fpga import (
    DesignDescription,
    Fifo,
    FpgaEstimate,
    GroupedWeights,
    LayerDescription,
    Precision,
    WeightStatistics,
)
from boardfit.estimate.fpga import LayerEstimate as FpgaLayer
from boardfit.estimate.fpga.description import MATRIX_KINDS, whole_design
from boardfit.estimate.fpga.layer_cost import Pricing
from boardfit.estimate.report import Estimate, LayerEstimate
from boardfit.ir import FixedPoint, Graph
from boardfit.ir.types import Overflow, Rounding
from boardfit.numerics import signed_digits
from boardfit.options import HlsTool, IoType
from boardfit.plan.codebook import codebook_of
from boardfit.plan.fpga import FpgaPlan
from boardfit.resources import Resources

from .layer import HlsLayer
from .layers import LayerList
from .serial_layers import SERIAL_CLASSES
from .shapes import layer_shapes
from .streams import FifoKey, Streams, choose_fifos, make_streams

KINDS = {
    "InputLayer": "none",
    "Reshape": "none",
    "Dense": "dense",
    "DepthwiseConv2D": "depthwise",
    "BatchNormalization": "normalize",
    "BoardfitArgMax": "relu",
    "BoardfitClamp": "relu",
    "BoardfitCodebookDense": "dense",
    "BoardfitConv2D": "conv",
    "BoardfitCirculant": "dense",
    "BoardfitDense": "dense",
    "BoardfitDepthwiseConv2D": "depthwise",
    "BoardfitPick": "resize",
    "BoardfitWordsDense": "dense",
    "BoardfitPointwise": "pointwise",
    "BoardfitSerialConv2D": "conv",
    "LeakyReLU": "leaky_relu",
    "PReLU": "leaky_relu",
    "UnaryLUT": "sigmoid",
    "Softmax": "softmax",
    "Merge": "merge",
    "Concatenate": "concat",
    "ZeroPadding2D": "pad",
    "Resize": "resize",
    "Transpose": "transpose",
    "MaxPooling2D": "pool",
    "AveragePooling2D": "pool",
    "GlobalMaxPooling2D": "global_pool",
    "GlobalAveragePooling2D": "global_pool",
}
"""hls4ml class -> the estimator's kind; convolutions and activations are told apart below."""


REPORTED = ("lut", "ff", "dsp", "bram18", "uram")
"""Resources that the vendor's reports list."""


def describe_streams(
    graph: Graph, network: LayerList, plan: FpgaPlan, board: FpgaBoard, clock_ns: float, tool: HlsTool
) -> tuple[DesignDescription, Mapping[FifoKey, Fifo], Streams | None]:
    """The whole project, with the layers hls4ml inserts by itself (padding and copies of streams).

    Returns:
        The design, the FIFOs of a streamed project, and the processes that their depths follow from.
    """
    shapes = layer_shapes(graph, network)
    made = {layer.name: layer for layer in network.layers}
    layers: list[LayerDescription] = []
    for layer in network.layers:
        layers += _describe(layer, made, shapes, plan.io_type)
        readers = sum(other.inputs.count(layer.name) for other in network.layers)
        if plan.io_type is IoType.STREAM and readers + (layer.name in network.outputs) > 1:
            layers.append(_plain(f"clone_{layer.name}", "clone", layer, shapes[layer.name], plan.io_type))
    design = DesignDescription(graph.name, whole_design(layers), board.part, clock_ns, plan.io_type.value, tool.value)
    if plan.io_type is not IoType.STREAM:
        return design, {}, None
    pricing = Pricing.of(design)
    streams = make_streams(network, shapes, layers, [pricing.layer(layer).timing for layer in layers])
    fifos = choose_fifos(streams, layers, board, packed=tool is HlsTool.VITIS)
    behind: dict[str, list[Fifo]] = {layer.name: [] for layer in layers}
    for key, fifo in fifos.items():
        behind[key[0]].append(fifo)
    with_fifos = tuple(replace(layer, fifos=tuple(behind[layer.name])) for layer in layers)
    return replace(design, layers=with_fifos), fifos, streams


def _describe(
    layer: HlsLayer, made: Mapping[str, HlsLayer], shapes: Mapping[str, tuple[int, ...]], io_type: IoType
) -> list[LayerDescription]:
    kind = _kind(layer)
    shape_in = shapes[layer.inputs[0]] if layer.inputs else shapes[layer.name]
    shape_out = shapes[layer.name]
    source = made[layer.inputs[0]] if layer.inputs else layer
    found: list[LayerDescription] = []
    attributes = dict(layer.attributes)
    pads = [attributes.get(f"pad_{side}", 0) for side in ("top", "bottom", "left", "right")]
    if kind in ("conv", "pointwise", "depthwise") and io_type is IoType.STREAM and any(pads):
        height, width, channels = shape_in
        padded = (height + pads[0] + pads[1], width + pads[2] + pads[3], channels)
        if layer.class_name not in SERIAL_CLASSES:
            found.append(_plain(f"pad_{layer.name}", "pad", source, shape_in, io_type, padded))
        shape_in = padded
    n_in, n_out = int(np.prod(shape_in)), int(np.prod(shape_out))
    products = 0
    weights = None
    if kind == "dense":
        n_in, n_out = attributes["n_in"], attributes["n_out"]
        products = n_in * n_out
    elif kind in ("conv", "pointwise", "depthwise"):
        n_in = attributes["filt_height"] * attributes["filt_width"] * attributes["n_chan"]
        n_out = attributes["n_filt"]
        products = n_in if kind == "depthwise" else n_in * n_out
    values = attributes.get("weight_data", attributes.get("depthwise_data"))
    if values is not None:
        weights = weight_statistics(np.asarray(values), layer.precision["weight"])
    height_in, width_in, channels_in = _image(shape_in)
    height_out, width_out, channels_out = _image(shape_out)
    table = layer.precision.get("exp_table", layer.precision.get("table"))
    found.append(
        LayerDescription(
            name=layer.name,
            kind=kind,
            n_in=n_in,
            n_out=n_out,
            products=products,
            height_in=1 if kind == "dense" else height_in,
            width_in=1 if kind == "dense" else width_in,
            channels_in=channels_in,
            height_out=height_out,
            width_out=width_out,
            kernel_height=attributes.get("filt_height", attributes.get("pool_height", 1)),
            kernel_width=attributes.get("filt_width", attributes.get("pool_width", 1)),
            stride=attributes.get("stride_width", 1),
            weights=weights,
            grouped=_grouped(np.asarray(values), layer.precision["weight"]) if kind == "dense" else None,
            input_precision=_precision(source.precision["result"]),
            weight_precision=_precision(layer.precision.get("weight", layer.precision.get("scale"))),
            accum_precision=_precision(layer.precision.get("accum", layer.precision["result"])),
            result_precision=_precision(layer.precision["result"]),
            input_pack=channels_in if io_type is IoType.STREAM else 1,
            output_pack=channels_out if io_type is IoType.STREAM else 1,
            strategy=layer.plan.strategy.value if layer.plan else "latency",
            reuse_factor=layer.plan.reuse_factor if layer.plan else 1,
            io_type=io_type.value,
            table_size=attributes.get("exp_table_size", attributes.get("table_size", 1024)),
            table_bits=table.width if table else 18,
            implementation="boardfit" if kind in MATRIX_KINDS else "",
            stored_weights=attributes.get("n_weights"),
            n_zeros=None if values is None else int(np.count_nonzero(np.asarray(values) == 0)),
        )
    )
    return found


def _kind(layer: HlsLayer) -> str:
    if layer.class_name == "Conv2D":
        single = layer.attributes["filt_height"] == layer.attributes["filt_width"] == 1
        return "pointwise" if single else "conv"
    if layer.class_name == "Activation":
        return "relu" if layer.attributes["activation"] == "binary_tanh" else str(layer.attributes["activation"])
    return KINDS[layer.class_name]


def _plain(
    name: str,
    kind: str,
    source: HlsLayer,
    shape: tuple[int, ...],
    io_type: IoType,
    shape_out: tuple[int, ...] | None = None,
) -> LayerDescription:
    """A layer that only moves values of `source`'s type."""
    height_in, width_in, channels = _image(shape)
    height_out, width_out, _ = _image(shape_out or shape)
    element = _precision(source.precision["result"])
    return LayerDescription(
        name=name,
        kind=kind,
        n_in=int(np.prod(shape)),
        n_out=int(np.prod(shape_out or shape)),
        height_in=height_in,
        width_in=width_in,
        channels_in=channels,
        height_out=height_out,
        width_out=width_out,
        input_precision=element,
        result_precision=element,
        input_pack=channels,
        output_pack=channels,
        io_type=io_type.value,
    )


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    padded = (1, 1, *shape)[-3:]
    return padded[0], padded[1], padded[2]


def _precision(element: FixedPoint | None) -> Precision:
    if element is None:
        return Precision(16, 6)
    rounds = element.rounding not in (Rounding.TRN, Rounding.TRN_ZERO)
    return Precision(element.width, element.integer, element.signed, rounds, element.overflow is not Overflow.WRAP)


def _grouped(values: np.ndarray, element: FixedPoint) -> GroupedWeights | None:
    """What is left to multiply when inputs are summed by the magnitudes of real weights (n_in, n_out)."""
    found = codebook_of(np.rint(np.ldexp(values, element.frac)).T)
    if found is None:
        return None
    groups = found.groups
    products = np.broadcast_to(np.ldexp(found.values.astype(np.float64), -element.frac), groups.shape)[groups > 0]
    return GroupedWeights(
        weight_statistics(products, element), int(np.count_nonzero(found.places)), int(groups.max()).bit_length()
    )


def weight_statistics(values: np.ndarray, element: FixedPoint) -> WeightStatistics:
    """Statistics of real weights in a type."""
    raw = np.rint(np.ldexp(values, element.frac)).astype(np.int64).reshape(-1)
    digits = signed_digits(raw)
    return WeightStatistics(
        count=raw.size,
        nonzero=float(np.count_nonzero(raw)),
        csd_digits=float(digits.sum()),
        powers_of_two=float(np.count_nonzero(digits == 1)),
    )


def as_estimate(found: FpgaEstimate, network: LayerList, board: FpgaBoard, clock_ns: float) -> Estimate:
    """The estimator's answer after synthesis, per node of the model, against the board's budget."""
    layers = {layer.name: layer for layer in network.layers}
    stage = found.synthesis
    total = Resources(
        lut=round(stage.lut.value),
        ff=round(stage.ff.value),
        dsp=round(stage.dsp.value),
        bram18=round(stage.bram18.value),
        uram=round(stage.uram.value),
        cycles=round(found.latency.value),
    )
    return Estimate(
        board=board.name,
        budget=board.budget,
        total=total,
        layers=tuple(_layer_estimate(layer, layers) for layer in found.layers if layer.kind != "none"),
        interval=round(found.interval.value),
        clock_mhz=1000.0 / clock_ns,
        bands={name: _band(getattr(stage, name)) for name in ("lut", "ff", "dsp", "bram18")},
        predictions={
            name: {
                **{resource: _figure(getattr(part, resource)) for resource in REPORTED},
                "cycles": _figure(found.latency),
                "interval": _figure(found.interval),
            }
            for name, part in (("hls", found.hls), ("synthesis", found.synthesis))
        },
    )


def _layer_estimate(found: FpgaLayer, layers: Mapping[str, HlsLayer]) -> LayerEstimate:
    layer = layers.get(found.name)
    stage = found.synthesis
    plan = layer.plan if layer else None
    return LayerEstimate(
        node=layer.node if layer else _inserted_for(found.name, layers),
        op=found.kind,
        resources=Resources(
            lut=round(stage.lut.value),
            ff=round(stage.ff.value),
            dsp=round(stage.dsp.value),
            bram18=round(stage.bram18.value),
            cycles=round(found.latency.value),
        ),
        interval=round(found.interval.value),
        choice=f"{plan.strategy.value}, reuse {plan.reuse_factor}" if plan else "",
        layer=found.name,
        hls={
            **{resource: round(getattr(found.hls, resource).value) for resource in REPORTED},
            "cycles": round(found.latency.value),
            "interval": round(found.interval.value),
        },
    )


def _inserted_for(name: str, layers: Mapping[str, HlsLayer]) -> str:
    """The node of the model a layer stands for that hls4ml inserts by itself: padding before, copies behind a node."""
    kind, _, layer = name.partition("_")
    words = {"pad": "padding of", "clone": "copies of"}
    if kind not in words or layer not in layers:
        raise InternalError(f"'{name}' stands for no layer")
    return f"{words[kind]} {layers[layer].node}"


def _figure(figure: Any) -> tuple[int, int, int]:
    return round(figure.value), *_band(figure)


def _band(figure: Any) -> tuple[int, int]:
    """The 80 % interval, in whole units."""
    return round(figure.low), round(figure.high)
