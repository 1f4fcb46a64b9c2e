"""Low rank: ic01 distilled in factors, ranks for the whole of LeNet against equal ratios, an hls4ml project.

ic01 is fitted to and distilled on the 6,000 training images without their labels; LeNet-300-100 is not trained. Every
error is the integer interpreter's on test images.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from boardfit.backend import find_backend
from boardfit.board import find_board
from boardfit.compress.equalize_activations import EqualizeActivations
from boardfit.compress.factoring import Factoring
from boardfit.compress.layers import weight_layers
from boardfit.compress.low_rank import LowRank
from boardfit.compress.schemes import Scheme
from boardfit.interp import run
from boardfit.ir import Graph
from boardfit.numerics import quantize
from boardfit.options import BackendOptions, ImportOptions, Optimize, QuantizeOptions
from boardfit.prepare import lower_for_board, prepare
from boardfit.solver.forms import PLAIN, Form
from boardfit.solver.ranks import ChooseRanks, needed
from boardfit.solver.search import Assignment, apply_forms, choose_forms, predicted_loss
from boardfit.solver.table import FormTable
from boardfit.train.augment import ImageAugmentation, augmented
from boardfit.train.constraints import WeightQuantizer
from boardfit.train.losses import Hints, LogitError, logits_tensors
from boardfit.train.network import Network
from boardfit.train.options import Constraints, Epoch, TrainingData, TrainOptions, as_real
from boardfit.train.trainer import Training
from boardfit.train.views import over_views, ten_views

from .. import corpus
from ..results import Row, Value, print_rows
from .measurement import BOARD, cost, error_percent
from .posttrain import integer, model, shaped

CALIBRATION = 512
COPIES = 12
"""Deformed copies of every image, made once; the teacher answers them once."""

MIX = 0.5
"""Share of the copies that are mixed with another one."""

DEFORMATION = ImageAugmentation(32, 32, shift=3.0, rotation=5.0, scale=0.1, shear=0.05, flip=True)
TARGETS = {"1.5x": 0.65}
"""Row -> share of the cycles of the layers with weights that the chosen ranks may leave."""

FORMS = (
    PLAIN,
    *(Form(structure=Factoring(Scheme.SEPARABLE, share)) for share in (0.25, 0.34, 0.42, 0.5, 0.6, 0.7)),
    *(Form(structure=Factoring(Scheme.DEPTHWISE, share)) for share in (0.34, 0.38, 0.42, 0.46, 0.5, 0.55, 0.6)),
    Form(structure=Factoring(Scheme.TUCKER, 0.37)),
    *(Form(structure=Factoring(Scheme.SVD, share)) for share in (0.4, 0.6)),
)
"""What is tried for the layers of ic01; CP's depthwise layers take more cycles, see the page on compression."""


POOLED = "model/average_pooling2d/AvgPool_out"
"""The features of ic01 behind its last pooling."""

LOSSES = (LogitError(1.0), Hints({POOLED: POOLED}, 4.0))

SCHEDULE = TrainOptions(epochs=5, batch=64, learning_rate=1e-2, hold=0.3, relative=True)
"""Losses, rate and normalization were chosen by the divergence from one look on 600 training images left out."""

ROUNDED = replace(SCHEDULE, epochs=2, learning_rate=2e-3, hold=0.0)
"""Without normalization, on a third as many copies, weights and activations rounded to 8 bits."""

THIRD = 0.34

SHARES = (0.02, 0.03, 0.05, 0.065, 0.08, 0.1, 0.12, 0.15, 0.18, 0.22, 0.26, 0.3, 0.4, 0.5, 0.7, 0.9)
"""Sizes that are tried for the layers of LeNet."""

RATIOS = (0.05, 0.08, 0.12, 0.18, 0.3)
"""Equal ratios: each gives a budget of bytes."""


def run_low_rank(base: Graph, seed: int, folder: Path, *, progress: bool) -> list[Row]:
    """All rows of a seed; the hls4ml project once.

    Args:
        base: LeNet-300-100 of this seed.
    """
    rows = [*lenet_rows(base, seed), *(cifar_row(name, seed, folder, progress=progress) for name in TARGETS)]
    return [*rows, *project_rows(), *scheme_rows()] if seed == 1 else rows


def cifar_row(name: str, seed: int, folder: Path, *, progress: bool) -> Row:
    """ic01 with ranks chosen for the whole network, then distilled; executed on the emulated core."""
    graph = model("ic01")
    images, _ = corpus.cifar("train")
    data = shaped(graph, images[:CALIBRATION])
    inputs, labels = corpus.cifar("test")
    test = TrainingData(shaped(graph, inputs), labels)
    dense = integer(graph, data)
    dense_cost, base = cost(dense, test, Optimize.SPEED), error_percent(dense, test)
    chosen = ChooseRanks(data, find_board(BOARD), TARGETS[name], forms=FORMS).solve(graph)
    forms = "; ".join(map(str, chosen.forms.values()))
    untrained = error_percent(integer(chosen.graph, data), test)
    print(f"  {name}: {untrained:.2f} % before training: {forms}", flush=True)
    teacher = over_views(graph, ten_views(), POOLED)
    copies = augmented(TrainingData(shaped(graph, images)), DEFORMATION, COPIES, seed, mix=MIX)
    normalized = Training(
        chosen.graph,
        copies,
        LOSSES,
        replace(SCHEDULE, seed=seed),
        Constraints(normalize=True),
        teacher=teacher,
        checkpoint=folder / f"ic01-{name}.npz",
    ).run(progress=progress, after_epoch=_tell)
    rounded = Training(
        EqualizeActivations(data)(normalized.graph),
        augmented(TrainingData(shaped(graph, images)), DEFORMATION, COPIES // 3, seed, mix=MIX),
        LOSSES,
        replace(ROUNDED, seed=seed),
        Constraints(weights=WeightQuantizer(), activations=True),
        teacher=teacher,
        checkpoint=folder / f"ic01-{name}-rounded.npz",
    ).run(progress=progress, after_epoch=_tell)
    trained = rounded.graph
    made = integer(trained, data)
    found, error = cost(made, test, Optimize.SPEED), error_percent(made, test)
    row: dict[str, Value] = {
        "case": "lowrank",
        "recipe": f"ic01, {name}",
        "seed": seed,
        "error_percent": round(error, 2),
        "base_error_percent": round(base, 2),
        "drop": round(error - base, 2),
        "untrained_error_percent": round(untrained, 2),
        "teacher_error_percent": round(_float_error(teacher, test), 2),
        "instructions": found.instructions,
        "dense_instructions": dense_cost.instructions,
        "speedup": round(dense_cost.instructions / found.instructions, 2),
        "bytes": found.bytes,
        "dense_bytes": dense_cost.bytes,
        "forms": forms,
        "bytes_equal": found.equal and dense_cost.equal,
    }
    print_rows(f"ic01, {name}, seed {seed}", [row])
    return row


def _float_error(graph: Graph, test: TrainingData) -> float:
    """Error in percent of a float network."""
    (name,) = logits_tensors(graph)
    inputs = {key: as_real(values) for key, values in test.inputs.items()}
    scores = Network(graph, trainable=False).run(inputs, (name,))[name].reshape(test.samples, -1)
    return 100.0 * float(np.mean(scores.argmax(axis=1) != test.labels))


def _tell(epoch: int, record: Epoch) -> None:
    print(f"  epoch {epoch}: loss {record.loss:.4f}", flush=True)


def lenet_rows(base: Graph, seed: int) -> list[Row]:
    """Ranks for the whole of LeNet-300-100 against the same ratio in every layer, at the same bytes; no training."""
    train, _ = corpus.mnist("train")
    images, answers = corpus.mnist("t10k")
    data = shaped(base, train[:1000] / np.float32(255))
    test = TrainingData(shaped(base, images / np.float32(255)), answers.astype(np.int64))
    forms = (PLAIN, *(Form(structure=Factoring(Scheme.SVD, share, 1)) for share in SHARES))
    step = ChooseRanks(data, find_board(BOARD), cost="flash", forms=forms)
    table = step.table(base)
    rows: list[Row] = []
    for ratio in RATIOS:
        equal = _equal(table, ratio)
        limit = sum(_flash(table, equal))
        chosen = choose_forms(table, {"flash": limit + 0.5})
        if chosen is None:
            raise SystemExit("the equal ratio itself keeps its budget")
        found = {
            "equal": _measured(step, base, table, equal, test),
            "global": _measured(step, base, table, chosen, test),
        }
        rows.append(
            {
                "case": "lowrank",
                "recipe": f"lenet300, {limit:,} bytes",
                "seed": seed,
                "bytes": round(found["global"][1]),
                "equal_bytes": round(found["equal"][1]),
                "error_percent": found["global"][0],
                "equal_error_percent": found["equal"][0],
                "loss": round(predicted_loss(table, chosen), 4),
                "equal_loss": round(predicted_loss(table, equal), 4),
                "forms": "; ".join(map(str, chosen)),
                "equal_forms": "; ".join(map(str, equal)),
            }
        )
    print_rows(f"LeNet-300-100, seed {seed}: ranks for the whole network against equal ratios", rows)
    return rows


def _equal(table: FormTable, ratio: float) -> Assignment:
    """The same ratio in every layer but the last, whose ten outputs one rank cannot tell apart."""
    wanted = Form(structure=Factoring(Scheme.SVD, ratio, 1))
    found = [wanted if any(entry.form == wanted for entry in row) else PLAIN for row in table.entries]
    return (*found[:-1], PLAIN)


def _flash(table: FormTable, forms: Assignment) -> list[int]:
    return [
        next(entry.resources.flash for entry in row if entry.form == form)
        for row, form in zip(table.entries, forms, strict=True)
    ]


def _measured(
    step: ChooseRanks, base: Graph, table: FormTable, forms: Assignment, test: TrainingData
) -> tuple[float, float]:
    """Error in percent and bytes of the layers."""
    made = apply_forms(base, step.data, table, forms, step.lower, step.estimate)
    return round(error_percent(made.integer, test), 2), needed(base, made, table, "flash")


def scheme_rows() -> list[Row]:
    """Every scheme in all 3x3 layers of ic01 but the first, at a third of their weights: cost and error, untrained."""
    graph = model("ic01")
    data = shaped(graph, corpus.cifar("train")[0][:CALIBRATION])
    images, labels = corpus.cifar("test")
    test = TrainingData(shaped(graph, images), labels)
    wide = [layer.name for layer in weight_layers(graph) if layer.weights.ndim == 4 and layer.weights.shape[1] > 1]
    dense = cost(integer(graph, data), test, Optimize.SPEED)
    rows: list[Row] = []
    for scheme in Scheme:
        start = time.process_time()
        small = LowRank(data, dict.fromkeys(wide[1:], THIRD), scheme)(graph)
        seconds = time.process_time() - start
        made = integer(small, data)
        found = cost(made, test, Optimize.SPEED)
        row: dict[str, Value] = {
            "case": "lowrank",
            "recipe": f"ic01, 3x3 in {scheme.value}",
            "seed": 1,
            "weights": sum(layer.weights.size for layer in weight_layers(small)),
            "dense_weights": sum(layer.weights.size for layer in weight_layers(graph)),
            "error_percent": round(error_percent(made, test), 2),
            "instructions": found.instructions,
            "dense_instructions": dense.instructions,
            "speedup": round(dense.instructions / found.instructions, 2),
            "seconds": round(seconds, 1),
            "bytes_equal": found.equal,
        }
        rows.append(row)
    print_rows("ic01: schemes at a third of the weights, untrained", rows)
    return rows


def project_rows() -> list[Row]:
    """The digits network in factors as an hls4ml project: C simulation against the interpreter."""
    board, backend = find_board("pynq-z2"), find_backend("fpga")
    images, _ = corpus.digits("calibration")
    plain = prepare(
        corpus.model_path("digits"),
        board,
        images,
        imports=ImportOptions(),
        quantize=QuantizeOptions(),
        backend=BackendOptions(),
    )
    made = LowRank(plain.data, 0.6, multiple=1, board=board)(plain.floating)
    fixed = lower_for_board(made, board, plain.data, QuantizeOptions())
    unrolled = BackendOptions(reuse_factor=1)
    before, after = (backend.estimate(graph, board, unrolled) for graph in (plain.graph, fixed))
    pictures, labels = corpus.digits("test")
    test = _inputs(fixed, pictures)
    expected = run(fixed, test)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "project"
        backend.emit(fixed, board, BackendOptions()).with_manifest({}).write(place)
        outputs = backend.execute(place, [test[name] for name in fixed.inputs], "csim")
    equal = all(np.array_equal(a, expected[name]) for a, name in zip(outputs, fixed.outputs, strict=True))
    row: dict[str, Value] = {
        "case": "lowrank",
        "recipe": "digits, hls4ml project",
        "seed": 1,
        "lut": after.total.lut,
        "dense_lut": before.total.lut,
        "dsp": after.total.dsp,
        "dense_dsp": before.total.dsp,
        "samples": len(next(iter(test.values()))),
        "layers": sum(node.op in ("Conv2D", "Dense") for node in made.nodes),
        "error_percent": _error(fixed, expected, labels),
        "base_error_percent": _error(plain.graph, run(plain.graph, _inputs(plain.graph, pictures)), labels),
        "bytes_equal": equal,
    }
    print_rows("digits in factors, C simulation", [row])
    return [row]


def _inputs(graph: Graph, images: np.ndarray) -> Mapping[str, np.ndarray]:
    """Raw integers for the only input."""
    (name,) = graph.inputs
    kind = graph.types[name]
    real = as_real(images).reshape(len(images), *kind.shape)
    return {name: quantize(real, kind.element, sample_axis=True)}


def _error(graph: Graph, outputs: Mapping[str, np.ndarray], labels: np.ndarray | None) -> float:
    """Error in percent."""
    if labels is None:
        raise SystemExit("labels are needed to count errors")
    scores = outputs[graph.outputs[0]].reshape(len(labels), -1)
    return round(100.0 * float(np.mean(scores.argmax(axis=1) != labels)), 2)
