"""From a trained ONNX network and the name of a board to verified firmware or a verified FPGA project."""

__version__ = "0.1.0"
