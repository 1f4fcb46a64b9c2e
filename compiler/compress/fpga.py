"""Post-training quantization for FPGAs: fixed point with integer bits from calibrated ranges."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..ir.graph import Graph
from ..options import QuantizeOptions
from .calibrate import calibrated_range, collect
from .fixed import FixedTypes, Ranges, fixed_types_for
from .fixed_form import FixedForm
from .lower_fixed import LowerFixed


def quantize_for_fpga(graph: Graph, data: Mapping[str, np.ndarray], options: QuantizeOptions) -> Graph:
    """A float graph as a graph of raw fixed-point integers.

    Args:
        graph: canonical float graph.
        data: graph input -> (S, *shape) real values.
        options: calibration method, and width of every value.

    Raises:
        ModelError: an op has no fixed-point form, or a tensor is not finite on this data.
        DataError: no samples.
    """
    form = FixedForm()(graph)
    types: FixedTypes = fixed_types_for(form, calibrated_ranges(form, data, options), options.top_width)
    return LowerFixed(types)(form)


def calibrated_ranges(graph: Graph, data: Mapping[str, np.ndarray], options: QuantizeOptions) -> Ranges:
    """Range of every tensor of a graph that is not constant."""
    tensors = [*graph.inputs, *(name for node in graph.nodes for name in node.outputs)]
    found = collect(graph, data, tensors, histogram=options.method.value != "min-max")
    return {name: calibrated_range(seen, options.method, options.top_width) for name, seen in found.items()}
