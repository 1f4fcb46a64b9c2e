"""Seeded random layers through the DSP kernels: every value equals the interpreter's, in C and on the emulator."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Site
from boardfit.backends.mcu.kernels import KERNELS
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.ops.activation import Activation
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from .builders import Builder, s8
from .host import m4, random_inputs, run_on_host
from .test_dsp_kernels import plan_with

HOST_CASES = 24
EMULATED_CASES = 5


def random_layer(kernel: str, seed: int) -> Graph:
    """A layer that the kernel may or may not accept."""
    build = Builder(f"{kernel} {seed}", seed)
    random = np.random.default_rng(seed)

    def pick(low: int, high: int) -> int:
        return int(random.integers(low, high, endpoint=True))

    zero, out_zero = pick(-128, 127), pick(-128, 127)
    activation = Activation() if seed % 3 else Activation(-float(random.uniform(0, 4)), float(random.uniform(0, 6)))
    reach = (3000, 3000, 40_000_000)[seed % 3]
    result = s8(float(random.uniform(0.05, 0.2)) * (reach / 3000) ** 0.7, out_zero)
    if kernel.startswith("dense"):
        inputs, outputs = pick(1, 90), pick(1, 21)
        x = build.input((pick(1, 3), inputs), s8(0.05, zero))
        operands = [x, build.weights((outputs, inputs), scale=0.1 / inputs**0.5), build.bias(outputs, reach)]
        return build.finish(build.node("Dense", operands, DenseAttrs(activation), result))
    depthwise = "depthwise" in kernel
    kh, kw = (3, 3) if depthwise else (pick(1, 4), pick(1, 4))
    height, width = pick(kh, 14), pick(kw, 14)
    channels = pick(1, 9) if depthwise or "windows" in kernel else 4 * pick(1, 5)
    stride = pick(1, 2)
    strides = (stride, stride) if depthwise else (stride, pick(1, 3))
    pads = (pick(0, kh // 2), pick(0, kw // 2), pick(0, kh // 2), pick(0, kw // 2))
    out = channels if depthwise else 2 * pick(1, 6)
    x = build.input((1, height, width, channels), s8(0.05, zero))
    per_group = 1 if depthwise else channels
    weights = build.weights(
        (out, kh, kw, per_group), per_channel=seed % 4 != 1, scale=0.1 / (kh * kw * per_group) ** 0.5
    )
    if depthwise:
        activation, reach = Activation(), 3000
        result = s8(0.15, out_zero)
    attrs = Conv2DAttrs(strides, pads, groups=channels if depthwise else 1, activation=activation)
    return build.finish(build.node("Conv2D", [x, weights, build.bias(out, reach)], attrs, result))


def accepted(kernel: str, count: int) -> list[Graph]:
    """The first `count` random layers that the kernel takes."""
    chosen = next(k for k in KERNELS if k.name == kernel)
    found: list[Graph] = []
    for seed in range(40 * count):
        graph = random_layer(kernel, seed)
        if chosen.reason_against(Site(graph.nodes[0], graph, m4().features)) is None:
            found.append(graph)
        if len(found) == count:
            return found
    raise AssertionError(f"{kernel} takes only {len(found)} of {40 * count} random layers")


NAMES = ("conv2d/dsp_rows", "conv2d/dsp_windows", "conv2d/dsp_depthwise3x3", "dense/dsp")


@pytest.mark.parametrize("kernel", NAMES)
def test_portable_twin(kernel: str) -> None:
    graphs = accepted(kernel, HOST_CASES)
    plans = [plan_with(kernel, graph) for graph in graphs]
    inputs = [random_inputs(graph, 3, seed) for seed, graph in enumerate(graphs)]
    flags = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for graph, arrays, outputs in zip(graphs, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(graph, {graph.inputs[0]: arrays[0]})[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=graph.name)


@pytest.mark.slow
@pytest.mark.parametrize("kernel", NAMES)
def test_assembly(kernel: str) -> None:
    machine = MACHINES["m4"]
    if shutil.which(machine.compiler) is None or shutil.which(machine.qemu) is None:
        pytest.skip(f"{machine.compiler} or {machine.qemu} is not installed")
    for seed, graph in enumerate(accepted(kernel, HOST_CASES)[:: HOST_CASES // EMULATED_CASES]):
        x = random_inputs(graph, 3, seed)[0]
        result = measure(model_program(plan_with(kernel, graph), m4()), machine, packed_inputs(graph, x))
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected, err_msg=graph.name)
