"""Generated C on this computer: many small graphs in one program, to compare with the interpreter."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.mcu.emit import core_files
from boardfit.backends.mcu.plan import Plan
from boardfit.backends.mcu.storage import storage_of
from boardfit.board import McuBoard, find_board
from boardfit.ir import Affine, Graph

WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")


def m4() -> McuBoard:
    """The reference board."""
    board = find_board("nucleo-l4r5zi")
    assert isinstance(board, McuBoard)
    return board


def random_inputs(graph: Graph, samples: int, seed: int) -> list[np.ndarray]:
    """Random raw integers for every input, both ends of the range included."""
    generator = np.random.default_rng(seed)
    found = []
    for name in graph.inputs:
        element = graph.types[name].element
        shape = (samples, *graph.types[name].shape)
        if isinstance(element, Affine):
            values = generator.integers(element.minimum, element.maximum + 1, shape)
            values.reshape(-1)[:1], values.reshape(-1)[-1:] = element.minimum, element.maximum
        else:
            values = generator.normal(0.0, 2.0, shape).astype(np.float32)
        found.append(values)
    return found


def run_on_host(
    plans: Sequence[Plan],
    inputs: Sequence[Sequence[np.ndarray]],
    flags: Sequence[str] = ("-O1",),
    compiler: str = "gcc",
) -> list[list[np.ndarray]]:
    """Outputs of every plan on its inputs, each (S, *shape) int64."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        main = ["#include <stdio.h>", "#include <stdlib.h>"]
        body: list[str] = []
        for index, (plan, arrays) in enumerate(zip(plans, inputs, strict=True)):
            prefix = f"m{index}"
            for file, text in core_files(plan, m4(), prefix, single_header=False).items():
                (folder / file).write_text(text)
            main.append(f'#include "{prefix}.h"')
            body += _driver(plan.graph, prefix, len(arrays[0]), text_of=(folder / f"{prefix}.h").read_text())
        main += ["int main(void) {", '    FILE *in = fopen("in.bin", "rb"), *out = fopen("out.bin", "wb");']
        main += ["    if (!in || !out) return 1;", *body, "    fclose(out);", "    return 0;", "}"]
        (folder / "main.c").write_text("\n".join(main) + "\n")
        (folder / "in.bin").write_bytes(b"".join(_input_bytes(p.graph, a) for p, a in zip(plans, inputs, strict=True)))
        sources = sorted(path.name for path in folder.glob("*.c") if path.name != "main.c")
        _call([compiler, "-std=c99", *WARNINGS, *flags, "-c", *sources], folder)
        objects = [source[:-2] + ".o" for source in sources]
        _call([compiler, "-std=c99", *flags, "main.c", *objects, "-o", "program"], folder)
        _call(["./program"], folder)
        return _outputs([plan.graph for plan in plans], [len(a[0]) for a in inputs], (folder / "out.bin").read_bytes())


def _functions(header: str, role: str) -> list[str]:
    """Accessor functions in the order of the header."""
    lines = header.splitlines()
    marks = [i for i, line in enumerate(lines) if line.startswith(f"/* {role} '") and line.endswith("'. */")]
    return [lines[i + 1].split("(")[0].split("*")[-1].strip() for i in marks]


def _driver(graph: Graph, prefix: str, samples: int, text_of: str) -> list[str]:
    lines = ["    {", f"        {prefix}_context c;", f"        uint8_t *arena = malloc({prefix.upper()}_ARENA_BYTES);"]
    lines += [f"        {prefix}_init(&c, arena);", f"        for (int s = 0; s < {samples}; s++) {{"]
    for name, function in zip(graph.inputs, _functions(text_of, "Input"), strict=True):
        storage = storage_of(graph.types[name].element)
        lines.append(
            f"            if (fread({function}(&c), {storage.bytes}, {graph.types[name].elements}, in) == 0) return 2;"
        )
    lines.append(f"            {prefix}_run(&c);")
    for name, function in zip(graph.outputs, _functions(text_of, "Output"), strict=True):
        storage = storage_of(graph.types[name].element)
        lines.append(f"            fwrite({function}(&c), {storage.bytes}, {graph.types[name].elements}, out);")
    return [*lines, "        }", "        free(arena);", "    }"]


def _input_bytes(graph: Graph, arrays: Sequence[np.ndarray]) -> bytes:
    parts = []
    for sample in range(len(arrays[0])):
        for name, array in zip(graph.inputs, arrays, strict=True):
            parts.append(array[sample].astype(storage_of(graph.types[name].element).dtype).tobytes())
    return b"".join(parts)


def _outputs(graphs: Sequence[Graph], samples: Sequence[int], raw: bytes) -> list[list[np.ndarray]]:
    found: list[list[np.ndarray]] = []
    at = 0
    for graph, count in zip(graphs, samples, strict=True):
        rows: list[list[np.ndarray]] = [[] for _ in graph.outputs]
        for _ in range(count):
            for index, name in enumerate(graph.outputs):
                tensor_type = graph.types[name]
                storage = storage_of(tensor_type.element)
                size = tensor_type.elements * storage.bytes
                rows[index].append(np.frombuffer(raw[at : at + size], storage.dtype).reshape(tensor_type.shape))
                at += size
        found.append([np.stack(row) for row in rows])
    assert at == len(raw)
    return found


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)[:300]} failed:\n{done.stdout}{done.stderr}"[:4000])
