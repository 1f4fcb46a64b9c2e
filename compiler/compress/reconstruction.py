"""Layer by layer: rebuild each layer's outputs from the inputs the compressed network will really give it.

One walk through the graph carries the values of the original network and of the network as compressed so far. At each
layer with weights a method gets the least-squares problem of that layer and answers with new weights; the walk goes on
with them, so that later layers see, and make up for, what earlier ones lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ..errors import DataError
from ..ir.graph import Graph, Node
from ..ir.types import TensorType
from ..ops import OPS
from ..ops.conv2d import Conv2DAttrs
from ..ops.spec import Invocation
from ..ops.windows import merge_samples, windows
from .chains import Chain, Change, replace_layers, run_chain, run_layer
from .layers import NewWeights, WeightLayer, real_values, replace_weights, weight_layers, with_weights

CHUNK = 32
"""Samples evaluated at once."""

MOST_ROWS = 1 << 15
"""Positions of a convolution a least-squares problem is made of: drawn evenly from all samples if there are more."""

DAMPING = 0.01
"""Share of the mean diagonal of a Gram matrix that is added to its diagonal (GPTQ, section 3.3)."""

INPUT_STEPS = 255
BIAS_UNITS = 1 << 22
"""A bias stays below that many accumulator units: see `ptq.BIAS_BITS`."""


@dataclass(frozen=True, eq=False)
class LayerProblem:
    """Least squares of one layer: |W X - w x|^2 over all positions of the calibration data.

    Inputs have a constant 1 appended, so that the bias is one more weight.

    Attributes:
        layer: the layer with its original weights.
        inputs: its input in the compressed network, (S, *shape).
        original_inputs: its input in the original network.
    """

    layer: WeightLayer
    inputs: np.ndarray
    original_inputs: np.ndarray

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray, int]:
        same = self.inputs is self.original_inputs
        gram, cross, rows = 0.0, 0.0, 0
        for start in range(0, len(self.inputs), CHUNK):
            x = self._columns(self.inputs, start)
            gram = gram + (x.transpose(0, 2, 1) @ x).astype(np.float64)
            if not same:
                z = self._columns(self.original_inputs, start)
                cross = cross + (z.transpose(0, 2, 1) @ x).astype(np.float64)
            rows += x.shape[1]
        return np.asarray(gram), np.asarray(gram if same else cross), rows

    def _columns(self, x: np.ndarray, start: int) -> np.ndarray:
        """Rows of the chunk that begins at a sample; the same positions for every `x`."""
        most = max(1, MOST_ROWS // len(x))
        return with_ones(columns(self.layer, x[start : start + CHUNK], most, seed=start))

    def with_layer(self, layer: WeightLayer) -> LayerProblem:
        """The problem of the same layer with other weights; what the inputs alone say is not computed again."""
        other = replace(self, layer=layer)
        for name in ("_moments", "damped", "importance"):
            if name in self.__dict__:
                other.__dict__[name] = self.__dict__[name]
        return other

    @property
    def gram(self) -> np.ndarray:
        """X^T X / rows of each group, the constant 1 last: (groups, K + 1, K + 1), float64."""
        return self._moments[0] / self._moments[2]

    @property
    def rows(self) -> int:
        """Positions over all samples."""
        return self._moments[2]

    @cached_property
    def damped(self) -> np.ndarray:
        """`gram` with a damped diagonal (not that of the constant): positive definite."""
        gram = self.gram.copy()
        size = gram.shape[1] - 1
        diagonal = np.einsum("gii->gi", gram)
        mean = diagonal[:, :size].mean(axis=1, keepdims=True)
        diagonal[:, :size] += DAMPING * mean + 1e-12 + 1e-9 * float(mean.mean())
        return gram

    @cached_property
    def target(self) -> np.ndarray:
        """The real weights and bias, (out, K + 1), that come nearest to the original outputs from the new inputs."""
        layer = self.layer
        bias = np.zeros(len(layer.weights)) if layer.bias is None else layer.bias
        wanted = np.concatenate([layer.matrix, np.reshape(bias, (-1, 1))], axis=1)
        if self.inputs is self.original_inputs:
            return wanted
        gram, cross, rows = self._moments
        solved = [
            own + np.linalg.solve(damped, ((own @ (z - x)) / rows).T).T
            for own, x, z, damped in zip(self.by_group(wanted), gram, cross, self.damped, strict=True)
        ]
        return np.concatenate(solved)

    def by_group(self, rows: np.ndarray) -> np.ndarray:
        """(out, ...) as (groups, out / groups, ...)."""
        return rows.reshape(self.layer.groups, -1, *rows.shape[1:])

    def errors(self, weights: np.ndarray) -> np.ndarray:
        """Mean squared error that weights and bias (out, K + 1) add to the best possible, by output channel, (out,)."""
        lost = self.by_group(np.asarray(weights) - self.target)
        return np.einsum("goi,gij,goj->go", lost, self.gram, lost, optimize=True).reshape(-1)

    @cached_property
    def importance(self) -> np.ndarray:
        """Mean square of each weight's input, (out, K): the diagonal of the layer's Hessian."""
        diagonal = np.einsum("gii->gi", self.gram)[:, :-1]
        return np.repeat(diagonal, len(self.layer.weights) // self.layer.groups, axis=0)

    @cached_property
    def least_scale(self) -> np.ndarray:
        """(out,) scale below which the bias would not fit the accumulator (channels with weights near zero)."""
        step = (max(float(self.inputs.max()), 0.0) - min(float(self.inputs.min()), 0.0)) / INPUT_STEPS
        bias = np.abs(self.target[:, -1])
        return bias / (step * BIAS_UNITS) if step > 0.0 else np.zeros_like(bias)

    def outputs(self, weights: np.ndarray | None = None, *, original: bool = False) -> np.ndarray:
        """Outputs before the activation, (groups, rows, out / groups), of weights (out, K + 1) or the original ones."""
        layer = self.layer
        if weights is None:
            bias = np.zeros(len(layer.weights)) if layer.bias is None else layer.bias
            weights = np.concatenate([layer.matrix, np.reshape(bias, (-1, 1))], axis=1)
        kernels = self.by_group(weights).transpose(0, 2, 1)
        x = self.rows_of(original=original)
        return x @ kernels.astype(np.float32)

    def rows_of(self, *, original: bool = False) -> np.ndarray:
        """The inputs of the drawn positions, a 1 appended: (groups, rows, K + 1), float32."""
        x = self.original_inputs if original else self.inputs
        return np.concatenate([self._columns(x, start) for start in range(0, len(x), CHUNK)], axis=1)


Method = Callable[[LayerProblem], "Change | None"]
"""Answers a layer's problem with new weights or a chain of layers, or None to leave the layer as it is."""


def columns(layer: WeightLayer, x: np.ndarray, most: int | None = None, seed: int = 0) -> np.ndarray:
    """What each output position multiplies its weights with: (groups, rows, K), float32.

    Args:
        x: (S, *shape of the layer's input).
        most: positions to draw from each sample of a convolution, or None for all.
        seed: of the draw.
    """
    attrs = layer.node.attrs
    if not isinstance(attrs, Conv2DAttrs):
        return x.reshape(1, -1, x.shape[-1]).astype(np.float32)
    _, kh, kw, per_group = layer.weights.shape
    view = windows(merge_samples(x), (kh, kw), attrs.strides, attrs.pads, attrs.dilations)
    batch, height, width = view.shape[:3]
    places = np.broadcast_to(np.arange(height * width), (batch, height * width))
    if most is not None and most < height * width:
        draw = np.random.default_rng(seed).random(places.shape)
        places = np.sort(np.argpartition(draw, most - 1, axis=1)[:, :most], axis=1)
    taken = view[np.arange(batch)[:, None], places // width, places % width]
    split = taken.reshape(places.size, kh * kw, attrs.groups, per_group).transpose(2, 0, 1, 3)
    return split.reshape(attrs.groups, places.size, kh * kw * per_group).astype(np.float32)


def with_ones(x: np.ndarray) -> np.ndarray:
    """A last column of ones."""
    return np.concatenate([x, np.ones((*x.shape[:-1], 1), x.dtype)], axis=-1)


def check_inputs(graph: Graph, data: Mapping[str, np.ndarray]) -> int:
    """Number of samples.

    Raises:
        DataError: an input is missing, has another shape, or there are no samples.
    """
    for name in graph.inputs:
        label = graph.labels.get(name, name)
        if name not in data:
            raise DataError(f"no calibration data for input '{label}'")
        if data[name].shape[1:] != graph.types[name].shape:
            raise DataError(f"input '{label}' has shape {data[name].shape[1:]}, not {graph.types[name].shape}")
    samples = min(len(data[name]) for name in graph.inputs)
    if samples == 0:
        raise DataError("calibration data has no samples", hint="give at least one, better a few hundred")
    return samples


def compress_layers(graph: Graph, data: Mapping[str, np.ndarray], method: Method, *, asymmetric: bool = True) -> Graph:
    """Replace each layer, or its weights, by what `method` answers.

    Args:
        graph: float canonical graph.
        data: graph input -> (S, *shape).
        asymmetric: give each layer the inputs the compressed network makes; else those of the original network.

    Raises:
        DataError: no data, or data of another shape.
    """
    check_inputs(graph, data)
    layers = {layer.name: layer for layer in weight_layers(graph)}
    original = {name: np.asarray(data[name], np.float32) for name in graph.inputs}
    compressed = dict(original)
    changes: dict[str, Change] = {}
    last_use = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs}
    for index, node in enumerate(graph.nodes):
        layer = layers.get(node.name)
        new = None
        if layer is not None:
            own = compressed if asymmetric else original
            new = method(LayerProblem(layer, own[node.inputs[0]], original[node.inputs[0]]))
        before = evaluate(graph, node, original)
        after = before
        if new is not None and layer is not None:
            changes[node.name] = new
            after = [changed_outputs(layer, new, compressed[node.inputs[0]])]
        elif any(compressed[name] is not original[name] for name in node.inputs if name in original):
            after = evaluate(graph, node, compressed)
        for name, old_values, new_values in zip(node.outputs, before, after, strict=True):
            original[name], compressed[name] = old_values, new_values
        for name in node.inputs:
            if last_use[name] == index:
                original.pop(name, None)
                compressed.pop(name, None)
    return replace_layers(graph, changes)


def evaluate(graph: Graph, node: Node, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a node on all samples, from the values of the tensors that are not constant."""
    types = dict(graph.types)
    constants = {name: graph.constants[name].values for name in node.inputs if name in graph.constants}
    return _evaluate(node, types, constants, values)


def changed_outputs(layer: WeightLayer, change: Change, x: np.ndarray) -> np.ndarray:
    """Outputs (S, *shape) of a layer with other weights, or of the chain in its place."""
    return run_chain(layer, change, x) if isinstance(change, Chain) else run_layer(with_weights(layer, change), x)


def _evaluate(
    node: Node, types: Mapping[str, TensorType], constants: Mapping[str, np.ndarray], values: Mapping[str, np.ndarray]
) -> list[np.ndarray]:
    output_types = tuple(types[name] for name in node.outputs)
    input_types = tuple(types[name] if name else None for name in node.inputs)
    runner = OPS[node.op].runner(node, output_types, input_types)
    fixed: dict[str, np.ndarray] = {}
    for name, constant in constants.items():
        fixed[name] = constant.astype(np.float32 if types[name].is_float else np.int64)[None]
    varying = [name for name in node.inputs if name and name not in fixed]
    samples = max((len(values[name]) for name in varying), default=1)
    parts: list[list[np.ndarray]] = []
    for start in range(0, samples, CHUNK):
        arrays: list[np.ndarray | None] = []
        for name in node.inputs:
            found = fixed.get(name) if name in fixed or not name else values[name]
            whole = found is None or len(found) == 1
            arrays.append(found if whole or found is None else found[start : start + CHUNK])
        parts.append(runner(Invocation(node, tuple(arrays), input_types, output_types)))
    return [np.concatenate(list(part)) for part in zip(*parts, strict=True)]


def change_layers(graph: Graph, change: Callable[[WeightLayer], NewWeights | None]) -> Graph:
    """Replace weights without data: each layer on its own."""
    found = {layer.name: change(layer) for layer in weight_layers(graph)}
    return replace_weights(graph, {name: new for name, new in found.items() if new is not None})


def joined(new: NewWeights, bias: np.ndarray) -> np.ndarray:
    """Real weights and bias as (out, K + 1), float64."""
    matrix = real_values(new).reshape(len(new.values), -1).astype(np.float64)
    return np.concatenate([matrix, np.reshape(bias, (-1, 1))], axis=1)
