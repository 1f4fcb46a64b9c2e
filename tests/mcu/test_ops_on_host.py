"""Every other op as generated C on this computer, byte for byte equal to the interpreter."""

from __future__ import annotations

import pytest

from boardfit.backends.mcu.plan import make_plan
from boardfit.ir import FLOAT32, INT32, Affine, ElementType, Graph
from boardfit.ops.activation import NONE, RELU, Activation
from boardfit.ops.add import AddAttrs
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs
from boardfit.ops.div import DivAttrs
from boardfit.ops.elementwise import ElementwiseAttrs
from boardfit.ops.gather import GatherAttrs
from boardfit.ops.lookup import LookupAttrs
from boardfit.ops.matmul import MatMulAttrs
from boardfit.ops.min_max import MaxAttrs, MinAttrs
from boardfit.ops.mul import MulAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.prelu import PReluAttrs
from boardfit.ops.quantize import DequantizeAttrs, QuantizeAttrs
from boardfit.ops.reduce_mean import ReduceMeanAttrs
from boardfit.ops.requantize import RequantizeAttrs
from boardfit.ops.resize import ResizeAttrs
from boardfit.ops.scale_bias import ScaleBiasAttrs
from boardfit.ops.slice import SliceAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.sub import SubAttrs
from boardfit.ops.transpose import TransposeAttrs

from .builders import Builder, s8, s16, u8
from .host import m4
from .test_layers_on_host import check

PAIRS: list[tuple[ElementType, ElementType, ElementType]] = [
    (s8(0.05, 3), s8(0.02, -7), s8(0.06, 1)),
    (u8(0.05, 100), s8(0.03, 5), u8(0.04, 90)),
    (s8(0.05, 0), s8(0.05, 0), s8(0.001, 0)),  # saturates nearly always
]
SHAPES = [((1, 4, 5, 3), (1, 4, 5, 3)), ((1, 4, 5, 3), (3,)), ((1, 4, 1, 3), (2, 1, 5, 1)), ((1,), (1, 6))]


def binary(op: str, attrs: ElementwiseAttrs) -> list[Graph]:
    graphs = []
    for a, b, y in PAIRS:
        for left, right in SHAPES:
            build = Builder(f"{op} {left} {right}")
            graphs.append(build.finish(build.node(op, [build.input(left, a), build.input(right, b)], attrs, y)))
    return graphs


@pytest.mark.parametrize(
    ("op", "attrs"),
    [
        ("Add", AddAttrs(RELU)),
        ("Sub", SubAttrs()),
        ("Mul", MulAttrs(Activation(-1.0, 0.5))),
        ("Div", DivAttrs()),
        ("Min", MinAttrs(NONE)),
        ("Max", MaxAttrs(RELU)),
    ],
)
def test_two_operands(op: str, attrs: ElementwiseAttrs) -> None:
    check(binary(op, attrs))


def test_a_constant_operand_and_one_tensor_twice() -> None:
    build = Builder("constants")
    x = build.input((1, 3, 4), s8(0.05, 2))
    y = build.node("Add", [x, build.random_constant((4,), s8(0.1, -3))], AddAttrs(), s8(0.12))
    z = build.node("Mul", [y, y], MulAttrs(), s8(0.6))
    check([build.finish(z, y)])


def test_sums_of_16_bits() -> None:
    build = Builder("wide")
    a, b = build.input((1, 9), s16(0.001, 40)), build.input((1, 9), s16(0.002, -3))
    y = build.node("Add", [a, b], AddAttrs(), s16(0.002, 5))
    check([build.finish(y, build.node("Sub", [y, b], SubAttrs(), s8(0.3, 1)))])


def test_functions_of_one_value() -> None:
    build = Builder("unary")
    x = build.input((1, 300), s8(0.05, 2))
    same = build.node("Clamp", [x], ClampAttrs(Activation(0.0, 3.0)), s8(0.05, 2))
    other = build.node("Clamp", [x], ClampAttrs(RELU), u8(0.03, 0))
    narrow = build.node("Requantize", [x], RequantizeAttrs(u8(0.06, 120)), u8(0.06, 120))
    wide = build.node("Requantize", [x], RequantizeAttrs(s16(0.001, -9)), s16(0.001, -9))
    table = build.random_constant((256,), s8(0.1, 4))
    looked = build.node("Lookup", [narrow, table], LookupAttrs("noise"), s8(0.1, 4))
    nothing = build.node("Clamp", [looked], ClampAttrs(NONE), s8(0.1, 4))
    check([build.finish(same, other, wide, nothing)])


def test_channel_scales_and_slopes() -> None:
    build = Builder("channels")
    x = build.input((1, 5, 6), s8(0.05, 2))
    scale, slope = build.random_constant((6,), s8(0.02, 0)), build.random_constant((6,), s8(0.01, 0))
    y = build.node("ScaleBias", [x, scale, build.bias(6)], ScaleBiasAttrs(RELU), s8(0.1, -100))
    z = build.node("PRelu", [x, slope], PReluAttrs(), s8(0.05, 7))
    check([build.finish(y, z)])


def test_moves() -> None:
    build = Builder("moves")
    image, pixels = build.input((1, 4, 5, 3), s8(0.05, -2)), build.input((1, 4, 5, 2), s8(0.05, -2))
    wide = build.input((2, 3, 4), s16())
    found = [
        build.node("Concat", [image, pixels, image], ConcatAttrs(3)),
        build.node("Concat", [image, image], ConcatAttrs(1)),
        build.node("Concat", [image, build.random_constant((1, 4, 2, 3), s8(0.05, -2))], ConcatAttrs(2)),
        build.node("Slice", [image], SliceAttrs((0, 1, 4, 0), (1, 2, 3, 3), (1, 2, -2, 1))),
        build.node("Slice", [image], SliceAttrs((0, 1, 0, 0), (1, 2, 5, 3), (1, 1, 1, 1))),
        build.node("Pad", [image], PadAttrs((0, 1, 0, 0), (0, 2, 1, 0))),
        build.node("Pad", [image], PadAttrs((0, 0, 0, 1), (0, 0, 0, 2), -3.0)),
        build.node("Pad", [wide], PadAttrs((0, 1, 1), (1, 0, 0), 0.5)),
        build.node("Transpose", [image], TransposeAttrs((0, 3, 1, 2))),
        build.node("Transpose", [image], TransposeAttrs((3, 2, 1, 0))),
        build.node("Transpose", [wide], TransposeAttrs((1, 0, 2))),
        build.node("Gather", [image], GatherAttrs(2, (4, 0, 0, 3))),
        build.node("Gather", [wide], GatherAttrs(0, (1,))),
        build.node("Resize", [image], ResizeAttrs((0, 0, 1, 1, 3, 3), (0, 2, 4))),
    ]
    check([build.finish(*found)])


def test_a_transposition_of_single_axes_is_a_view() -> None:
    build = Builder("views")
    x = build.input((1, 7, 1), s8())
    y = build.node("Transpose", [x], TransposeAttrs((2, 0, 1)))
    graph = build.finish(y)
    assert make_plan(graph, m4()).places[y] == make_plan(graph, m4()).places[x]
    check([graph])


@pytest.mark.parametrize("axis", [1, 2])
def test_softmax(axis: int) -> None:
    graphs = []
    for seed, (x, y) in enumerate(
        [(s8(0.1, 3), s8(1 / 256, -128)), (s8(0.02, 0), u8(1 / 256, 0)), (u8(0.5, 9), s16(1 / 32768, 0))]
    ):
        build = Builder(f"softmax {seed}")
        graphs.append(build.finish(build.node("Softmax", [build.input((1, 7, 12), x)], SoftmaxAttrs(axis), y)))
    check(graphs)


def test_arg_max() -> None:
    build = Builder("arg max")
    x = build.input((1, 3, 40), s8())
    found = [
        build.node("ArgMax", [x], ArgMaxAttrs(axis, keep, last), INT32)
        for axis, keep, last in ((2, False, False), (2, True, True), (1, True, False), (1, False, True))
    ]
    check([build.finish(*found)])


def test_means() -> None:
    build = Builder("means")
    x = build.input((1, 4, 5, 3), s8(0.05, 9))
    found = [
        build.node("ReduceMean", [x], ReduceMeanAttrs(axes, keep), s8(0.03, -4))
        for axes, keep in (((1, 2), True), ((3,), False), ((1,), False), ((1, 3), True), ((0, 1, 2, 3), False))
    ]
    check([build.finish(*found)])


def test_products_of_matrices() -> None:
    graphs = []
    for seed, (left, right) in enumerate(
        [((1, 4, 5), (1, 5, 3)), ((2, 3, 4, 5), (5, 2)), ((2, 1, 4, 5), (3, 5, 2)), ((1, 3, 4, 5), (2, 1, 5, 2))]
    ):
        build = Builder(f"product {seed}", seed)
        a, b = build.input(left, s8(0.05, 3)), build.input(right, u8(0.02, 99))
        graphs.append(build.finish(build.node("MatMul", [a, b], MatMulAttrs(), s8(0.02, 7))))
    check(graphs)


def test_transposed_convolutions() -> None:
    graphs = []
    cases = [
        (3, (3, 3), 4, ConvTranspose2DAttrs((2, 2), (1, 1, 1, 1), output_padding=(1, 1))),
        (4, (2, 2), 6, ConvTranspose2DAttrs((2, 2), groups=2)),
        (2, (3, 2), 3, ConvTranspose2DAttrs((1, 3), (0, 1, 1, 0), (2, 1), activation=RELU)),
        (2, (2, 3), 5, ConvTranspose2DAttrs((3, 2), (0, 0, 0, 0), (2, 2))),
        (3, (1, 1), 2, ConvTranspose2DAttrs((2, 2))),
    ]
    for seed, (channels, kernel, out, attrs) in enumerate(cases):
        build = Builder(f"transposed {seed}", seed)
        x = build.input((1 + seed % 2, 4, 5, channels), s8(0.05, 3))
        inputs = [x, build.weights((out, *kernel, channels // attrs.groups)), build.bias(out)]
        graphs.append(build.finish(build.node("ConvTranspose2D", inputs, attrs, s8(0.03, -10))))
    check(graphs)


def test_borders_to_real_values() -> None:
    build = Builder("borders")
    x = build.input((1, 200), FLOAT32)
    element = Affine(True, 8, (0.03,), (11,))
    y = build.node("Quantize", [x], QuantizeAttrs(element), element)
    z = build.node("Dequantize", [y], DequantizeAttrs(), FLOAT32)
    check([build.finish(y, z)])


def test_in_place_layers_take_no_memory_of_their_own() -> None:
    build = Builder("in place")
    x = build.input((1, 64), s8(0.05, 3))
    y = build.node("Clamp", [x], ClampAttrs(RELU), s8(0.03, 1))
    z = build.node("Add", [y, build.random_constant((64,), s8())], AddAttrs(), s8(0.1))
    graph = build.finish(z)
    plan = make_plan(graph, m4())
    assert plan.arena.bytes == 64
    check([graph])
