"""Reference vectors: made by the interpreter, kept beside the files, the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from boardfit.artifact import Artifact
from boardfit.ir import Affine, Graph, GraphEditor, Source, TensorType
from boardfit.ops.reshape import ReshapeAttrs
from boardfit.reference import FOLDER, make_reference, read_reference

INT8 = Affine(True, 8, (0.5,), (1,))


def _graph() -> Graph:
    editor = GraphEditor.empty("g")
    editor.add_input("x", TensorType((1, 6), INT8))
    node = editor.add_node(
        "Reshape",
        ["x"],
        ReshapeAttrs((1, 2, 3)),
        Source("m", "r", "Reshape"),
        types=[TensorType((1, 2, 3), INT8)],
    )
    editor.outputs.append(node.outputs[0])
    return editor.finish()


def test_given_samples_first_then_random_ones_over_the_whole_range() -> None:
    given = np.array([[[0.0, 0.5, 1.0, -0.5, 100.0, -100.0]]], np.float32)
    reference = make_reference(_graph(), {"x": given}, 64)
    assert reference.samples == 64
    assert reference.inputs[0][0].tolist() == [[1, 2, 3, 0, 127, -128]]
    assert reference.outputs[0].shape == (64, 1, 2, 3)
    assert np.ptp(reference.inputs[0][1:]) > 200


def test_one_input_in_four_is_random_even_if_there_are_enough_samples() -> None:
    given = np.zeros((1000, 1, 6), np.float32)
    reference = make_reference(_graph(), {"x": given}, 32)
    assert (reference.inputs[0][:24] == 1).all()
    assert (reference.inputs[0][24:] != 1).any()


def test_files_are_the_same_every_time_and_come_back(tmp_path: Path) -> None:
    files = make_reference(_graph(), {}, 16).files()
    assert files == make_reference(_graph(), {}, 16).files()
    Artifact({**files, "a": b""}, "a").with_manifest({}).write(tmp_path / "out")
    assert np.load(tmp_path / "out" / FOLDER / "input_0.npy").dtype == np.int8
    back = read_reference(tmp_path / "out", 1, 1)
    assert np.array_equal(back.inputs[0], make_reference(_graph(), {}, 16).inputs[0])
    assert back.outputs[0].dtype == np.int64
