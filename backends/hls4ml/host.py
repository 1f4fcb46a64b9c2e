"""The softmax that was taken off the device, for the host: plain C and plain Python."""

from __future__ import annotations

from boardfit.ir import FixedPoint, Graph
from boardfit.names import c_identifier

from .render import render


def host_softmax_files(graph: Graph) -> dict[str, bytes]:
    """`host/softmax.h` and `host/softmax.py` for the outputs (logits) of `graph`."""
    taken: set[str] = set()
    outputs = []
    for tensor in graph.outputs:
        element = graph.types[tensor].element
        shape = graph.types[tensor].shape
        name = c_identifier(graph.labels.get(tensor, tensor), taken)
        taken.add(name)
        frac = element.frac if isinstance(element, FixedPoint) else 0
        rows = 1
        for size in shape[:-1]:
            rows *= size
        outputs.append({"name": name, "frac": frac, "classes": shape[-1], "rows": rows, "type": str(element)})
    values = {"project": c_identifier(graph.name), "outputs": outputs}
    return {
        "host/softmax.h": render("host_softmax.h.j2", **values).encode(),
        "host/softmax.py": render("host_softmax.py.j2", **values).encode(),
    }
