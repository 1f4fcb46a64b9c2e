"""From a trained ONNX network and the name of a board to verified firmware or a verified FPGA project."""
