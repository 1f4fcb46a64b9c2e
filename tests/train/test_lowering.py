"""Every op of the IR in TensorFlow against the float interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from boardfit.interp import run
from boardfit.ir import Affine, Attrs, Graph, GraphEditor, Source, TensorType
from boardfit.ops import OPS
from boardfit.ops.absolute import AbsAttrs
from boardfit.ops.activation import RELU, Activation
from boardfit.ops.add import AddAttrs
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.bipolar import BipolarAttrs
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.div import DivAttrs
from boardfit.ops.elu import EluAttrs
from boardfit.ops.erf import ErfAttrs
from boardfit.ops.exp import ExpAttrs
from boardfit.ops.gather import GatherAttrs
from boardfit.ops.hard_sigmoid import HardSigmoidAttrs
from boardfit.ops.hard_swish import HardSwishAttrs
from boardfit.ops.leaky_relu import LeakyReluAttrs
from boardfit.ops.log import LogAttrs
from boardfit.ops.matmul import MatMulAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.min_max import MaxAttrs, MinAttrs
from boardfit.ops.mul import MulAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.prelu import PReluAttrs
from boardfit.ops.quantize import DequantizeAttrs, QuantizeAttrs
from boardfit.ops.reduce_mean import ReduceMeanAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.ops.resize import ResizeAttrs
from boardfit.ops.scale_bias import ScaleBiasAttrs
from boardfit.ops.selu import SeluAttrs
from boardfit.ops.sigmoid import SigmoidAttrs
from boardfit.ops.slice import SliceAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.softplus import SoftplusAttrs
from boardfit.ops.softsign import SoftsignAttrs
from boardfit.ops.sqrt import SqrtAttrs
from boardfit.ops.sub import SubAttrs
from boardfit.ops.tanh import TanhAttrs
from boardfit.ops.transpose import TransposeAttrs
from boardfit.train.lowering import LOWERINGS, NOT_TRAINABLE
from boardfit.train.network import Network

TOLERANCE = 1e-5
"""Largest difference, relative to the largest output: float32 sums in another order."""

Case = tuple[str, Attrs, tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]
"""Op, attributes, shapes of computed inputs, shapes of constants."""

IMAGE = (1, 7, 9, 4)
EIGHT_BITS = Affine(True, 8, (0.05,), (3,))
PER_CHANNEL = Affine(True, 8, (0.05, 0.1, 0.02, 0.04), (0, 1, 2, 3), axis=3)
RELU6 = Activation(0.0, 6.0)

CASES: list[Case] = [
    ("Abs", AbsAttrs(), (IMAGE,), ()),
    ("Add", AddAttrs(RELU), (IMAGE,), ((4,),)),
    ("Add", AddAttrs(), (IMAGE, IMAGE), ()),
    ("ArgMax", ArgMaxAttrs(3), (IMAGE,), ()),
    ("ArgMax", ArgMaxAttrs(1, keep_dims=False, last=True), (IMAGE,), ()),
    ("AveragePool2D", AveragePool2DAttrs((3, 2), (2, 2), (1, 0, 1, 1)), (IMAGE,), ()),
    ("AveragePool2D", AveragePool2DAttrs((3, 3), (2, 1), (1, 1, 1, 1), (1, 1), (1, 0), count_pads=True), (IMAGE,), ()),
    ("Bipolar", BipolarAttrs(), (IMAGE,), ()),
    ("Clamp", ClampAttrs(RELU6), (IMAGE,), ()),
    ("Concat", ConcatAttrs(3), (IMAGE, (1, 7, 9, 2)), ((1, 7, 9, 3),)),
    ("Conv2D", Conv2DAttrs((2, 1), (1, 0, 2, 1), activation=RELU), (IMAGE,), ((6, 3, 2, 4), (6,))),
    ("Conv2D", Conv2DAttrs((2, 1), dilations=(2, 3), groups=2), (IMAGE,), ((6, 3, 2, 2),)),
    ("Conv2D", Conv2DAttrs((2, 2), (1, 1, 1, 1), groups=4), (IMAGE,), ((8, 3, 3, 1), (8,))),
    ("Conv2D", Conv2DAttrs((1, 2), dilations=(2, 1), groups=4), (IMAGE,), ((4, 3, 3, 1),)),
    ("ConvTranspose2D", ConvTranspose2DAttrs((2, 3), (1, 0, 1, 1), (1, 2), (1, 0)), (IMAGE,), ((5, 3, 2, 4), (5,))),
    ("ConvTranspose2D", ConvTranspose2DAttrs((2, 2), groups=2), (IMAGE,), ((6, 3, 3, 2),)),
    ("Dense", DenseAttrs(RELU), ((1, 20),), ((8, 20), (8,))),
    ("Dense", DenseAttrs(), ((1, 3, 20),), ((8, 20),)),
    ("Div", DivAttrs(), (IMAGE,), ((1, 1, 4),)),
    ("Elu", EluAttrs(0.7), (IMAGE,), ()),
    ("Erf", ErfAttrs(), (IMAGE,), ()),
    ("Exp", ExpAttrs(), (IMAGE,), ()),
    ("Gather", GatherAttrs(3, (2, 0, 0)), (IMAGE,), ()),
    ("HardSigmoid", HardSigmoidAttrs(), (IMAGE,), ()),
    ("HardSwish", HardSwishAttrs(), (IMAGE,), ()),
    ("LeakyRelu", LeakyReluAttrs(0.1), (IMAGE,), ()),
    ("MatMul", MatMulAttrs(), ((1, 3, 5), (1, 5, 2)), ()),
    ("Max", MaxAttrs(), (IMAGE,), ((4,),)),
    ("MaxPool2D", MaxPool2DAttrs((2, 3), (2, 2), (0, 1, 1, 1), (1, 1), (1, 1)), (IMAGE,), ()),
    ("MaxPool2D", MaxPool2DAttrs((2, 2), (2, 1), dilations=(2, 2)), (IMAGE,), ()),
    ("Min", MinAttrs(), (IMAGE, IMAGE), ()),
    ("Mul", MulAttrs(RELU6), (IMAGE,), ((4,),)),
    ("PRelu", PReluAttrs(), (IMAGE,), ((4,),)),
    ("Pad", PadAttrs((0, 1, 2, 0), (0, 2, 0, 1), 0.5), (IMAGE,), ()),
    ("Quantize", QuantizeAttrs(EIGHT_BITS), (IMAGE,), ()),
    ("Quantize", QuantizeAttrs(PER_CHANNEL), (IMAGE,), ()),
    ("ReduceMean", ReduceMeanAttrs((1, 2)), (IMAGE,), ()),
    ("ReduceMean", ReduceMeanAttrs((2,), keep_dims=False), (IMAGE,), ()),
    ("Reshape", ReshapeAttrs((1, 63, 4)), (IMAGE,), ()),
    ("Resize", ResizeAttrs((0, 0, 3, 6), (1, 2, 8)), (IMAGE,), ()),
    ("ScaleBias", ScaleBiasAttrs(RELU), (IMAGE,), ((4,), (4,))),
    ("Selu", SeluAttrs(), (IMAGE,), ()),
    ("Sigmoid", SigmoidAttrs(), (IMAGE,), ()),
    ("Slice", SliceAttrs((0, 6, 1, 0), (1, 4, 3, 4), (1, -2, 3, 1)), (IMAGE,), ()),
    ("Softmax", SoftmaxAttrs(3), (IMAGE,), ()),
    ("Softplus", SoftplusAttrs(), (IMAGE,), ()),
    ("Softsign", SoftsignAttrs(), (IMAGE,), ()),
    ("Sub", SubAttrs(), (IMAGE,), ((4,),)),
    ("Tanh", TanhAttrs(), (IMAGE,), ()),
    ("Transpose", TransposeAttrs((0, 3, 1, 2)), (IMAGE,), ()),
]

POSITIVE: list[Case] = [("Log", LogAttrs(), (IMAGE,), ()), ("Sqrt", SqrtAttrs(), (IMAGE,), ())]
"""Ops that are defined for positive inputs."""

SAMPLES = 3


def graph_of(case: Case, random: np.random.Generator) -> Graph:
    op, attrs, computed, constants = case
    editor = GraphEditor.empty("one")
    names = [editor.add_input(f"x{i}", TensorType(shape)) for i, shape in enumerate(computed)]
    names += [editor.add_constant("c", random.normal(size=shape).astype(np.float32)) for shape in constants]
    node = editor.add_node(op, names, attrs, Source("m.onnx", "node", op))
    outputs = list(node.outputs)
    if op == "Quantize":
        outputs = list(editor.add_node("Dequantize", outputs, DequantizeAttrs(), node.source).outputs)
    editor.outputs = outputs
    return editor.finish()


@pytest.mark.parametrize("case", CASES + POSITIVE, ids=lambda case: case[0])
def test_equals_the_interpreter(case: Case) -> None:
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: pip install 'boardfit[train]'")
    random = np.random.default_rng(7)
    graph = graph_of(case, random)
    inputs = {n: 2.0 * random.normal(size=(SAMPLES, *graph.types[n].shape)).astype(np.float32) for n in graph.inputs}
    if case in POSITIVE:
        inputs = {name: np.abs(values) + np.float32(0.1) for name, values in inputs.items()}
    expected = run(graph, inputs)[graph.outputs[0]]
    found = Network(graph, trainable=False).run(inputs, graph.outputs, batch=2)[graph.outputs[0]]
    assert found.shape == expected.shape
    limit = TOLERANCE * max(float(np.abs(expected).max()), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=limit)


def test_every_op_has_a_form_or_a_reason() -> None:
    assert set(LOWERINGS) | set(NOT_TRAINABLE) == set(OPS)
    assert not set(LOWERINGS) & set(NOT_TRAINABLE)


def test_every_form_is_compared() -> None:
    compared = {case[0] for case in CASES + POSITIVE} | {"Dequantize"}
    assert compared == set(LOWERINGS)
