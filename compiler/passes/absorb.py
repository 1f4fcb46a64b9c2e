"""The transpose before a classifier: its permutation goes into the columns of the dense weights."""

from __future__ import annotations

import numpy as np

from ..ir.graph import Node
from ..ir.types import Affine
from ..ops.transpose import TransposeAttrs
from .matching import Editing, permuted_element
from .sink import commutes


def absorb_into_dense(editor: Editing, dense: Node) -> bool:
    """Transpose -> Reshape to (1, K) -> element-wise ops -> Dense: drop the transpose, permute the weights."""
    chain: list[Node] = []
    tensor = dense.inputs[0]
    while True:
        node = editor.producer(tensor)
        if node is None or editor.only_reader(tensor) is None:
            return False
        if node.op == "Reshape":
            break
        if not commutes(editor, node):
            return False
        chain.append(node)
        tensor = node.inputs[0]
    flatten = node
    transpose = editor.producer(flatten.inputs[0])
    if transpose is None or not isinstance(transpose.attrs, TransposeAttrs):
        return False
    flat = editor.types[flatten.outputs[0]]
    if flat.elements != flat.shape[-1] or editor.types[dense.inputs[0]].shape != flat.shape:
        return False
    source = editor.constant_source(dense.inputs[1])
    if source is None:
        return False
    values, element = source
    x = editor.types[transpose.inputs[0]]
    if isinstance(x.element, Affine) and x.element.axis is not None:
        return False
    # order[k] = position before the transpose of the value that is k-th after it
    order = np.arange(flat.elements).reshape(x.shape).transpose(transpose.attrs.perm).reshape(-1)
    inverse = np.argsort(order)
    weights = editor.remake_constant(
        dense.inputs[1], values[:, inverse], permuted_element(element, 1, inverse), f"{dense.name}/weights"
    )
    editor.update(dense, inputs=(dense.inputs[0], weights, *dense.inputs[2:]))
    editor.update(flatten, inputs=transpose.inputs)
    return True
