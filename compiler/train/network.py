"""A graph as a TensorFlow network: variables for its parameters, the rest as in the interpreter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..compress.layers import COMPRESSED_OPS, NewWeights, WeightLayer, replace_weights, weight_layers
from ..errors import ModelError
from ..ir.encoding import Compressed, Encoding
from ..ir.graph import Constant, Graph, Node
from ..ir.types import Affine
from .binary import FormState, LearnedForm, integer_type
from .constraints import WeightQuantizer, WeightRule
from .lowering import LOWERINGS, NOT_TRAINABLE, call_of, quantize_affine
from .normalization import Normalization, sum_statistics
from .pruning import GradualPruning, promised_zeros
from .runtime import tensorflow

Tensor = Any
Tensors = dict[str, Tensor]

PARAMETERS: dict[str, tuple[int, ...]] = {
    "Conv2D": (1, 2),
    "ConvTranspose2D": (1, 2),
    "Dense": (1, 2),
    "PRelu": (1,),
    "ScaleBias": (1, 2),
}
"""Inputs of an op that are parameters to train, where they are float constants."""


SMALLEST_FACTOR = 1e-6
"""Of a normalized channel, so that its scale stays positive."""


class Network:
    """Variables and forward pass of a graph.

    Args:
        graph: float graph, in canonical form, also with Quantize and Dequantize nodes.
        rules: layer name -> how its weights are trained; layers that are not named are trained freely.
        activations: tensor name -> affine type its values are rounded to in the forward pass.
        trainable: False makes a teacher: no variables.
        normalize: samples on which normalization of the layers starts, or None for no normalization.

    Raises:
        ModelError: an op has no differentiable form.
    """

    def __init__(
        self,
        graph: Graph,
        rules: Mapping[str, WeightRule] | None = None,
        activations: Mapping[str, Affine] | None = None,
        *,
        trainable: bool = True,
        normalize: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        _check(graph)
        self.graph = graph
        self.rules = dict(rules or {})
        self.activations = dict(activations or {})
        self.variables: dict[str, Any] = {}
        self.masks: dict[str, Any] = {}
        self.normalizations: dict[str, Normalization] = {}
        self.seconds: Mapping[str, Any] = {}
        self._learned: dict[str, dict[str, Any]] = {}
        self._sizes: dict[str, float] = {}
        self._runs: dict[tuple[str, ...], Any] = {}
        self._weights = {node.inputs[1]: node.name for node in graph.nodes if node.op in COMPRESSED_OPS}
        if trainable:
            self._make_variables()
        if normalize is not None:
            self._normalize(normalize)

    def _normalize(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Put normalization behind the layers whose weights are trained; it takes the place of their biases."""
        found = sum_statistics(self.graph, inputs, Network(self.graph, trainable=False).run)
        for layer in weight_layers(self.graph):
            if layer.node.inputs[1] in self.variables:
                norm = Normalization.starting_at(layer, *found[layer.name])
                self.normalizations[layer.name] = norm
                self.variables.update(norm.variables)
                self.variables.pop(layer.node.input(2), None)

    def _make_variables(self) -> None:
        tf = tensorflow()
        for name in _parameter_names(self.graph):
            layer = self._weights.get(name)
            rule = self.rules.get(layer, WeightRule()) if layer is not None else WeightRule()
            values = np.asarray(self.graph.constants[name].values, np.float32)
            if rule.frozen:
                continue
            if layer is not None and rule.sharing is None:
                mask = np.ones(values.shape, np.float32) if rule.mask is None else rule.mask.astype(np.float32)
                self.masks[name] = tf.Variable(mask, trainable=False)
            start = values if rule.sharing is None else rule.sharing.values
            self.variables[name] = tf.Variable(start)
            if isinstance(rule.quantizer, LearnedForm):
                self._sizes[name] = float(np.abs(values).mean())
                learned = {key: tf.Variable(value) for key, value in rule.quantizer.learned(values).items()}
                self._learned[name] = learned
                self.variables.update({f"{name}/{key}": variable for key, variable in learned.items()})

    def is_weight(self, name: str) -> bool:
        """Whether a variable holds the weights of a layer (what decay and pruning work on)."""
        return name in self._weights

    def form_state(self, name: str, seed: Tensor = None) -> FormState:
        """What a learned form of a weight tensor may look at."""
        return FormState(self._sizes[name], self.seconds.get(name), self._learned[name], seed)

    def kept(self, name: str, values: Tensor) -> Tensor:
        """A weight tensor after a step, within what its form allows."""
        form = self.rules.get(self._weights[name], WeightRule()).quantizer
        return form.kept(values, self.form_state(name)) if isinstance(form, LearnedForm) else values

    def parameter(self, name: str, seed: Tensor = None) -> Tensor:
        """The effective values of a constant tensor: shared, masked and rounded as its rule says.

        Args:
            seed: in a training step, for forms that draw.
        """
        tf = tensorflow()
        if name not in self.variables:
            return tf.constant(self.graph.constants[name].values.astype(np.float32))
        rule = self.rules.get(self._weights.get(name, ""), WeightRule())
        values = self.variables[name]
        if name in self._weights:
            values = values * self.masks[name] if rule.sharing is None else rule.sharing.expand(values)
            if isinstance(rule.quantizer, LearnedForm):
                values = rule.quantizer(values, self.form_state(name, seed))
            elif rule.quantizer is not None:
                values = rule.quantizer(values)
        return values

    def forward(self, inputs: Mapping[str, Tensor], seed: Tensor = None) -> Tensors:
        """All tensors that are no constants, each (B, *shape).

        Args:
            seed: two integers in a training step: normalization takes the batch's statistics, forms may draw.
        """
        values: Tensors = {name: self._stored(name, inputs[name]) for name in self.graph.inputs}
        constants: Tensors = {}
        for node in self.graph.nodes:
            operands = []
            for name in node.inputs:
                if name in self.graph.constants and name not in constants:
                    own = None if seed is None else seed + tensorflow().constant([0, len(constants)])
                    constants[name] = self.parameter(name, own)[None]
                operands.append(None if not name else constants[name] if name in constants else values[name])
            if node.name in self.normalizations:
                norm = self.normalizations[node.name]
                result = norm.apply(self.graph, operands, training=seed is not None)
            else:
                result = LOWERINGS[node.op](call_of(self.graph, node, operands))
            values[node.outputs[0]] = self._stored(node.outputs[0], result)
        return values

    def _stored(self, name: str, values: Tensor) -> Tensor:
        """The tensor as it will be stored: rounded where its type is given."""
        element = self.activations.get(name)
        if element is None:
            return values
        tf = tensorflow()
        rank = self.graph.types[name].rank
        raw = quantize_affine(values, element, rank)
        return (raw - tf.constant(element.zero_for(rank), "float32")) * tf.constant(element.scale_for(rank), "float32")

    def run(self, inputs: Mapping[str, np.ndarray], keep: tuple[str, ...], batch: int = 512) -> dict[str, np.ndarray]:
        """Values of the named tensors, (S, *shape) float32, computed in batches."""
        tf = tensorflow()
        if keep not in self._runs:
            self._runs[keep] = tf.function(lambda part: _named(self.forward(part), keep))
        function = self._runs[keep]
        samples = len(next(iter(inputs.values())))
        parts: list[dict[str, np.ndarray]] = []
        for start in range(0, samples, batch):
            part = {k: tf.constant(v[start : start + batch], tf.float32) for k, v in inputs.items()}
            found = function(part)
            parts.append({name: found[name].numpy() for name in keep})
        return {name: np.concatenate([part[name] for part in parts]) for name in keep}

    def finished(self, pruning: GradualPruning | None = None) -> Graph:
        """The graph with the trained parameters, and what they now promise.

        Args:
            pruning: what was done to the weights on the way.
        """
        changes: dict[str, NewWeights] = {}
        for layer in weight_layers(self.graph):
            name = layer.node.inputs[1]
            if name in self.variables:
                rule = self.rules.get(layer.name, WeightRule())
                changes[layer.name] = self._new_weights(layer, rule, pruning)
        constants = dict(self.graph.constants)
        for name, variable in self.variables.items():
            if name in constants and name not in self._weights:
                constants[name] = Constant(variable.numpy(), constants[name].encoding)
        return replace_weights(replace(self.graph, constants=constants), changes)

    def _new_weights(self, layer: WeightLayer, rule: WeightRule, pruning: GradualPruning | None) -> NewWeights:
        """What training has made of a layer, its normalization folded in."""
        name, norm = layer.node.inputs[1], self.normalizations.get(layer.name)
        factor, bias = (np.ones(len(layer.weights)), None) if norm is None else norm.folded()
        if isinstance(rule.quantizer, LearnedForm):
            raw, scales = rule.quantizer.stored(self._values(name, rule), self.form_state(name))
            raw = raw * np.where(factor < 0, -1, 1).reshape(-1, *[1] * (raw.ndim - 1))
            element = integer_type(raw, scales * np.maximum(np.abs(factor), SMALLEST_FACTOR))
            promise = replace(layer.promise, width=element.width, clusters=rule.quantizer.values)
            return NewWeights(raw, promise, element, bias)
        values = self._values(name, rule) * factor.reshape(-1, *[1] * (layer.weights.ndim - 1)).astype(np.float32)
        return NewWeights(values, self._promise(layer, rule, pruning), bias=bias)

    def _promise(self, layer: WeightLayer, rule: WeightRule, pruning: GradualPruning | None) -> Encoding:
        old = layer.promise
        width = old.width if not isinstance(rule.quantizer, WeightQuantizer) else min(rule.quantizer.width, old.width)
        new = replace(old, width=width)
        mask = self.masks.get(layer.node.inputs[1])
        if mask is not None and pruning is not None:
            kept = mask.numpy() != 0
            if pruning.group:
                new = replace(new, keep=pruning.keep, group=pruning.group)
            elif pruning.block > 1 and not old.zeros:
                new = replace(new, block=pruning.block)
            new = replace(new, zeros=max(old.zeros, promised_zeros(kept, new.block)))
        return layer.encoding if new == Compressed() else new

    def _values(self, name: str, rule: WeightRule) -> np.ndarray:
        """What was trained, not rounded (quantization does that), but for powers of two."""
        if rule.sharing is not None:
            return rule.sharing.expand(self.variables[name]).numpy()
        if isinstance(rule.quantizer, WeightQuantizer) and rule.quantizer.power_of_two:
            return self.parameter(name).numpy()
        values: np.ndarray = self.variables[name].numpy() * self.masks[name].numpy()
        return values


def _named(values: Tensors, names: tuple[str, ...]) -> Tensors:
    return {name: values[name] for name in names}


def _check(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op not in LOWERINGS:
            reason = NOT_TRAINABLE.get(node.op, "no differentiable form")
            raise ModelError(
                f"cannot be trained: {reason}",
                file=node.source.model or None,
                node=node.source.node,
                op_type=node.source.op_type,
                hint="train the float model, before it is lowered to integers",
            )


def _parameter_names(graph: Graph) -> Iterator[str]:
    """Float constants that are parameters, each once, in the order of the nodes."""
    seen: set[str] = set()
    for node in graph.nodes:
        for name in _parameters(node):
            if name in graph.constants and graph.types[name].is_float and name not in seen:
                seen.add(name)
                yield name


def _parameters(node: Node) -> list[str]:
    return [node.input(index) for index in PARAMETERS.get(node.op, ()) if node.input(index)]
