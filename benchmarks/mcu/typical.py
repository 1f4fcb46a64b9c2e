"""Layers of the sizes networks have, on which the mix of instructions of every kernel is measured."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from boardfit.backends.mcu.kernel import Kernel, Site
from boardfit.backends.mcu.kernels import KERNELS
from boardfit.ir import INT32, Graph
from boardfit.ops.add import AddAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.softmax import SoftmaxAttrs

from .samples import S8, layer_graph, sample_graphs, weights_of

SMALL_SAMPLES = 2
"""Small samples a kernel is measured on that suits none of the typical layers."""

CONVOLUTIONS = (
    ((1, 16, 16, 8), (16, 1, 1, 8), 1, 0),
    ((1, 12, 12, 32), (32, 1, 1, 32), 1, 0),
    ((1, 6, 6, 64), (64, 1, 1, 64), 1, 0),
    ((1, 16, 16, 16), (16, 3, 3, 16), 1, 1),
    ((1, 8, 8, 32), (64, 3, 3, 32), 2, 1),
    ((1, 32, 32, 3), (8, 3, 3, 3), 2, 1),
    ((1, 49, 10, 1), (32, 10, 4, 1), 2, 5),
    ((1, 16, 16, 16), (16, 3, 3, 1), 1, 1),
    ((1, 12, 12, 64), (64, 3, 3, 1), 2, 1),
    ((1, 6, 6, 64), (64, 3, 3, 1), 1, 1),
)
"""Input, weights (out, kh, kw, in / groups), stride, padding."""


def typical_graphs() -> Iterator[Graph]:
    """Layers as in the MLPerf Tiny networks, int8."""
    for inputs, outputs in ((128, 128), (640, 64), (64, 12)):
        bias = (np.arange(outputs) * 10, INT32)
        yield layer_graph("Dense", DenseAttrs(), [(1, inputs)], [S8], S8, [weights_of((outputs, inputs)), bias])
    for image, weights, stride, pad in CONVOLUTIONS:
        bias = (np.arange(weights[0]) * 10, INT32)
        attrs = Conv2DAttrs((stride, stride), (pad, pad, pad, pad), groups=image[3] // weights[3])
        yield layer_graph("Conv2D", attrs, [image], [S8], S8, [weights_of(weights), bias])
    image = (1, 16, 16, 16)
    yield layer_graph("Add", AddAttrs(), [image, image], [S8, S8], S8)
    yield layer_graph("MaxPool2D", MaxPool2DAttrs((2, 2), (2, 2)), [image], [S8], None)
    yield layer_graph("AveragePool2D", AveragePool2DAttrs((8, 8), (1, 1)), [(1, 8, 8, 64)], [S8], S8)
    yield layer_graph("AveragePool2D", AveragePool2DAttrs((2, 2), (2, 2)), [image], [S8], S8)
    yield layer_graph("Softmax", SoftmaxAttrs(1), [(1, 10)], [S8], S8)


def sites_of_kernels(features: frozenset[str]) -> dict[str, list[tuple[Kernel, Site]]]:
    """Every kernel of an instruction set by its name, with the layers it is measured on."""
    typical = [Site(graph.nodes[0], graph, features) for graph in typical_graphs()]
    small = [Site(graph.nodes[-1], graph, features) for graph in sample_graphs()]
    found: dict[str, list[tuple[Kernel, Site]]] = {}
    for kernel in KERNELS:
        sites = [site for site in typical if _suits(kernel, site)]
        sites = sites or [site for site in small if _suits(kernel, site)][:SMALL_SAMPLES]
        with_code = [site for site in sites if kernel.lower(site).calls]
        if with_code:
            found[kernel.name] = [(kernel, site) for site in with_code]
    return found


def _suits(kernel: Kernel, site: Site) -> bool:
    return kernel.op == site.node.op and kernel.reason_against(site) is None
