"""Fixed point (FPGA): biases that take back the mean error of weights rounded to stated types.

Rounding a layer's weights moves each of its outputs by (W' - W) x. The mean of that over the data is a constant, which
the bias can take away (Nagel et al.: Data-Free Quantization through Weight Equalization and Bias Correction, 2019,
section 4.2); what is left scatters around zero. The pass for float graphs, before any type is stated, is `CorrectBias`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..interp import run_chunks
from ..ir.graph import Graph, Node
from ..ir.rewrite import GraphEditor
from ..numerics import dequantize
from ..ops.conv2d import Conv2DAttrs
from ..ops.spec import as_fixed
from .fixed import FixedTypes
from .fixed_types import constant_raw

CHUNK = 16
CORRECTED = ("Conv2D", "Dense")
"""Ops whose outputs see every input channel with the same weights at (nearly) every position."""


def input_means(graph: Graph, data: Mapping[str, np.ndarray], samples: int = 64) -> Mapping[str, np.ndarray]:
    """Mean of every channel of the tensors that layers with weights read; (channels,), float64."""
    wanted = tuple(dict.fromkeys(node.inputs[0] for node in graph.nodes if node.op in CORRECTED))
    some = {name: values[:samples] for name, values in data.items()}
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for part in run_chunks(graph, some, keep=wanted, chunk=CHUNK) if wanted else ():
        for name in wanted:
            flat = part[name].reshape(-1, part[name].shape[-1]).astype(np.float64)
            sums[name] = sums.get(name, 0.0) + flat.sum(axis=0)
            counts[name] = counts.get(name, 0) + len(flat)
    return {name: total / counts[name] for name, total in sums.items()}


def correct_biases(graph: Graph, types: FixedTypes, means: Mapping[str, np.ndarray]) -> Graph:
    """A float graph whose biases make up for the rounding of its weights to `types`."""
    editor = GraphEditor(graph)
    readers = graph.consumers()
    for node in graph.nodes:
        if node.op not in CORRECTED or len(node.inputs) < 3 or node.inputs[0] not in means:
            continue
        weights, bias = graph.constant(node.inputs[1]), graph.constant(node.inputs[2])
        if weights is None or bias is None or len(readers[node.inputs[2]]) > 1:
            continue
        element = as_fixed(types.tensors[node.inputs[1]])
        error = dequantize(constant_raw(weights, element), element) - weights
        moved = _mean_output(node, error.reshape(graph.types[node.inputs[1]].shape), means[node.inputs[0]])
        constant = editor.constants[node.inputs[2]]
        values = (constant.values - moved.reshape(constant.values.shape)).astype(constant.values.dtype)
        editor.constants[node.inputs[2]] = type(constant)(values)
    return editor.finish()


def _mean_output(node: Node, weights: np.ndarray, means: np.ndarray) -> np.ndarray:
    """What weights (out, ..., in / groups) make of the mean input (in,); padding counts as if it were inside."""
    taps = weights.reshape(len(weights), -1, weights.shape[-1]).sum(axis=1)
    groups = node.attrs.groups if isinstance(node.attrs, Conv2DAttrs) else 1
    inputs = np.repeat(means.reshape(groups, -1), len(weights) // groups, axis=0)
    return np.asarray((taps * inputs).sum(axis=1))
