"""Biases in few bits: values that a backend stores as bytes and a shift."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.compress.cluster import ShareWeights
from boardfit.compress.layers import NewWeights, replace_weights, weight_layers
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.round_biases import RoundBiases
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized

from .networks import dense_network, task


def quantized(clusters: int | None) -> Graph:
    graph = dense_network()
    random = np.random.default_rng(3)
    graph = replace_weights(
        graph,
        {
            layer.name: NewWeights(layer.weights, layer.encoding, bias=random.normal(size=len(layer.weights)))
            for layer in weight_layers(graph)
        },
    )
    return quantize_for_mcu(
        graph if clusters is None else ShareWeights(clusters)(graph), dict(task().inputs), QuantizeOptions()
    )


@pytest.mark.parametrize("bits", [4, 8])
def test_biases_are_few_bits_and_a_shift(bits: int) -> None:
    lowered = LowerQuantized()(RoundBiases(bits)(quantized(9)))
    for node in lowered.nodes:
        if node.op == "Dense":
            bias = lowered.constants[node.inputs[2]].values.astype(np.int64)
            shift = min(int(b & -b).bit_length() - 1 for b in np.abs(bias[bias != 0]).tolist())
            assert np.abs(bias >> shift).max() < 1 << (bits - 1)


def test_outputs_move_little() -> None:
    graph, x = quantized(9), dict(task().inputs)
    before, after = (run(g, x)[g.outputs[0]] for g in (graph, RoundBiases()(graph)))
    assert np.abs(before - after).max() < 0.05 * np.abs(before).max()


def test_layers_with_a_scale_for_each_channel_stay() -> None:
    graph = quantized(None)
    assert RoundBiases()(graph).constants.keys() == graph.constants.keys()
