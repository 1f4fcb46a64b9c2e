"""Shuffle what a dense layer reads, and leave out inputs that never change: for structured matrices behind images.

Rows of a circulant block are the same weights rotated. Over neighbouring pixels that makes the outputs of a block
nearly the same filter, moved by a pixel; over shuffled pixels they have nothing in common. (Circulant projections flip
the signs of random inputs to that end: Cheng et al. 2015, section 3.1; the permutation of Fastfood does the same.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ..errors import UsageError
from ..ir.encoding import DENSE
from ..ir.graph import Graph
from ..ir.rewrite import GraphEditor
from ..ops.gather import GatherAttrs
from ..passes.base import Preserves
from .layers import WeightLayer, check_names, pick, weight_layers
from .reconstruction import LayerProblem, compress_layers


@dataclass(frozen=True, slots=True, eq=False)
class ShuffleInputs:
    """A Gather before dense layers: inputs that vary, in random order; constant ones go into the bias.

    Attributes:
        data: graph input -> (S, *shape), unlabelled: what it leaves out must not vary outside it either, so a few
            thousand samples are better than a few hundred.
        layers: names or patterns; None for dense layers that do not read another dense layer.
        multiple: the number of inputs is rounded up to a multiple of it (by the inputs that vary least), such as the
            rows of circulant blocks.
        seed: of the order.
    """

    data: Mapping[str, np.ndarray]
    layers: Sequence[str] | None = None
    multiple: int = 8
    seed: int = 0

    name: ClassVar[str] = "shuffle-inputs"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with a Gather before each of these layers."""
        if not self.data:
            raise UsageError("which inputs vary is seen from data, and there is none")
        if self.multiple < 1:
            raise UsageError(f"a multiple of {self.multiple} inputs", hint="give at least 1")
        if self.layers is not None:
            check_names(graph, self.layers)
        wanted = [layer for layer in weight_layers(graph) if self._wants(graph, layer)]
        found: dict[str, tuple[np.ndarray, np.ndarray]] = {}

        def look(problem: LayerProblem) -> None:
            if any(problem.layer.name == layer.name for layer in wanted):
                rows = problem.original_inputs.reshape(-1, problem.layer.matrix.shape[1])
                found[problem.layer.name] = rows.mean(axis=0, dtype=np.float64), np.ptp(rows, axis=0)

        compress_layers(graph, self.data, look, asymmetric=False)
        editor = GraphEditor(graph)
        for place, layer in enumerate(wanted):
            self._shuffle(editor, layer, *found[layer.name], np.random.default_rng(self.seed + place))
        return editor.finish()

    def _wants(self, graph: Graph, layer: WeightLayer) -> bool:
        if layer.node.op != "Dense":
            return False
        if self.layers is not None:
            return pick(dict.fromkeys(self.layers, True), layer.name) is not None
        producer = graph.producer(layer.node.inputs[0])
        return producer is None or producer.op != "Dense"

    def _shuffle(
        self, editor: GraphEditor, layer: WeightLayer, mean: np.ndarray, spread: np.ndarray, random: np.random.Generator
    ) -> None:
        inputs = len(mean)
        varying = int(np.count_nonzero(spread))
        count = min(-(-max(varying, 1) // self.multiple) * self.multiple, inputs)
        kept = np.sort(np.argsort(-spread, kind="stable")[:count])
        order = random.permutation(kept)
        gone = np.setdiff1d(np.arange(inputs), kept)
        bias = np.zeros(len(layer.weights)) if layer.bias is None else layer.bias
        bias = bias + layer.matrix[:, gone] @ mean[gone]
        node = next(n for n in editor.nodes if n.name == layer.name)
        weights = editor.add_constant(f"{layer.name}_shuffled", layer.weights[:, order], encoding=DENSE)
        axis = editor.types[node.inputs[0]].rank - 1
        attrs = GatherAttrs(axis, tuple(int(i) for i in order))
        source = replace(node.source, node=f"{node.source.node}_inputs")
        made = editor.add_node("Gather", [node.inputs[0]], attrs, source, name=f"{layer.name}_inputs", before=node)
        operands = [made.outputs[0], weights]
        if layer.bias is not None or np.any(bias):
            operands.append(editor.add_constant(f"{layer.name}_shuffled_bias", bias.astype(np.float32)))
        editor.update(node, inputs=tuple(operands))
