"""The forms a layer can take, and how a form is made from a layer without training.

A form may change the structure of a layer: then the layer becomes a chain of layers, and widths, zeros and shared
values are given to each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from ..compress.chains import Chain, Change
from ..compress.circulant import CirculantBlocks
from ..compress.cluster import ShareWeights
from ..compress.compact_layers import SeparatedLayer
from ..compress.factoring import Factoring, in_chain
from ..compress.gptq import Gptq
from ..compress.grids import Grid, GridKind
from ..compress.layers import NewWeights, with_weights
from ..compress.prune import Pattern, Prune
from ..compress.reconstruction import LayerProblem
from ..compress.schemes import Scheme
from ..compress.share_filters import CopiedFilters


class Structure(Protocol):
    """What is put in the place of a layer before its weights are compressed; equal ones are equal and have one text."""

    def __call__(self, problem: LayerProblem) -> Change | None:
        """The layers in its place, or its weights; None where it does not apply."""
        ...

    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Form:
    """What is done to one layer.

    Attributes:
        width: bits of a weight.
        sparsity: share of the weights that is zero.
        block: zeros come in runs of that many inputs.
        clusters: number of distinct values, zero included; None for no sharing.
        structure: what the layer becomes first, such as low-rank factors; None to leave it one layer.
        grid: which values weights of a width may take; binary and ternary say the width.
    """

    width: int = 8
    sparsity: float = 0.0
    block: int = 1
    clusters: int | None = None
    structure: Structure | None = None
    grid: GridKind = GridKind.UNIFORM

    def __str__(self) -> str:
        parts = [] if self.structure is None else [str(self.structure)]
        if self.grid is not GridKind.UNIFORM:
            parts.append(self.grid.value)
        else:
            parts.append(f"{self.clusters} values" if self.clusters else f"{self.width} bits")
        if self.sparsity:
            blocks = f" in 1x{self.block} blocks" if self.block > 1 else ""
            parts.append(f"{100 * self.sparsity:.0f} % zero{blocks}")
        return ", ".join(parts)

    @property
    def is_plain(self) -> bool:
        """Whether this is what post-training quantization does anyway."""
        return self == PLAIN

    @property
    def unstructured(self) -> Form:
        """What is done to the weights alone."""
        return replace(self, structure=None)


PLAIN = Form()

FACTORINGS: tuple[Form, ...] = (
    *(Form(structure=Factoring(Scheme.SVD, share)) for share in (0.125, 0.25, 0.375, 0.5)),
    *(Form(structure=Factoring(Scheme.SEPARABLE, share)) for share in (0.25, 0.375, 0.5)),
    *(Form(structure=Factoring(Scheme.TUCKER, share)) for share in (0.25, 0.5)),
    Form(structure=Factoring(Scheme.CP, 0.25)),
    *(Form(4, structure=Factoring(Scheme.SVD, share)) for share in (0.25, 0.5)),
    *(Form(4, structure=Factoring(Scheme.SEPARABLE, share)) for share in (0.375, 0.5)),
    *(Form(8, 0.5, 4, structure=Factoring(scheme, 0.5)) for scheme in (Scheme.SVD, Scheme.SEPARABLE)),
)
"""Low rank by itself, with 4-bit factors, and with pruned factors."""

FORMS: tuple[Form, ...] = (
    PLAIN,
    *(Form(8, sparsity, 4) for sparsity in (0.4, 0.5, 0.6, 0.7, 0.8)),
    *(Form(8, sparsity) for sparsity in (0.5, 0.7, 0.8, 0.9)),
    *(Form(4, sparsity) for sparsity in (0.0, 0.5, 0.7, 0.8, 0.9)),
    *(Form(3, sparsity) for sparsity in (0.0, 0.6)),
    Form(2),
    Form(2, grid=GridKind.TERNARY),
    Form(1, grid=GridKind.BINARY),
    *(Form(8, sparsity, clusters=16) for sparsity in (0.0, 0.8, 0.9)),
    *FACTORINGS,
    *(Form(structure=CirculantBlocks(block)) for block in (4, 8, 16)),
    *(Form(structure=CopiedFilters(("negation", "multi-bias"), share)) for share in (0.25, 0.5)),
    *(Form(structure=SeparatedLayer(multiplier)) for multiplier in (1, 2, 3)),
)
"""What is tried for every layer; plain first, so that it stays where nothing is gained."""


def make_form(problem: LayerProblem, form: Form) -> Change | None:
    """A layer in a form, compensated for what it costs; None for the plain form, and where a structure does not apply.

    Args:
        problem: the layer and its inputs; the weights it has now are the starting point.
    """
    if form.structure is None:
        return _weights(problem, form)
    made = form.structure(problem)
    if made is None or form.unstructured.is_plain:
        return made
    if isinstance(made, Chain):
        return in_chain(problem, made, lambda piece: _weights(piece, form.unstructured))
    return _weights(_after(problem, made), form.unstructured) or made


def _weights(problem: LayerProblem, form: Form) -> NewWeights | None:
    """New weights for a layer that stays one layer."""
    made: NewWeights | None = None
    if form.sparsity:
        prune = Prune({}, form.sparsity, Pattern(form.block))
        made = prune.solve(problem)
        problem = _after(problem, made)
    if form.clusters is not None:
        shared = ShareWeights(form.clusters).shared(problem.layer, form.clusters)
        return shared if made is None else replace(shared, bias=made.bias)
    if form.width < PLAIN.width:
        grid = Grid(width=form.width) if form.grid is GridKind.UNIFORM else Grid(form.grid)
        rounded = Gptq({}, grid).solve(problem)
        return rounded or made
    return made


def _after(problem: LayerProblem, made: NewWeights | None) -> LayerProblem:
    """The problem with the weights a step has made, to go on from."""
    if made is None:
        return problem
    return problem.with_layer(with_weights(problem.layer, made))
