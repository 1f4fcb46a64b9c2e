"""The verifier: run after every pass, it finds the pass that broke the graph."""

from __future__ import annotations

from ..errors import InternalError
from .graph import Graph
from .types import Affine, FixedPoint, Float32


def verify_graph(graph: Graph) -> None:
    """Check the invariants every graph keeps.

    Names are unique, every read tensor exists and was made before, every type is known and equals what
    the op infers from its inputs, constants have the shape and range of their types, attributes are of
    the op's own class.

    Raises:
        InternalError: an invariant is broken (a bug in the pass that made the graph).
    """
    from ..ops import OPS

    def fail(text: str) -> None:
        raise InternalError(f"invalid graph '{graph.name}': {text}")

    available: set[str] = set(graph.inputs) | set(graph.constants)
    names: set[str] = set()
    for tensor in available | set(graph.outputs):
        if tensor not in graph.types:
            fail(f"tensor '{tensor}' has no type")
    for name, constant in graph.constants.items():
        tensor_type = graph.types[name]
        if tuple(constant.values.shape) != tensor_type.shape:
            fail(f"constant '{name}' has shape {constant.values.shape}, its type says {tensor_type.shape}")
        element = tensor_type.element
        if isinstance(element, (FixedPoint, Affine)) and constant.values.size:
            if constant.values.dtype.kind not in "iu":
                fail(f"constant '{name}' of type {element} holds {constant.values.dtype} values")
            if constant.values.min() < element.minimum or constant.values.max() > element.maximum:
                fail(f"constant '{name}' has values outside {element}")
        broken = constant.encoding.broken(constant.values)
        if broken is not None:
            fail(f"constant '{name}' breaks its encoding: {broken}")
    for node in graph.nodes:
        if node.name in names:
            fail(f"two nodes are called '{node.name}'")
        names.add(node.name)
        spec = OPS.get(node.op)
        if spec is None:
            fail(f"node '{node.name}' has unknown op '{node.op}'")
            continue
        if type(node.attrs) is not spec.attrs:
            fail(f"node '{node.name}' ({node.op}) has attributes of class {type(node.attrs).__name__}")
        for tensor in node.inputs:
            if tensor and tensor not in available:
                fail(f"node '{node.name}' ({node.op}) reads '{tensor}' before it is made")
        inferred = spec.infer(node.attrs, list(graph.input_types(node)))
        if len(inferred) != len(node.outputs):
            fail(f"node '{node.name}' ({node.op}) has {len(node.outputs)} outputs, the op makes {len(inferred)}")
        for tensor, expected in zip(node.outputs, inferred, strict=True):
            if tensor in available:
                fail(f"tensor '{tensor}' is made twice")
            available.add(tensor)
            actual = graph.types.get(tensor)
            if actual is None:
                fail(f"tensor '{tensor}' has no type")
            elif actual.shape != expected.shape:
                fail(f"node '{node.name}' ({node.op}): '{tensor}' has shape {actual.shape}, inferred {expected.shape}")
        spec.check(node, list(graph.input_types(node)), list(graph.output_types(node)))
    for tensor in graph.outputs:
        if tensor not in available:
            fail(f"output '{tensor}' is never made")
    for tensor, tensor_type in graph.types.items():
        element = tensor_type.element
        if isinstance(element, Affine) and element.axis is not None:
            if not 0 <= element.axis < tensor_type.rank:
                fail(f"'{tensor}': axis {element.axis} of {element} outside rank {tensor_type.rank}")
            if len(element.scale) != tensor_type.shape[element.axis]:
                fail(f"'{tensor}': {len(element.scale)} scales for {tensor_type.shape[element.axis]} channels")
        elif not isinstance(element, (Float32, FixedPoint, Affine)):
            fail(f"'{tensor}' has no element type")
