"""What compression did to each layer, as data and as one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

from ..compress.layers import NewWeights, WeightLayer, weight_layers
from ..compress.sensitivity import Sensitivity
from ..estimate.report import Estimate
from ..ir.encoding import DENSE
from ..ir.graph import Graph


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer with weights.

    Attributes:
        node: its name in the model's file.
        op: IR operator.
        shape: of the weights.
        values: number of weights.
        kept: weights that are not zero.
        distinct: different values among them, zero included.
        bits: bits that a weight needs as an integer of its own.
        error: divergence of the outputs when only this layer is compressed.
        share: of the sum of all layers' divergences.
        storage: how the board's firmware stores and computes it ('' without a board).
        bytes: flash of this layer's constants on the board; 0 without a board.
        cycles: of one inference on the board; 0 without a board.
    """

    node: str
    op: str
    shape: tuple[int, ...]
    values: int
    kept: int
    distinct: int
    bits: int
    error: float
    share: float
    storage: str = ""
    bytes: int = 0
    cycles: int = 0

    @property
    def density(self) -> float:
        """Share of weights that are not zero."""
        return self.kept / self.values if self.values else 0.0


def layer_reports(
    floating: Graph,
    stated: Graph,
    integer: Graph,
    data: Mapping[str, np.ndarray],
    estimate: Estimate | None,
) -> tuple[LayerReport, ...]:
    """A report for each layer with weights of the compressed network.

    Args:
        floating: the original.
        stated: the compressed float graph with Quantize and Dequantize.
        integer: the integer graph made of it.
        data: samples the shares of the error are measured on.
        estimate: of `integer` on a board.
    """
    sensitivity = Sensitivity(floating, data)
    originals = {layer.name: layer for layer in weight_layers(floating)}
    found = weight_layers(stated)
    errors = [_error(originals.get(layer.name), layer, sensitivity) for layer in found]
    total = sum(errors) or 1.0
    costs: dict[str, tuple[str, int, int]] = {}
    for cost in estimate.layers if estimate is not None else ():
        words, flash, cycles = costs.get(cost.node, ("", 0, 0))
        words = ", ".join(filter(None, (words, cost.choice)))
        costs[cost.node] = (words, flash + cost.resources.flash, cycles + cost.resources.cycles)
    return tuple(
        _report(layer, _raw(integer, layer), error, error / total, costs.get(layer.node.source.node, ("", 0, 0)))
        for layer, error in zip(found, errors, strict=True)
    )


def _error(original: WeightLayer | None, layer: WeightLayer, sensitivity: Sensitivity) -> float:
    """Divergence with this layer's weights in the original network; 0 if its shape was changed."""
    if original is None or original.weights.shape != layer.weights.shape:
        return 0.0
    bias = layer.bias if original.bias is not None else None
    return sensitivity.cost_of_weights({original.name: NewWeights(layer.weights, DENSE, None, bias)}).divergence


def _raw(integer: Graph, layer: WeightLayer) -> np.ndarray:
    """The layer's weights as the integer network has them."""
    for node in integer.nodes:
        if node.source.node == layer.node.source.node and node.op == layer.node.op:
            values = integer.constant(node.inputs[1])
            if values is not None:
                return values
    return np.zeros(0, np.int64)


def _report(layer: WeightLayer, raw: np.ndarray, error: float, share: float, cost: tuple[str, int, int]) -> LayerReport:
    low, high = int(raw.min(initial=0)), int(raw.max(initial=0))
    bits = max(low.bit_length() + (low < 0 and low != -(1 << (low.bit_length() - 1))), high.bit_length() + 1, 1)
    return LayerReport(
        layer.node.source.node,
        layer.node.op,
        tuple(layer.weights.shape),
        int(raw.size),
        int(np.count_nonzero(raw)),
        len(np.unique(raw)),
        int(bits),
        error,
        share,
        *cost,
    )


def render_html(report: Mapping[str, Any]) -> str:
    """One page without outside references: tables, and bars drawn as SVG."""
    import jinja2

    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    text = (resources.files("boardfit.templates") / "report" / "compression.html.j2").read_text(encoding="utf-8")
    rows = [
        {
            **layer,
            "shape": " x ".join(map(str, layer["shape"])),
            "values": f"{layer['values']:,}",
            "density": f"{100 * layer['kept'] / max(layer['values'], 1):.1f} %",
            "error": f"{layer['error']:.2e}",
            "share": f"{100 * layer['share']:.1f} %",
            "share_bar": f"{200 * layer['share']:.1f}",
            "kept_bar": f"{200 * layer['kept'] / max(layer['values'], 1):.1f}",
            "bytes": f"{layer['bytes']:,}",
            "cycles": f"{layer['cycles']:,}",
        }
        for layer in report["layers"]
    ]
    fidelity = report["fidelity"]
    unit = {"accuracy": " %", "snr": " dB"}.get(fidelity["measure"], "")
    measured = f"{fidelity['value']:.4g}{unit}"
    if fidelity["float_value"] is not None:
        measured += f" (float {fidelity['float_value']:.4g}{unit})"
    return environment.from_string(text).render(
        report=report, rows=rows, measured=measured, measure=fidelity["measure"], samples=fidelity["samples"],
        total={name: f"{amount:,}" for name, amount in report["total"].items()} if "total" in report else {},
        total_bytes=f"{sum(layer['bytes'] for layer in report['layers']):,}",
    )  # fmt: skip
