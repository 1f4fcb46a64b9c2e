"""Affine graphs made by hand, one op at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from boardfit.ir import INT32, Affine, Attrs, ElementType, Graph, GraphEditor, Source, TensorType
from boardfit.ops import OPS


def s8(scale: float = 0.05, zero: int = 0) -> Affine:
    """Signed 8-bit per-tensor type."""
    return Affine(True, 8, (scale,), (zero,))


def u8(scale: float = 0.05, zero: int = 128) -> Affine:
    """Unsigned 8-bit per-tensor type."""
    return Affine(False, 8, (scale,), (zero,))


def s16(scale: float = 0.001, zero: int = 0) -> Affine:
    """Signed 16-bit per-tensor type."""
    return Affine(True, 16, (scale,), (zero,))


class Builder:
    """A graph under construction with a seeded source of random constants."""

    def __init__(self, name: str = "test net", seed: int = 0) -> None:
        self.editor = GraphEditor.empty(name)
        self.random = np.random.default_rng(seed)
        self.count = 0

    def input(self, shape: Sequence[int], element: ElementType, name: str = "x") -> str:
        """A graph input."""
        return self.editor.add_input(self.editor.fresh(name), TensorType(tuple(shape), element))

    def constant(self, values: np.ndarray, element: ElementType) -> str:
        """A constant."""
        return self.editor.add_constant("constant", values, element)

    def random_constant(self, shape: Sequence[int], element: Affine) -> str:
        """A constant with random raw values."""
        values = self.random.integers(element.minimum, element.maximum + 1, tuple(shape))
        return self.constant(values, element)

    def weights(self, shape: Sequence[int], *, per_channel: bool = True, scale: float = 0.004) -> str:
        """Random symmetric int8 weights, output channel first."""
        count = shape[0] if per_channel else 1
        scales = tuple(float(s) for s in self.random.uniform(0.3 * scale, scale, count))
        element = Affine(True, 8, scales, (0,) * count, 0 if per_channel else None, narrow=True)
        return self.random_constant(shape, element)

    def bias(self, count: int, reach: int = 3000) -> str:
        """Random int32 bias."""
        return self.constant(self.random.integers(-reach, reach + 1, count), INT32)

    def node(self, op: str, inputs: Sequence[str], attrs: Attrs, element: ElementType | None = None) -> str:
        """A node; `element` replaces the element type the float op would give. Returns its output."""
        types = OPS[op].infer(attrs, [self.editor.types[name] if name else None for name in inputs])
        if element is not None:
            types = [t.with_element(element) for t in types]
        self.count += 1
        source = Source("test.onnx", f"/{op.lower()}_{self.count}/{op}", op)
        return self.editor.add_node(op, inputs, attrs, source, types=types).outputs[0]

    def finish(self, *outputs: str) -> Graph:
        """The verified graph."""
        self.editor.outputs = list(outputs)
        return self.editor.finish()
