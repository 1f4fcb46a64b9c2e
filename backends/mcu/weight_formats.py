"""Storage formats of weights that a user may force, layer by layer (`--weights fc1=csr`).

A format is a property of a kernel variant (`Kernel.format`): what it stores, and executes. Which variants can store a
layer is seen from the layer's values.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

from boardfit.errors import UsageError
from boardfit.ir import Graph, Node
from boardfit.suggest import listed

AUTO = "auto"
INT8 = "int8"
FORMATS = (
    INT8,
    "int4",
    "int3",
    "int2",
    "ternary",
    "binary",
    "codebook",
    "csr",
    "block",
    "bitmask",
    "circulant",
    "walsh",
    "transferred",
    "huffman",
    "arithmetic",
)
"""Every format, `auto` aside: one value after the other first, entropy-coded ones last."""

WEIGHTED = ("Dense", "Conv2D", "ConvTranspose2D")
Forced = tuple[tuple[str, str], ...]
"""(name of a node in the ONNX file, format), sorted."""


def forced_formats(graph: Graph, wanted: Mapping[str, str]) -> Forced:
    """The formats that are forced, by the names the ONNX file gives the nodes.

    Args:
        graph: integer graph.
        wanted: layer -> format or 'auto'. A layer is the name of a node, a part of it between slashes that no
            other layer's name has, or a pattern (`conv*`) for all layers whose name it fits. A name goes before a
            pattern, an earlier pattern before a later one.

    Raises:
        UsageError: no such layer, several of them, or no such format.
    """
    layers = list(dict.fromkeys(_name(node) for node in graph.nodes if node.op in WEIGHTED))
    found: dict[str, str] = {}
    for layer, weights in wanted.items():
        if weights != AUTO and weights not in FORMATS:
            raise UsageError(
                f"there is no weight format '{weights}' (asked for '{layer}')",
                hint=f"one of: auto, {', '.join(FORMATS)}",
            )
        for name in _named(layers, layer):
            exact = name == layer or layer in name.split("/")
            found[name] = weights if exact else found.get(name, weights)
    return tuple(sorted((name, weights) for name, weights in found.items() if weights != AUTO))


def _named(layers: Sequence[str], wanted: str) -> list[str]:
    names = [name for name in layers if name == wanted] or [name for name in layers if wanted in name.split("/")]
    if len(names) > 1:
        raise UsageError(f"several layers are called '{wanted}'", hint=f"give one of: {listed(names)}")
    names = names or fnmatch.filter(layers, wanted)
    if not names:
        raise UsageError(
            f"no layer with weights is called '{wanted}'",
            hint=f"layers: {listed(layers, wanted)}; or a pattern: 'conv*'",
        )
    return names


def forced_format(node: Node, forced: Forced) -> str | None:
    """The format forced on a node, which may be a strip of the node of the file."""
    return dict(forced).get(_name(node)) if node.op in WEIGHTED else None


def _name(node: Node) -> str:
    return node.source.node or node.name
