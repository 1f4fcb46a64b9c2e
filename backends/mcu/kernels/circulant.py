"""Dense layers with block-circulant weights: a vector is stored for each block and multiplied as it is.

A block times its inputs is a product of polynomials modulo t^n - 1 (t^n + 1 if skew-circulant). It is made directly, by
rotated inputs, or modulo the factors t^m + 1 for m = 1, 2, 4, ... n / 2 and t - 1: additions alone lead there and back,
and the factors of all blocks beside each other are summed up before the way back. All of it is exact in integers: the
way back halves sums whose parity is known. (With roots of unity the way would go on to single products, as in CirCNN,
Ding et al. 2017; integers have none, and m terms modulo t^m + 1 cost m^2 products, two of them an instruction.)
"""

from __future__ import annotations

import functools

from ..kernel import Kernel
from .circulant_dsp import lower_dsp, refuse_dsp
from .circulant_portable import lower_portable, refuse_portable


def _kernels() -> tuple[Kernel, ...]:
    needs = frozenset({"dsp"})
    found = [
        Kernel(
            f"dense/circulant{'_split' if split else '_direct'}",
            "Dense",
            functools.partial(refuse_dsp, split=split),
            functools.partial(lower_dsp, split=split),
            needs,
            "circulant",
        )
        for split in (True, False)
    ]
    found += [
        Kernel(
            f"dense/circulant_portable_{form}",
            "Dense",
            functools.partial(refuse_portable, form=form),
            functools.partial(lower_portable, form=form),
            format="circulant",
        )
        for form in ("split", "direct", "any")
    ]
    return tuple(found)


KERNELS = _kernels()
