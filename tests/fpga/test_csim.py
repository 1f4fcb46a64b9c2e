"""C simulation of hls4ml projects equals the interpreter in every byte."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from boardfit.backends.hls4ml import BACKEND
from boardfit.board import find_board
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
