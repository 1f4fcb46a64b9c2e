"""The facts a manifest holds: what was compiled, for what, how. Nothing that differs between two equal runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from . import __version__
from .board import Board
from .estimate.report import Estimate, LayerEstimate
from .ir.graph import Graph
from .ir.types import Affine, FixedPoint
from .options import BackendOptions, ImportOptions, QuantizeOptions
from .prepare import Prepared

PACKAGES = {"mcu": ("onnx", "numpy"), "fpga": ("onnx", "numpy", "hls4ml", "da4ml")}
"""Kind of board -> packages whose version may change the bytes."""


def manifest_facts(
    prepared: Prepared,
    board: Board,
    estimate: Estimate,
    backend: str,
    imports: ImportOptions,
    quantize: QuantizeOptions,
    options: BackendOptions,
) -> dict[str, Any]:
    """What `Artifact.with_manifest` writes, as plain JSON values."""
    graph = prepared.graph
    return {
        "boardfit": __version__,
        "backend": backend,
        "versions": {name: _version(name) for name in PACKAGES[board.kind]},
        "model": {"file": prepared.model, "name": graph.name, "sha256": prepared.sha256},
        "board": {"name": board.name, "title": board.title, "kind": board.kind},
        "options": plain({"imports": imports, "quantize": quantize, "backend": options}),
        "inputs": [_port(graph, name) for name in graph.inputs],
        "outputs": [_port(graph, name) for name in graph.outputs],
        "estimate": {
            "total": plain(estimate.total),
            "details": plain(estimate.details),
            "budget": plain(estimate.budget),
            "interval": estimate.interval,
            "clock_mhz": estimate.clock_mhz,
            **({"notes": list(estimate.notes)} if estimate.notes else {}),
            **({"predictions": plain(estimate.predictions)} if estimate.predictions else {}),
        },
        "plan": [_layer(layer) for layer in estimate.layers],
    }


def plain(value: Any) -> Any:
    """Dataclasses, enums, tuples and mappings as JSON values."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    return value


def _layer(layer: LayerEstimate) -> dict[str, Any]:
    facts: dict[str, Any] = {"node": layer.node, "op": layer.op, "choice": layer.choice}
    return facts | ({"layer": layer.layer, "hls": plain(layer.hls)} if layer.layer else {})


def _port(graph: Graph, name: str) -> dict[str, Any]:
    element = graph.types[name].element
    facts: dict[str, Any] = {"name": graph.labels.get(name, name), "shape": list(graph.types[name].shape)}
    if isinstance(element, Affine):
        return facts | {
            "type": f"{'int' if element.signed else 'uint'}{element.width}",
            "scale": list(element.scale),
            "zero_point": list(element.zero_point),
        }
    if isinstance(element, FixedPoint):
        return facts | {"type": str(element), "width": element.width, "frac": element.frac, "signed": element.signed}
    return facts | {"type": "float32"}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
