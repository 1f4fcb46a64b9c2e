"""Generated sources compile without a warning everywhere, run clean under the sanitizers, and hold no state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.mcu.machines import MACHINES
from boardfit.backends.mcu.plan import make_plan
from boardfit.interp import run
from boardfit.options import Optimize

from .host import random_inputs, run_on_host
from .tools import STRICT_C, call, mcu, need, network, write_sources

BOARDS = {
    "m0": "raspberry-pi-pico",
    "m3": "stm32f103-blue-pill",
    "m4": "nucleo-l4r5zi",
    "m55": "corstone-300",
    "rv32": "esp32-c3",
}
"""Machine -> board, one for each set of kernels."""

BIG = ("ad01", "ic01", "kws01", "vww01")
MODELS = ["digits", *(pytest.param(model, marks=pytest.mark.slow) for model in BIG)]
SANITIZE = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.parametrize("machine", BOARDS)
@pytest.mark.parametrize("model", MODELS)
def test_no_warnings_for_the_core(model: str, machine: str, tmp_path: Path) -> None:
    compiler = MACHINES[machine].compiler
    need(compiler)
    sources = write_sources(network(model), mcu(BOARDS[machine]), tmp_path)
    call(tmp_path, compiler, *MACHINES[machine].flags, *STRICT_C, "-O2", "-c", *sources)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("machine", ["m4", "m55", "rv32"])
@pytest.mark.parametrize("model", MODELS)
def test_no_warnings_on_this_computer(model: str, machine: str, compiler: str, tmp_path: Path) -> None:
    need(compiler)
    sources = write_sources(network(model), mcu(BOARDS[machine]), tmp_path)
    call(tmp_path, compiler, *STRICT_C, "-O2", "-c", *sources)


@pytest.mark.parametrize("optimize", Optimize)
@pytest.mark.parametrize("model", MODELS)
def test_sanitizers_find_nothing(model: str, optimize: Optimize) -> None:
    """The arena is exactly as large as told, on the heap: reading or writing one byte beside it would be found."""
    need("gcc")
    graph = network(model)
    inputs = random_inputs(graph, 2, 5)
    found = run_on_host([make_plan(graph, mcu("nucleo-l4r5zi"), optimize)], [inputs], SANITIZE)[0]
    expected = run(graph, dict(zip(graph.inputs, inputs, strict=True)))
    for name, output in zip(graph.outputs, found, strict=True):
        np.testing.assert_array_equal(output, expected[name])


@pytest.mark.parametrize("machine", ["m4", "rv32"])
@pytest.mark.parametrize("model", MODELS)
def test_cppcheck_finds_nothing(model: str, machine: str, tmp_path: Path) -> None:
    need("cppcheck")
    sources = write_sources(network(model), mcu(BOARDS[machine]), tmp_path)
    if model != "digits":
        sources.remove("model_weights.c")  # the same arrays of numbers, only longer: minutes of reading
    checks = "--enable=warning,performance,portability"
    call(tmp_path, "cppcheck", checks, "--error-exitcode=1", "--quiet", "--std=c99", *sources)


@pytest.mark.parametrize("machine", BOARDS)
def test_no_variables(machine: str, tmp_path: Path) -> None:
    """Nothing in .data or .bss, except the arena when the user asks for one."""
    compiler = MACHINES[machine].compiler
    names = compiler.replace("gcc", "nm")
    need(compiler, names)
    sources = write_sources(network("digits"), mcu(BOARDS[machine]), tmp_path)
    for define, expected in (("-DNOTHING", []), ("-DMODEL_STATIC_ARENA", ["static_arena"])):
        call(tmp_path, compiler, *MACHINES[machine].flags, "-std=c99", "-O2", define, "-c", *sources)
        listing = call(tmp_path, names, *(source[:-2] + ".o" for source in sources))
        symbols = [line.split()[-2:] for line in listing.splitlines() if len(line.split()) >= 2]
        assert [name for kind, name in symbols if kind in "bBdDcCsSgG"] == expected


THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "model.h"

enum { SAMPLES = 8, ROUNDS = 50 };
static int8_t inputs[SAMPLES][MODEL_INPUT_ELEMENTS];
static int8_t expected[SAMPLES][MODEL_OUTPUT_ELEMENTS];
static uint8_t arenas[2][MODEL_ARENA_BYTES] MODEL_ALIGNED;

static int differs(const model_context *context, int sample)
{
    return memcmp(model_output(context), expected[sample], MODEL_OUTPUT_ELEMENTS) != 0;
}

static void *many(void *argument)
{
    model_context context;
    size_t wrong = 0;
    model_init(&context, argument);
    for (int i = 0; i < ROUNDS * SAMPLES; i++) {
        /* the two threads go through the samples in opposite directions */
        const int sample = argument == (void *)arenas[0] ? i % SAMPLES : SAMPLES - 1 - i % SAMPLES;
        memcpy(model_input(&context), inputs[sample], MODEL_INPUT_ELEMENTS);
        model_run(&context);
        wrong += (size_t)differs(&context, sample);
    }
    return (void *)wrong;
}

int main(void)
{
    pthread_t threads[2];
    model_context one, two;
    void *wrong[2];
    FILE *file = fopen("vectors.bin", "rb");
    if (file == NULL || fread(inputs, sizeof inputs, 1, file) != 1 || fread(expected, sizeof expected, 1, file) != 1) {
        return 1;
    }
    /* interleaved: both inputs are written before either runs, both run before either output is read */
    model_init(&one, arenas[0]);
    model_init(&two, arenas[1]);
    for (int s = 0; s + 1 < SAMPLES; s++) {
        memcpy(model_input(&one), inputs[s], MODEL_INPUT_ELEMENTS);
        memcpy(model_input(&two), inputs[s + 1], MODEL_INPUT_ELEMENTS);
        model_run(&one);
        model_run(&two);
        if (differs(&one, s) || differs(&two, s + 1)) {
            return 2;
        }
    }
    for (int t = 0; t < 2; t++) {
        if (pthread_create(&threads[t], NULL, many, arenas[t]) != 0) {
            return 3;
        }
    }
    for (int t = 0; t < 2; t++) {
        pthread_join(threads[t], &wrong[t]);
    }
    return wrong[0] != NULL || wrong[1] != NULL ? 4 : 0;
}
"""


def test_two_contexts_at_the_same_time(tmp_path: Path) -> None:
    need("gcc")
    graph = network("digits")
    sources = write_sources(graph, mcu("nucleo-l4r5zi"), tmp_path)
    inputs = random_inputs(graph, 8, 9)
    outputs = run(graph, {graph.inputs[0]: inputs[0]})[graph.outputs[0]]
    (tmp_path / "vectors.bin").write_bytes(inputs[0].astype(np.int8).tobytes() + outputs.astype(np.int8).tobytes())
    (tmp_path / "main.c").write_text(THREADS)
    call(tmp_path, "gcc", "-O1", "-g", "-fsanitize=thread", "-pthread", *sources, "main.c", "-o", "program")
    call(tmp_path, "./program")
