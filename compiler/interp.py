"""The interpreter: the semantics of record.

Float graphs are compared with onnxruntime; integer graphs define what every backend must equal, byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from .errors import InternalError
from .ir.graph import Graph
from .ops import OPS
from .ops.spec import Invocation

CHUNK = 64
"""Most samples evaluated at once."""

CHUNK_ELEMENTS = 1 << 25
"""Numbers held for them: fewer samples are taken where tensors, windows or what is kept are large."""


def run(graph: Graph, inputs: Mapping[str, np.ndarray], *, chunk: int = CHUNK) -> dict[str, np.ndarray]:
    """Evaluate a graph on S samples.

    Args:
        graph: float or integer graph.
        inputs: tensor name -> array of shape (S, *type.shape): real values for Float32 inputs, raw
            integers for Affine and FixedPoint inputs.
        chunk: samples evaluated at once.

    Returns:
        Output tensor name -> array of shape (S, *type.shape), float32 or int64 raw integers.

    Raises:
        InternalError: an input is missing or has the wrong shape.
    """
    parts = list(run_chunks(graph, inputs, keep=graph.outputs, chunk=chunk))
    return {name: np.concatenate([part[name] for part in parts]) for name in graph.outputs}


def run_chunks(
    graph: Graph, inputs: Mapping[str, np.ndarray], *, keep: tuple[str, ...] | None = None, chunk: int = CHUNK
) -> Iterator[dict[str, np.ndarray]]:
    """Evaluate chunk by chunk, yielding the tensors named in `keep` (all of them if None).

    Results do not depend on the size of a chunk, which is at most `chunk` and smaller where memory asks for it.
    """
    samples = _samples(graph, inputs)
    chunk = max(1, min(chunk, CHUNK_ELEMENTS // _elements_per_sample(graph, keep)))
    for start in range(0, samples, chunk):
        part = {name: inputs[name][start : start + chunk] for name in graph.inputs}
        values = _run_once(graph, part, keep)
        yield values


def _elements_per_sample(graph: Graph, keep: tuple[str, ...] | None) -> int:
    """The largest working set of a node (with windows: a row of inputs for each output pixel), and what is kept."""
    largest = 1
    for node in graph.nodes:
        y = graph.types[node.outputs[0]]
        rows = OPS[node.op].macs(node, graph) // max(y.shape[-1] if y.shape else 1, 1)
        held = sum(
            graph.types[name].elements for name in (*node.inputs, *node.outputs) if name not in graph.constants and name
        )
        largest = max(largest, rows + held)
    return largest + sum(graph.types[name].elements for name in (graph.types if keep is None else keep))


def _samples(graph: Graph, inputs: Mapping[str, np.ndarray]) -> int:
    counts: set[int] = set()
    for name in graph.inputs:
        if name not in inputs:
            raise InternalError(f"no value for input '{name}'")
        if inputs[name].shape[1:] != graph.types[name].shape:
            raise InternalError(f"input '{name}' has shape {inputs[name].shape[1:]}, not {graph.types[name].shape}")
        counts.add(inputs[name].shape[0])
    if len(counts) != 1:
        raise InternalError(f"inputs have different numbers of samples: {sorted(counts)}")
    return counts.pop()


def _run_once(graph: Graph, inputs: Mapping[str, np.ndarray], keep: tuple[str, ...] | None) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    samples = 1
    for name in graph.inputs:
        dtype = np.float32 if graph.types[name].is_float else np.int64
        values[name] = np.asarray(inputs[name], dtype)
        samples = len(values[name])
    for name, constant in graph.constants.items():
        dtype = np.float32 if graph.types[name].is_float else np.int64
        values[name] = constant.values.astype(dtype)[None]
    last_use: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in node.inputs:
            last_use[name] = index
    for index, node in enumerate(graph.nodes):
        spec = OPS[node.op]
        input_types = graph.input_types(node)
        output_types = graph.output_types(node)
        arrays = tuple(values[name] if name else None for name in node.inputs)
        invocation = Invocation(node, arrays, input_types, output_types)
        results = spec.runner(node, output_types, input_types)(invocation)
        for name, tensor_type, result in zip(node.outputs, output_types, results, strict=True):
            if result.shape[1:] != tensor_type.shape:
                raise InternalError(f"{node.op} '{node.name}' made {result.shape[1:]}, not {tensor_type.shape}")
            values[name] = result
        if keep is not None:
            for name in {*node.inputs, *node.outputs}:
                if name and last_use.get(name, -1) <= index and name not in keep:
                    values.pop(name, None)
    wanted = keep if keep is not None else tuple(values)
    return {name: np.broadcast_to(values[name], (samples, *values[name].shape[1:])) for name in wanted}
