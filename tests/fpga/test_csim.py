"""C simulation of hls4ml projects equals the interpreter in every byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.hls4ml import BACKEND
from boardfit.backends.mcu.kernels.transferred_filters import find_copies
from boardfit.board import find_board
from boardfit.compress.share_filters import ShareFilters
from boardfit.ir import GraphEditor, Source, TensorType
from boardfit.ops.activation import RELU
from boardfit.ops.conv2d import Conv2DAttrs
from boardfit.ops.max_pool2d import MaxPool2DAttrs
from boardfit.options import BackendOptions, HlsTool, IoType, Strategy

from .networks import every_op, lowered

pytest.importorskip("hls4ml", reason="hls4ml is not installed")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed"),
]
BOARD = find_board("zcu104")


@pytest.mark.parametrize(
    ("tool", "io_type", "strategy", "reuse", "width"),
    [
        (HlsTool.VIVADO, IoType.PARALLEL, None, None, 16),
        (HlsTool.VIVADO, IoType.STREAM, Strategy.RESOURCE, None, 9),
        (HlsTool.VITIS, IoType.PARALLEL, None, 4, 6),
        (HlsTool.VITIS, IoType.STREAM, None, 11, 18),
    ],
)
def test_every_op(
    tool: HlsTool, io_type: IoType, strategy: Strategy | None, reuse: int | None, width: int, tmp_path: Path
) -> None:
    network = lowered(every_op(streams=io_type is IoType.STREAM, seed=width), width=width)
    options = BackendOptions(tool=tool, io_type=io_type, strategy=strategy, reuse_factor=reuse)
    BACKEND.validate(network.fixed, BOARD, options)
    BACKEND.emit(network.fixed, BOARD, options).with_manifest({}).write(tmp_path / "out")
    raw = [network.inputs[name] for name in network.fixed.inputs]
    found = BACKEND.execute(tmp_path / "out", raw, "csim")
    wrong = [
        network.fixed.producer(name)
        for name, values in zip(network.fixed.outputs, found, strict=True)
        if not np.array_equal(values, network.expected[name])
    ]
    assert not wrong


def test_filters_that_are_negations_of_others(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    editor = GraphEditor.empty("crelu")
    y = editor.add_input("x", TensorType((1, 8, 8, 2)))

    def constant(*shape: int) -> str:
        values = random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        return editor.add_constant("c", values.astype(np.float32))

    for index, (channels, inputs) in enumerate([(6, 2), (4, 6)], start=1):
        attrs = Conv2DAttrs(pads=(1, 1, 1, 1), activation=RELU)
        operands = [y, constant(channels, 3, 3, inputs), constant(channels)]
        y = editor.add_node("Conv2D", operands, attrs, Source("m.onnx", f"conv{index}", "Conv")).outputs[0]
        y = editor.add_node("MaxPool2D", [y], MaxPool2DAttrs((2, 2), (2, 2)), Source("m.onnx", "p", "MaxPool")).outputs[
            0
        ]
    editor.outputs = [y]
    data = {"x": random.standard_normal((32, 1, 8, 8, 2)).astype(np.float32)}
    graph = ShareFilters(data, ("negation",))(editor.finish())
    network = lowered(graph, width=14)
    for name in ("conv1", "conv2"):
        weights = network.fixed.constants[network.fixed.node(name).inputs[1]].values
        assert 2 * len(find_copies(weights.astype(np.int64)).bases) == len(weights)
    options = BackendOptions(io_type=IoType.STREAM)
    BACKEND.emit(network.fixed, BOARD, options).with_manifest({}).write(tmp_path / "out")
    found = BACKEND.execute(tmp_path / "out", [network.inputs["x"]], "csim")
    np.testing.assert_array_equal(found[0], network.expected[network.fixed.outputs[0]])
