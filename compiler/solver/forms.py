"""The forms a layer's weights can take, and how a form is made from a layer without training."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..compress.cluster import ShareWeights
from ..compress.gptq import Gptq
from ..compress.layers import NewWeights, with_weights
from ..compress.prune import Pattern, Prune
from ..compress.reconstruction import LayerProblem


@dataclass(frozen=True, slots=True, order=True)
class Form:
    """What is done to one layer.

    Attributes:
        width: bits of a weight.
        sparsity: share of the weights that is zero.
        block: zeros come in runs of that many inputs.
        clusters: number of distinct values, zero included; None for no sharing.
    """

    width: int = 8
    sparsity: float = 0.0
    block: int = 1
    clusters: int | None = None

    def __str__(self) -> str:
        parts = [f"{self.clusters} values" if self.clusters else f"{self.width} bits"]
        if self.sparsity:
            blocks = f" in 1x{self.block} blocks" if self.block > 1 else ""
            parts.append(f"{100 * self.sparsity:.0f} % zero{blocks}")
        return ", ".join(parts)

    @property
    def is_plain(self) -> bool:
        """Whether this is what post-training quantization does anyway."""
        return self == PLAIN


PLAIN = Form()

FORMS: tuple[Form, ...] = (
    PLAIN,
    *(Form(8, sparsity, 4) for sparsity in (0.4, 0.5, 0.6, 0.7, 0.8)),
    *(Form(8, sparsity) for sparsity in (0.5, 0.7, 0.8, 0.9)),
    *(Form(4, sparsity) for sparsity in (0.0, 0.5, 0.7, 0.8, 0.9)),
    *(Form(3, sparsity) for sparsity in (0.0, 0.6)),
    Form(2),
    *(Form(8, sparsity, clusters=16) for sparsity in (0.0, 0.8, 0.9)),
)
"""What is tried for every layer; plain first, so that it stays where nothing is gained."""


def make_form(problem: LayerProblem, form: Form) -> NewWeights | None:
    """A layer's weights in a form, compensated for what it costs; None for the plain form.

    Args:
        problem: the layer and its inputs; the weights it has now are the starting point.
    """
    made: NewWeights | None = None
    if form.sparsity:
        prune = Prune({}, form.sparsity, Pattern(form.block))
        made = prune.solve(problem)
        problem = _after(problem, made)
    if form.clusters is not None:
        shared = ShareWeights(form.clusters).shared(problem.layer, form.clusters)
        return shared if made is None else replace(shared, bias=made.bias)
    if form.width < PLAIN.width:
        rounded = Gptq({}, form.width).solve(problem)
        return rounded or made
    return made


def _after(problem: LayerProblem, made: NewWeights | None) -> LayerProblem:
    """The problem with the weights a step has made, to go on from."""
    if made is None:
        return problem
    return problem.with_layer(with_weights(problem.layer, made))
