"""Small integer graphs that between them reach every kernel function with every usual pair of element types."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from boardfit.ir import FLOAT32, INT32, Affine, Attrs, ElementType, Graph, GraphEditor, Source
from boardfit.ir.circulant import Circulant
from boardfit.ir.walsh import walsh_rows
from boardfit.ops import OPS
from boardfit.ops.activation import NONE, RELU
from boardfit.ops.add import AddAttrs
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs, MeanArithmetic
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.div import DivAttrs
from boardfit.ops.gather import GatherAttrs
from boardfit.ops.lookup import LookupAttrs
from boardfit.ops.matmul import MatMulAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.min_max import MaxAttrs, MinAttrs
from boardfit.ops.mul import MulAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.prelu import PReluAttrs
from boardfit.ops.quantize import DequantizeAttrs, QuantizeAttrs
from boardfit.ops.reduce_mean import ReduceMeanAttrs
from boardfit.ops.requantize import RequantizeAttrs
from boardfit.ops.resize import ResizeAttrs
from boardfit.ops.scale_bias import ScaleBiasAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.sub import SubAttrs
from boardfit.ops.transpose import TransposeAttrs

S8 = Affine(True, 8, (0.05,), (3,))
U8 = Affine(False, 8, (0.04,), (120,))
S16 = Affine(True, 16, (0.001,), (0,))
COARSE = Affine(True, 8, (2.0,), (1,))
WEIGHTS = Affine(True, 8, (0.004,), (0,))
IMAGE = (1, 8, 8, 8)
PAIRS: tuple[tuple[Affine, Affine], ...] = (
    (S8, S8),
    (U8, U8),
    (S8, U8),
    (U8, S8),
    (S16, S16),
    (COARSE, S8),
    (S8, COARSE),
)
"""Input and output types; the coarse ones reach the requantizations of small and of large ratios."""


def sample_graphs() -> Iterator[Graph]:
    """All samples; the last node of each is what it is for."""
    for x, y in PAIRS:
        yield from _linear(x, y)
        yield from _elementwise(x, y)
        yield from _windows_and_axes(x, y)
    for element in (S8, U8, S16):
        yield from _moves(element)
    yield from _stored()
    yield from _circulant()
    yield from _walsh()
    yield from _signs()


def layer_graph(
    op: str,
    attrs: Attrs,
    shapes: Sequence[tuple[int, ...]],
    elements: Sequence[ElementType],
    y: ElementType | None,
    constants: Sequence[tuple[np.ndarray, ElementType]] = (),
) -> Graph:
    """A graph of one node; `y` replaces the inferred element type of the outputs."""
    edit = GraphEditor.empty("sample")
    names = [edit.add_input(f"x{i}", _type(s, e)) for i, (s, e) in enumerate(zip(shapes, elements, strict=True))]
    names += [edit.add_constant("constant", values, element) for values, element in constants]
    types = OPS[op].infer(attrs, [edit.types[name] for name in names])
    types = [t if y is None else t.with_element(y) for t in types]
    edit.outputs = list(edit.add_node(op, names, attrs, Source("sample", op, op), types=types).outputs)
    return edit.finish()


def _type(shape: tuple[int, ...], element: ElementType):  # type: ignore[no-untyped-def]
    from boardfit.ir import TensorType

    return TensorType(shape, element)


def weights_of(shape: tuple[int, ...], coarse: bool = False) -> tuple[np.ndarray, ElementType]:
    """Random int8 weights of a shape, seeded; coarse ones make the ratio of requantization large."""
    values = np.random.default_rng(1).integers(-127, 128, shape)
    return values, Affine(True, 8, (1.0 if coarse else 0.004,), (0,))


def _sparse_weights(shape: tuple[int, ...], distinct: int, coarse: bool) -> tuple[np.ndarray, ElementType]:
    """Weights of which nine in ten are zero."""
    size = int(np.prod(shape))
    values = np.where(np.arange(size) % 10 == 0, np.arange(size) // 10 % distinct - distinct // 2, 0)
    return values.reshape(shape), weights_of(shape, coarse)[1]


def _linear(x: Affine, y: Affine) -> Iterator[Graph]:
    bias = (np.arange(8) * 100, INT32)
    for coarse in (False, True):
        for distinct in (8, 200):  # few and many symbols of entropy-coded weights
            yield layer_graph(
                "Dense", DenseAttrs(), [(1, 400)], [x], y, [_sparse_weights((8, 400), distinct, coarse), bias]
            )
        yield layer_graph("Dense", DenseAttrs(), [(1, 16)], [x], y, [weights_of((8, 16), coarse), bias])
        for kernel, channels, groups, pad, stride in (
            ((1, 1), 8, 1, 0, 1),
            ((3, 3), 8, 1, 1, 1),
            ((3, 3), 8, 1, 1, 2),
            ((3, 3), 8, 2, 1, 1),
            ((3, 3), 8, 8, 1, 1),
            ((3, 3), 8, 8, 1, 2),
            ((3, 3), 3, 1, 1, 2),
            ((3, 3), 1, 1, 1, 1),
            ((10, 4), 1, 1, 5, 2),
        ):
            attrs = Conv2DAttrs((stride, stride), (pad, pad, pad, pad), groups=groups)
            weights = weights_of((8, *kernel, channels // groups), coarse)
            yield layer_graph("Conv2D", attrs, [(1, 8, 8, channels)], [x], y, [weights, bias])
        transposed = ConvTranspose2DAttrs((2, 2), (1, 1, 1, 1))
        yield layer_graph("ConvTranspose2D", transposed, [IMAGE], [x], y, [weights_of((8, 3, 3, 8), coarse), bias])
    yield layer_graph("ScaleBias", ScaleBiasAttrs(), [IMAGE], [x], y, [weights_of((8,)), bias])
    yield layer_graph("PRelu", PReluAttrs(), [IMAGE], [x], y, [weights_of((8,))])
    if x.width == 8:
        yield layer_graph("MatMul", MatMulAttrs(), [(1, 4, 5), (1, 5, 3)], [x, x], y)


def _circulant() -> Iterator[Graph]:
    """Dense layers with circulant blocks of every size that has functions of its own."""
    random = np.random.default_rng(4)
    for block in (4, 5, 8, 16, 32):
        for structure in (Circulant(block), Circulant(block, skew=True)):
            raw = structure.matrix(random.integers(-127, 128, (2, 2, block)), (2 * block, 2 * block))
            for activation in (NONE, RELU):
                constants = [(raw, WEIGHTS), (raw[:, 0], INT32)]
                yield layer_graph("Dense", DenseAttrs(activation), [(1, 2 * block)], [S8], S8, constants)


def _walsh() -> Iterator[Graph]:
    """A dense layer of Walsh rows."""
    raw = walsh_rows(np.arange(16), 16) * 127
    yield layer_graph("Dense", DenseAttrs(), [(1, 16)], [S8], S8, [(raw, WEIGHTS), (raw[:, 0], INT32)])


def stored_weights(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Weights that suit each storage format: a few zeros in blocks, 4 to 1 bits, few values."""
    random = np.random.default_rng(1)
    outputs, depth = shape[0], int(np.prod(shape[1:]))
    blocks = random.random((outputs, -(-depth // 4))) < 0.3
    dense = random.integers(-127, 128, (outputs, depth))
    blocked = np.repeat(blocks, 4, axis=1)[:, :depth]
    yield (dense * blocked).reshape(shape)
    yield (dense // 16 * blocked).reshape(shape)
    for bits in (4, 3, 2, 1):
        yield random.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape)
    yield random.integers(-1, 2, shape) * 5
    yield random.choice([-90, -31, -7, 0, 2, 11, 40, 127], shape)


def _stored() -> Iterator[Graph]:
    bias = (np.arange(8) * 100, INT32)
    for activation in (NONE, RELU):
        for values in stored_weights((8, 64)):
            weights = (values, WEIGHTS)
            yield layer_graph("Dense", DenseAttrs(activation), [(1, 64)], [S8], S8, [weights, bias])
        for kernel, channels, groups in (((1, 1), 8, 1), ((3, 3), 3, 1), ((3, 3), 8, 8)):
            attrs = Conv2DAttrs(groups=groups, activation=activation)
            for values in stored_weights((8, *kernel, channels // groups)):
                yield layer_graph("Conv2D", attrs, [(1, 8, 8, channels)], [S8], S8, [(values, WEIGHTS), bias])


def _signs() -> Iterator[Graph]:
    """Layers of two-valued weights behind a table of two values."""
    signs = Affine(True, 8, (1.0,), (0,))
    for x, y in ((S8, S8), (S8, COARSE)):
        for shape, weights_shape in (((1, 64), (8, 64)), ((1, 4, 4, 32), (8, 3, 3, 32))):
            edit = GraphEditor.empty("sample")
            name = edit.add_input("x", _type(shape, x))
            table = edit.add_constant("table", np.where(np.arange(256) < 128, -1, 1), signs)
            types = [_type(shape, signs)]
            source = Source("sample", "sign", "Lookup")
            sign = edit.add_node("Lookup", [name, table], LookupAttrs("sign"), source, types=types).outputs[0]
            values = np.random.default_rng(1).choice([-1, 1], weights_shape)
            operands = [sign, edit.add_constant("weights", values, WEIGHTS)]
            op, attrs = ("Dense", DenseAttrs()) if len(shape) == 2 else ("Conv2D", Conv2DAttrs())
            types = OPS[op].infer(attrs, [edit.types[operand] for operand in operands])
            types = [t.with_element(y) for t in types]
            edit.outputs = list(edit.add_node(op, operands, attrs, Source("sample", op, op), types=types).outputs)
            yield edit.finish()


def _elementwise(x: Affine, y: Affine) -> Iterator[Graph]:
    attrs = {
        "Add": AddAttrs(),
        "Sub": SubAttrs(),
        "Mul": MulAttrs(),
        "Div": DivAttrs(),
        "Min": MinAttrs(),
        "Max": MaxAttrs(),
    }
    for op, attributes in attrs.items():
        if x.width == 16 and op == "Mul":
            continue
        yield layer_graph(op, attributes, [IMAGE, IMAGE], [x, x], y)
        yield layer_graph(op, attributes, [IMAGE, (1, 1, 8, 1)], [x, x], y)
    yield layer_graph("Clamp", ClampAttrs(RELU), [IMAGE], [x], y)
    yield layer_graph("Requantize", RequantizeAttrs(y), [IMAGE], [x], y)
    if x.width == 8:
        yield layer_graph("Lookup", LookupAttrs("sample"), [IMAGE], [x], None, [(np.arange(256) % 100, y)])


def _windows_and_axes(x: Affine, y: Affine) -> Iterator[Graph]:
    yield layer_graph("AveragePool2D", AveragePool2DAttrs((2, 2), (2, 2)), [IMAGE], [x], y)
    yield layer_graph("AveragePool2D", AveragePool2DAttrs((8, 8), (1, 1)), [IMAGE], [x], y)
    stated = AveragePool2DAttrs((8, 8), (8, 8), arithmetic=MeanArithmetic.BINARY32)
    yield layer_graph("AveragePool2D", stated, [IMAGE], [x], y)
    yield layer_graph("ReduceMean", ReduceMeanAttrs((1,)), [IMAGE], [x], y)
    yield layer_graph("Softmax", SoftmaxAttrs(1), [(1, 10)], [x], y)


def _moves(element: Affine) -> Iterator[Graph]:
    yield layer_graph("MaxPool2D", MaxPool2DAttrs((2, 2), (2, 2)), [IMAGE], [element], None)
    yield layer_graph("ArgMax", ArgMaxAttrs(1), [(1, 10)], [element], INT32)
    yield layer_graph("ArgMax", ArgMaxAttrs(1, last=True), [(1, 10)], [element], INT32)
    yield layer_graph("Concat", ConcatAttrs(3), [IMAGE, IMAGE], [element, element], None)
    yield layer_graph("Pad", PadAttrs((0, 1, 1, 0), (0, 1, 1, 0)), [IMAGE], [element], None)
    yield layer_graph("Transpose", TransposeAttrs((0, 3, 1, 2)), [IMAGE], [element], None)
    yield layer_graph("Gather", GatherAttrs(1, (2, 0)), [IMAGE], [element], None)
    yield layer_graph("Resize", ResizeAttrs((0, 0, 1), (0, 2)), [IMAGE], [element], None)
    yield layer_graph("Clamp", ClampAttrs(RELU), [IMAGE], [element], element)
    yield layer_graph("Quantize", QuantizeAttrs(element), [IMAGE], [FLOAT32], element)
    yield layer_graph("Dequantize", DequantizeAttrs(), [IMAGE], [element], FLOAT32)
