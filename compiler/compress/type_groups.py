"""Tensors that share one integer type because only moves lie between them, and the range each group has to cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..ir.affine import activation_type, covers
from ..ir.graph import Graph, Node
from ..ir.types import Affine
from ..passes.quantized_types import is_mover

Range = tuple[float, float]

LOSS_ALLOWED = 2.0
"""A tensor joins a concatenation's type if that makes its scale at most this much coarser (one bit)."""


@dataclass(slots=True)
class _Group:
    members: list[str]
    fixed: Affine | None = None


@dataclass(slots=True)
class TypeGroups:
    """Union-find over activation tensors, built once by `group_types`."""

    graph: Graph
    ranges: Mapping[str, Range]
    parameters: frozenset[str]
    groups: dict[str, _Group] = field(default_factory=dict)
    consumers: Mapping[str, list[Node]] = field(default_factory=dict)

    def exclusive(self, tensor: str) -> bool:
        """Whether one node alone reads the tensor."""
        return len(self.consumers[tensor]) == 1 and tensor not in self.graph.outputs

    def covered(self, group: _Group, extra: Node | None = None) -> list[str]:
        """Members whose own range counts.

        A tensor read only by a move or clamp within the group need not count: whatever lies outside
        the range of that op's result is saturated to the same value before or after it.
        """
        counted: list[str] = []
        for name in group.members:
            reader = self.consumers[name][0] if self.exclusive(name) else None
            inside = reader is not None and _joins(reader) and (reader is extra or reader.outputs[0] in group.members)
            if not inside:
                counted.append(name)
        return counted

    def range(self, *groups: _Group) -> Range:
        """The range that covers all counted members of the groups."""
        merged = _Group([name for group in groups for name in group.members])
        found = [self.ranges[name] for name in self.covered(merged) if name in self.ranges]
        return min((low for low, _ in found), default=0.0), max((high for _, high in found), default=0.0)

    def join(self, a: str, b: str) -> None:
        """Give two tensors one type, unless both have a fixed type and the types differ."""
        left, right = self.groups[a], self.groups[b]
        if left is right or (left.fixed and right.fixed and left.fixed != right.fixed):
            return
        merged = _Group(left.members + right.members, left.fixed or right.fixed)
        for name in merged.members:
            self.groups[name] = merged

    def join_concat(self, node: Node) -> None:
        """Give the inputs of a concatenation its type where that costs little; others are requantized."""
        output = node.outputs[0]
        for name in node.inputs:
            if name in self.parameters:
                continue
            own, shared = self.groups[name], self.groups[output]
            low, high = self.range(own, shared)
            if own.fixed and not shared.fixed:
                if covers(own.fixed, low, high):
                    self.join(name, output)
            elif not self.covered(own, node):
                self.join(name, output)  # nothing else reads it: free
            elif not (own.fixed or shared.fixed):
                alone_low, alone_high = self.range(own)
                if high - low <= LOSS_ALLOWED * (alone_high - alone_low):
                    self.join(name, output)


def _joins(node: Node) -> bool:
    return is_mover(node) or node.op == "Clamp"


def group_types(
    graph: Graph, ranges: Mapping[str, Range], fixed: Mapping[str, Affine], parameters: frozenset[str], width: int
) -> dict[str, Affine]:
    """A type for every activation tensor in `ranges` or `fixed`.

    Args:
        ranges: real range of each tensor without a fixed type.
        fixed: types that must stay what they are.
    """
    names = [name for name in graph.types if name in ranges or name in fixed]
    groups = TypeGroups(graph, ranges, parameters, consumers=graph.consumers())
    groups.groups = {name: _Group([name], fixed.get(name)) for name in names}
    for node in graph.nodes:
        if _joins(node) and node.op != "Concat" and node.outputs[0] in groups.groups:
            source = node.inputs[0]
            if source in groups.groups and (is_mover(node) or groups.exclusive(source)):
                groups.join(source, node.outputs[0])
    for node in graph.nodes:
        if node.op == "Concat" and node.outputs[0] in groups.groups:
            groups.join_concat(node)
    made: dict[int, Affine] = {}
    for name in names:
        group = groups.groups[name]
        if id(group) not in made:
            made[id(group)] = group.fixed or activation_type(*groups.range(group), width)
    return {name: fixed.get(name) or made[id(groups.groups[name])] for name in names}
