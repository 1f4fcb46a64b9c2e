"""How wide the words of a stream may be, and which vectors travel in several.

Vitis HLS gathers the values of a word in one FIFO of at most 4,096 bits (github.com/Xilinx/
Vitis-HLS-Introductory-Examples, issue 19). Images have a word for each pixel; hls4ml gives a vector a single one.
"""

from __future__ import annotations

from boardfit.ir import Graph
from boardfit.ops.spec import as_fixed

MOST_BITS = 4096
"""Bits of a word."""


def word_bits(tensor: str, graph: Graph) -> int:
    """Bits of a word with all values at one position of a tensor."""
    kind = graph.types[tensor]
    return kind.shape[-1] * as_fixed(kind.element).width


def parts(tensor: str, graph: Graph) -> int:
    """Words that a vector travels in: as few as the tools take."""
    values, bits = graph.types[tensor].shape[-1], word_bits(tensor, graph)
    return next(count for count in range(1, values + 1) if values % count == 0 and bits <= MOST_BITS * count)


def refuse_word(tensor: str, graph: Graph) -> str | None:
    """Why a tensor cannot be a stream, or None. Only dense layers, inputs and outputs know vectors in parts."""
    bits = word_bits(tensor, graph)
    if bits <= MOST_BITS:
        return None
    maker = graph.producer(tensor)
    readers = graph.consumers().get(tensor, ())
    around = [node for node in (maker, *readers) if node is not None]
    vector = graph.types[tensor].elements == graph.types[tensor].shape[-1]
    if vector and all(node.op == "Dense" for node in around):
        return None
    return f"a word of its stream has {bits:,} bits, the tools take {MOST_BITS:,}"
