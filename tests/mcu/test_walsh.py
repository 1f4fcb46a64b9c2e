"""The fast Walsh-Hadamard kernel equals the product with the rows themselves."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Site
from boardfit.backends.mcu.kernels import walsh
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.interp import run
from boardfit.ir import Affine, Graph
from boardfit.ir.walsh import find_walsh, walsh_rows
from boardfit.ops.activation import Activation
from boardfit.ops.dense import DenseAttrs

from .builders import Builder, s8
from .host import random_inputs, run_on_host
from .test_stored_weights import board, plan_with

SAMPLES = 3
(KERNEL,) = walsh.KERNELS


def layer(seed: int) -> Graph:
    """Rows of a Walsh matrix of any order, signs and magnitude, fewer columns than it has."""
    random = np.random.default_rng(seed)
    build = Builder(f"walsh {seed}", seed)
    inputs, outputs = int(random.integers(8, 200)), int(random.integers(1, 60))
    size = 1 << (inputs - 1).bit_length()
    rows = walsh_rows(random.integers(0, size, outputs), inputs)
    raw = rows * random.choice([-1, 1], outputs)[:, None] * (127 if seed % 2 else int(random.integers(1, 127)))
    activation = Activation() if seed % 3 else Activation(-float(random.uniform(0, 4)), float(random.uniform(0, 6)))
    scales = tuple(map(float, random.uniform(0.003, 0.01, outputs) / inputs**0.5))
    x = build.input((1 + seed % 2, inputs), s8(0.05, int(random.integers(-128, 128))))
    weights = build.constant(raw, Affine(True, 8, scales, (0,) * outputs, 0, narrow=True))
    bias = build.bias(outputs) if seed % 4 else ""
    operands = [x, weights, bias] if bias else [x, weights]
    return build.finish(build.node("Dense", operands, DenseAttrs(activation), s8(0.05, seed % 7)))


@pytest.mark.parametrize("machine", ["m4", "m0"])
def test_c_on_this_computer(machine: str) -> None:
    graphs = [layer(seed) for seed in range(8)]
    plans = [plan_with(KERNEL, graph, machine) for graph in graphs]
    inputs = [random_inputs(graph, SAMPLES, seed) for seed, graph in enumerate(graphs)]
    flags = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for graph, arrays, outputs in zip(graphs, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(graph, {graph.inputs[0]: arrays[0]})[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=graph.name)


@pytest.mark.parametrize("machine", ["m4", "m0", "rv32"])
def test_emulated(machine: str) -> None:
    target = MACHINES[machine]
    if shutil.which(target.compiler) is None or shutil.which(target.qemu) is None:
        pytest.skip(f"{target.compiler} or {target.qemu} is not installed")
    graph = layer(5)
    x = random_inputs(graph, SAMPLES, 5)[0]
    result = measure(model_program(plan_with(KERNEL, graph, machine), board(machine)), target, packed_inputs(graph, x))
    expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected)


def test_rows_are_told_from_their_values_and_wide_layers_take_the_kernel() -> None:
    random = np.random.default_rng(3)
    order = random.permutation(256)
    rows = walsh_rows(order, 256)
    found = find_walsh(rows * -3)
    assert found is not None and found.size == 256
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_array_equal(found.factors, np.full(256, -3))
    changed = rows.copy()
    changed[200, 100] *= -1
    assert find_walsh(changed) is None
    np.testing.assert_array_equal(rows @ rows.T, 256 * np.eye(256))
    build = Builder("wide")
    x = build.input((1, 256), s8(0.05, 3))
    weights = build.constant(rows * 127, Affine(True, 8, (0.001,), (0,)))
    graph = build.finish(build.node("Dense", [x, weights], DenseAttrs(), s8(0.05, -4)))
    for machine in ("m4", "m0", "rv32"):
        chosen = make_plan(graph, board(machine)).layers[0]
        assert chosen.kernel is KERNEL
        site = Site(graph.nodes[0], graph, board(machine).features)
        assert KERNEL.lower(site).constant_bytes < 11 * 256
