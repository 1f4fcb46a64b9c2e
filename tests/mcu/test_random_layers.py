"""Layers of random shape: whatever kernel a core gets, its bytes are those of the interpreter."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.board import McuBoard, find_board
from boardfit.interp import run
from boardfit.ir import Affine, Graph
from boardfit.ops.activation import NONE, RELU, Activation
from boardfit.ops.add import AddAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.reshape import ReshapeAttrs

from .builders import Builder, s8
from .host import random_inputs, run_on_host

CORES = {
    "m0": "raspberry-pi-pico",
    "m3": "stm32f103-blue-pill",
    "m4": "nucleo-l4r5zi",
    "m55": "corstone-300",
    "rv32": "esp32-c3",
}
ON_HOST, EMULATED = 6, 4
ACTIVATIONS = (NONE, RELU, Activation(0.0, 6.0), Activation(-1.5, 2.5))


def network(seed: int) -> Graph:
    """Convolution, depthwise convolution, sum, pooling and a dense layer with shapes drawn from `seed`."""
    build = Builder(f"random {seed}", 1000 + seed)
    random = build.random

    def draw(*choices: int) -> int:
        return int(random.choice(choices))

    def element() -> Affine:
        return s8(float(random.uniform(0.05, 0.2)), draw(-128, -128, 0, 17, 127))

    def activation() -> Activation:
        return ACTIVATIONS[draw(0, 0, 1, 2, 3)]

    def window(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
        kernel = (min(draw(1, 2, 3, 3, 5), height), min(draw(1, 2, 3, 3, 4), width))
        pads = (draw(0, kernel[0] // 2), draw(0, kernel[1] // 2), draw(0, kernel[0] // 2), draw(0, kernel[1] // 2))
        return kernel, pads, (draw(1, 1, 2), draw(1, 1, 2))

    x = build.input((1, draw(4, 7, 9), draw(4, 5, 11), draw(1, 3, 4, 8, 16, 19)), element())
    for depthwise in (False, True, False):
        _, height, width, channels = build.editor.types[x].shape
        kernel, pads, strides = window(height, width)
        out = channels if depthwise else draw(1, 4, 6, 8, 10, 24, 32)
        per_group = 1 if depthwise else channels
        attrs = Conv2DAttrs(strides, pads, groups=channels if depthwise else 1, activation=activation())
        scale = 0.08 / (kernel[0] * kernel[1] * per_group) ** 0.5
        weights = build.weights((out, *kernel, per_group), scale=scale, per_channel=bool(draw(0, 1)))
        inputs = [x, weights, build.bias(out)] if draw(0, 1, 1) else [x, weights]
        x = build.node("Conv2D", inputs, attrs, element())
    pooled = build.node("MaxPool2D", [x], MaxPool2DAttrs((3, 3), (1, 1), (1, 1, 1, 1)))
    x = build.node("Add", [x, pooled], AddAttrs(activation()), element())
    _, height, width, channels = build.editor.types[x].shape
    x = build.node("AveragePool2D", [x], AveragePool2DAttrs((height, width), (1, 1)), element())
    x = build.node("Reshape", [x], ReshapeAttrs((1, channels)))
    out = draw(1, 2, 5, 12)
    weights = build.weights((out, channels), scale=0.08 / channels**0.5)
    return build.finish(build.node("Dense", [x, weights, build.bias(out)], DenseAttrs(activation()), element()))


def _board(core: str) -> McuBoard:
    found = find_board(CORES[core])
    assert isinstance(found, McuBoard)
    return found


@pytest.mark.parametrize("core", CORES)
def test_portable_twins(core: str) -> None:
    graphs = [network(seed) for seed in range(ON_HOST)]
    plans = [make_plan(graph, _board(core)) for graph in graphs]
    inputs = [random_inputs(graph, 3, seed) for seed, graph in enumerate(graphs)]
    flags = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for graph, arrays, outputs in zip(graphs, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(graph, dict(zip(graph.inputs, arrays, strict=True)))[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=graph.name)


@pytest.mark.slow
@pytest.mark.parametrize("core", CORES)
def test_on_the_emulated_core(core: str) -> None:
    machine = MACHINES[core]
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    for seed in range(ON_HOST, ON_HOST + EMULATED):
        graph = network(seed)
        x = random_inputs(graph, 4, seed)[0]
        result = measure(model_program(make_plan(graph, _board(core)), _board(core)), machine, packed_inputs(graph, x))
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected, err_msg=graph.name)
