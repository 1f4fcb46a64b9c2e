"""Kernels that multiply weights as they are stored equal the interpreter: on this computer and on the emulators."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.backends.mcu.emulator import measure
from boardfit.backends.mcu.kernel import Function, Kernel, Site
from boardfit.backends.mcu.kernels import KERNELS
from boardfit.backends.mcu.kernels.stored_values import gaps, grid, refuse_grid
from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.measurement import model_program, packed_inputs, unpacked_outputs
from boardfit.backends.mcu.placement import Layer, place
from boardfit.backends.mcu.plan import Plan, make_plan
from boardfit.backends.mcu.render import function_text
from boardfit.backends.mcu.weight_formats import forced_formats
from boardfit.board import McuBoard, find_board
from boardfit.errors import ModelError
from boardfit.interp import run
from boardfit.ir import Affine, Graph
from boardfit.ops.activation import Activation
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs

from .builders import Builder, s8
from .host import random_inputs, run_on_host
from .tools import STRICT_C, call, need

BOARDS = {
    "m3": "stm32f103-blue-pill",
    "m4": "nucleo-l4r5zi",
    "m55": "corstone-300",
    "m0": "raspberry-pi-pico",
    "rv32": "esp32-c3",
}
ELSEWHERE = ("huffman", "arithmetic", "circulant", "walsh")
"""Formats with layers and tests of their own: random values never have their structure."""

STORED = [
    kernel
    for kernel in KERNELS
    if kernel.format not in ("int8", *ELSEWHERE)
    and kernel.op in ("Dense", "Conv2D")
    and not kernel.name.endswith("signs")
]
HOST_CASES, EMULATED_CASES = 6, 3
SAMPLES = 3


def board(machine: str) -> McuBoard:
    found = find_board(BOARDS[machine])
    assert isinstance(found, McuBoard)
    return found


def values(random: np.random.Generator, form: str, shape: tuple[int, ...]) -> np.ndarray:
    """Raw weights that suit a format, extremes among them."""
    bits = {"int4": 4, "int3": 3, "int2": 2, "binary": 1}.get(form)
    size = int(np.prod(shape))
    if bits:
        step = int(random.integers(1, 127 // ((1 << bits) - 1) + 1))
        low = int(random.integers(-127, 128 - step * ((1 << bits) - 1)))
        flat = low + step * random.integers(0, 1 << bits, size)
    elif form == "transferred":
        return copied_filters(random, shape)
    elif form == "ternary":
        flat = int(random.integers(1, 128)) * random.integers(-1, 2, size)
    elif form == "codebook":
        flat = random.choice(random.integers(-127, 128, int(random.integers(1, 17))), size)
    else:
        share = float(random.choice([0.0, 0.05, 0.2, 0.4]))
        small = form == "block" and random.random() < 0.5  # which 4 bits hold
        flat = random.integers(-8, 8, size) if small else random.integers(-127, 128, size)
        depth = size // shape[0]
        block = 4 if form == "block" else 1
        kept = random.random((shape[0], -(-depth // block))) < share
        flat = flat * np.repeat(kept, block, axis=1)[:, :depth].reshape(-1)
    return flat.reshape(shape)


def copied_filters(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Filters of which most are others negated, mirrored, turned or the same; sometimes of only two kinds."""
    outputs, height, width, _ = shape
    bases = random.integers(-127, 128, (int(random.integers(1, max(outputs // 2, 1) + 1)), *shape[1:]))
    plain = random.random() < 0.4
    found = []
    for output in range(outputs):
        base = bases[output % len(bases)] if output < len(bases) else bases[random.integers(len(bases))]
        turns = 0 if plain or output < len(bases) else int(random.integers(4))
        turned = np.rot90(base, turns if height == width else 2 * (turns // 2))
        if not plain and random.random() < 0.3:
            turned = turned[:, ::-1]
        found.append(turned * random.choice([-1, 1]))
    return np.stack(found)


def layer(kernel: Kernel, seed: int) -> Graph:
    """A layer that the kernel may or may not accept."""
    random = np.random.default_rng(seed)
    build = Builder(f"{kernel.name} {seed}", seed)

    def pick(low: int, high: int) -> int:
        return int(random.integers(low, high, endpoint=True))

    activation = Activation() if seed % 3 else Activation(-float(random.uniform(0, 4)), float(random.uniform(0, 6)))
    reach = (3000, 40_000_000)[seed % 2]
    scale = (0.05, 3000.0)[seed % 2]
    x_type, y_type = s8(0.05, pick(-128, 127)), s8(scale, pick(-128, 127))

    def weights(shape: tuple[int, ...]) -> str:
        raw = values(random, kernel.format, shape)
        depth = raw.size // shape[0]
        scales = tuple(float(s) for s in random.uniform(0.03, 0.1, shape[0]) / depth**0.5)
        return build.constant(raw, Affine(True, 8, scales, (0,) * shape[0], 0, narrow=True))

    if kernel.op == "Dense":
        inputs, outputs = pick(1, 90) if seed % 5 else pick(300, 700), pick(1, 21)
        x = build.input((pick(1, 3), inputs), x_type)
        operands = [x, weights((outputs, inputs)), build.bias(outputs, reach)]
        return build.finish(build.node("Dense", operands, DenseAttrs(activation), y_type))
    depthwise = "depthwise" in kernel.name
    kh, kw = (pick(1, 3), pick(1, 3)) if seed % 2 else (1, 1)
    kh, kw = (3, 3) if depthwise else (kh, kw)
    height, width = pick(kh, 9), pick(kw, 9)
    channels = 4 * pick(1, 9) if "rows" in kernel.name else pick(1, 40)
    strides = (pick(1, 2), pick(1, 2)) if seed % 3 == 0 else (1, 1)
    if depthwise:
        strides = (strides[0], strides[0])
    pads = (pick(0, kh // 2), pick(0, kw // 2), pick(0, kh // 2), pick(0, kw // 2))
    out = channels if depthwise else pick(1, 12)
    x = build.input((1, height, width, channels), x_type)
    w = weights((out, kh, kw, 1 if depthwise else channels))
    attrs = Conv2DAttrs(strides, pads, groups=channels if depthwise else 1, activation=activation)
    return build.finish(build.node("Conv2D", [x, w, build.bias(out, reach)], attrs, y_type))


def plan_with(kernel: Kernel, graph: Graph, machine: str) -> Plan:
    """The one node of a graph done by a kernel."""
    features = board(machine).features
    made = Layer(graph.nodes[0], kernel, kernel.lower(Site(graph.nodes[0], graph, features)))
    arena, places, scratch = place(graph, [made])
    return Plan(graph, features, (made,), arena, places, scratch)


def accepted(kernel: Kernel, machine: str, count: int) -> list[Graph]:
    """The first `count` random layers that the kernel takes."""
    found: list[Graph] = []
    for seed in range(40 * count):
        graph = layer(kernel, seed)
        if kernel.reason_against(Site(graph.nodes[0], graph, board(machine).features)) is None:
            found.append(graph)
        if len(found) == count:
            return found
    if not found and "_expanded" in kernel.name and "dsp" in board(machine).features:
        pytest.skip("cores with DSP instructions multiply these weights as they are packed")
    raise AssertionError(f"{kernel.name} takes only {len(found)} of {40 * count} random layers")


def machine_of(kernel: Kernel) -> str:
    """A core that has what the kernel needs."""
    return next(name for name in ("rv32", "m0", "m3", "m4", "m55") if kernel.needs <= board(name).features)


@pytest.mark.parametrize("form", sorted({kernel.format for kernel in STORED}))
def test_c_on_this_computer(form: str) -> None:
    kernels = [kernel for kernel in STORED if kernel.format == form]
    cases = [(k, graph) for k in kernels for graph in accepted(k, machine_of(k), HOST_CASES)]
    plans = [plan_with(kernel, graph, machine_of(kernel)) for kernel, graph in cases]
    inputs = [random_inputs(graph, SAMPLES, seed) for seed, (_, graph) in enumerate(cases)]
    flags = ("-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for (kernel, graph), arrays, outputs in zip(cases, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(graph, {graph.inputs[0]: arrays[0]})[graph.outputs[0]]
        np.testing.assert_array_equal(outputs[0], expected, err_msg=f"{kernel.name}: {graph.name}")


@pytest.mark.parametrize("machine", BOARDS)
def test_no_function_has_a_warning(machine: str, tmp_path: Path) -> None:
    """All functions of all kernels on stored weights, for the core and its compiler."""
    need(MACHINES[machine].compiler)
    functions: dict[str, Function] = {}
    for kernel in STORED:
        if kernel.needs <= board(machine).features:
            for graph in (layer(kernel, seed) for seed in range(12)):
                site = Site(graph.nodes[0], graph, board(machine).features)
                if kernel.reason_against(site) is None:
                    functions.update((function.name, function) for function in kernel.lower(site).functions)
    headers = sorted({header for function in functions.values() for header in function.headers})
    texts = [f"#include <{header}>" for header in ("stdint.h", *headers)]
    texts.append("#define KERNEL static __attribute__((unused))")
    texts += [function_text(function).replace("naked", "naked, unused") for function in functions.values()]
    (tmp_path / "functions.c").write_text("\n".join(texts))
    call(tmp_path, MACHINES[machine].compiler, *MACHINES[machine].flags, *STRICT_C, "-O2", "-c", "functions.c")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(0, 3000), unique=True, max_size=40), st.sampled_from([31, 254, 255]))
def test_distances_lead_to_every_place(places: list[int], most: int) -> None:
    distances, real = gaps(np.array(sorted(places), np.int64), most)
    assert distances.max(initial=0) <= most
    ends = np.cumsum(distances + 1) - 1
    assert ends[real].tolist() == sorted(places)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.integers(-128, 127), min_size=1, max_size=30))
def test_a_grid_has_every_weight_and_no_bit_too_many(weights: list[int]) -> None:
    found = grid(np.array([weights]))
    numbers = found.numbers(np.array([weights]))
    assert (found.low + found.step * numbers == np.array([weights])).all()
    assert numbers.min() >= 0 and numbers.max() < 1 << found.bits
    assert found.bits == 1 or numbers.max() >= 1 << (found.bits - 1)
    assert refuse_grid(np.array([weights]), found.bits) is None


def test_the_format_that_pays_is_chosen_and_another_can_be_forced() -> None:
    random = np.random.default_rng(5)
    kept = np.repeat(random.random((64, 16)) < 0.3, 4, axis=1)
    build = Builder("blocks")
    x = build.input((1, 5, 5, 64), s8(0.05, 3))
    raw = (random.integers(-127, 128, (64, 64)) * kept).reshape(64, 1, 1, 64)
    weights = build.constant(raw, Affine(True, 8, (0.01,), (0,)))
    y = build.node("Conv2D", [x, weights, build.bias(64)], Conv2DAttrs(), s8(0.5, -4))
    graph = build.finish(y)
    chosen = make_plan(graph, board("m4")).layers[0]
    assert chosen.kernel.format == "block"
    dense = make_plan(graph, board("m4"), forced=forced_formats(graph, {"conv2d_1": "int8"})).layers[0]
    assert dense.kernel.format == "int8"
    assert chosen.lowered.instructions < dense.lowered.instructions
    assert chosen.lowered.constant_bytes < dense.lowered.constant_bytes
    with pytest.raises(ModelError, match=r"cannot be stored as int4: .*its weights need 8 bits, not 4"):
        make_plan(graph, board("m4"), forced=forced_formats(graph, {"conv2d_1": "int4"}))


@pytest.mark.slow
@pytest.mark.parametrize("machine", BOARDS)
@pytest.mark.parametrize("kernel", STORED, ids=lambda kernel: kernel.name)
def test_emulated(kernel: Kernel, machine: str) -> None:
    target = MACHINES[machine]
    if shutil.which(target.compiler) is None or shutil.which(target.qemu) is None:
        pytest.skip(f"{target.compiler} or {target.qemu} is not installed")
    if kernel.needs - board(machine).features or (machine in ("m4", "m55") and kernel.name.count("stored")):
        pytest.skip("not for this core")
    for seed, graph in enumerate(accepted(kernel, machine, HOST_CASES)[:: HOST_CASES // EMULATED_CASES]):
        plan = plan_with(kernel, graph, machine)
        x = random_inputs(graph, SAMPLES, seed)[0]
        result = measure(model_program(plan, board(machine)), target, packed_inputs(graph, x))
        expected = run(graph, {graph.inputs[0]: x})[graph.outputs[0]]
        np.testing.assert_array_equal(unpacked_outputs(graph, result.outputs), expected, err_msg=graph.name)
