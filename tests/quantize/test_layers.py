"""Every op that has an integer form, one layer at a time: at most one step from the float op on the same inputs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from boardfit.ir import Affine, Graph
from boardfit.ops import OPS
from boardfit.ops.activation import RELU, Activation
from boardfit.ops.add import AddAttrs
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs
from boardfit.ops.div import DivAttrs
from boardfit.ops.gather import GatherAttrs
from boardfit.ops.matmul import MatMulAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.min_max import MaxAttrs, MinAttrs
from boardfit.ops.mul import MulAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.prelu import PReluAttrs
from boardfit.ops.reduce_mean import ReduceMeanAttrs
from boardfit.ops.resize import ResizeAttrs
from boardfit.ops.scale_bias import ScaleBiasAttrs
from boardfit.ops.slice import SliceAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.sub import SubAttrs
from boardfit.ops.transpose import TransposeAttrs
from boardfit.ops.unary import infer_unary
from tests.quantize.networks import Network, both, layer_distances, layer_results, samples

FUNCTIONS = sorted(name for name, spec in OPS.items() if spec.infer is infer_unary and name != "Clamp")


def pair(net: Network) -> tuple[str, str]:
    """Two tensors of different ranges."""
    return net.conv(net.x, 4), net.conv(net.x, 4, activation=Activation(-1.0, 2.0))


def dilated(net: Network) -> str:
    attrs = Conv2DAttrs(strides=(2, 1), pads=(2, 1, 2, 1), dilations=(2, 1), groups=2, activation=RELU)
    return net.add("Conv2D", [net.conv(net.x, 4), net.random(6, 3, 3, 2), net.random(6)], attrs)


def transposed(net: Network) -> str:
    attrs = ConvTranspose2DAttrs(strides=(2, 2), pads=(1, 0, 0, 1), output_padding=(1, 0), activation=RELU)
    return net.add("ConvTranspose2D", [net.x, net.random(5, 3, 3, 3), net.random(5)], attrs)


def split_and_join(net: Network) -> str:
    x = net.conv(net.x, 4)
    left = net.add("Slice", [x], SliceAttrs((0, 0, 0, 0), (1, 8, 8, 2), (1, 1, 1, 1)))
    right = net.add("Slice", [x], SliceAttrs((0, 0, 7, 3), (1, 8, 8, 2), (1, 1, -1, -1)))
    return net.add("Concat", [net.conv(left, 3), right, net.x], ConcatAttrs(3))


def concat_constant(net: Network) -> str:
    return net.add("Concat", [net.conv(net.x, 2), net.random(1, 8, 8, 1)], ConcatAttrs(3))


def matrices(net: Network) -> str:
    a, b = pair(net)
    return net.add("MatMul", [a, net.add("Transpose", [b], TransposeAttrs((0, 1, 3, 2)))], MatMulAttrs())


def constant_matrix(net: Network) -> str:
    return net.add("MatMul", [net.random(5, 8), net.x], MatMulAttrs())


def shuffled(net: Network) -> str:
    x = net.add("Gather", [net.conv(net.x, 4)], GatherAttrs(3, (2, 0, 3, 1, 1)))
    x = net.add("Resize", [x], ResizeAttrs((0, 0, 1, 3), (7, 6, 6)))
    return net.add("Pad", [x], PadAttrs((0, 1, 0, 0), (0, 0, 2, 0), -0.75))


def free_clamp(net: Network) -> str:
    x = net.conv(net.x, 4)
    return net.add("Add", [x, net.add("Clamp", [x], ClampAttrs(Activation(0.25, 0.75)))], AddAttrs())


LAYERS: dict[str, Callable[[Network], str]] = {
    "convolution": lambda net: net.conv(net.x, 6, stride=2),
    "depthwise": lambda net: net.depthwise(net.x),
    "dilated, grouped": dilated,
    "transposed": transposed,
    "dense": lambda net: net.dense(net.flatten(net.x), 10, RELU),
    "dense on the last axis": lambda net: net.dense(net.x, 4),
    "add": lambda net: net.add("Add", list(pair(net)), AddAttrs(RELU)),
    "add, broadcast": lambda net: net.add("Add", [net.conv(net.x, 3), net.random(8, 1)], AddAttrs()),
    "subtract": lambda net: net.add("Sub", list(pair(net)), SubAttrs()),
    "multiply": lambda net: net.add("Mul", list(pair(net)), MulAttrs()),
    "multiply, broadcast": lambda net: net.add("Mul", [net.conv(net.x, 3), net.random(8, 1, 1)], MulAttrs()),
    "divide": lambda net: net.add(
        "Div", [net.x, net.conv(net.x, 3, activation=Activation(0.5, 2.0))], DivAttrs(Activation(-4.0, 4.0))
    ),
    "minimum": lambda net: net.add("Min", list(pair(net)), MinAttrs()),
    "maximum": lambda net: net.add("Max", list(pair(net)), MaxAttrs(Activation(high=1.5))),
    "matrix product": matrices,
    "product with a constant matrix": constant_matrix,
    "scale and bias": lambda net: net.add("ScaleBias", [net.x, net.random(3), net.random(3)], ScaleBiasAttrs(RELU)),
    "scale": lambda net: net.add("ScaleBias", [net.x, net.random(3)], ScaleBiasAttrs()),
    "prelu": lambda net: net.add("PRelu", [net.x, net.random(3)], PReluAttrs()),
    "softmax": lambda net: net.add("Softmax", [net.dense(net.flatten(net.x), 10)], SoftmaxAttrs(1)),
    "softmax over rows": lambda net: net.add("Softmax", [net.x], SoftmaxAttrs(1)),
    "average pool": lambda net: net.add(
        "AveragePool2D", [net.conv(net.x, 4)], AveragePool2DAttrs((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), (1, 1))
    ),
    "average pool counting pads": lambda net: net.add(
        "AveragePool2D", [net.x], AveragePool2DAttrs((3, 2), (1, 2), (1, 0, 1, 1), count_pads=True)
    ),
    "mean": lambda net: net.add("ReduceMean", [net.x], ReduceMeanAttrs((1, 3), False)),
    "max pool": lambda net: net.add("MaxPool2D", [net.x], MaxPool2DAttrs((3, 3), (2, 2), (1, 1, 1, 1))),
    "arg max": lambda net: net.add("ArgMax", [net.conv(net.x, 4)], ArgMaxAttrs(3, False)),
    "split and join": split_and_join,
    "join with a constant": concat_constant,
    "gather, resize, pad": shuffled,
    "clamp of a shared tensor": free_clamp,
}


NEAR_TIE = 2.0**-10
"""In output steps: sums and means differ from QuantizeLinear of the real result only where that lies so near to a tie.
Multipliers of sums have 21 bits, so two 9-bit operands err by up to 2^-11; binary32 means err by less."""


def check(graph: Graph, seed: int = 5) -> Graph:
    """Every layer within a step, most values equal, sums and means at all but ties; returns the integer graph."""
    quantized, integer = both(graph)
    assert not any(t.is_float for t in integer.types.values())
    results = layer_results(quantized, integer, samples(graph, 16, seed))
    assert set(results) >= {node.name for node in integer.nodes if node.op != "Requantize"}
    for name, found in results.items():
        assert found.distance.max() <= 1, name
        if integer.node(name).op in ("Add", "Sub", "AveragePool2D", "ReduceMean"):
            assert found.from_tie is not None
            assert found.from_tie[found.distance != 0].max(initial=0.0) <= NEAR_TIE, name
        else:
            assert found.distance.mean() < 0.02, name
    return integer


@pytest.mark.parametrize("layer", LAYERS)
def test_layer(layer: str) -> None:
    net = Network(1, 8, 8, 3)
    check(net.done(LAYERS[layer](net)))


@pytest.mark.parametrize("op", FUNCTIONS)
def test_functions_become_tables_that_round_once(op: str) -> None:
    net = Network(1, 8, 8, 3)
    graph = net.done(net.add(op, [net.conv(net.x, 4, activation=Activation(0.01, 3.0))], OPS[op].attrs()))
    quantized, integer = both(graph)
    assert [node.op for node in integer.nodes] == ["Conv2D", "Lookup"]
    distances = layer_distances(quantized, integer, samples(graph, 16, 5))
    assert distances[integer.nodes[1].name].max() == 0


def test_a_region_of_element_wise_ops_is_one_table() -> None:
    """x * clip(x + 3, 0, 6) / 6, as exporters write HardSwish."""
    net = Network(1, 8, 8, 3)
    x = net.conv(net.x, 4, activation=Activation())
    gate = net.add("ScaleBias", [x, net.constant(np.ones(4)), net.constant(np.full(4, 3.0))], ScaleBiasAttrs())
    gate = net.add("Clamp", [gate], ClampAttrs(Activation(0.0, 6.0)))
    y = net.add("Div", [net.add("Mul", [x, gate], MulAttrs()), net.constant(np.array(6.0))], DivAttrs())
    graph = net.done(y)
    quantized, integer = both(graph)
    assert [node.op for node in integer.nodes] == ["Conv2D", "Lookup"]
    distances = layer_distances(quantized, integer, samples(graph, 16, 5))
    assert distances[integer.nodes[1].name].max() == 0


def test_functions_of_negative_numbers_without_a_value_give_zero() -> None:
    net = Network(1, 4)
    y = net.quantize(net.add("Sqrt", [net.quantize(net.x, Affine(True, 8, (0.1,), (0,)))], OPS["Sqrt"].attrs()), Q)
    _, integer = both(net.done(y))
    table = next(c.values for c in integer.constants.values())
    assert len(table) == 256
    assert (table[:129] == Q.zero_point[0]).all()


Q = Affine(True, 8, (0.02,), (-100,))


def test_moves_share_a_type_and_cost_no_conversion() -> None:
    net = Network(1, 8, 8, 3)
    branches = [
        net.conv(net.x, 2),
        net.add("MaxPool2D", [net.conv(net.x, 2)], MaxPool2DAttrs((3, 3), (1, 1), (1, 1, 1, 1))),
    ]
    x = net.add("Resize", [net.add("Concat", branches, ConcatAttrs(3))], ResizeAttrs((0, 1, 1), (0, 1, 1)))
    integer = check(net.done(net.conv(x, 2)))
    assert "Requantize" not in [node.op for node in integer.nodes]
    concat = next(node for node in integer.nodes if node.op == "Concat")
    assert len({integer.types[name].element for name in (*concat.inputs, *concat.outputs)}) == 1


def test_a_far_smaller_branch_keeps_its_own_type() -> None:
    net = Network(1, 8, 8, 3)
    small = net.conv(net.x, 2, activation=Activation(0.0, 0.01))
    large = net.conv(net.x, 2)
    joined = net.add("Concat", [small, large], ConcatAttrs(3))
    integer = check(net.done(joined, net.conv(small, 2)))
    assert [node.op for node in integer.nodes].count("Requantize") == 1


@given(st.integers(0, 10**6))
@example(1792)  # an Add whose output has twice the scale of its inputs: every odd sum is an exact tie
@settings(max_examples=40)
def test_random_networks(seed: int) -> None:
    """Random graphs of joins, branches and moves; every layer on its own within a step."""
    net = Network(1, 8, 8, 3, seed=seed)
    choose = np.random.default_rng(seed)
    tensors = [net.conv(net.x, 4), net.x]
    for _ in range(6):
        x = tensors[int(choose.integers(len(tensors)))]
        other = tensors[int(choose.integers(len(tensors)))]
        same = net.shape(x) == net.shape(other)
        kind = int(choose.integers(8))
        if kind == 0 or (not same and kind < 3):
            tensors.append(net.conv(x, 4))
        elif kind == 1:
            tensors.append(net.add("Add", [x, other], AddAttrs(RELU if seed % 2 else Activation())))
        elif kind == 2:
            tensors.append(net.add("Concat", [x, other], ConcatAttrs(3)))
        elif kind == 3:
            tensors.append(net.add("MaxPool2D", [x], MaxPool2DAttrs((3, 3), (1, 1), (1, 1, 1, 1))))
        elif kind == 4:
            tensors.append(net.add("Sigmoid", [x], OPS["Sigmoid"].attrs()))
        elif kind == 5:
            tensors.append(net.add("Clamp", [x], ClampAttrs(Activation(-0.5, 1.0))))
        elif kind == 6:
            tensors.append(net.add("Transpose", [x], TransposeAttrs((0, 2, 1, 3))))
        else:
            tensors.append(net.add("AveragePool2D", [x], AveragePool2DAttrs((3, 3), (1, 1), (1, 1, 1, 1))))
    made = [t for t in tensors if t != net.x]
    check(net.done(made[-1], *({made[-2]} - {made[-1]})), seed)
