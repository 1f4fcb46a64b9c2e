"""Small float networks that use every op the hls4ml backend lowers, and their fixed-point form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from boardfit.compress.fpga import quantize_for_fpga
from boardfit.interp import run
from boardfit.ir import Attrs, Graph, GraphEditor, Source, TensorType
from boardfit.numerics import quantize
from boardfit.ops.activation import NONE, RELU, Activation
from boardfit.ops.add import AddAttrs
from boardfit.ops.arg_max import ArgMaxAttrs
from boardfit.ops.average_pool2d import AveragePool2DAttrs
from boardfit.ops.bipolar import BipolarAttrs
from boardfit.ops.clamp import ClampAttrs
from boardfit.ops.concat import ConcatAttrs
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.conv_transpose2d import ConvTranspose2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.gather import GatherAttrs
from boardfit.ops.leaky_relu import LeakyReluAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.ops.min_max import MaxAttrs, MinAttrs
from boardfit.ops.mul import MulAttrs
from boardfit.ops.pad import PadAttrs
from boardfit.ops.prelu import PReluAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.ops.resize import ResizeAttrs
from boardfit.ops.scale_bias import ScaleBiasAttrs
from boardfit.ops.sigmoid import SigmoidAttrs
from boardfit.ops.slice import SliceAttrs
from boardfit.ops.softmax import SoftmaxAttrs
from boardfit.ops.sub import SubAttrs
from boardfit.ops.tanh import TanhAttrs
from boardfit.ops.transpose import TransposeAttrs
from boardfit.options import QuantizeOptions

Pair = tuple[int, int]


@dataclass
class Builder:
    """Adds nodes with random constants to a graph."""

    seed: int
    editor: GraphEditor = field(default_factory=lambda: GraphEditor.empty("net"))

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def input(self, name: str, *shape: int) -> str:
        return self.editor.add_input(name, TensorType((1, *shape)))

    def constant(self, *shape: int, spread: float = 0.5) -> str:
        values = self.random.normal(0.0, spread, shape).astype(np.float32)
        return self.editor.add_constant("c", values)

    def node(self, op: str, inputs: Sequence[str], attrs: Attrs, *, out: bool = False) -> str:
        made = self.editor.add_node(op, inputs, attrs, Source("net.onnx", f"/{op}", op)).outputs[0]
        if out:
            self.editor.outputs.append(made)
        return made

    def conv(
        self,
        x: str,
        filters: int,
        kernel: Pair,
        *,
        strides: Pair = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
        dilations: Pair = (1, 1),
        groups: int = 1,
        activation: Activation = NONE,
        bias: bool = True,
        out: bool = False,
    ) -> str:
        channels = self.editor.types[x].shape[3]
        inputs = [x, self.constant(filters, *kernel, channels // groups)]
        if bias:
            inputs.append(self.constant(filters))
        return self.node("Conv2D", inputs, Conv2DAttrs(strides, pads, dilations, groups, activation), out=out)

    def dense(self, x: str, units: int, activation: Activation = NONE, *, out: bool = False) -> str:
        inputs = [x, self.constant(units, self.editor.types[x].shape[1]), self.constant(units)]
        return self.node("Dense", inputs, DenseAttrs(activation), out=out)

    def flatten(self, x: str) -> str:
        return self.node("Reshape", [x], ReshapeAttrs((1, self.editor.types[x].elements)))


def every_op(*, streams: bool, seed: int = 0) -> Graph:
    """One graph with (nearly) every op; those that cannot be streamed are left out if `streams`."""
    b = Builder(seed)
    a, c, v = b.input("a", 6, 6, 3), b.input("b.1", 6, 6, 3), b.input("9vector", 10)
    d, e = b.input("input", 6, 6, 3), b.input("layer2_out", 6, 6, 3)
    k = b.conv(a, 4, (3, 3), pads=(1, 1, 1, 1), activation=RELU)
    b.conv(k, 5, (1, 1), strides=(2, 2), out=True)
    b.conv(k, 4, (3, 3), groups=4, activation=Activation(0.0, 1.5), out=True)
    b.conv(k, 6, (2, 3), groups=2, strides=(2, 1), pads=(0, 1, 0, 1), bias=False, out=True)
    b.conv(c, 2, (2, 2), dilations=(2, 3), out=True)
    b.node("MaxPool2D", [k], MaxPool2DAttrs((2, 2), (2, 2)), out=True)
    b.node("AveragePool2D", [d], AveragePool2DAttrs((3, 2), (3, 2)), out=True)
    b.node("MaxPool2D", [c], MaxPool2DAttrs((6, 6), (6, 6)), out=True)
    mean = b.flatten(b.node("AveragePool2D", [k], AveragePool2DAttrs((6, 6), (6, 6))))
    b.node("Softmax", [b.dense(mean, 7)], SoftmaxAttrs(1), out=True)
    total = b.node("Add", [a, c], AddAttrs(RELU))
    b.node("Sub", [total, c], SubAttrs(), out=True)
    b.node("Mul", [a, c], MulAttrs(RELU), out=True)
    b.node("Max", [b.node("Min", [a, c], MinAttrs()), total], MaxAttrs(), out=True)
    b.node("Concat", [a, total, k], ConcatAttrs(3), out=True)
    b.node("Clamp", [d], ClampAttrs(Activation(-0.3, 0.7)), out=True)
    b.node("Clamp", [e], ClampAttrs(RELU), out=True)
    b.node("LeakyRelu", [d], LeakyReluAttrs(0.1), out=True)
    b.node("PRelu", [e, b.constant(3)], PReluAttrs(), out=True)
    b.node("ScaleBias", [total, b.constant(3), b.constant(3)], ScaleBiasAttrs(), out=True)
    b.node("Resize", [d], ResizeAttrs(tuple(i // 2 for i in range(12)), tuple(i // 2 for i in range(12))), out=True)
    b.node("Pad", [e], PadAttrs((0, 1, 2, 0), (0, 0, 1, 0)), out=True)
    b.node("Transpose", [d], TransposeAttrs((0, 3, 1, 2)), out=True)
    flat = b.input("flat", 36)
    b.conv(b.node("Reshape", [flat], ReshapeAttrs((1, 6, 3, 2))), 2, (3, 2), out=True)
    wide = b.input("wide", 2, 3, 80)
    b.conv(wide, 60, (1, 1), out=True)  # 4,800 weights: above the unroll limit
    h = b.dense(v, 12, RELU)
    b.node("Sigmoid", [h], SigmoidAttrs(), out=True)
    b.node("Tanh", [b.dense(h, 6)], TanhAttrs(), out=True)
    b.node("Add", [b.dense(h, 5), b.constant(1, 5)], AddAttrs(), out=True)
    b.node("Bipolar", [b.dense(h, 5)], BipolarAttrs(), out=True)
    b.node("Mul", [b.constant(1, 10), v], MulAttrs(), out=True)
    b.node("Sub", [b.constant(1), v], SubAttrs(), out=True)
    f, g = b.input("f", 6, 6, 3), b.input("g", 6, 6, 3)
    first = b.node("Slice", [b.conv(f, 6, (1, 1))], SliceAttrs((0, 1, 0, 2), (1, 2, 6, 3), (1, 2, 1, 1)), out=True)
    b.node("Gather", [first], GatherAttrs(2, (5, 0, 3, 3)), out=True)
    b.node("Resize", [f], ResizeAttrs((0, 1, 1, 3, 5), (0, 0, 2, 4, 5, 5, 5)), out=True)  # no factor at all
    up = ConvTranspose2DAttrs((2, 3), (1, 0, 0, 1), (1, 2), (1, 0), activation=RELU)
    b.node("ConvTranspose2D", [f, b.constant(4, 3, 2, 3), b.constant(4)], up, out=True)
    grouped = ConvTranspose2DAttrs((2, 2), (1, 1, 1, 1), groups=3)
    b.node("ConvTranspose2D", [g, b.constant(3, 3, 3, 1)], grouped, out=True)
    b.node("ArgMax", [b.dense(v, 9)], ArgMaxAttrs(1), out=True)
    rows = b.input("rows", 4, 5)
    b.node("Tanh", [b.node("Dense", [rows, b.constant(7, 5), b.constant(7)], DenseAttrs(RELU))], TanhAttrs(), out=True)
    pixels = b.node("Dense", [g, b.constant(3, 3), b.constant(3)], DenseAttrs())
    b.node("ArgMax", [pixels], ArgMaxAttrs(3, keep_dims=False, last=True), out=True)
    if not streams:
        b.node("Slice", [c], SliceAttrs((0, 5, 0, 0), (1, 6, 6, 3), (1, -1, 1, 1)), out=True)
        b.node("MaxPool2D", [k], MaxPool2DAttrs((3, 3), (2, 2), (1, 1, 1, 1)), out=True)
        b.node("AveragePool2D", [a], AveragePool2DAttrs((3, 3), (2, 2), (1, 1, 1, 1)), out=True)
        b.node("AveragePool2D", [a], AveragePool2DAttrs((3, 3), (1, 2), (1, 1, 1, 1), count_pads=True), out=True)
    return b.editor.finish()


@dataclass
class Lowered:
    """A float graph, its fixed-point form, raw inputs and what the interpreter makes of them."""

    graph: Graph
    fixed: Graph
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


def lowered(graph: Graph, *, width: int, samples: int = 20, seed: int = 1) -> Lowered:
    """Quantize with random calibration data and run the interpreter on other, slightly wider data."""
    random = np.random.default_rng(seed)

    def data(scale: float, count: int) -> dict[str, np.ndarray]:
        shapes = {name: graph.types[name].shape for name in graph.inputs}
        return {n: random.normal(0.0, scale, (count, *s)).astype(np.float32) for n, s in shapes.items()}

    fixed = quantize_for_fpga(graph, data(1.0, 64), QuantizeOptions(width=width))
    wider = data(1.5, samples)  # beyond the calibrated range, so that saturation is exercised
    raw = {name: quantize(wider[name], fixed.types[name].element) for name in fixed.inputs}
    return Lowered(graph, fixed, raw, run(fixed, raw))
