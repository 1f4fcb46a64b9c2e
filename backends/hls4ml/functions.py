"""Layers of hls4ml that are one of boardfit's own C++ functions, told to it through its extension API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

HEADER = "nnet_boardfit.h"
MULTIPLIES = "nnet_utils/nnet_mult.h"
"""hls4ml's header of products, for functions with weights."""

Configuration = Callable[[Any, Mapping[str, Any]], str]
"""(node, hls4ml's parameters of its configuration) -> the struct, in C++."""


def register_function(
    layer: type,
    function: str,
    configuration: Configuration,
    *,
    weights: Sequence[str] = (),
    headers: Sequence[str] = (),
) -> None:
    """Tell hls4ml about a class of layers and the function in `HEADER` that does them.

    Args:
        layer: the class; hls4ml finds its templates by the class's name.
        function: in the namespace nnet, a template of input, output and configuration; takes input, output, weights.
        configuration: text of the struct.
        weights: names of the weight attributes that are passed.
        headers: what is included beside `HEADER`.
    """
    from hls4ml.backends import get_backend
    from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
    from hls4ml.model.layers import register_layer

    class Config(LayerConfigTemplate):  # type: ignore[misc]  # hls4ml has no types
        def __init__(self) -> None:
            super().__init__(layer)

        def format(self, node: Any) -> str:
            return configuration(node, self._default_config_params(node))

    class Call(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(layer, include_header=[*headers, f"nnet_utils/{HEADER}"])

        def format(self, node: Any) -> str:
            params = self._default_function_params(node)
            types = f"{params['input_t']}, {params['output_t']}, config{node.index}"
            arguments = [params["input"], params["output"], *(node.get_weights(name).name for name in weights)]
            return f"nnet::{function}<{types}>({', '.join(arguments)});"

    register_layer(layer.__name__, layer)
    backend = get_backend("vivado")  # Vitis applies the templates of Vivado too
    backend.register_template(Config)
    backend.register_template(Call)


def numbers(node: Any, names: Sequence[str]) -> str:
    """Members of a configuration that are attributes of the layer."""
    return "".join(f"    static const unsigned {name} = {node.get_attr(name)};\n" for name in names)
