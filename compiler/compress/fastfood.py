"""Adaptive Fastfood layers: y = S H G P H B x in the place of a dense layer, with O(n) parameters.

H is a Walsh-Hadamard matrix, P a fixed permutation; the diagonals B, G and S are trained. Le, Sarlos, Smola, "Fastfood"
(2013); Yang et al., "Deep fried convnets" (2015), section 3. Here B is a ScaleBias, and the two products with H are
dense layers whose rows are Walsh rows times one number: G and S are the scales of their outputs, P and the choice of
the last outputs are the order of their rows. Values tell all of it; nothing else is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.encoding import Compressed
from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor
from ..ir.walsh import walsh_rows
from ..ops.dense import DenseAttrs
from ..ops.scale_bias import ScaleBiasAttrs
from ..passes.base import Preserves
from .layers import WeightLayer, check_names, pick, weight_layers


@dataclass(frozen=True, slots=True)
class MakeFastfood:
    """Replace dense layers by Fastfood layers, to be trained: a dense layer has no near one of so few parameters.

    Attributes:
        layers: names or patterns.
        seed: of the permutation, the rows and the start: B of signs, G normal, S such that the outputs of random
            inputs have the variance that the layer's have.
    """

    layers: Sequence[str]
    seed: int = 0

    name: ClassVar[str] = "fastfood"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with a ScaleBias and two Walsh layers in the place of each."""
        check_names(graph, self.layers)
        wanted = dict.fromkeys(self.layers, True)
        editor = GraphEditor(graph)
        for place, layer in enumerate(weight_layers(graph)):
            if pick(wanted, layer.name) is None:
                continue
            if layer.node.op != "Dense":
                raise UsageError(f"layer '{layer.name}' is no dense layer, and only those become Fastfood layers")
            _replace(editor, layer, np.random.default_rng(self.seed + place))
        return editor.finish()


def _replace(editor: GraphEditor, layer: WeightLayer, random: np.random.Generator) -> None:
    outputs, inputs = layer.matrix.shape
    size = 1 << (max(outputs, inputs) - 1).bit_length()
    node = next(n for n in editor.nodes if n.name == layer.name)
    signs = random.choice(np.array([-1.0, 1.0]), inputs)
    first = walsh_rows(random.permutation(size), inputs) * (random.standard_normal(size) / np.sqrt(size))[:, None]
    spread = np.sqrt(np.square(layer.matrix).sum(axis=1).mean())
    second = walsh_rows(random.choice(size, outputs, replace=False), size) * (spread / np.sqrt(inputs))
    promise = Compressed(layer.promise.width, signs=True)
    tensor = node.inputs[0]
    scale = [
        editor.add_constant(f"{layer.name}_b", signs.astype(np.float32)),
        editor.add_constant(f"{layer.name}_zero", np.zeros(inputs, np.float32)),
    ]
    source = replace(node.source, node=f"{node.source.node}_b")
    made = editor.add_node("ScaleBias", [tensor, *scale], ScaleBiasAttrs(), source, name=f"{layer.name}_b", before=node)
    weights = editor.add_constant(f"{layer.name}_g", first.astype(np.float32), encoding=promise)
    source = replace(node.source, node=f"{node.source.node}_g")
    made = editor.add_node(
        "Dense", [made.outputs[0], weights], DenseAttrs(), source, name=f"{layer.name}_g", before=node
    )
    last = editor.add_constant(f"{layer.name}_s", second.astype(np.float32), encoding=promise)
    editor.update(node, inputs=(made.outputs[0], last, *node.inputs[2:]))
