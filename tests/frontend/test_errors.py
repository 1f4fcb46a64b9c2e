"""Everything that cannot be imported ends in one clear error with its place and a hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from boardfit.errors import BoardfitError, ModelError, UsageError
from boardfit.frontend import import_model, load_model

from .harness import Value, build, single

IMAGE = (1, 3, 6, 5)
WEIGHTS = np.ones((4, 3, 3, 3), np.float32)


def problem_of(model: onnx.ModelProto, **options: Any) -> str:
    """The text of the error that importing a model ends in."""
    with pytest.raises(BoardfitError) as caught:
        import_model(model, "m.onnx", "m", **options)
    return str(caught.value)


def conv_model(weights: np.ndarray = WEIGHTS, **options: Any) -> onnx.ModelProto:
    """A model of one Conv."""
    return single("Conv", [IMAGE], constants=[weights], **options)


# -- files ------------------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: file not found\nhint: check the path"):
        load_model(tmp_path / "nowhere.onnx")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is a folder, not a file"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the file is empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "not an ONNX file, or a truncated one"),
        (b"a text file\n" * 20, "not an ONNX file, or a truncated one"),
        (onnx.ModelProto(ir_version=8).SerializeToString(), "holds no graph"),
    ],
)
def test_not_a_model(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"^m.onnx: .*{problem}"):
        load_model(path)


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path: Path, fraction: float) -> None:
    """Cut anywhere, a file gives one clear error."""
    data = conv_model().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(data[: int(len(data) * fraction)])
    with pytest.raises(ModelError, match=r"^m\.onnx: .*(truncated|damaged|no graph)"):
        load_model(path)


def test_every_truncation_is_an_error_of_ours(tmp_path: Path) -> None:
    """No length of a truncated file ends in another exception."""
    data = conv_model(np.ones((1, 3, 1, 1), np.float32)).SerializeToString()
    path = tmp_path / "m.onnx"
    for length in range(0, len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError):
            load_model(path)


def test_opset_5_is_refused(tmp_path: Path) -> None:
    model = conv_model(opset=7)
    model.opset_import[0].version = 5
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"opset 5 is too old .*\nhint: convert it"):
        load_model(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("as_node", [False, True])
def test_weights_that_are_not_finite(tmp_path: Path, bad: float, as_node: bool) -> None:
    weights = WEIGHTS.copy()
    weights[0, 0, 0, 0] = bad
    model = conv_model(weights)
    if as_node:  # in a Constant node instead of an initializer
        value = model.graph.initializer.pop()
        model.graph.node.insert(0, helper.make_node("Constant", [], [value.name], value=value))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"NaN or infinite values.*\nhint: the training diverged"):
        load_model(path)


def test_weights_of_the_wrong_size(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.initializer[0].raw_data = bytes(8)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="weights 'c0' are damaged"):
        load_model(path)


def test_missing_external_weights(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_model(np.ones((8, 3, 9, 9), np.float32)[:, :, :6, :5].copy()), str(path))
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert load_model(path).nodes
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(ModelError, match="its weights are in a separate file that cannot be read"):
        load_model(path)


def test_sparse_weights(tmp_path: Path) -> None:
    model = conv_model()
    dense = model.graph.initializer.pop()
    values = helper.make_tensor(dense.name, TensorProto.FLOAT, [1], [2.0])
    indices = numpy_helper.from_array(np.array([0]), "indices")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, list(dense.dims)))
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="weights 'c0' are stored sparse"):
        load_model(path)


# -- shapes -----------------------------------------------------------------------------------------------------


def test_dynamic_shape_needs_the_users_help() -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3, "H", "W"]}, ["y"])
    assert problem_of(model) == (
        "m.onnx: input 'x' has a dynamic shape [N, 3, H, W]: dimension 2 is not known\n"
        "hint: give it: --input-shape x=1,3,N,N"
    )
    graph = import_model(model, "m.onnx", "m", {"x": (1, 3, 8, 9)})
    assert graph.types["x"].shape == (1, 3, 8, 9)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"z": (1, 3)}, "--input-shape names 'z', but the inputs of m.onnx are: x"),
        ({"x": (1, 4, 8, 8)}, "contradicts m.onnx, which declares [N, 3, H, W]"),
        ({"x": (1, 3, 8)}, "contradicts m.onnx"),
        ({"x": (1, 3, 0, 8)}, "contradicts m.onnx"),
    ],
)
def test_wrong_input_shape(given: dict[str, tuple[int, ...]], problem: str) -> None:
    model = build([helper.make_node("Relu", ["x"], ["y"])], {"x": ["N", 3, "H", "W"]}, ["y"])
    with pytest.raises(UsageError) as caught:
        import_model(model, "m.onnx", "m", given)
    assert problem in str(caught.value)


def test_input_without_a_shape() -> None:
    model = single("Relu", [IMAGE])
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert "input 'x0' has no shape\nhint: give it: --input-shape x0=1,..." in problem_of(model)


@pytest.mark.parametrize("kind", [TensorProto.STRING, TensorProto.BOOL])
def test_input_of_a_wrong_type(kind: int) -> None:
    model = single("Identity", [IMAGE], kinds={"x0": kind, "y0": kind})
    assert "input 'x0' has element type" in problem_of(model)


# -- nodes ------------------------------------------------------------------------------------------------------


def one(op: str, *constants: Value | None, shape: tuple[int, ...] = IMAGE, opset: int = 13, **options: Any) -> Any:
    """A model of one node."""
    return single(op, [shape], constants=constants, opset=opset, **options)


def ints(*values: int) -> np.ndarray:
    """An int64 constant."""
    return np.array(values, np.int64)


def floats(*values: float) -> np.ndarray:
    """A float constant."""
    return np.array(values, np.float32)


THREE_D = np.ones((2, 3, 1, 1, 1), np.float32)

REFUSED = {
    "no such operator": (one("Nonsense"), "the operator Nonsense is not supported\nhint: "),
    "other domain": (one("Foo", domain="my.domain"), "the operator Foo of domain 'my.domain' is not supported"),
    "recurrent": (one("Sinh"), "the operator Sinh is not supported"),
    "3-D": (one("Conv", THREE_D, shape=(1, 3, 2, 2, 2)), "3-dimensional Conv is not supported"),
    "auto_pad": (one("Conv", WEIGHTS, auto_pad="SAME"), "auto_pad 'SAME' is not a mode"),
    "window": (one("MaxPool", kernel_shape=[9, 9]), "window of 9 is larger than the padded input"),
    "strides": (one("Conv", WEIGHTS, strides=[1]), "attribute strides has 1 entries"),
    "stride 0": (one("Conv", WEIGHTS, strides=[0, 1]), "attribute strides holds 0"),
    "kernel_shape": (one("Conv", WEIGHTS, kernel_shape=[5, 5]), "attribute kernel_shape contradicts the weights"),
    "channels": (one("Conv", np.ones((4, 2, 3, 3), np.float32)), "the input has 3 channels, the weights want 2"),
    "negative pads": (one("Conv", WEIGHTS, pads=[-1, 0, 0, 0]), "negative pads are not supported"),
    "transposed groups": (one("ConvTranspose", WEIGHTS[:3], group=2), "cannot be split into 2 groups"),
    "transposed pads": (one("ConvTranspose", WEIGHTS[:3], pads=[9] * 4), "the padding crops the whole output"),
    "resize linear": (one("Resize", None, floats(1, 1, 2, 2), mode="linear"), "mode 'linear' is not supported"),
    "resize scales": (one("Resize", None, floats(2, 2)), "needs 4 scales or sizes"),
    "resize mode": (
        one("Resize", None, floats(1, 1, 2, 2), coordinate_transformation_mode="other"),
        "coordinate_transformation_mode 'other' is not known",
    ),
    "crop outside": (
        one(
            "Resize",
            floats(0, 0, -1, 0, 1, 1, 2, 1),
            None,
            ints(1, 3, 6, 5),
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        "its region of interest reaches outside the input",
    ),
    "pad mode": (one("Pad", ints(*[0] * 7, 1), mode="other"), "mode 'other' is not a mode"),
    "pad amounts": (one("Pad", ints(0, 1)), "2 pads for 4 axes"),
    "pad reflection": (one("Pad", ints(0, 0, 0, 9, 0, 0, 0, 0), mode="reflect"), "reflection of 9 elements"),
    "slice empty": (one("Slice", ints(2), ints(2), ints(1)), "its result is empty"),
    "slice axis": (one("Slice", ints(0), ints(2), ints(7)), "axis 7 is outside a tensor of rank 4"),
    "split sizes": (one("Split", ints(1, 1), axis=1, outputs=2), "cannot split an axis of 3 into [1, 1]"),
    "gather outside": (one("Gather", ints(3), axis=1), "indices [3] are outside an axis of 3"),
    "reshape": (one("Reshape", ints(4, -1)), "cannot reshape (1, 3, 6, 5) to (4, -1)"),
    "reshape two unknown": (one("Reshape", ints(-1, -1)), "cannot reshape (1, 3, 6, 5) to (-1, -1)"),
    "squeeze": (one("Squeeze", ints(1)), "cannot squeeze axes [1]"),
    "expand": (one("Expand", ints(1, 2, 6, 5)), "cannot expand (1, 3, 6, 5)"),
    "transpose": (one("Transpose", perm=[0, 1]), "is not a permutation of the axes"),
    "concat": (single("Concat", [IMAGE, (1, 3, 6, 4)], axis=1), "cannot join shapes"),
    "broadcast": (single("Add", [IMAGE, (1, 2, 6, 5)]), "cannot be broadcast"),
    "matmul": (one("MatMul", np.ones((4, 2), np.float32), shape=(1, 3)), "weights of shape (2, 4) do not match"),
    "power": (one("Pow", np.float32(2.5)), "the exponent 2.5 is not supported"),
    "powers": (one("Pow", floats(1, 2, 3, 2, 1)), "exponents that differ between elements"),
    "cast": (one("Cast", to=TensorProto.INT32, kinds={"y0": 6}), "a cast of real values to integers"),
    "cast to text": (one("Cast", to=TensorProto.STRING, kinds={"y0": 8}), "only casts between numbers"),
    "training": (one("Dropout", np.float32(0.5), np.array(True)), "training mode is not supported"),
    "norm channels": (
        one("BatchNormalization", *[np.ones(4, np.float32)] * 4),
        "its parameters do not have the 3 channels of its input",
    ),
    "negative variance": (
        one("BatchNormalization", *[-np.ones(3, np.float32)] * 4),
        "a variance is negative",
    ),
    "alpha": (one("Celu", alpha=-1.0), "alpha must be positive"),
    "random": (one("RandomNormalLike"), "the operator RandomNormalLike is not supported"),
    "block": (one("DepthToSpace", blocksize=2), "block size 2 does not fit"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_nodes(name: str) -> None:
    model, problem = REFUSED[name]
    text = problem_of(model)
    assert text.startswith(f"m.onnx: node 'node' ({model.graph.node[0].op_type}): ")
    assert problem in text


COMPUTED = {
    "Conv": "the weights",
    "ConvTranspose": "the weights",
    "Gemm": "the matrix B",
    "PRelu": "the slope",
    "Reshape": "the target shape",
    "Gather": "the index",
    "Pow": "the exponent",
}


@pytest.mark.parametrize("op", COMPUTED)
def test_parameters_must_be_constant(op: str) -> None:
    model = single(op, [(2, 3), (3, 3)])
    assert f"{COMPUTED[op]} 'x1' is computed from the network's inputs" in problem_of(model)


def test_unnamed_node_is_called_after_its_output() -> None:
    model = single("Nonsense", [IMAGE])
    model.graph.node[0].name = ""
    assert problem_of(model).startswith("m.onnx: node 'y0' (Nonsense): ")


def test_control_flow() -> None:
    branch = helper.make_graph([helper.make_node("Relu", ["x"], ["b"])], "branch", [], [])
    node = helper.make_node("If", ["c"], ["y"], name="choice", then_branch=branch, else_branch=branch)
    model = build([node], {"x": IMAGE, "c": [1]}, ["y"])
    assert "node 'choice' (If): control flow (a subgraph) is not supported\nhint: " in problem_of(model)


def test_broken_graphs() -> None:
    relu = helper.make_node("Relu", ["nothing"], ["y"], name="r")
    assert "node 'r' (Relu): reads 'nothing'" in problem_of(build([relu], {"x": IMAGE}, ["y"]))
    twice = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Tanh", ["x"], ["y"], name="t")]
    assert "node 't' (Tanh): makes 'y', which exists already" in problem_of(build(twice, {"x": IMAGE}, ["y"]))
    good = helper.make_node("Relu", ["x"], ["y"])
    assert "output 'z' is made by no node" in problem_of(build([good], {"x": IMAGE}, ["z"]))
    fixed = build([good], {"x": IMAGE}, ["y", "c"], {"c": floats(1)})
    assert "output 'c' does not depend on any input" in problem_of(fixed)


def test_model_without_inputs() -> None:
    model = build([helper.make_node("Relu", ["c"], ["y"])], {}, ["y"], {"c": np.ones(3, np.float32)})
    assert "the model has no inputs" in problem_of(model)


def test_arithmetic_on_raw_integers() -> None:
    """A quantized tensor that is added to without being dequantized."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("Add", ["q", "one"], ["y"], name="add"),
    ]
    constants: dict[str, Value] = {"s": np.float32(0.1), "z": np.int8(0), "one": np.int8(1)}
    model = build(nodes, {"x": IMAGE}, ["y"], constants, kinds={"y": TensorProto.INT8})
    assert "node 'add' (Add): computes on the integers of a quantized tensor" in problem_of(model)


def test_folding_reports_the_node() -> None:
    nodes = [
        helper.make_node("Reshape", ["c", "t"], ["r"], name="bad"),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]
    constants: dict[str, Value] = {"c": np.ones(6, np.float32), "t": ints(4)}
    model = build(nodes, {"x": [1, 4]}, ["y"], constants)
    assert "node 'bad' (Reshape): cannot be evaluated at compile time" in problem_of(model)


def test_sparse_constant_node() -> None:
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [2.0])
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0]), "i"), [4])
    nodes = [
        helper.make_node("Constant", [], ["c"], name="sparse", sparse_value=sparse),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    assert "node 'sparse' (Constant): a sparse constant" in problem_of(build(nodes, {"x": [1, 4]}, ["y"]))
