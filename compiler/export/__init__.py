"""Writing a graph as an ONNX file: the reverse of the frontend, so that other tools can run what boardfit made."""

from .onnx_model import export_model, write_model

__all__ = ["export_model", "write_model"]
