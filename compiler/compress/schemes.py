"""Schemes of low rank: what a layer becomes, which ranks save anything, and where a fit starts.

Weights are (out, kh, kw, in); a dense layer counts as a 1x1 convolution.

| scheme | layers | source |
| --- | --- | --- |
| svd | kh x kw to r channels, 1x1 | Denton et al. 2014; Zhang et al. 2016 (channel decomposition) |
| separable | kh x 1 to r channels, 1 x kw | Jaderberg et al. 2014; closed form and normalisation: Tai et al. 2016 |
| tucker | 1x1 to s channels, kh x kw to r, 1x1 | Kim et al. 2016 |
| cp | 1x1 to r channels, kh x 1 and 1 x kw depthwise, 1x1 | Lebedev et al. 2015 |
| depthwise | 1x1 to r channels, kh x kw depthwise, 1x1 | CP of rows and columns as one mode: Astrid, Lee 2017 |
"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum

import numpy as np

from ..ops.activation import NONE
from ..ops.conv2d import Conv2DAttrs
from ..ops.dense import DenseAttrs
from .factors import Fit, whitened_svd


class Scheme(Enum):
    """How a layer is factored; the value is its name in options and tables."""

    SVD = "svd"
    SEPARABLE = "separable"
    TUCKER = "tucker"
    CP = "cp"
    DEPTHWISE = "depthwise"


EQUATIONS = {
    Scheme.SVD: "rijc,or->oijc",
    Scheme.SEPARABLE: "ric,ojr->oijc",
    Scheme.TUCKER: "sc,rijs,or->oijc",
    Scheme.CP: "rc,ri,rj,or->oijc",
    Scheme.DEPTHWISE: "rc,rij,or->oijc",
}

Shape = tuple[int, ...]
Ranks = tuple[int, ...]
"""One rank; for Tucker-2 those of the input and of the output channels."""


def applies(scheme: Scheme, shape: Shape) -> bool:
    """Whether a scheme says something else than plain matrix factoring for weights of this shape."""
    if scheme is Scheme.SVD:
        return True
    if scheme is Scheme.SEPARABLE:
        return shape[1] > 1 and shape[2] > 1
    return shape[1] * shape[2] > 1


def parameters(scheme: Scheme, shape: Shape, ranks: Ranks) -> int:
    """Weights of the factored layer."""
    out, kh, kw, channels = shape
    if scheme is Scheme.SVD:
        return ranks[0] * (kh * kw * channels + out)
    if scheme is Scheme.SEPARABLE:
        return ranks[0] * (kh * channels + kw * out)
    if scheme is Scheme.CP:
        return ranks[0] * (channels + kh + kw + out)
    if scheme is Scheme.DEPTHWISE:
        return ranks[0] * (channels + kh * kw + out)
    first, second = ranks
    return channels * first + kh * kw * first * second + second * out


def full_ranks(scheme: Scheme, shape: Shape) -> Ranks:
    """Ranks at which every weight tensor of the shape is met exactly."""
    out, kh, kw, channels = shape
    if scheme is Scheme.SVD:
        return (min(out, kh * kw * channels),)
    if scheme is Scheme.SEPARABLE:
        return (min(kh * channels, kw * out),)
    if scheme in (Scheme.CP, Scheme.DEPTHWISE):  # every column of every tap of its own: an upper bound
        return (kh * kw * min(out, channels),)
    return min(channels, kh * kw * out), min(out, kh * kw * channels)


def saves(scheme: Scheme, shape: Shape, ranks: Ranks) -> bool:
    """Whether the factors have fewer weights: r < m n / (m + n) for a matrix (m, n)."""
    return parameters(scheme, shape, ranks) < int(np.prod(shape))


def ranks_for(scheme: Scheme, shape: Shape, share: float, multiple: int = 1) -> Ranks | None:
    """The largest ranks whose factors have at most `share` of the weights; None if there are none, or none that save.

    Args:
        multiple: ranks are multiples of it (kernels work on 2 or 4 channels at a time), or below it.
    """
    most = share * int(np.prod(shape))
    full = full_ranks(scheme, shape)

    def fits(ranks: Ranks) -> bool:
        return parameters(scheme, shape, ranks) <= most and saves(scheme, shape, ranks)

    if scheme is Scheme.TUCKER:  # both ranks are the same part of their channels
        options = [_part(full, k / full[1], multiple) for k in range(1, full[1] + 1)]
    else:
        options = [(_down(k, multiple),) for k in range(1, full[0] + 1)]
    return max((ranks for ranks in options if fits(ranks)), default=None)


def _part(full: Ranks, share: float, multiple: int) -> Ranks:
    return tuple(max(_down(round(rank * share), multiple), 1) for rank in full)


def _down(rank: int, multiple: int) -> int:
    return rank // multiple * multiple if rank >= multiple else rank


def start(scheme: Scheme, target: np.ndarray, ranks: Ranks, metric: np.ndarray | None) -> list[np.ndarray]:
    """Factors to start from.

    SVD (in the metric) and separable (without one) are the best ones already.

    Args:
        target: (out, kh, kw, in), float64.
        metric: (K, K) covariance of the inputs, or None.
    """
    out, kh, kw, channels = target.shape
    if scheme is Scheme.SVD:
        first, last = whitened_svd(target.reshape(out, -1), ranks[0], metric)
        return [first.reshape(-1, kh, kw, channels), last]
    if scheme is Scheme.SEPARABLE:
        matrix = target.transpose(0, 2, 1, 3).reshape(out * kw, kh * channels)
        first, last = whitened_svd(matrix, ranks[0], None)
        return [first.reshape(-1, kh, channels), last.reshape(out, kw, -1)]
    return _tensor_start(scheme, target, ranks)


def _tensor_start(scheme: Scheme, target: np.ndarray, ranks: Ranks) -> list[np.ndarray]:
    from tensorly.decomposition import parafac, partial_tucker

    if scheme is Scheme.TUCKER:
        first, second = ranks
        (core, (outputs, inputs)), _ = partial_tucker(target, rank=[second, first], modes=[0, 3], n_iter_max=20)
        return [np.asarray(inputs).T, np.asarray(core), np.asarray(outputs)]
    out, kh, kw, channels = target.shape
    modes = target.reshape(out, kh * kw, channels) if scheme is Scheme.DEPTHWISE else target
    # a little regularization keeps rank-one terms from growing against each other (Lebedev et al. 2015, section 3.3)
    found = parafac(modes, ranks[0], n_iter_max=50, init="random", random_state=0, l2_reg=1e-3, tol=1e-5)
    scale, (outputs, *taps, inputs) = found
    last = np.asarray(outputs) * np.asarray(scale)
    if scheme is Scheme.DEPTHWISE:
        return [np.asarray(inputs).T, np.asarray(taps[0]).T.reshape(-1, kh, kw), last]
    return [np.asarray(inputs).T, *(np.asarray(tap).T for tap in taps), last]


def fitted(scheme: Scheme, target: np.ndarray, ranks: Ranks, metric: np.ndarray | None) -> list[np.ndarray]:
    """Factors of the least error in the metric that alternating least squares finds."""
    factors = start(scheme, target, ranks, metric)
    exact = scheme is Scheme.SVD or (scheme is Scheme.SEPARABLE and metric is None)
    if exact:
        return factors
    return Fit(EQUATIONS[scheme], target, metric).refined(factors)


Geometry = Conv2DAttrs | DenseAttrs


def pieces(scheme: Scheme, factors: list[np.ndarray], attrs: Geometry) -> list[tuple[str, Geometry, np.ndarray]]:
    """Name, attributes and weights of each layer that the factors make; the last one has the activation."""
    if isinstance(attrs, DenseAttrs):
        first, last = factors
        return [("in", DenseAttrs(), first.reshape(len(first), -1)), ("out", attrs, last)]
    point = Conv2DAttrs()
    whole = replace(attrs, activation=NONE)
    top, left, bottom, right = attrs.pads
    vertical = Conv2DAttrs((attrs.strides[0], 1), (top, 0, bottom, 0), (attrs.dilations[0], 1))
    horizontal = Conv2DAttrs((1, attrs.strides[1]), (0, left, 0, right), (1, attrs.dilations[1]))
    ending = replace(point, activation=attrs.activation)
    if scheme is Scheme.SVD:
        first, last = factors
        return [("in", whole, first), ("out", ending, last[:, None, None, :])]
    if scheme is Scheme.SEPARABLE:
        first, last = factors
        final = replace(horizontal, activation=attrs.activation)
        return [("vertical", vertical, first[:, :, None, :]), ("horizontal", final, last[:, None, :, :])]
    if scheme is Scheme.TUCKER:
        inputs, core, outputs = factors
        return [
            ("in", point, inputs[:, None, None, :]),
            ("core", whole, core),
            ("out", ending, outputs[:, None, None, :]),
        ]
    inputs, *taps, outputs = factors
    rank = len(inputs)
    if scheme is Scheme.DEPTHWISE:
        return [
            ("in", point, inputs[:, None, None, :]),
            ("depthwise", replace(whole, groups=rank), taps[0][:, :, :, None]),
            ("out", ending, outputs[:, None, None, :]),
        ]
    rows, columns = taps
    return [
        ("in", point, inputs[:, None, None, :]),
        ("vertical", replace(vertical, groups=rank), rows[:, :, None, None]),
        ("horizontal", replace(horizontal, groups=rank), columns[:, None, :, None]),
        ("out", ending, outputs[:, None, None, :]),
    ]
