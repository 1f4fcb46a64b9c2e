"""Small float networks built by hand, and the comparisons the quantization tests share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from boardfit.compress.ptq import quantize_for_mcu
from boardfit.interp import run, run_chunks
from boardfit.ir import Affine, Attrs, Graph, GraphEditor, Source, TensorType
from boardfit.numerics import quantize
from boardfit.ops import OPS
from boardfit.ops.activation import NONE, RELU, Activation
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.dense import DenseAttrs
from boardfit.ops.quantize import DequantizeAttrs, QuantizeAttrs
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.ops.spec import Invocation
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized

Inputs = Mapping[str, np.ndarray]


class Network:
    """Builds a graph with random weights; every method returns the tensor it makes."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.editor = GraphEditor.empty("test")
        self.x = self.editor.add_input("x", TensorType(shape))
        self.rng = np.random.default_rng(seed)

    def constant(self, values: np.ndarray) -> str:
        return self.editor.add_constant("c", np.asarray(values, np.float32))

    def random(self, *shape: int) -> str:
        return self.constant(self.rng.normal(size=shape))

    def add(self, op: str, inputs: list[str], attrs: Attrs) -> str:
        name = f"{op.lower()}{len(self.editor.nodes)}"
        return self.editor.add_node(op, inputs, attrs, Source("test.onnx", name, op), name=name).outputs[0]

    def shape(self, tensor: str) -> tuple[int, ...]:
        return self.editor.types[tensor].shape

    def conv(self, x: str, out: int, kernel: int = 3, *, activation: Activation = RELU, stride: int = 1) -> str:
        pad = kernel // 2
        attrs = Conv2DAttrs(strides=(stride, stride), pads=(pad, pad, pad, pad), activation=activation)
        channels = self.shape(x)[-1]
        weights = self.constant(self.rng.normal(size=(out, kernel, kernel, channels)) / np.sqrt(kernel**2 * channels))
        return self.add("Conv2D", [x, weights, self.random(out)], attrs)

    def depthwise(self, x: str, kernel: int = 3) -> str:
        channels, pad = self.shape(x)[-1], kernel // 2
        attrs = Conv2DAttrs(pads=(pad, pad, pad, pad), groups=channels, activation=RELU)
        return self.add("Conv2D", [x, self.random(channels, kernel, kernel, 1), self.random(channels)], attrs)

    def dense(self, x: str, out: int, activation: Activation = NONE) -> str:
        inputs = self.shape(x)[-1]
        weights = self.constant(self.rng.normal(size=(out, inputs)) / np.sqrt(inputs))
        return self.add("Dense", [x, weights, self.random(out)], DenseAttrs(activation))

    def dense_quantized(self, x: str, weights: str) -> str:
        """A dense layer without bias."""
        return self.add("Dense", [x, weights], DenseAttrs())

    def flatten(self, x: str) -> str:
        return self.add("Reshape", [x], ReshapeAttrs((1, int(np.prod(self.shape(x))))))

    def quantize(self, x: str, element: Affine) -> str:
        """x through Quantize and Dequantize."""
        return self.add("Dequantize", [self.add("Quantize", [x], QuantizeAttrs(element))], DequantizeAttrs())

    def quantized_constant(self, raw: np.ndarray, element: Affine) -> str:
        return self.add("Dequantize", [self.editor.add_constant("q", raw, element)], DequantizeAttrs())

    def done(self, *outputs: str) -> Graph:
        self.editor.outputs.extend(outputs)
        return self.editor.finish()


def samples(graph: Graph, count: int = 24, seed: int = 1) -> dict[str, np.ndarray]:
    """Random real inputs."""
    rng = np.random.default_rng(seed)
    return {n: rng.normal(size=(count, *graph.types[n].shape)).astype(np.float32) for n in graph.inputs}


def raw_inputs(graph: Graph, inputs: Inputs) -> dict[str, np.ndarray]:
    """Real inputs in the types of an integer graph."""
    return {name: quantize(inputs[name], graph.types[name].element, sample_axis=True) for name in graph.inputs}


def both(graph: Graph, inputs: Inputs | None = None, options: QuantizeOptions | None = None) -> tuple[Graph, Graph]:
    """The graph with Quantize/Dequantize inserted, and its integer form."""
    quantized = quantize_for_mcu(graph, samples(graph) if inputs is None else inputs, options or QuantizeOptions())
    return quantized, LowerQuantized()(quantized)


def steps_apart(quantized: Graph, integer: Graph, inputs: Inputs) -> list[np.ndarray]:
    """For each output, the distance in output steps between the rounded float network and the integer one."""
    real = run(quantized, inputs)
    raw = run(integer, raw_inputs(integer, inputs))
    distances: list[np.ndarray] = []
    for a, b in zip(quantized.outputs, integer.outputs, strict=True):
        element = integer.types[b].element
        assert isinstance(element, Affine)
        expected = real[a] if np.issubdtype(real[a].dtype, np.integer) else quantize(real[a], element, sample_axis=True)
        distances.append(np.abs(expected - raw[b]))
    return distances


@dataclass(frozen=True, slots=True)
class LayerResult:
    """One integer node on its own against the same float op on the same rounded inputs.

    Attributes:
        distance: of the integer result from the quantized real one, in output steps.
        from_tie: how far the real result lies from the middle between two output steps, in output steps; 0 is an
            exact tie, which arithmetics may round to either side. None for results that are no real numbers.
    """

    distance: np.ndarray
    from_tie: np.ndarray | None


def layer_results(quantized: Graph, integer: Graph, inputs: Inputs) -> dict[str, LayerResult]:
    """Every integer node that the float graph has too, by name; others (conversions) only feed them."""
    reference = next(run_chunks(quantized, inputs, chunk=1 << 20))
    values = dict(raw_inputs(integer, inputs))
    values |= {name: constant.values.astype(np.int64)[None] for name, constant in integer.constants.items()}
    found: dict[str, LayerResult] = {}
    for node in integer.nodes:
        types = integer.input_types(node), integer.output_types(node)
        arrays = tuple(values[name] if name else None for name in node.inputs)
        result = OPS[node.op].runner(node, types[1], types[0])(Invocation(node, arrays, types[0], types[1]))[0]
        name = node.outputs[0]
        values[name] = result
        if name in reference:
            expected, from_tie = reference[name], None
            element = types[1][0].element
            if quantized.types[name].is_float:
                assert isinstance(element, Affine)
                steps = expected.astype(np.float64) / element.scale[0]
                from_tie = np.broadcast_to(np.abs(steps - np.floor(steps) - 0.5), result.shape)
                expected = quantize(expected, element, sample_axis=True)
            found[node.name] = LayerResult(np.abs(np.broadcast_to(expected, result.shape) - result), from_tie)
            values[name] = np.broadcast_to(expected, result.shape)
    return found


def layer_distances(quantized: Graph, integer: Graph, inputs: Inputs) -> dict[str, np.ndarray]:
    """`LayerResult.distance` of every layer."""
    return {name: found.distance for name, found in layer_results(quantized, integer, inputs).items()}
