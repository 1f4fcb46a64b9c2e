"""Layers that hls4ml lacks, added through its extension API."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from boardfit.options import HlsTool

from .codebook import register_codebook
from .functions import HEADER, MULTIPLIES, numbers, register_function
from .render import render

TOOLS = ("Vivado", "Vitis")

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

    class BoardfitClamp(Layer):  # type: ignore[misc]  # hls4ml has no types
        def initialize(self) -> None:
            self.add_output_variable(self.get_input_variable().shape)

    class Shaped(Layer):  # type: ignore[misc]
        """A layer that is told the shape of its result."""

        def initialize(self) -> None:
            self.add_output_variable(self.get_attr("out_shape"))

    class BoardfitPick(Shaped):
        pass

    class BoardfitArgMax(Shaped):
        pass

    class Weighted(Shaped):
        _expected_attributes = (
            *map(WeightAttribute, ("weight", "bias")),
            *map(TypeAttribute, ("weight", "bias", "accum")),
        )

        def initialize(self) -> None:
            super().initialize()
            self.add_weights()
            self.add_bias()

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

    class BoardfitDense(Weighted):
        """A dense layer of a stream that makes one output after the other; vectors may come and go in several words.

        It is none of hls4ml's dense layers, which become convolutions where a vector comes in several words.
        """

    class BoardfitCirculant(Weighted):
        """The same with circulant blocks: one vector of weights for each."""

    class BoardfitPointwise(Weighted):
        """A 1x1 convolution of a stream that makes one result after the other."""

    class BoardfitSerialConv2D(Weighted):
        """A convolution of a stream, with its border, that makes one channel after the other."""

    class BoardfitDepthwiseConv2D(DepthwiseConv2D):  # type: ignore[misc]
        """A depthwise convolution of a stream that makes one channel after the other."""

    class BoardfitWordsDense(Weighted):
        """A dense layer by hls4ml's kernels whose vectors come and go in several words."""

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

    register_function(BoardfitClamp, "boardfit_clamp", _clamp)
    register_function(BoardfitPick, "boardfit_pick", _pick)
    register_function(BoardfitArgMax, "boardfit_arg_max", _arg_max)
    for layer, function, sizes in (
        (BoardfitDense, "boardfit_dense", DENSE_SIZES),
        (BoardfitCirculant, "boardfit_circulant", CIRCULANT_SIZES),
        (BoardfitPointwise, "boardfit_pointwise", POINTWISE_SIZES),
        (BoardfitDepthwiseConv2D, "boardfit_depthwise", IMAGE_SIZES),
        (BoardfitSerialConv2D, "boardfit_conv", WINDOW_SIZES),
    ):
        configuration = functools.partial(_linear, sizes)
        register_function(layer, function, configuration, weights=("weight", "bias"), headers=(MULTIPLIES,))
    backend = get_backend("vivado")  # Vitis applies the templates of Vivado too
    for layer, templates in ((BoardfitConv2D, (ConvConfig, ConvCall)), (BoardfitWordsDense, (WordsConfig, WordsCall))):
        register_layer(layer.__name__, layer)
        for template in templates:
            backend.register_template(template)


def _clamp(node: Any, params: Mapping[str, Any]) -> str:
    bounds = "".join(f"    static const long long {name} = {node.get_attr(name)}LL;\n" for name in ("low", "high"))
    return f"struct config{node.index} {{\n{numbers(node, ['n_in'])}{bounds}}};\n"


def _pick(node: Any, params: Mapping[str, Any]) -> str:
    sizes = {name: node.get_attr(name) for name in ("in_height", "in_width", "n_chan")}
    tables = {name[:-1]: node.get_attr(name) for name in ("rows", "columns", "channels")}
    sizes |= dict(zip(("out_height", "out_width", "out_chan"), map(len, tables.values()), strict=True))
    return render("pick_config.h.j2", index=node.index, sizes=sizes, tables=tables)


def _arg_max(node: Any, params: Mapping[str, Any]) -> str:
    last = f"    static const bool last = {str(bool(node.get_attr('last'))).lower()};\n"
    return f"struct config{node.index} {{\n{numbers(node, ['n_in', 'n_classes'])}{last}}};\n"


def _linear(sizes: Sequence[str], node: Any, params: Mapping[str, Any]) -> str:
    """The configuration of a function with weights."""
    return f"struct config{node.index} {{\n{numbers(node, sizes)}{_linear_types(node, params)}}};\n"


def _linear_types(node: Any, params: Mapping[str, Any]) -> str:
    """Types of a layer with weights, and how hls4ml multiplies them."""
    from hls4ml.backends import get_backend

    source, weight = node.get_input_variable().type.precision, node.get_weights("weight").type.precision
    product = get_backend("vivado").product_type(source, weight)
    types = "".join(f"    typedef {params[name].name} {name};\n" for name in ("accum_t", "bias_t", "weight_t"))
    return f"{types}    template<class x_T, class y_T>\n    using product = nnet::product::{product}<x_T, y_T>;\n"
