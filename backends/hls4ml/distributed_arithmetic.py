"""hls4ml's strategy distributed_arithmetic with boardfit's code for the adder graphs.

hls4ml makes the code in a pass of its own; while a project is made, the pass below stands in its place.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from boardfit.errors import InternalError, ToolError
from boardfit.ir import FixedPoint
from boardfit.options import Strategy
from boardfit.plan.distributed_arithmetic import PACKAGE

from .adder_graph import make_adder_graph
from .layers import LayerList

SERIES = "0.6"
"""Releases of da4ml whose graphs were compared with the interpreter."""

FLOW, THEIRS = "vivado:optimize", "vivado:distributed_arithmetic_codegen"
"""Flow of hls4ml (Vitis runs it too) and the pass in it that is replaced."""

STRATEGY = Strategy.DISTRIBUTED_ARITHMETIC.value


@contextlib.contextmanager
def adder_graphs(network: LayerList) -> Iterator[None]:
    """hls4ml with boardfit's adder graphs, if a layer of the network has the strategy; afterwards it is as it was.

    Raises:
        ToolError: da4ml is missing, or another release than those compared.
    """
    if not any(layer.plan and layer.plan.strategy is Strategy.DISTRIBUTED_ARITHMETIC for layer in network.layers):
        yield
        return
    require_da4ml()
    from hls4ml.model.flow.flow import get_flow

    passes = get_flow(FLOW).optimizers
    position = passes.index(THEIRS)
    passes[position] = _register_pass()
    try:
        yield
    finally:
        passes[position] = THEIRS


def require_da4ml() -> None:
    """Raise a ToolError unless a release of da4ml that was compared is installed."""
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        raise ToolError(
            f"strategy distributed_arithmetic needs {PACKAGE}, which is not installed",
            hint="pip install 'boardfit[fpga]', or give another --strategy",
        ) from None
    if not found.startswith(f"{SERIES}."):
        raise ToolError(
            f"{PACKAGE} {found} is installed, but adder graphs are verified with {SERIES}",
            hint=f"pip install '{PACKAGE}=={SERIES}.*'",
        )


@functools.cache
def _register_pass() -> str:
    """Tell hls4ml about the pass, once, and return its name."""
    from hls4ml.model.layers import Conv2D, Dense
    from hls4ml.model.optimizer import OptimizerPass
    from hls4ml.model.optimizer.optimizer import register_pass
    from hls4ml.model.types import Source

    class BoardfitAdderGraph(OptimizerPass):  # type: ignore[misc]  # hls4ml has no types
        def match(self, node: Any) -> bool:
            return node.get_attr("strategy") == STRATEGY and "da_codegen" not in node.attributes

        def transform(self, model: Any, node: Any) -> bool:
            if not isinstance(node, Dense | Conv2D):
                raise InternalError(f"'{node.name}' has no weight matrix that hls4ml makes an adder graph of")
            weights = node.attributes["weight"].data
            found = node.get_input_variable().type.precision
            element = FixedPoint(bool(found.signed), int(found.width), int(found.fractional))
            bias = node.attributes["bias"].data.ravel() if np.any(node.attributes["bias"].data) else None
            graph = make_adder_graph(weights.reshape(-1, weights.shape[-1]), bias, element)
            code = graph.hls_code(f"dense_da_{node.index}", f"dense_da_wrapper_{node.index}")
            node.set_attr("da_codegen", Source(code))
            return False

    return str(register_pass("boardfit_adder_graph", BoardfitAdderGraph, backend="vivado"))
