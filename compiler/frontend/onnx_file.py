"""Reading of ONNX files: every way a file can be wrong ends here, with one clear message."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

OLDEST_OPSET = 6
"""PyTorch's oldest exporter still found in the wild (hls4ml's own examples) writes 6."""


def read_model(path: Path) -> ModelProto:
    """Read and check an ONNX file.

    Raises:
        ModelError: missing, not readable, not ONNX, truncated, too old, or without a graph.
    """
    import onnx
    from google.protobuf.message import DecodeError

    file = path.name
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError("file not found", file=str(path), hint="check the path of the model") from None
    except IsADirectoryError:
        raise ModelError("is a folder, not a file", file=str(path), hint="give the .onnx file itself") from None
    except OSError as problem:
        raise ModelError(f"cannot be read: {problem.strerror or problem}", file=str(path)) from problem
    if not data:
        raise ModelError("the file is empty", file=file, hint="export the model again")
    try:
        model = onnx.ModelProto.FromString(data)
    except (DecodeError, ValueError):
        raise ModelError(
            "not an ONNX file, or a truncated one",
            file=file,
            hint="export the model again (torch.onnx.export, tf2onnx, ...), and check that the copy is complete",
        ) from None
    if not model.HasField("graph") or not model.graph.node:
        raise ModelError("not an ONNX model: it holds no graph", file=file, hint="export the model again")
    _load_external_data(model, path)
    _check_initializers(model, file)
    version = default_opset(model)
    if version < OLDEST_OPSET:
        raise ModelError(
            f"opset {version} is too old (boardfit reads {OLDEST_OPSET} and newer)",
            file=file,
            hint="convert it: onnx.version_converter.convert_version(model, 13)",
        )
    return model


def default_opset(model: ModelProto) -> int:
    """Version of the default operator set (1 if the model does not say, as the format defines)."""
    versions = [int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    return max(versions, default=1)


def _load_external_data(model: ModelProto, path: Path) -> None:
    from onnx.external_data_helper import load_external_data_for_model, uses_external_data

    if not any(uses_external_data(tensor) for tensor in model.graph.initializer):
        return
    try:
        load_external_data_for_model(model, str(path.resolve().parent))
    except Exception as problem:  # onnx raises bare Exceptions and OSErrors of many kinds here
        raise ModelError(
            "its weights are in a separate file that cannot be read",
            file=path.name,
            hint="keep the external data file beside the model",
        ) from problem


def _check_initializers(model: ModelProto, file: str) -> None:
    import numpy as np
    from onnx import numpy_helper

    for sparse in model.graph.sparse_initializer:
        raise ModelError(
            f"weights '{sparse.values.name}' are stored sparse",
            file=file,
            hint="export the model with dense weights; boardfit chooses the storage itself",
        )
    for tensor in model.graph.initializer:
        try:
            values = numpy_helper.to_array(tensor)
        except Exception as problem:  # size mismatch, unknown type: the exception type depends on the onnx version
            raise ModelError(
                f"weights '{tensor.name}' are damaged ({problem})", file=file, hint="export the model again"
            ) from problem
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = int(np.size(values) - np.isfinite(values).sum())
            raise ModelError(
                f"weights '{tensor.name}' contain {bad} NaN or infinite values",
                file=file,
                hint="the training diverged or the export is broken; boardfit needs finite weights",
            )
