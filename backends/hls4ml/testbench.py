"""The test bench and its vectors: raw integers as text, so that g++ and the vendor's tool read the same files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .project import Port, Project
from .render import render

INPUTS = "tb_data/inputs.txt"
EXPECTED = "tb_data/expected.txt"


def testbench(project: Project, *, stream: bool) -> str:
    """C++ source of the self-checking test bench."""
    ports = (*project.inputs, *project.outputs)
    return render(
        "testbench.cpp.j2",
        project=project.name,
        stream=stream,
        inputs=[_describe(port) for port in project.inputs],
        outputs=[_describe(port) for port in project.outputs],
        arguments=", ".join(port.name for port in ports),
    )


def _describe(port: Port) -> dict[str, Any]:
    element = port.element
    return {
        "name": port.name,
        "count": port.count,
        "type": str(element),
        "cpp_type": port.cpp_type,
        "width": element.width,
        "integer": f"{'ap_int' if element.signed else 'ap_uint'}<{element.width}>",
        "convert": "bits.to_int64()" if element.signed else "bits.to_uint64()",
    }


def vectors(arrays: Sequence[np.ndarray]) -> bytes:
    """Samples as text: one line each, the values of all arrays (S, *shape) one after the other."""
    if not arrays:
        return b""
    rows = np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)
    return "".join(" ".join(map(str, row)) + " \n" for row in rows.tolist()).encode()


def read_vectors(text: str, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The arrays (S, *shape), int64, that `vectors` wrote."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    rows = np.array([[int(value) for value in line.split()] for line in text.splitlines()], np.int64)
    rows = rows.reshape(-1, sum(sizes))
    parts = np.split(rows, np.cumsum(sizes)[:-1], axis=1)
    return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def reference_files(inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray]) -> Mapping[str, bytes]:
    """The test bench's data files for raw inputs and the outputs the interpreter expects."""
    return {INPUTS: vectors(inputs), EXPECTED: vectors(outputs)}
