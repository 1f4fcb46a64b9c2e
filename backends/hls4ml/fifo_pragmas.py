"""The planned FIFOs in an hls4ml project: depths in its model, storage in its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from boardfit.errors import InternalError
from boardfit.estimate.fpga import Fifo
from boardfit.options import HlsTool

from .streams import FifoKey

STORAGE = {
    HlsTool.VIVADO: "#pragma HLS RESOURCE variable={name} core=FIFO_SRL",
    HlsTool.VITIS: "#pragma HLS BIND_STORAGE variable={name} type=fifo impl=srl",
}
"""How a FIFO is bound to shift registers."""

INSERTED = {"zp2d_": "pad_", "zp1d_": "pad_", "repack_": ""}
"""Prefix of the layers hls4ml inserts -> the planner's prefix."""


def set_depths(model: Any, fifos: Mapping[FifoKey, Fifo]) -> tuple[str, ...]:
    """Give every stream of a ModelGraph its depth.

    Returns:
        C++ names of the streams that are bound to shift registers.

    Raises:
        InternalError: the model has other FIFOs than were planned.
    """
    left = dict(fifos)
    bound: list[str] = []
    for node in model.graph.values():
        if _is_in_place(node) or _is_input(node):
            continue
        for port, name in enumerate(node.inputs):
            tensor, maker = name, _maker(model, name)
            while _is_in_place(maker):
                tensor = maker.inputs[0]
                maker = _maker(model, tensor)
            if _is_input(maker):
                continue  # a port of the design
            key = (planned_name(maker.name), planned_name(node.name), port)
            fifo = left.pop(key, None)
            if fifo is None:
                raise InternalError(f"hls4ml has a FIFO from '{key[0]}' to '{key[1]}' that was not planned")
            variable = maker.get_output_variable(tensor)
            variable.pragma = ("stream", fifo.depth)
            if fifo.shift_register:
                bound.append(str(variable.name))
    if left:
        raise InternalError(f"hls4ml has no FIFO {next(iter(left))}")
    return tuple(bound)


def planned_name(name: str) -> str:
    """The planner's name of a layer."""
    for prefix, ours in INSERTED.items():
        if name.startswith(prefix):
            return ours + name[len(prefix) :]
    return name


def bind_storage(source: str, streams: Sequence[str], tool: HlsTool) -> str:
    """Pragmas for streams in shift registers, behind those that give their depths: hls4ml has no place for them.

    Raises:
        InternalError: a stream has no depth.
    """
    names = set(streams)
    lines: list[str] = []
    for line in source.split("\n"):
        lines.append(line)
        found = next((n for n in names if f"#pragma HLS STREAM variable={n} " in line), None)
        if found is not None:
            names.remove(found)
            indent = line[: len(line) - len(line.lstrip())]
            lines.append(indent + STORAGE[tool].format(name=found))
    if names:
        raise InternalError(f"stream '{sorted(names)[0]}' has no depth")
    return "\n".join(lines)


def _is_in_place(node: Any) -> bool:
    """A reshape whose output is its input's stream."""
    return str(node.class_name) == "Reshape" and node.get_output_variable().pragma is None


def _maker(model: Any, tensor: str) -> Any:
    """The layer that makes a tensor."""
    return next(node for node in model.graph.values() if tensor in node.outputs)


def _is_input(node: Any) -> bool:
    return str(node.class_name) in ("Input", "InputLayer")
