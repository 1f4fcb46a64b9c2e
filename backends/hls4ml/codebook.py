"""boardfit's dense layer for weights of few values, added to hls4ml through its extension API."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from boardfit.errors import InternalError
from boardfit.ir import FixedPoint
from boardfit.plan.codebook import codebook_of

from .functions import register_function
from .render import render

CLASS = "BoardfitCodebookDense"


def codebook_attributes(raw: np.ndarray, weights: FixedPoint, inputs: FixedPoint) -> Mapping[str, Any]:
    """What the class needs beside the attributes of a dense layer.

    Args:
        raw: weights (n_out, n_in).
        weights, inputs: their types.
    """
    found = codebook_of(raw)
    if found is None:
        raise InternalError("a layer without a codebook was planned with one")
    bits = inputs.width + int(found.groups.max()).bit_length() + 1  # with the sign of a difference
    return {
        "magnitudes": found.values.tolist(),
        "places": found.places.reshape(-1).tolist(),
        "sum_type": f"ap_fixed<{bits}, {bits - inputs.frac}>",
        "magnitude_type": f"ap_ufixed<{weights.width}, {weights.width - weights.frac}>",
    }


@functools.cache
def register_codebook() -> None:
    """Tell hls4ml about the layer, once."""
    from hls4ml.model.attributes import TypeAttribute, WeightAttribute
    from hls4ml.model.layers import Layer

    class BoardfitCodebookDense(Layer):  # type: ignore[misc]  # hls4ml has no types
        _expected_attributes = (
            *map(WeightAttribute, ("weight", "bias")),
            *map(TypeAttribute, ("weight", "bias", "accum")),
        )

        def initialize(self) -> None:
            self.add_output_variable([self.get_attr("n_out")])
            self.add_weights()
            self.add_bias()

    def configuration(node: Any, params: Mapping[str, Any]) -> str:
        names = ("n_in", "n_out", "magnitudes", "places", "sum_type", "magnitude_type")
        types = {name: params[name].name for name in ("accum_t", "bias_t")}
        return render("codebook_config.h.j2", index=node.index, types=types, **{n: node.get_attr(n) for n in names})

    register_function(BoardfitCodebookDense, "boardfit_codebook_dense", configuration, weights=("bias",))
