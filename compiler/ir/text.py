"""A readable text form of a graph, for `--dump-ir`, reproducers and golden tests."""

from __future__ import annotations

from dataclasses import fields

from .graph import Attrs, Graph


def format_attrs(attrs: Attrs) -> str:
    """`key=value` pairs of an attribute object, in declaration order."""
    return ", ".join(f"{f.name}={getattr(attrs, f.name)!r}" for f in fields(attrs))


def format_graph(graph: Graph) -> str:
    """One line per input, constant, node and output."""
    lines = [f"graph {graph.name}"]
    lines += [f"  input    %{name}: {graph.types[name]}" for name in graph.inputs]
    for name, constant in graph.constants.items():
        lines.append(f"  constant %{name}: {graph.types[name]} {constant.encoding.name}")
    for node in graph.nodes:
        left = ", ".join(f"%{name}: {graph.types[name]}" for name in node.outputs)
        right = ", ".join(f"%{name}" if name else "-" for name in node.inputs)
        attrs = format_attrs(node.attrs)
        lines.append(f"  {left} = {node.op}({right})" + (f" {{{attrs}}}" if attrs else "") + f"  # {node.name}")
    lines += [f"  output   %{name}" for name in graph.outputs]
    return "\n".join(lines) + "\n"
