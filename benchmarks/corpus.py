"""Where tests and benchmarks find real models and data: $BOARDFIT_CORPUS, by default `shared` beside the checkout.

The project runs without them; what needs them says so and skips.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from boardfit.ir import TensorType
from boardfit.numerics import quantize

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("BOARDFIT_CORPUS", ROOT.parent / "shared"))
SEED = 20261122

FLOAT_TINY = ("ad01", "ic01", "kws01", "vww01")
INT8_TINY = ("ic01_int8", "kws01_int8")
HLS_EXAMPLES = (
    "two_layer_keras",
    "three_layer_keras",
    "three_layer_bn_pytorch",
    "conv2d_small_keras",
    "bnn_model_fc_1layer",
    "tiny_unet_ch_last",
)


def available() -> bool:
    """Whether the corpus is there."""
    return (CORPUS / "models").is_dir()


def missing() -> str:
    """What to say when it is not."""
    return f"the corpus of models and data is not in {CORPUS} (set BOARDFIT_CORPUS)"


def model_path(name: str) -> Path:
    """The ONNX file of a model of the corpus, or of the digits example."""
    if name == "digits":
        return ROOT / "examples" / "digits.onnx"
    folder = "hls4ml_examples" if name in HLS_EXAMPLES else "mlperf_tiny"
    return CORPUS / "models" / folder / f"{name}.onnx"


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an archive."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def kws() -> tuple[np.ndarray, np.ndarray]:
    """MLPerf Tiny keyword spotting: (600, 49, 10, 1) float features and labels."""
    data = load_npz(CORPUS / "data" / "kws01_mfcc_int8.npz")
    x = (data["x"].astype(np.float32) - np.float32(data["zero_point"])) * np.float32(data["scale"])
    return x, data["y"].astype(np.int64)


def kws_raw() -> tuple[np.ndarray, np.ndarray]:
    """The same inputs as the int8 values the quantized model takes."""
    data = load_npz(CORPUS / "data" / "kws01_mfcc_int8.npz")
    return data["x"].astype(np.int64), data["y"].astype(np.int64)


def cifar(part: str) -> tuple[np.ndarray, np.ndarray]:
    """CIFAR-10 through JPEG: (N, 32, 32, 3) float pixels 0..255 and labels; `part` is 'train' or 'test'."""
    data = load_npz(CORPUS / "data" / f"cifar10_jpeg_{part}.npz")
    return data["x"].astype(np.float32), data["y"].astype(np.int64)


def mnist(part: str) -> tuple[np.ndarray, np.ndarray]:
    """MNIST: (N, 28, 28) uint8 and labels; `part` is 'train' or 't10k'."""
    images = gzip.decompress((CORPUS / "data" / f"mnist-{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((CORPUS / "data" / f"mnist-{part}-labels-idx1-ubyte.gz").read_bytes())
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28),
        np.frombuffer(labels, np.uint8, offset=8).astype(np.int64),
    )


def digits(part: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The digits example: inputs and, for the test part, labels."""
    data = load_npz(ROOT / "examples" / f"digits_{part}.npz")
    return data["x"].astype(np.float32), data["y"].astype(np.int64) if "y" in data else None


def kws_split() -> tuple[np.ndarray, np.ndarray]:
    """Indices (calibration, rest) of the KWS inputs: 100 unlabelled ones, and the 500 others."""
    order = np.random.default_rng(SEED).permutation(600)
    return np.sort(order[:100]), np.sort(order[100:])


def smooth_images(count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Seeded images in 0..1 with structure at several scales: a stand-in where no pictures are at hand."""
    random = np.random.default_rng(SEED)
    height, width, channels = shape[-3:]
    images = np.zeros((count, height, width, channels))
    for cells in (3, 6, 12, 24, 48):
        coarse = random.uniform(size=(count, cells, cells, channels))
        rows = np.arange(height) * cells // height
        columns = np.arange(width) * cells // width
        images += coarse[:, rows][:, :, columns]
    images -= images.min(axis=(1, 2, 3), keepdims=True)
    images /= images.max(axis=(1, 2, 3), keepdims=True)
    return images.astype(np.float32)


def calibration(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Unlabelled inputs to calibrate a model on, (N, *shape without batch): never the samples a figure is told on.

    Real data where the corpus has some; else seeded images or normal numbers.
    """
    if name == "digits":
        return digits("calibration")[0]
    if name == "kws01":
        return kws()[0][kws_split()[0]]
    if name == "ic01":
        return cifar("train")[0][:256]
    if name == "vww01":
        return smooth_images(64, shape)
    random = np.random.default_rng(SEED)
    return random.standard_normal((512, *shape[1:])).astype(np.float32)


def evaluation(name: str, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Inputs to compare two implementations on; other ones than `calibration` gives."""
    if name == "digits":
        return digits("test")[0][:count]
    if name == "kws01":
        return kws()[0][kws_split()[1]][:count]
    if name == "ic01":
        return cifar("test")[0][:count]
    if name == "vww01":
        return smooth_images(64 + count, shape)[64:]
    random = np.random.default_rng(SEED + 1)
    return random.standard_normal((count, *shape[1:])).astype(np.float32)


def raw_inputs(name: str, kind: TensorType, count: int) -> np.ndarray:
    """Evaluation inputs as the raw integers a compiled model takes, (count, *shape)."""
    base = name.removesuffix("_int8")
    if name == "kws01_int8":
        return kws_raw()[0][kws_split()[1]][:count].reshape(count, *kind.shape)
    x = evaluation(base, kind.shape, count).reshape(count, *kind.shape)
    if name == "ic01_int8":
        return x.astype(np.int64) - 128
    return quantize(x, kind.element, sample_axis=True)
