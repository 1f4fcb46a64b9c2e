"""A small CIFAR-10 network with transferred filters and compact layers: errors, bytes, instructions.

The dense network is trained on the 5,500 training images of the corpus that are not set aside, deformed anew in every
epoch. Each rewrite starts from it: transferred filters are trained on the labels and the dense network's answers, and
so is the dense network itself, as a control; compact layers for a few epochs on its answers alone. Errors are the
integer interpreter's on the 2,000 test images.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from boardfit.compress.compact_layers import MakeFire, SeparateDepthwise
from boardfit.compress.cut_filters import CutFilters
from boardfit.compress.layers import weight_layers
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.compress.share_filters import ShareFilters
from boardfit.ir import Graph
from boardfit.ir.encoding import Compressed
from boardfit.options import Optimize, QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.passes.signed_integers import SignedIntegers
from boardfit.pipeline import run_passes
from boardfit.train.losses import Distillation, Labels, Loss
from boardfit.train.options import as_real
from boardfit.train.trainer import Training

from ..results import Row, print_rows
from .cifar import AUGMENTATION, BASE, cifar_data, trained_base
from .measurement import cost, error_percent

CALIBRATION = 256
LABELS, TEMPERATURE = 0.4, 2.0
EPOCHS = 72
UNLABELLED = {"depthwise-separable": 3, "fire": 3}
"""Rewrites that imitate the dense network without labels, and for how many epochs."""

TURNS = ("mirror", "rotation-90", "rotation-180", "rotation-270")

Data = Mapping[str, np.ndarray]
Rewrite = Callable[[Graph, Data], Graph]

CONTROL = "dense, trained as long"

SHARED: dict[str, Rewrite] = {
    CONTROL: lambda graph, data: graph,
    "CReLU": lambda graph, data: ShareFilters(data, ("negation",), {"conv*": 0.5})(graph),
    "TCNN": lambda graph, data: ShareFilters(data, TURNS, {"conv*": 0.5})(graph),
}
"""Half of the filters are copies of the other half; three seeds."""

ONCE: dict[str, Rewrite] = {
    "MBA": lambda graph, data: ShareFilters(data, ("multi-bias",), {"conv*": 0.5})(graph),
    "DCNN": lambda graph, data: CutFilters(data, {"conv*": 4})(graph),
    "depthwise-separable": lambda graph, data: SeparateDepthwise(data, {"conv2": 1, "conv3": 1})(graph),
    "fire": lambda graph, data: MakeFire(data, {"conv2": 0.75, "conv3": 0.75})(graph),
}
"""Other transferred filters and compact layers; one seed."""

REWRITES: dict[str, Rewrite] = {**SHARED, **ONCE}
FORCED = {"TCNN": {"conv2": "transferred", "conv3": "transferred"}}
"""Turned filters save bytes, but no products: they are stored once where that is asked for."""


def trained(name: str, base: Graph, seed: int, folder: Path, *, progress: bool) -> Graph:
    """A rewrite of the dense network, trained."""
    train = cifar_data(base, "train")
    calibration = {key: as_real(values[:CALIBRATION]) for key, values in train.inputs.items()}
    graph = REWRITES[name](base, calibration)
    losses: tuple[Loss, ...] = (Labels(LABELS), Distillation(1.0 - LABELS, TEMPERATURE))
    if name in UNLABELLED:
        losses = (Distillation(1.0, TEMPERATURE),)
    training = Training(
        graph,
        train,
        losses,
        replace(BASE, epochs=UNLABELLED.get(name, EPOCHS), seed=seed + 100),
        teacher=base,
        augmentation=AUGMENTATION,
        validation=cifar_data(base, "validation"),
        checkpoint=folder / f"{name.replace(', ', '-').replace(' ', '-')}.npz",
    )
    done = training.run(progress=progress)
    print(f"  {name}, seed {seed}: validation error {done.history[-1].error:.2f} %", flush=True)
    return done.graph


def integers(graph: Graph, data: Data) -> Graph:
    """The integer graph a backend takes."""
    annotated = quantize_for_mcu(graph, data, QuantizeOptions())
    return run_passes(annotated, [LowerQuantized(), SignedIntegers()]).graph


def parameters(graph: Graph) -> int:
    """Weights that are free: tied ones count once."""
    total = 0
    for layer in weight_layers(graph):
        promise = layer.encoding
        tied = promise.tie if isinstance(promise, Compressed) else None
        total += layer.weights.size if tied is None else tied.count
    return total


def run_transferred(seed: int, folder: Path, *, part: str, progress: bool, names: tuple[str, ...] = ()) -> list[Row]:
    """Rows of a seed: the dense network, then each rewrite beside it."""
    start = time.perf_counter()
    base = trained_base(seed, folder, progress=progress)
    data = cifar_data(base, part)
    calibration = {key: as_real(values[:CALIBRATION]) for key, values in cifar_data(base, "train").inputs.items()}
    rows: list[Row] = []
    dense = integers(base, calibration)
    base_error = error_percent(dense, data, chunk=250)
    base_cost = cost(dense, data, Optimize.SPEED)
    chosen = names or (tuple(REWRITES) if seed == 1 else tuple(SHARED))
    for name in ("dense", *chosen):
        graph = base if name == "dense" else trained(name, base, seed, folder, progress=progress)
        made = integers(graph, calibration)
        error = base_error if name == "dense" else error_percent(made, data, chunk=250)
        for stored in (None, FORCED[name]) if name in FORCED else (None,):
            found = base_cost if name == "dense" else cost(made, data, Optimize.SPEED, stored)
            rows.append(
                {
                    "case": "transferred",
                    "recipe": name if stored is None else f"{name}, stored once",
                    "seed": seed,
                    "weights": parameters(graph),
                    "error_percent": round(error, 2),
                    "points": round(error - base_error, 2),
                    "bytes": found.bytes,
                    "dense_bytes": base_cost.bytes,
                    "code_bytes": found.code_bytes,
                    "instructions": found.instructions,
                    "dense_instructions": base_cost.instructions,
                    "formats": " ".join(found.formats),
                    "bytes_equal": found.equal,
                }
            )
            print_rows(f"transferred, seed {seed}", rows[-1:])
    print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    return rows
