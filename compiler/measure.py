"""Real outputs of a graph, float or integer, on real samples: what accuracy is measured on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .interp import run
from .ir.graph import Graph
from .numerics import dequantize, quantize


def real_outputs(graph: Graph, samples: Mapping[str, np.ndarray]) -> np.ndarray:
    """Outputs as real values, one row for each sample, outputs side by side: (S, values), float64.

    Args:
        samples: one array (S, *shape) for each input, in the order of the inputs: real values, or raw integers
            (any integer dtype) for an integer input.
    """
    given = {
        name: values if values.dtype.kind in "iu" else quantize(values, graph.types[name].element, sample_axis=True)
        for name, values in zip(graph.inputs, samples.values(), strict=True)
    }
    found = run(graph, given)
    parts = [dequantize(found[name], graph.types[name].element, sample_axis=True) for name in graph.outputs]
    return np.concatenate([np.asarray(part, np.float64).reshape(len(part), -1) for part in parts], axis=1)
