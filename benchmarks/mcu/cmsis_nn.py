"""The MLPerf Tiny networks computed by CMSIS-NN 4.0.0, to run the cycle model on software with published figures.

CMSIS-NN is not part of this project: its sources are taken from the installed package `bakenn` (pip install bakenn),
which carries them. Weights are placeholders: the time of these kernels does not depend on values, only on shapes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from boardfit.backends.mcu.emulator import Program
from boardfit.ir import Graph, Node
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.spec import attrs_as

SCRATCH_BYTES = 1 << 16
TENSOR_BYTES = 1 << 17


def sources_folder() -> Path | None:
    """Where the package that carries CMSIS-NN keeps it, or None if it is not installed."""
    found = importlib.util.find_spec("bakenn")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "backend" / "cmsis_nn" / "vendor"
    return folder if folder.is_dir() else None


def program(graph: Graph, folder: Path, flags: tuple[str, ...]) -> Program:
    """A measuring program that runs the convolutions, dense layers and average pools of a network.

    Other layers (additions, softmax) are left out: the package has no kernels for them.
    """
    files = {path.name: path.read_text() for path in sorted(folder.rglob("*.[ch]"))}
    return Program({**files, "network.c": _network(graph)}, 4, 4, flags, warnings=("-w",))


def _network(graph: Graph) -> str:
    constants: list[str] = []
    calls: list[str] = []
    for index, node in enumerate(graph.nodes):
        made = _layer(graph, node, index)
        if made:
            constants += made[0]
            calls.append(made[1])
    return "\n".join(
        (
            '#include "arm_nnfunctions.h"',
            f"static int8_t one[{TENSOR_BYTES}], other[{TENSOR_BYTES}], scratch[{SCRATCH_BYTES}];",
            "static const cmsis_nn_context context = {scratch, sizeof scratch};",
            *constants,
            "void harness_setup(void) {}",
            "void harness_run(const void *input, void *output)",
            "{",
            *calls,
            "}",
            "",
        )
    )


def _layer(graph: Graph, node: Node, index: int) -> tuple[list[str], str] | None:
    x = graph.types[node.inputs[0]].shape
    y = graph.types[node.outputs[0]].shape
    if node.op == "Conv2D":
        return _convolution(graph, node, index, x, y)
    if node.op == "Dense":
        outputs, inputs = graph.types[node.inputs[1]].shape
        tables = _tables(index, outputs * inputs, outputs)
        return tables, (
            f"    arm_fully_connected_s8(&context, &(const cmsis_nn_fc_params){{3, 0, 1, {{-128, 127}}}}, "
            f"&(const cmsis_nn_per_tensor_quant_params){{1518500250, -9}}, {_dims(1, inputs)}, one, "
            f"{_dims(inputs, 1, 1, outputs)}, w{index}, {_dims(outputs)}, b{index}, {_dims(1, outputs)}, other);"
        )
    if node.op == "AveragePool2D":
        attrs = attrs_as(node.attrs, AveragePool2DAttrs)
        strides = f"{{{attrs.strides[1]}, {attrs.strides[0]}}}"
        return [], (
            f"    arm_avgpool_s8(&context, &(const cmsis_nn_pool_params){{{strides}, {{0, 0}}, {{-128, 127}}}}, "
            f"{_dims(*x)}, one, {_dims(1, *attrs.kernel, 1)}, {_dims(*y)}, other);"
        )
    return None


def _convolution(graph: Graph, node: Node, index: int, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[list[str], str]:
    attrs = attrs_as(node.attrs, Conv2DAttrs)
    outputs, height, width, depth = graph.types[node.inputs[1]].shape
    depthwise = attrs.groups > 1
    shape = _dims(1, height, width, outputs) if depthwise else _dims(outputs, height, width, depth)
    geometry = f"{{{attrs.strides[1]}, {attrs.strides[0]}}}, {{{attrs.pads[1]}, {attrs.pads[0]}}}, {{1, 1}}"
    kind = "cmsis_nn_dw_conv_params){3, 0, 1, " if depthwise else "cmsis_nn_conv_params){3, 0, "
    function = "arm_depthwise_conv_wrapper_s8" if depthwise else "arm_convolve_wrapper_s8"
    return _tables(index, outputs * height * width * depth, outputs), (
        f"    {function}(&context, &(const {kind}{geometry}, {{-128, 127}}}}, "
        f"&(const cmsis_nn_per_channel_quant_params){{(int32_t *)m{index}, (int32_t *)s{index}}}, {_dims(*x)}, one, "
        f"{shape}, w{index}, {_dims(outputs)}, b{index}, {_dims(*y)}, other);"
    )


def _tables(index: int, weights: int, outputs: int) -> list[str]:
    return list(_lines(index, weights, outputs))


def _lines(index: int, weights: int, outputs: int) -> Iterator[str]:
    yield f"static const int8_t w{index}[] = {{[0 ... {weights - 1}] = 3}};"
    for name, value in (("b", 100), ("m", 1518500250), ("s", -9)):
        yield f"static const int32_t {name}{index}[] = {{[0 ... {outputs - 1}] = {value}}};"


def _dims(*sizes: int) -> str:
    padded = (*(1,) * (4 - len(sizes)), *sizes)
    return f"&(const cmsis_nn_dims){{{', '.join(map(str, padded))}}}"
