"""Layers that hls4ml lacks, added through its extension API."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

TOOLS = ("Vivado", "Vitis")
HEADER = "nnet_boardfit.h"


@functools.cache
def register(header: Path) -> None:
    """Tell hls4ml about boardfit's layers; once for each header file.

    Args:
        header: the C++ header with their functions, copied into every project.
    """
    from hls4ml.backends import get_backend
    from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
    from hls4ml.model.layers import Layer, layer_map, register_layer

    if "BoardfitClamp" not in layer_map:
        # hls4ml finds templates by the class's name, so the names below are part of the contract

        class BoardfitClamp(Layer):  # type: ignore[misc]  # hls4ml has no types
            def initialize(self) -> None:
                self.add_output_variable(self.get_input_variable().shape)

        class ClampConfig(LayerConfigTemplate):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(BoardfitClamp)

            def format(self, node: Any) -> str:
                return (
                    f"struct config{node.index} {{\n"
                    f"    static const unsigned n_in = {node.get_attr('n_in')};\n"
                    f"    static const long long low = {node.get_attr('low')}LL;\n"
                    f"    static const long long high = {node.get_attr('high')}LL;\n"
                    "};\n"
                )

        class ClampCall(FunctionCallTemplate):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(BoardfitClamp, include_header=[f"nnet_utils/{HEADER}"])

            def format(self, node: Any) -> str:
                params = self._default_function_params(node)
                types = f"{params['input_t']}, {params['output_t']}, config{node.index}"
                return f"nnet::boardfit_clamp<{types}>({params['input']}, {params['output']});"

        register_layer("BoardfitClamp", BoardfitClamp)
        backend = get_backend("vivado")  # Vitis applies the templates of Vivado too
        backend.register_template(ClampConfig)
        backend.register_template(ClampCall)
    for tool in TOOLS:
        get_backend(tool).register_source(header)
