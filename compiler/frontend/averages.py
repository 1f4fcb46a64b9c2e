"""Which average pools a quantized file states in binary32.

A file with DequantizeLinear, AveragePool, QuantizeLinear states a float operator on dequantized values. onnxruntime
computes it so: in binary32, adding in raster order, then dividing. Where a mean is quantized with the scale of its
inputs, rounding noise decides what would be an exact tie, so the stated arithmetic is kept (docs/semantics.md,
"Means"). GlobalAveragePool and ReduceMean have no order of additions that runtimes share; they mean the exact average.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto, TensorProto

ARITHMETIC = "boardfit.arithmetic"
"""Metadata of an AveragePool in files boardfit writes: the value of `ops.average_pool2d.MeanArithmetic` it has."""

MOVES = ("Transpose", "Identity")
"""Operators that may stand between a pool and its DequantizeLinear or QuantizeLinear."""


@dataclass(frozen=True, slots=True)
class QuantizedAverage:
    """An AveragePool with a DequantizeLinear before and a QuantizeLinear behind it.

    Attributes:
        noted: the arithmetic that the node's metadata names; '' if it has none.
        integer_operator: whether onnxruntime (1.31, x86) makes a QLinearAveragePool of the three. It does if
            both integer tensors have one type, after the int8 tensors that stand between one QuantizeLinear and one
            DequantizeLinear have become uint8. Over a whole image that operator sums integers; over smaller windows
            it computes in binary32 as well.
    """

    integer_operator: bool
    noted: str = ""


def states_binary32(output: str, averages: Mapping[str, QuantizedAverage], *, whole: bool) -> bool:
    """Whether the AveragePool that makes `output` means binary32 arithmetic; `whole`: its window is the image."""
    found = averages.get(output)
    if found is None or found.noted:
        return found is not None and found.noted == "binary32"
    return not (whole and found.integer_operator)


def quantized_averages(graph: GraphProto) -> dict[str, QuantizedAverage]:
    """Output name -> facts of every AveragePool between DequantizeLinear and QuantizeLinear in a file."""
    wiring = _Wiring(graph)
    found: dict[str, QuantizedAverage] = {}
    for node in graph.node:
        if node.op_type != "AveragePool" or node.domain not in ("", "ai.onnx"):
            continue
        before, behind = wiring.dequantizer(node), wiring.quantizer(node)
        if before is not None and behind is not None:
            integers = (
                wiring.type_for_onnxruntime(before.input[0], before),
                wiring.type_for_onnxruntime(behind.output[0], behind),
            )
            notes = [entry.value for entry in node.metadata_props if entry.key == ARITHMETIC]
            found[node.output[0]] = QuantizedAverage(integers[0] == integers[1], "".join(notes))
    return found


class _Wiring:
    def __init__(self, graph: GraphProto) -> None:
        self.makers: dict[str, NodeProto] = {output: node for node in graph.node for output in node.output}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in graph.output}
        self.constants: dict[str, TensorProto] = {tensor.name: tensor for tensor in graph.initializer}
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    self.constants[node.output[0]] = attribute.t

    def dequantizer(self, node: NodeProto) -> NodeProto | None:
        """The DequantizeLinear of the values a node reads."""
        maker = self.makers.get(node.input[0])
        while maker is not None and maker.op_type in MOVES:
            maker = self.makers.get(maker.input[0])
        return maker if maker is not None and maker.op_type == "DequantizeLinear" else None

    def quantizer(self, node: NodeProto) -> NodeProto | None:
        """The QuantizeLinear that alone reads what a node makes."""
        while node.output[0] not in self.outputs:
            readers = self.readers.get(node.output[0], [])
            if len(readers) != 1:
                return None
            if readers[0].op_type == "QuantizeLinear":
                return readers[0]
            if readers[0].op_type not in MOVES:
                return None
            node = readers[0]
        return None

    def type_for_onnxruntime(self, tensor: str, node: NodeProto) -> int:
        """ONNX element type of an integer tensor once onnxruntime has made pairs of operators unsigned.

        Args:
            tensor: made by a QuantizeLinear, or anything else.
            node: a QuantizeLinear or DequantizeLinear of it.
        """
        from onnx import TensorProto

        zero = self.constants.get(node.input[2]) if len(node.input) > 2 else None
        kind = int(zero.data_type) if zero is not None else int(TensorProto.UINT8)
        maker, readers = self.makers.get(tensor), self.readers.get(tensor, [])
        paired = (
            maker is not None
            and maker.op_type == "QuantizeLinear"
            and tensor not in self.outputs
            and [reader.op_type for reader in readers] == ["DequantizeLinear"]
            and self._uses(readers[0].output[0]) == 1  # one with several readers is copied first, for each of them
        )
        return int(TensorProto.UINT8) if paired and kind == TensorProto.INT8 else kind

    def _uses(self, tensor: str) -> int:
        return len(self.readers.get(tensor, [])) + (tensor in self.outputs)
