"""The generated text itself: golden files, every compiler's warnings, sanitizers, names from the model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.mcu.emit import core_files
from boardfit.backends.mcu.plan import make_plan
from boardfit.interp import run
from boardfit.ir import INT32, Graph
from boardfit.ops.add import AddAttrs
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.options import Optimize

from .builders import Builder, s8, u8
from .host import WARNINGS, m4, random_inputs, run_on_host
from .test_project import small_network
from .test_random_graphs import LAYERS, Recipe, make_graph

GOLDEN = Path(__file__).parents[1] / "golden" / "mcu"
COMPILERS = (
    ("gcc",),
    ("clang",),
    ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m4"),
    ("arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m0plus"),
)


@pytest.mark.parametrize("single_header", [False, True])
def test_golden_files(single_header: bool) -> None:
    board = replace(m4(), features=frozenset[str]())  # portable kernels, which change seldom
    files = core_files(make_plan(small_network(), board), board, "model", single_header=single_header)
    folder = GOLDEN / ("single_header" if single_header else "files")
    if os.environ.get("BOARDFIT_UPDATE_GOLDEN"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    assert {path.name for path in folder.iterdir()} == set(files)
    for name, text in files.items():
        assert text == (folder / name).read_text(), name


def many_layers() -> list[Graph]:
    return [make_graph(Recipe(seed, LAYERS[seed:] + LAYERS[:seed], Optimize.SPEED, True)) for seed in (0, 8)]


@pytest.mark.parametrize("compiler", COMPILERS, ids=lambda command: command[-1].removeprefix("-mcpu="))
@pytest.mark.parametrize("single_header", [False, True])
def test_no_compiler_warns(tmp_path: Path, compiler: tuple[str, ...], single_header: bool) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"{compiler[0]} is not installed")
    for index, graph in enumerate([small_network(), *many_layers()]):
        prefix = f"m{index}"
        files = core_files(make_plan(graph, m4()), m4(), prefix, single_header=single_header)
        if single_header:
            files[f"{prefix}.c"] = f'#define M{index}_IMPLEMENTATION\n#include "{prefix}.h"\n'
        for name, text in files.items():
            (tmp_path / name).write_text(text)
    sources = sorted(path.name for path in tmp_path.glob("*.c"))
    command = [*compiler, "-std=c99", "-O2", *WARNINGS, "-c", *sources]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]


@pytest.mark.slow
def test_sanitizers_find_nothing() -> None:
    graphs = [small_network(), *many_layers()]
    plans = [make_plan(graph, m4()) for graph in graphs]
    inputs = [random_inputs(plan.graph, 2, seed) for seed, plan in enumerate(plans)]
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    for plan, arrays, outputs in zip(plans, inputs, run_on_host(plans, inputs, flags), strict=True):
        expected = run(plan.graph, dict(zip(plan.graph.inputs, arrays, strict=True)))
        for name, output in zip(plan.graph.outputs, outputs, strict=True):
            np.testing.assert_array_equal(output, expected[name])


def test_names_of_the_model_do_not_reach_the_code() -> None:
    build = Builder('evil */ int x; /* "name" \\\n#define return')
    x = build.input((1, 4), s8(), name='in */ "put"\n')
    y = build.node("Softmax", [x], SoftmaxAttrs(1), s8(1 / 256, -128))
    z = build.node("Add", [x, x], AddAttrs(), s8(0.1))
    graph = build.finish(y, z)
    text = "".join(core_files(make_plan(graph, m4()), m4(), "model", single_header=False).values())
    without_comments = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert "evil" not in without_comments
    assert "define return" not in without_comments
    assert '"put' not in without_comments
    outputs = run_on_host([make_plan(graph, m4())], [random_inputs(graph, 2, 0)])[0]
    assert len(outputs) == 2


def test_several_inputs_and_outputs_have_names() -> None:
    build = Builder("ports")
    left = build.input((1, 3, 3, 2), s8(), name="left-eye")
    right = build.input((1, 3, 3, 2), u8(), name="right-eye")
    total = build.node("Add", [left, right], AddAttrs(), s8(0.1))
    scores = build.node("Conv2D", [total, build.weights((4, 3, 3, 2))], Conv2DAttrs(), s8(0.1))
    graph = build.finish(scores, build.node("ArgMax", [scores], ArgMaxAttrs(3), INT32))
    header = core_files(make_plan(graph, m4()), m4(), "model", single_header=False)["model.h"]
    assert "int8_t *model_input_left_eye(" in header
    assert "uint8_t *model_input_right_eye(" in header
    assert header.count("_quantize(float value)") == 2
    assert header.count("_dequantize(") == 1  # an index means itself
