"""Kernels of circulant blocks: directly and by the factors of t^n - 1 every sum is the same integer."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Function, Kernel, Site
from boardfit.backends.mcu.kernels import circulant
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.plan import make_plan
from boardfit.backends.mcu.render import function_text
from boardfit.backends.mcu.weight_formats import forced_formats
from boardfit.interp import run
from boardfit.ir import Affine, Graph
from boardfit.ir.circulant import Circulant
from boardfit.ops.activation import Activation
from boardfit.ops.dense import DenseAttrs

from .builders import Builder, s8
from .host import random_inputs, run_on_host
from .test_stored_weights import board, plan_with
from .tools import STRICT_C, call, need

SAMPLES = 3
KINDS = [(block, skew) for block in (3, 4, 8, 16, 32) for skew in (False, True)]


def layer(structure: Circulant, seed: int, *, extreme: bool = False) -> Graph:
    """A dense layer with circulant blocks, cut off at both edges, of all int8 values or the largest alone."""
    random = np.random.default_rng(seed)
    build = Builder(f"{structure} {seed}", seed)
    block = structure.block
    outputs = int(random.integers(block, 3 * block + 1))
    inputs = int(random.integers(block, 5 * block + 1)) if seed % 2 else 4 * block
    down, across = structure.grid((outputs, inputs))
    low, high = -127, 128
    vectors = random.integers(low, high, (down, across, block))
    if extreme:
        vectors = random.choice([-127, 127], vectors.shape)
    scales = np.repeat(random.uniform(0.03, 0.1, down) / inputs**0.5, block)[:outputs]
    activation = Activation() if seed % 3 else Activation(-float(random.uniform(0, 4)), float(random.uniform(0, 6)))
    x = build.input((int(random.integers(1, 3)), inputs), s8(0.05, int(random.integers(-128, 128))))
    element = Affine(True, 8, tuple(map(float, scales)), (0,) * outputs, 0, narrow=True)
    weights = build.constant(structure.matrix(vectors, (outputs, inputs)), element)
    return build.finish(
        build.node("Dense", [x, weights, build.bias(outputs)], DenseAttrs(activation), s8(0.05, int(seed % 7)))
    )


def accepted(machine: str, seeds: range, kinds: list[tuple[int, bool]]) -> list[tuple[Kernel, Graph]]:
    """Every kernel with the layers it takes."""
    found: list[tuple[Kernel, Graph]] = []
    for block, skew in kinds:
        for seed in seeds:
            graph = layer(Circulant(block, skew), seed, extreme=seed % 4 == 0)
            site = Site(graph.nodes[0], graph, board(machine).features)
            taken = [kernel for kernel in circulant.KERNELS if kernel.reason_against(site) is None]
            assert taken, (block, skew, seed, machine)
            found += [(kernel, graph) for kernel in taken]
    return found


@pytest.mark.parametrize("machine", ["m4", "m0"])
def test_c_on_this_computer(machine: str) -> None:
    cases = accepted(machine, range(2), KINDS)
    plans = [plan_with(kernel, graph, machine) for kernel, graph in cases]
    inputs = [random_inputs(graph, SAMPLES, seed) for seed, (_, graph) in enumerate(cases)]
    flags = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for (kernel, graph), arrays, outputs in zip(cases, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(graph, {graph.inputs[0]: arrays[0]})[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=f"{kernel.name}: {graph.name}")


@pytest.mark.parametrize("machine", ["m4", "m0", "rv32"])
def test_no_function_has_a_warning(machine: str, tmp_path: Path) -> None:
    need(MACHINES[machine].compiler)
    functions: dict[str, Function] = {}
    for kernel, graph in accepted(machine, range(2), KINDS):
        site = Site(graph.nodes[0], graph, board(machine).features)
        functions.update((function.name, function) for function in kernel.lower(site).functions)
    headers = sorted({header for function in functions.values() for header in function.headers})
    texts = [f"#include <{header}>" for header in ("stdint.h", *headers)]
    texts.append("#define KERNEL static __attribute__((unused))")
    texts += [function_text(function).replace("naked", "naked, unused") for function in functions.values()]
    (tmp_path / "functions.c").write_text("\n".join(texts))
    call(tmp_path, MACHINES[machine].compiler, *MACHINES[machine].flags, *STRICT_C, "-O2", "-c", "functions.c")


@pytest.mark.parametrize("machine", ["m4", "m0", "rv32"])
def test_emulated(machine: str) -> None:
    target = MACHINES[machine]
    if shutil.which(target.compiler) is None or shutil.which(target.qemu) is None:
        pytest.skip(f"{target.compiler} or {target.qemu} is not installed")
    for seed, (kernel, graph) in enumerate(accepted(machine, range(1, 2), [(8, False), (16, False), (8, True)])):
        plan = plan_with(kernel, graph, machine)
        x = random_inputs(graph, SAMPLES, seed)[0]
        result = measure(model_program(plan, board(machine)), target, packed_inputs(graph, x))
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected, err_msg=kernel.name)


def test_circulant_blocks_are_seen_in_the_values_and_pay_in_time_and_bytes() -> None:
    random = np.random.default_rng(3)
    structure = Circulant(8)
    build = Builder("circulant")
    x = build.input((1, 128), s8(0.05, 3))
    raw = structure.matrix(random.integers(-127, 128, (8, 16, 8)), (64, 128))
    weights = build.constant(raw, Affine(True, 8, (0.01,), (0,)))
    graph = build.finish(build.node("Dense", [x, weights, build.bias(64)], DenseAttrs(), s8(0.5, -4)))
    chosen = make_plan(graph, board("m4")).layers[0]
    assert chosen.kernel.format == "circulant"
    dense = make_plan(graph, board("m4"), forced=forced_formats(graph, {"dense_1": "int8"})).layers[0]
    assert chosen.lowered.instructions < 0.75 * dense.lowered.instructions
    assert chosen.lowered.weight_bytes < 0.2 * dense.lowered.weight_bytes
