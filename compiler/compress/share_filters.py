"""Transferred filters: filters of a convolution become negations, mirror images, turns or other biases of others.

CReLU (Shang et al. 2016, "Understanding and improving convolutional neural networks via concatenated rectified linear
units"): half of the filters are the other half negated, so that relu(x) and relu(-x) are both kept. MBA (Li, Ouyang,
Wang 2016, "Multi-bias non-linear activation in deep neural networks"): one filter under several biases. Rotations and
flips: Dieleman, De Fauw, Kavukcuoglu 2016, "Exploiting cyclic symmetry in convolutional neural networks". All of them
stay ordinary convolutions: the weights are tied, training sums the gradients of the copies, rounding keeps them equal,
and the backend finds them in the integers, stores each filter once, and computes negations and biases once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from ..board import Board
from ..errors import UsageError
from ..ir.graph import Graph
from ..passes.base import Preserves
from .acceptance import Refusal, judge
from .filter_transforms import SQUARE, Group, Transform, find_transform, tie_groups, weight_order
from .layers import NewWeights, WeightLayer, by_layer, pick, weight_layers
from .reconstruction import LayerProblem, compress_layers

IDENTITY = Transform(0)


@dataclass(frozen=True, slots=True, eq=False)
class ShareFilters:
    """Make the filters of convolutions copies of each other where it costs the outputs least.

    Pairs are matched greedily by the squared error that their common filter makes in the layer's outputs; layers behind
    are refitted to what they now read. Depthwise and grouped convolutions and dense layers are left alone.

    Attributes:
        data: graph input -> (S, *shape), unlabelled.
        transforms: which copies are allowed, names of `TRANSFORMS`.
        copies: share of the filters that become copies, of all layers or by name or pattern: 0.5 halves them.
        most_error: largest squared error of a pair in shares of its output variance; pairs above it stay apart. None
            for no bound, where training follows.
        refit: solve the weights of the layers behind for their new inputs.
        board: with a board, layers that become no cheaper there stay: a mirrored filter saves bytes, but no products.
        refused: layers that stay for that reason are told here.
    """

    data: Mapping[str, np.ndarray]
    transforms: Sequence[str] = ("negation",)
    copies: float | Mapping[str, float] = 0.5
    most_error: float | None = None
    refit: bool = True
    board: Board | None = None
    refused: list[str] = field(default_factory=list)

    name: ClassVar[str] = "share-filters"
    preserves: ClassVar[Preserves] = Preserves.LOSSY

    def __call__(self, graph: Graph) -> Graph:
        """The graph with tied filters.

        Raises:
            UsageError: no such transform or layer, or a share out of range.
        """
        for name in self.transforms:
            find_transform(name)
        for share in by_layer(graph, self.copies).values():
            if not 0.0 <= share < 1.0:
                raise UsageError(f"a share of copies of {share:g} is not in 0 .. 1", hint="0.5 halves the filters")
        made, refused = self.judged(graph)
        self.refused.extend(map(str, refused))
        return made

    def judged(self, graph: Graph) -> tuple[Graph, tuple[Refusal, ...]]:
        """The graph with tied filters, and the layers that were refused."""
        shares = by_layer(graph, self.copies)
        chosen = {layer.name: pick(shares, layer.name) or 0.0 for layer in weight_layers(graph) if shareable(layer)}
        wanted = frozenset(name for name, share in chosen.items() if share > 0.0)

        def rewrite(whole: Graph, names: frozenset[str]) -> Graph:
            copies = {name: chosen[name] for name in names}
            return compress_layers(whole, self.data, replace(self, copies=copies).solve)

        return judge(graph, wanted, rewrite, self.board, self.data)

    def solve(self, problem: LayerProblem) -> NewWeights | None:
        """Tied weights of one layer, or refitted ones where it is left alone and its inputs have changed."""
        layer = problem.layer
        share = pick(self.copies, layer.name) if isinstance(self.copies, Mapping) else self.copies
        groups = () if not share or not shareable(layer) else self._groups(problem, share)
        if not groups:
            changed = problem.inputs is not problem.original_inputs and self.refit
            free = layer.element is None and layer.promise.tie is None and layer.promise.clusters is None
            if not changed or not free or layer.promise.zeros or layer.promise.group:
                return None
            return NewWeights(
                problem.target[:, :-1].reshape(layer.weights.shape).astype(np.float32),
                layer.encoding,
                bias=problem.target[:, -1].astype(np.float32),
            )
        wanted = problem.target[:, :-1] if self.refit else layer.matrix
        tie = tie_groups(layer.weights.shape, groups)
        values = wanted.copy()
        mean, centred = _moments(problem)
        for group in groups:
            common = _common(wanted, group, layer.weights.shape, centred)
            for channel, transform in group.members:
                values[channel] = transform.sign * common[weight_order(layer.weights.shape, transform)]
        made = tie.expand(tie.free(values)).astype(np.float32).reshape(values.shape)
        old = problem.target[:, -1] if self.refit else np.zeros(len(made)) if layer.bias is None else layer.bias
        bias = old + (wanted - made) @ mean  # the mean of every channel stays what it was
        return NewWeights(
            made.reshape(layer.weights.shape),
            replace(layer.promise, tie=tie),
            bias=bias.astype(np.float32),
        )

    def _groups(self, problem: LayerProblem, share: float) -> tuple[Group, ...]:
        """Greedy matching: the pair with the least error first, each filter in one group."""
        shape = problem.layer.weights.shape
        outputs = shape[0]
        allowed = [find_transform(name) for name in self.transforms]
        allowed = [t for t in allowed if t.place < SQUARE or shape[1] == shape[2]]
        weights = problem.target[:, :-1] if self.refit else problem.layer.matrix
        errors = _pair_errors(weights, shape, allowed, _moments(problem)[1])
        wanted = round(share * outputs)
        per_base = max(1, -(-wanted // max(outputs - wanted, 1)))
        order = np.argsort(errors, axis=None, kind="stable")
        copies: dict[int, list[tuple[int, Transform]]] = {}
        taken: set[int] = set()
        for flat in order.tolist():
            place, rest = divmod(flat, outputs * outputs)
            base, copy = divmod(rest, outputs)
            error = float(errors[place, base, copy])
            if sum(map(len, copies.values())) == wanted or not np.isfinite(error):
                break
            if self.most_error is not None and error > self.most_error:
                break
            if copy in taken or copy in copies or base in taken or len(copies.get(base, ())) >= per_base:
                continue
            copies.setdefault(base, []).append((copy, allowed[place]))
            taken.add(copy)
        return tuple(Group(((base, IDENTITY), *members)) for base, members in copies.items())


@dataclass(frozen=True, slots=True)
class CopiedFilters:
    """Copies of filters as a form of the solver, without training: for convolutions.

    Attributes:
        transforms: which copies are allowed.
        share: of the filters that become copies.
    """

    transforms: tuple[str, ...]
    share: float

    def __str__(self) -> str:
        return f"{100 * self.share:.0f} % of the filters copied ({', '.join(self.transforms)})"

    def __call__(self, problem: LayerProblem) -> NewWeights | None:
        """The layer's weights with tied filters, or None where it has none to tie."""
        if not shareable(problem.layer):
            return None
        return ShareFilters({}, self.transforms, self.share).solve(problem)


def shareable(layer: WeightLayer) -> bool:
    """Whether filters of a layer may become copies: a float convolution without groups that promises nothing else."""
    promise = layer.promise
    free = promise.tie is None and promise.clusters is None and not promise.zeros and not promise.group
    return layer.weights.ndim == 4 and layer.groups == 1 and layer.element is None and free and len(layer.weights) > 1


def _moments(problem: LayerProblem) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the inputs (K,), and their covariance (K, K), slightly damped."""
    gram = problem.damped[0]
    mean = gram[-1, :-1]
    return mean, gram[:-1, :-1] - np.outer(mean, mean)


def _pair_errors(
    weights: np.ndarray, shape: tuple[int, ...], allowed: Sequence[Transform], gram: np.ndarray
) -> np.ndarray:
    """(transforms, base, copy): squared error of a common filter in shares of what both outputs vary; inf if equal."""
    outputs = len(weights)
    energy = np.einsum("oi,ij,oj->o", weights, gram, weights, optimize=True)
    both = np.maximum(energy[:, None] + energy[None, :], 1e-30)
    found = np.full((len(allowed), outputs, outputs), np.inf)
    for place, transform in enumerate(allowed):
        turned = transform.sign * weights[:, weight_order(shape, transform)]
        own = np.einsum("oi,ij,oj->o", turned, gram, turned, optimize=True)
        distance = own[:, None] + energy[None, :] - 2.0 * (turned @ gram @ weights.T)
        found[place] = 0.5 * np.maximum(distance, 0.0) / both
        np.fill_diagonal(found[place], np.inf)
    return found


def _common(weights: np.ndarray, group: Group, shape: tuple[int, ...], gram: np.ndarray) -> np.ndarray:
    """The filter (K,) whose copies come nearest to the members' outputs, by least squares."""
    depth = weights.shape[1]
    matrix, right = np.zeros((depth, depth)), np.zeros(depth)
    for channel, transform in group.members:
        order = weight_order(shape, transform)
        back = np.argsort(order)
        own = gram[np.ix_(back, back)]
        matrix += own
        right += transform.sign * (own @ weights[channel][back])
    return np.linalg.solve(matrix, right)
