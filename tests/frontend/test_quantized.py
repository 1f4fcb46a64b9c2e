"""QuantizeLinear and DequantizeLinear, and every QOperator form, against onnxruntime's integer kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from boardfit.errors import ModelError
from boardfit.frontend import import_model
from boardfit.ir.types import Affine

from .harness import Case, Value, build, compare, run_boardfit, run_onnxruntime, samples

RNG = np.random.default_rng(5)
MICROSOFT = "com.microsoft"
U8, I8 = TensorProto.UINT8, TensorProto.INT8
X = (1, 4, 6, 5)


def number(value: float) -> Value:
    """A float scalar."""
    return np.float32(value)


def weights(*shape: int, signed: bool = True) -> np.ndarray:
    """Random 8-bit weights."""
    low, high = (-127, 127) if signed else (0, 255)
    return RNG.integers(low, high, shape, endpoint=True).astype(np.int8 if signed else np.uint8)


def quantized(
    name: str,
    op: str,
    shapes: Sequence[Sequence[int]],
    operands: Sequence[str],
    constants: dict[str, Any],
    *,
    kind: int = U8,
    domain: str = MICROSOFT,
    opset: int = 13,
    out: int | None = None,
    **attributes: Any,
) -> Case:
    """A model of one integer operator with integer inputs x0, x1, ... and an integer output y."""
    node = helper.make_node(op, operands, ["y"], name="node", domain=domain, **attributes)
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    kinds = dict.fromkeys(inputs, kind) | {"y": kind if out is None else out}
    domains = {domain: 1} if domain else None
    arrays = {key: np.asarray(value) for key, value in constants.items()}
    model = build([node], inputs, ["y"], arrays, opset=opset, domains=domains, kinds=kinds)
    return Case(name, model)


def points(kind: int) -> dict[str, Value]:
    """Scales and zero points of two inputs and an output of one integer type."""
    dtype, zero = (np.uint8, 120) if kind == U8 else (np.int8, -7)
    return {
        **{"as": number(0.03137), "az": dtype(zero), "bs": number(0.02179), "bz": dtype(zero + 3)},
        **{"ys": number(0.04291), "yz": dtype(zero + 8)},
    }


def convolution(kind: int, per_channel: bool, bias: bool, **options: Any) -> Case:
    """QLinearConv."""
    group = options.get("group", 1)
    w_scale = RNG.uniform(0.001, 0.003, 6).astype(np.float32) if per_channel else number(0.002)
    w_zero = np.zeros(6, np.int8) if per_channel else np.int8(0)
    constants = points(kind) | {"w": weights(6, 4 // group, 3, 3), "ws": w_scale, "wz": w_zero}
    operands = ["x0", "as", "az", "w", "ws", "wz", "ys", "yz"]
    if bias:
        constants["b"] = RNG.integers(-20000, 20000, 6).astype(np.int32)
        operands.append("b")
    name = f"QLinearConv {kind} per channel {per_channel} bias {bias} {options}"
    shape = (X[0], X[2], X[3], X[1]) if options.get("channels_last") else X
    domain = options.pop("domain", "")
    return quantized(name, "QLinearConv", [shape], operands, constants, kind=kind, domain=domain, **options)


def product(kind: int, per_column: bool) -> Case:
    """QLinearMatMul."""
    scale = RNG.uniform(0.002, 0.004, 5).astype(np.float32) if per_column else number(0.003)
    zero = np.zeros(5, np.int8) if per_column else np.int8(4)
    constants = points(kind) | {"w": weights(8, 5), "ws": scale, "wz": zero}
    operands = ["x0", "as", "az", "w", "ws", "wz", "ys", "yz"]
    name = f"QLinearMatMul {kind} per column {per_column}"
    return quantized(name, "QLinearMatMul", [(1, 8)], operands, constants, kind=kind, domain="")


def gemm(name: str, *, per_column: bool, real: bool = False, **attributes: Any) -> Case:
    """QGemm, integer or real result."""
    flip = bool(attributes.get("transB", 0))
    scale = RNG.uniform(0.002, 0.004, 5).astype(np.float32) if per_column else number(0.003)
    constants = points(U8) | {"w": weights(*((5, 8) if flip else (8, 5)))}
    constants |= {"ws": scale, "wz": np.zeros(np.shape(scale), np.int8)}
    constants["b"] = RNG.integers(-9000, 9000, 5).astype(np.int32)
    operands = ["x0", "as", "az", "w", "ws", "wz", "b", *([] if real else ["ys", "yz"])]
    out = TensorProto.FLOAT if real else U8
    return quantized(f"QGemm {name}", "QGemm", [(1, 8)], operands, constants, out=out, **attributes)


def elementwise(op: str, kind: int) -> Case:
    """QLinearAdd and QLinearMul."""
    operands = ["x0", "as", "az", "x1", "bs", "bz", "ys", "yz"]
    return quantized(f"{op} {kind}", op, [X, (1, 4, 1, 5)], operands, points(kind), kind=kind)


def one_input(op: str, kind: int, shape: Sequence[int] = X, scale: float = 0.04291, **attributes: Any) -> Case:
    """Operators with one integer input."""
    constants = points(kind) | {"ys": number(scale)}
    operands = ["x0", "as", "az", "ys", "yz"]
    name = f"{op} {kind} {tuple(shape)} {attributes}"
    return quantized(name, op, [shape], operands, constants, kind=kind, **attributes)


def softmax(kind: int, axis: int) -> Case:
    """QLinearSoftmax; `opset` is an attribute of the node."""
    case = one_input("QLinearSoftmax", kind, (1, 9), scale=1 / 256, axis=axis)
    case.model.graph.node[0].attribute.append(helper.make_attribute("opset", 13))
    return case


def integer_product(op: str, shape: Sequence[int], w: np.ndarray, w_zero: Value) -> Case:
    """ConvInteger or MatMulInteger after a static quantization, cast to real and scaled: exact."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(op, ["q", "w", "z", "wz"], ["i"], name="node"),
        helper.make_node("Cast", ["i"], ["r"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["r", "factor"], ["y"]),
    ]
    constants: dict[str, Value] = {"s": number(0.03), "z": np.uint8(90), "w": w, "wz": w_zero}
    constants["factor"] = number(0.0004)
    return Case(f"{op} zero points {np.shape(w_zero)}", build(nodes, {"x": shape}, ["y"], constants))


def integer_activations() -> Case:
    """MatMulInteger of two inputs."""
    nodes = [
        helper.make_node("MatMulInteger", ["a", "b", "az", "bz"], ["i"]),
        helper.make_node("Cast", ["i"], ["r"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["r", "factor"], ["y"]),
    ]
    constants: dict[str, Value] = {"az": np.uint8(120), "bz": np.uint8(7), "factor": number(0.001)}
    kinds = {"a": U8, "b": U8}
    return Case(
        "MatMulInteger of activations", build(nodes, {"a": (1, 3, 4), "b": (1, 4, 2)}, ["y"], constants, kinds=kinds)
    )


def mixed_reading(like: bool) -> Case:
    """Bytes that are dequantized in one place and cast in another."""
    cast = helper.make_node("CastLike", ["x", "s"], ["c"])
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s"], ["d"]),
        cast if like else helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["c", "d"], ["y"]),
    ]
    model = build(nodes, {"x": X}, ["y"], {"s": number(0.25)}, kinds={"x": U8}, opset=15)
    return Case(f"{nodes[1].op_type} and DequantizeLinear", model)


CASES = [
    *(
        convolution(kind, per_channel, bias)
        for kind in (U8, I8)
        for per_channel in (False, True)
        for bias in (False, True)
    ),
    convolution(U8, True, True, strides=[2, 2], pads=[1, 1, 1, 1]),
    convolution(U8, True, True, group=2, dilations=[2, 1]),
    *(product(kind, per_column) for kind in (U8, I8) for per_column in (False, True)),
    gemm("per tensor", per_column=False),
    gemm("per column", per_column=True),
    gemm("transposed B", per_column=True, transB=1),
    gemm("alpha", per_column=False, alpha=0.5),
    gemm("real result", per_column=True, real=True),
    *(elementwise(op, kind) for op in ("QLinearAdd", "QLinearMul") for kind in (U8, I8)),
    *(one_input("QLinearGlobalAveragePool", kind) for kind in (U8, I8)),
    one_input("QLinearGlobalAveragePool", U8, (1, 6, 5, 4), channels_last=1),
    convolution(U8, True, True, domain=MICROSOFT, channels_last=1, pads=[1, 0, 0, 1]),
    integer_product("ConvInteger", X, weights(3, 4, 3, 3), np.int8(0)),
    integer_product("MatMulInteger", (1, 8), weights(8, 5), np.int8(3)),
    integer_product("MatMulInteger", (1, 8), weights(8, 5), np.array([0, 1, -2, 3, 0], np.int8)),
    integer_activations(),
    *(mixed_reading(like) for like in (False, True)),
    *(one_input("QLinearAveragePool", kind, kernel_shape=[3, 2], strides=[2, 2]) for kind in (U8, I8)),
    one_input("QLinearAveragePool", U8, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    *(one_input("QLinearSigmoid", kind, scale=1 / 256) for kind in (U8, I8)),
    *(one_input("QLinearLeakyRelu", kind, alpha=0.2) for kind in (U8, I8)),
    softmax(U8, -1),
    softmax(I8, 1),
    quantized(
        "QLinearConcat",
        "QLinearConcat",
        [X, (1, 2, 6, 5)],
        ["ys", "yz", "x0", "as", "az", "x1", "bs", "bz"],
        points(U8),
        axis=1,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_qoperators_agree_with_onnxruntime(case: Case) -> None:
    case.check()


def qdq(name: str, scale: Value, zero: Value | None, opset: int, **options: Any) -> Case:
    """QuantizeLinear then DequantizeLinear of an activation."""
    operands = ["s"] if zero is None else ["s", "z"]
    domain = options.pop("domain", "")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *operands], ["q"], domain=domain, **options),
        helper.make_node("DequantizeLinear", ["q", *operands], ["y"], domain=domain, **options),
    ]
    constants = {"s": scale} | ({} if zero is None else {"z": zero})
    domains = {domain: 1} if domain else None
    return Case(f"QDQ {name}", build(nodes, {"x": X}, ["y"], constants, opset=opset, domains=domains))


PAIRS = [
    *(qdq(f"uint8 {o}", number(0.03), np.uint8(100), o) for o in (10, 13, 19, 21)),
    qdq("int8", number(0.03), np.int8(-3), 13),
    qdq("no zero point", number(0.03), None, 13),
    qdq("per axis", np.array([0.01, 0.1, 0.03, 0.02], np.float32), np.array([0, 3, 9, 200], np.uint8), 13, axis=1),
    qdq("int16", number(0.001), np.int16(5), 21),
    qdq("int16 microsoft", number(0.001), np.int16(5), 13, domain=MICROSOFT),
]


@pytest.mark.parametrize("case", PAIRS, ids=str)
def test_pairs_agree_with_onnxruntime(case: Case) -> None:
    case.check()


def test_quantized_weights_keep_their_integers() -> None:
    """A DequantizeLinear of weights per channel stays int8 in the graph, transposed with its axis."""
    scales = np.array([0.01, 0.02, 0.005, 0.03, 0.01, 0.02], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["real"], axis=0),
        helper.make_node("Conv", ["x", "real"], ["y"]),
    ]
    constants = {"w": weights(6, 4, 3, 3), "s": scales, "z": np.zeros(6, np.int8)}
    graph = compare(build(nodes, {"x": X}, ["y"], constants), tolerance=5e-6)
    (element,) = (t.element for name, t in graph.types.items() if name in graph.constants)
    assert isinstance(element, Affine)
    assert (element.width, element.axis, element.scale) == (8, 0, tuple(map(float, scales)))


def test_clip_between_quantize_and_dequantize() -> None:
    """Narrow ranges as some exporters write them: integers are clipped before they are dequantized."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Clip", ["q", "low", "high"], ["c"]),
        helper.make_node("DequantizeLinear", ["c", "s", "z"], ["y"]),
    ]
    constants = {"s": number(0.5), "z": np.int8(0), "low": np.int8(-7), "high": np.int8(7)}
    compare(build(nodes, {"x": X}, ["y"], {k: np.asarray(v) for k, v in constants.items()}))


def float_network() -> onnx.ModelProto:
    """Convolutions, a residual addition, pools, a concatenation and a classifier.

    All averages are of nine values: of four or sixteen, many would be exact ties of the next rounding.
    """
    rng = np.random.default_rng(3)

    def random(*shape: int) -> np.ndarray:
        return (rng.normal(0, 1, shape) / math.sqrt(max(math.prod(shape[1:]), 1))).astype(np.float32)

    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1, 1, 1, 1], group=4),
        helper.make_node("Add", ["r1", "c2"], ["a"]),
        helper.make_node("LeakyRelu", ["a"], ["l"], alpha=0.1),
        helper.make_node("MaxPool", ["l"], ["m"], kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("AveragePool", ["l"], ["p"], kernel_shape=[3, 3], strides=[3, 3]),
        helper.make_node("Concat", ["m", "p"], ["j"], axis=1),
        helper.make_node("GlobalAveragePool", ["j"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["d"]),
        helper.make_node("Sigmoid", ["d"], ["y"]),
    ]
    for index, node in enumerate(nodes):
        node.name = f"n{index}"
    constants = {"w1": random(4, 3, 3, 3), "b1": random(4), "w2": random(4, 1, 3, 3), "b2": random(4)}
    constants |= {"w3": random(8, 5), "b3": random(5)}
    model = build(nodes, {"x": (1, 3, 9, 9)}, ["y"], constants)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_models_of_onnxruntimes_quantizer(form: str, per_channel: bool, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    model = float_network()
    data = samples(model, seed=9, count=20)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined] # imported if present
        def __init__(self) -> None:
            self.left = iter(data)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    path = tmp_path / "quantized.onnx"
    quantization.quantize_static(
        model, path, Reader(), quant_format=quantization.QuantFormat[form], per_channel=per_channel
    )
    made = onnx.load(str(path))
    operators = {node.op_type for node in made.graph.node}
    assert ("QLinearConv" in operators) == (form == "QOperator")
    graph = import_model(made, "m.onnx", "m")
    feeds = samples(made, seed=1, count=20)
    theirs = np.stack([outputs[0] for outputs in run_onnxruntime(made, feeds)])
    (ours,) = run_boardfit(graph, feeds)
    steps = np.rint((ours - theirs) * 256)  # the last quantizer, behind a sigmoid, has steps of 1/256
    assert np.ptp(theirs) > 8 / 256
    assert np.abs(steps).max() <= 1
    assert (steps == 0).mean() >= 0.98


def test_dynamic_quantization_is_refused() -> None:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="dynamic"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    with pytest.raises(ModelError, match=r"'dynamic' .*dynamic quantization computes scales at run time"):
        import_model(build(nodes, {"x": X}, ["y"]), "m.onnx", "m")


def test_computed_scale_is_refused() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="q"),
        helper.make_node("Identity", ["q"], ["y"]),
    ]
    with pytest.raises(ModelError, match="the scale 's' is computed from the network's inputs"):
        import_model(build(nodes, {"x": X, "s": ()}, ["y"], kinds={"y": U8}), "m.onnx", "m")
