"""Differential testing: one ONNX model, run by onnxruntime and by boardfit's float interpreter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from boardfit.export import export_model
from boardfit.frontend import import_model
from boardfit.interp import run
from boardfit.ir.graph import Graph
from boardfit.ir.types import Affine
from boardfit.pipeline import canonical_passes, run_passes

SAMPLES = 8
NEWEST = 23
"""Newest opset the tests write: what onnxruntime reads."""

Array = np.ndarray
Value = np.ndarray | np.generic
"""A constant: an array or a numpy number."""


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: Mapping[str, Value] | None = None,
    *,
    opset: int = 13,
    domains: Mapping[str, int] | None = None,
    kinds: Mapping[str, int] | None = None,
    list_initializers: bool = False,
) -> onnx.ModelProto:
    """A model of the given nodes.

    Args:
        inputs: input name -> shape.
        outputs: output names; their types are left to shape inference.
        constants: initializers.
        opset: version of the standard domain.
        domains: further domains and their versions.
        kinds: element type of inputs and outputs that are not float.
        list_initializers: list the initializers as graph inputs too, as old exporters do.
    """
    constants, kinds = constants or {}, kinds or {}
    initializers = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]

    def declared(name: str, shape: Sequence[int | str] | None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shape)

    declarations = [declared(name, list(shape)) for name, shape in inputs.items()]
    if list_initializers:
        declarations += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in initializers]
    graph = helper.make_graph(
        list(nodes), "test", declarations, [declared(name, None) for name in outputs], initializers
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(domain, version) for domain, version in (domains or {}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=10 if opset > 8 else 3)


def single(
    op: str,
    shapes: Sequence[Sequence[int]],
    *,
    constants: Sequence[Value | None] = (),
    outputs: int = 1,
    opset: int = 13,
    domain: str = "",
    kinds: Mapping[str, int] | None = None,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node: inputs x0, x1, ... of the given shapes, then constants (None: an absent input)."""
    names = [f"x{i}" for i in range(len(shapes))]
    values = {f"c{i}": value for i, value in enumerate(constants) if value is not None}
    made = [f"y{i}" for i in range(outputs)]
    operands = names + [f"c{i}" if value is not None else "" for i, value in enumerate(constants)]
    node = helper.make_node(op, operands, made, name="node", domain=domain, **attributes)
    domains = {domain: 1} if domain else None
    inputs = dict(zip(names, shapes, strict=True))
    return build([node], inputs, made, values, opset=opset, domains=domains, kinds=kinds)


def samples(
    model: onnx.ModelProto, seed: int = 0, count: int = SAMPLES, between: tuple[float, float] | None = None
) -> list[dict[str, Array]]:
    """Random inputs, one dictionary for each inference; unknown dimensions are 1.

    Real values are normal with a deviation of 2, or uniform in `between`.
    """
    rng = np.random.default_rng(seed)
    weights = {tensor.name for tensor in model.graph.initializer}
    found: list[dict[str, Array]] = []
    for _ in range(count):
        feeds: dict[str, Array] = {}
        for value in model.graph.input:
            if value.name in weights:
                continue
            tensor = value.type.tensor_type
            shape = [d.dim_value or 1 for d in tensor.shape.dim]
            dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
            if dtype.kind in "iu":
                limits = np.iinfo(dtype)
                values: Array = rng.integers(max(limits.min, -128), min(limits.max, 255), shape, endpoint=True)
            else:
                values = rng.normal(0.0, 2.0, shape) if between is None else rng.uniform(*between, shape)
            feeds[value.name] = values.astype(dtype)
        found.append(feeds)
    return found


def run_onnxruntime(model: onnx.ModelProto, feeds: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
    """Outputs of onnxruntime, in the model's order, for each inference; graph optimisations off."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [[np.asarray(values) for values in session.run(None, dict(feed))] for feed in feeds]


def run_boardfit(graph: Graph, feeds: Sequence[Mapping[str, Array]]) -> list[Array]:
    """Outputs of the float interpreter, in the model's order, samples stacked; integers as raw values."""
    stacked = {name: np.stack([feed[name] for feed in feeds]) for name in graph.inputs}
    results = run(graph, stacked)
    return [results[name] for name in graph.outputs]


def relative_error(ours: Array, theirs: Array) -> float:
    """Largest absolute difference over the range of the reference (1 if that range is smaller than 1e-3)."""
    theirs = theirs.astype(np.float64)
    span = float(theirs.max() - theirs.min()) if theirs.size else 0.0
    difference = np.abs(ours.astype(np.float64) - theirs)
    return float(difference.max(initial=0.0)) / (span if span > 1e-3 else 1.0)


def compare(
    model: onnx.ModelProto,
    *,
    reference: onnx.ModelProto | None = None,
    tolerance: float = 2e-6,
    seed: int = 0,
    count: int = SAMPLES,
    between: tuple[float, float] | None = None,
) -> Graph:
    """Import a model, compare it with onnxruntime on random inputs, and return the graph.

    Integer outputs may differ by one, on at most 1 % of the values: onnxruntime's integer kernels multiply by
    binary32 scales, so that a value near a tie can fall to the other side.

    Args:
        reference: what onnxruntime runs, if it cannot run the model itself.
        tolerance: largest error relative to the range of an output.
    """
    graph = import_model(model, "test.onnx", "test")
    feeds = samples(model, seed, count, between)
    expected = run_onnxruntime(reference or model, feeds)
    actual = run_boardfit(graph, feeds)
    assert len(actual) == len(expected[0])
    for index, (name, ours) in enumerate(zip(graph.outputs, actual, strict=True)):
        theirs = np.stack([outputs[index] for outputs in expected])
        assert ours.shape == theirs.shape, f"output {index}: shape {ours.shape}, onnxruntime says {theirs.shape}"
        element = graph.types[name].element
        if isinstance(element, Affine):
            theirs = theirs.astype(np.int64)
            assert np.abs(ours - theirs).max() <= 1
            assert (ours == theirs).mean() > 0.99
            assert np.ptp(theirs) > 0, "the reference is constant: the test shows nothing"
            continue
        assert np.isfinite(theirs).all(), "the reference is not finite: the test shows nothing"
        assert theirs.size == 1 or np.ptp(theirs) > 0, "the reference is constant: the test shows nothing"
        error = relative_error(ours, theirs)
        assert error <= tolerance, f"output {index}: relative error {error:.2e}"
    check_export(graph, feeds, actual, tolerance)
    return graph


def check_export(
    graph: Graph, feeds: Sequence[Mapping[str, Array]], expected: Sequence[Array], tolerance: float
) -> None:
    """Write the graph as ONNX, raw and in canonical form, and let onnxruntime run that file.

    Its outputs must be those of the interpreter, integers up to one on 1 % of the values as in `compare`.
    """
    for form in (graph, run_passes(graph, canonical_passes(fuse=True)).graph):
        exported = export_model(form)
        kinds = {i.name: helper.tensor_dtype_to_np_dtype(i.type.tensor_type.elem_type) for i in exported.graph.input}
        given = [{name: feed[name].astype(kind) for name, kind in kinds.items()} for feed in feeds]
        results = run_onnxruntime(exported, given)
        for index, ours in enumerate(expected):
            theirs = np.stack([outputs[index] for outputs in results])
            assert ours.shape == theirs.shape
            if ours.dtype.kind in "iu":
                assert np.abs(ours - theirs.astype(np.int64)).max() <= 1
                assert (ours == theirs).mean() > 0.99
            else:
                error = relative_error(ours, theirs)
                assert error <= tolerance, f"exported, output {index}: relative error {error:.2e}"


@dataclass(frozen=True)
class Case:
    """One comparison with onnxruntime."""

    name: str
    model: onnx.ModelProto
    tolerance: float = 2e-6
    between: tuple[float, float] | None = None
    reference: onnx.ModelProto | None = None

    def __str__(self) -> str:
        return self.name

    def check(self) -> Graph:
        """Compare, and return the graph."""
        return compare(self.model, reference=self.reference, tolerance=self.tolerance, between=self.between)
