"""Layers that hls4ml lacks, added through its extension API."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from boardfit.options import HlsTool

from .codebook import register_codebook
from .render import render

TOOLS = ("Vivado", "Vitis")
HEADER = "nnet_boardfit.h"

WINDOW_MEMORY = {
    HlsTool.VIVADO: "#pragma HLS RESOURCE variable=window core=RAM_2P_LUTRAM",
    HlsTool.VITIS: "#pragma HLS BIND_STORAGE variable=window type=ram_2p impl=lutram",
}
"""How the windows of convolutions are bound to memories made of LUTs: they are wide, and a few dozen words deep."""


DENSE_SIZES = ("n_in", "n_out", "lanes")
CIRCULANT_SIZES = (*DENSE_SIZES, "block", "skew", "n_weights")
POINTWISE_SIZES = (*DENSE_SIZES, "in_height", "in_width", "stride_height", "stride_width")
IMAGE_SIZES = ("in_height", "in_width", "n_chan", "filt_height", "filt_width", "stride_height", "stride_width")
WINDOW_SIZES = (*IMAGE_SIZES, "n_filt", "filters", "pad_top", "pad_bottom", "pad_left", "pad_right")
"""Attributes of boardfit's layers with weights that their functions are told."""


@contextlib.contextmanager
def extension(folder: Path, tool: HlsTool) -> Iterator[None]:
    """hls4ml with boardfit's layers; afterwards it is as it was, but for classes nobody else asks for.

    Args:
        folder: an existing folder for the C++ header with their functions, which is copied into the project.
        tool: whose pragmas the header has.
    """
    from hls4ml.backends import get_backend

    _register_layers()
    register_codebook()
    header = folder / HEADER
    header.write_text(render(f"{HEADER}.j2", window_memory=WINDOW_MEMORY[tool]), encoding="utf-8")
    backends = [get_backend(tool) for tool in TOOLS]
    for backend in backends:
        backend.register_source(header)
    try:
        yield
    finally:
        for backend in backends:
            backend.custom_source = {
                target: source for target, source in backend.custom_source.items() if source != header
            }


@functools.cache
def _register_layers() -> None:
    """Tell hls4ml about boardfit's layers, once."""
    from hls4ml.backends import get_backend
    from hls4ml.backends.template import FunctionCallTemplate, LayerConfigTemplate
    from hls4ml.backends.vivado.passes import convolution_templates as stock
    from hls4ml.backends.vivado.passes import core_templates as core
    from hls4ml.model.attributes import TypeAttribute, WeightAttribute
    from hls4ml.model.layers import Conv2D, DepthwiseConv2D, Layer, register_layer
    from hls4ml.model.types import IntegerPrecisionType, NamedType

    weighted = [WeightAttribute("weight"), WeightAttribute("bias"), *map(TypeAttribute, ("weight", "bias", "accum"))]

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
            return _call(self._default_function_params(node), "boardfit_clamp", node.index)

    class BoardfitPick(Layer):  # type: ignore[misc]
        def initialize(self) -> None:
            self.add_output_variable(self.get_attr("out_shape"))

    class PickConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitPick)

        def format(self, node: Any) -> str:
            sizes = {name: node.get_attr(name) for name in ("in_height", "in_width", "n_chan")}
            names = ("rows", "columns", "channels")
            tables = {name[:-1]: node.get_attr(name) for name in names}
            sizes |= dict(zip(("out_height", "out_width", "out_chan"), map(len, tables.values()), strict=True))
            return render("pick_config.h.j2", index=node.index, sizes=sizes, tables=tables)

    class PickCall(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitPick, include_header=[f"nnet_utils/{HEADER}"])

        def format(self, node: Any) -> str:
            return _call(self._default_function_params(node), "boardfit_pick", node.index)

    class BoardfitArgMax(Layer):  # type: ignore[misc]
        def initialize(self) -> None:
            self.add_output_variable(self.get_attr("out_shape"))

    class ArgMaxConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitArgMax)

        def format(self, node: Any) -> str:
            return (
                f"struct config{node.index} {{\n"
                f"    static const unsigned n_in = {node.get_attr('n_in')};\n"
                f"    static const unsigned n_classes = {node.get_attr('n_classes')};\n"
                f"    static const bool last = {str(bool(node.get_attr('last'))).lower()};\n"
                "};\n"
            )

    class ArgMaxCall(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitArgMax, include_header=[f"nnet_utils/{HEADER}"])

        def format(self, node: Any) -> str:
            return _call(self._default_function_params(node), "boardfit_arg_max", node.index)

    class BoardfitConv2D(Conv2D):  # type: ignore[misc]
        """A convolution that hls4ml does not turn into its pointwise kernel, which keeps all weights in registers.

        `out_shape` gives the result another shape of as many values.
        """

        def initialize(self) -> None:
            shape = [self.get_attr(name) for name in ("out_height", "out_width", "n_filt")]
            self.add_output_variable(self.get_attr("out_shape") or shape)
            self.add_weights(quantizer=self.get_attr("weight_quantizer"))
            self.add_bias(quantizer=self.get_attr("bias_quantizer"))

    class ConvConfig(stock.Conv2DConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            LayerConfigTemplate.__init__(self, BoardfitConv2D)
            self.template = stock.conv2d_config_template
            self.mult_template = stock.conv_mult_config_template

    class ConvCall(stock.Conv2DFunctionTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            FunctionCallTemplate.__init__(self, BoardfitConv2D, include_header=stock.conv2d_include_list)
            self.template = stock.conv2d_function_template

    class BoardfitDense(Layer):  # type: ignore[misc]
        """A dense layer of a stream that makes one output after the other; vectors may come and go in several words.

        It is none of hls4ml's dense layers, which become convolutions where a vector comes in several words.
        """

        _expected_attributes = weighted

        def initialize(self) -> None:
            self.add_output_variable(self.get_attr("out_shape"))
            self.add_weights()
            self.add_bias()

    class BoardfitWordsDense(BoardfitDense):
        """The same by hls4ml's kernels."""

        def initialize(self) -> None:
            super().initialize()
            self.set_attr("index_t", NamedType(f"layer{self.index}_index", IntegerPrecisionType(1, signed=False)))

    class WordsConfig(core.DenseConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            LayerConfigTemplate.__init__(self, BoardfitWordsDense)
            self.template = core.dense_config_template

        def format(self, node: Any) -> str:
            node.set_attr("strategy", node.get_attr("strategy").lower())  # as hls4ml does for its own dense layers
            return str(super().format(node))

    class WordsCall(core.DenseFunctionTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            FunctionCallTemplate.__init__(self, BoardfitWordsDense, include_header=core.dense_include_list)
            self.template = core.dense_function_template

    class DenseConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitDense)

        def format(self, node: Any) -> str:
            return _linear_config(node, DENSE_SIZES, self._default_config_params(node))

    class DenseCall(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            headers = ["nnet_utils/nnet_mult.h", f"nnet_utils/{HEADER}"]
            super().__init__(BoardfitDense, include_header=headers)

        def format(self, node: Any) -> str:
            return _linear_call(node, self._default_function_params(node), "boardfit_dense")

    class BoardfitCirculant(BoardfitDense):
        """The same with circulant blocks: one vector of weights for each."""

    class CirculantConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitCirculant)

        def format(self, node: Any) -> str:
            return _linear_config(node, CIRCULANT_SIZES, self._default_config_params(node))

    class CirculantCall(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            headers = ["nnet_utils/nnet_mult.h", f"nnet_utils/{HEADER}"]
            super().__init__(BoardfitCirculant, include_header=headers)

        def format(self, node: Any) -> str:
            return _linear_call(node, self._default_function_params(node), "boardfit_circulant")

    class BoardfitDepthwiseConv2D(DepthwiseConv2D):  # type: ignore[misc]
        """A depthwise convolution of a stream that makes one channel after the other."""

    class DepthwiseConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitDepthwiseConv2D)

        def format(self, node: Any) -> str:
            return _linear_config(node, IMAGE_SIZES, self._default_config_params(node))

    class DepthwiseCall(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            headers = ["nnet_utils/nnet_mult.h", f"nnet_utils/{HEADER}"]
            super().__init__(BoardfitDepthwiseConv2D, include_header=headers)

        def format(self, node: Any) -> str:
            return _linear_call(node, self._default_function_params(node), "boardfit_depthwise")

    class BoardfitPointwise(Layer):  # type: ignore[misc]
        """A 1x1 convolution of a stream that makes one result after the other."""

        _expected_attributes = weighted

        def initialize(self) -> None:
            self.add_output_variable(self.get_attr("out_shape"))
            self.add_weights()
            self.add_bias()

    class PointwiseConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitPointwise)

        def format(self, node: Any) -> str:
            return _linear_config(node, POINTWISE_SIZES, self._default_config_params(node))

    class PointwiseCall(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            headers = ["nnet_utils/nnet_mult.h", f"nnet_utils/{HEADER}"]
            super().__init__(BoardfitPointwise, include_header=headers)

        def format(self, node: Any) -> str:
            return _linear_call(node, self._default_function_params(node), "boardfit_pointwise")

    class BoardfitSerialConv2D(Layer):  # type: ignore[misc]
        """A convolution of a stream, with its border, that makes one channel after the other."""

        _expected_attributes = weighted

        def initialize(self) -> None:
            self.add_output_variable(self.get_attr("out_shape"))
            self.add_weights()
            self.add_bias()

    class SerialConfig(LayerConfigTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(BoardfitSerialConv2D)

        def format(self, node: Any) -> str:
            return _linear_config(node, WINDOW_SIZES, self._default_config_params(node))

    class SerialCall(FunctionCallTemplate):  # type: ignore[misc]
        def __init__(self) -> None:
            headers = ["nnet_utils/nnet_mult.h", f"nnet_utils/{HEADER}"]
            super().__init__(BoardfitSerialConv2D, include_header=headers)

        def format(self, node: Any) -> str:
            return _linear_call(node, self._default_function_params(node), "boardfit_conv")

    register_layer("BoardfitClamp", BoardfitClamp)
    register_layer("BoardfitPointwise", BoardfitPointwise)
    register_layer("BoardfitSerialConv2D", BoardfitSerialConv2D)
    register_layer("BoardfitDepthwiseConv2D", BoardfitDepthwiseConv2D)
    register_layer("BoardfitDense", BoardfitDense)
    register_layer("BoardfitCirculant", BoardfitCirculant)
    register_layer("BoardfitWordsDense", BoardfitWordsDense)
    register_layer("BoardfitConv2D", BoardfitConv2D)
    register_layer("BoardfitPick", BoardfitPick)
    register_layer("BoardfitArgMax", BoardfitArgMax)
    backend = get_backend("vivado")  # Vitis applies the templates of Vivado too
    own = (
        ClampConfig,
        ClampCall,
        PickConfig,
        PickCall,
        ArgMaxConfig,
        ArgMaxCall,
        DenseConfig,
        DenseCall,
        CirculantConfig,
        CirculantCall,
        WordsConfig,
        WordsCall,
    )
    linear = (DepthwiseConfig, DepthwiseCall, ConvConfig, ConvCall, PointwiseConfig, PointwiseCall)
    for template in (*own, *linear, SerialConfig, SerialCall):
        backend.register_template(template)


def _linear_config(node: Any, sizes: Sequence[str], params: Mapping[str, Any]) -> str:
    """The configuration of one of boardfit's functions with weights."""
    numbers = "".join(f"    static const unsigned {name} = {node.get_attr(name)};\n" for name in sizes)
    return f"struct config{node.index} {{\n{numbers}{_linear_types(node, params)}}};\n"


def _linear_types(node: Any, params: Mapping[str, Any]) -> str:
    """Types of a layer with weights, and how hls4ml multiplies them."""
    from hls4ml.backends import get_backend

    source, weight = node.get_input_variable().type.precision, node.get_weights("weight").type.precision
    product = get_backend("vivado").product_type(source, weight)
    types = "".join(f"    typedef {params[name].name} {name};\n" for name in ("accum_t", "bias_t", "weight_t"))
    return f"{types}    template<class x_T, class y_T>\n    using product = nnet::product::{product}<x_T, y_T>;\n"


def _linear_call(node: Any, params: Mapping[str, Any], function: str) -> str:
    """A call of one of boardfit's functions with weights and biases."""
    weights = f"{node.get_weights('weight').name}, {node.get_weights('bias').name}"
    types = f"{params['input_t']}, {params['output_t']}, config{node.index}"
    return f"nnet::{function}<{types}>({params['input']}, {params['output']}, {weights});"


def _call(params: Mapping[str, Any], function: str, index: int) -> str:
    """A call of one of boardfit's functions with one input."""
    types = f"{params['input_t']}, {params['output_t']}, config{index}"
    return f"nnet::{function}<{types}>({params['input']}, {params['output']});"
