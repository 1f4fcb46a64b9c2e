"""Compressing a model by a recipe: apply, measure on data that was not used, write the compressed model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import __version__
from ..artifact import Artifact, check_output
from ..board import Board, find_board
from ..compress.fidelity import Bound, Judge, make_bound
from ..data import CALIBRATION_SAMPLES, Samples, load_labels, load_samples
from ..errors import BudgetError, DataError, UsageError
from ..estimate.report import Estimate
from ..ir.graph import Graph
from ..measure import real_outputs
from ..options import BackendOptions, QuantizeOptions
from .context import Context
from .networks import is_cut, load_floating, load_teachers, students
from .recipe import Recipe, find_recipe
from .report import LayerReport, layer_reports, render_html

VALIDATION_SHARE = 10
"""One sample in so many is set aside: nothing is trained or calibrated on it, the loss is measured on it."""

MODEL_FILE = "model.onnx"

DEFAULT = "int4"
DISTIL = "distil"
DISTIL_CUT = "distil-hints"
"""Recipes that are taken where none is named: without a student, for any student, for one cut out of the model."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How the compressed integer network compares with the float one on samples set aside.

    Attributes:
        measure: 'accuracy' (in percent), 'agreement' (share of samples with float's class) or 'snr' (dB).
        value: of the compressed network.
        float_value: accuracy of the float network, where there are labels.
        samples: number of samples.
    """

    measure: str
    value: float
    float_value: float | None
    samples: int


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """What `compress_model` made.

    Attributes:
        recipe, setting: what was applied.
        graph: float graph with Quantize and Dequantize: what the ONNX file says.
        integer: the integer graph it means.
        floating: the original.
        fidelity: measured on samples set aside.
        layers: one report for each layer with weights.
        estimate: of the integer graph on the board, if one was given.
        artifact: the files.
        folder: where they were written, or None.
    """

    recipe: str
    setting: Mapping[str, object]
    graph: Graph
    integer: Graph
    floating: Graph
    fidelity: Fidelity
    layers: tuple[LayerReport, ...]
    estimate: Estimate | None
    artifact: Artifact
    folder: Path | None


def compress_model(
    model: str | Path,
    recipe: str | Path | Recipe | None = None,
    *,
    student: str | Path | None = None,
    teachers: Sequence[str | Path] = (),
    calibration: str | Path | None = None,
    train: str | Path | None = None,
    board: str | Board | None = None,
    max_drop: float | None = None,
    min_snr: float | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    output: str | Path | None = None,
    checkpoints: Path | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Compressed:
    """Compress a model.

    Args:
        model: ONNX file.
        recipe: a recipe, its name, or the path of a recipe file; without one, 'distil' where there is a student, else
            'int4' ('distil-hints' for one that is cut out of the model).
        student: the network the recipe starts from: an ONNX file with the model's inputs and outputs, or `auto`,
            `auto:WIDTH`, `auto:WIDTHxDEPTH`, cut out of the model. It imitates the model. `auto` alone has half of the
            model's multiply-accumulates or, with a bound, the least width that holds it.
        teachers: ONNX files to imitate in place of the model; several answer together.
        calibration: inputs without labels; without it, a part of the training data.
        train: inputs to train on, with labels `y` or without.
        board: the report then says what every layer costs there.
        max_drop: points of accuracy (of agreement with float, without labels) that may be lost: the settings of the
            recipe are tried from the strongest on, and the first that holds is taken.
        min_snr: the same for networks that do not classify, in dB.
        output: folder to write; None keeps the files in memory.
        checkpoints: folder for checkpoints; an interrupted training goes on from there.
        seed: of everything random.

    Raises:
        BudgetError: no setting of the recipe holds the bound.
        BoardfitError: the model, the data, the recipe or the options are wrong.
    """
    if recipe is None:
        recipe = default_recipe(student, teachers)
    chosen = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    if (student is not None or teachers) and not chosen.trains:
        raise UsageError(f"recipe '{chosen.name}' does not train, and a student has to", hint=f"--recipe {DISTIL}")
    target = find_board(board) if isinstance(board, str) else board
    if target is not None and target.kind != "mcu":
        raise UsageError(
            f"{target.name} is an FPGA, and the report counts the bytes of a microcontroller",
            hint="leave out --board, and give the compressed model to 'boardfit compile'",
        )
    if output is not None:
        check_output(output)
    path = Path(model)
    floating = load_floating(path, input_shapes)
    data = _Data.load(floating, calibration, train, needs_training=chosen.trains)
    options = QuantizeOptions(max_drop=max_drop, min_snr=min_snr)
    bound = make_bound(floating, options, data.labels)
    judge = Judge(bound, real_outputs(floating, data.validation), data.labels)
    context = Context(
        floating,
        data.calibration,
        data.training,
        data.training_labels,
        seed,
        checkpoints,
        progress,
        teachers=load_teachers(floating, teachers, input_shapes) if teachers else None,
        board=target,
    )
    bounded = max_drop is not None or min_snr is not None
    order = range(len(chosen.settings)) if bounded else [chosen.default]
    starts = students(floating, student, data.calibration, input_shapes, several=bounded)
    best: float | None = None
    impossible: BudgetError | None = None
    for start, setting in ((start, setting) for start in starts for setting in order):
        context.refused.clear()
        try:
            applied = chosen.apply(start, setting, context)
        except BudgetError as error:  # a gentler setting may ask for less
            impossible = error
            continue
        graph, integer = freeze(applied, data.calibration, chosen.bias_bits)
        value = judge.value(real_outputs(integer, data.validation))
        best = value if best is None else max(best, value)
        if not bounded or value >= bound.least:
            break
    else:
        if best is None and impossible is not None:
            raise impossible
        raise BudgetError(
            f"no setting of recipe '{chosen.name}' keeps an {bound}: the best reaches {_told(bound, best or 0.0)}",
            file=path.name,
            hint="allow a larger loss, or add a more careful setting to a copy of the recipe",
        )
    estimate = None
    if target is not None:
        from ..backend import find_backend

        estimate = find_backend(target.kind).estimate(integer, target, BackendOptions())
    fidelity = _fidelity(judge, value, data)
    layers = layer_reports(floating, graph, integer, data.calibration, estimate)
    facts = {
        "boardfit": __version__,
        "model": {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
        **_student_facts(student, start, floating),
        "recipe": {"name": chosen.name, "setting": dict(chosen.settings[setting]), "seed": seed},
        **({"refused": list(context.refused)} if context.refused else {}),
    }
    artifact = _artifact(graph, facts, fidelity, layers, estimate)
    folder = None if output is None else artifact.write(output)
    return Compressed(
        chosen.name, chosen.settings[setting], graph, integer, floating, fidelity, layers, estimate, artifact, folder
    )


def default_recipe(student: str | Path | None, teachers: Sequence[str | Path]) -> str:
    """Name of the recipe that is taken where none is named."""
    if student is None and not teachers:
        return DEFAULT
    return DISTIL_CUT if student is not None and is_cut(student) and not teachers else DISTIL


def freeze(graph: Graph, calibration: Samples, bias_bits: int | None = None) -> tuple[Graph, Graph]:
    """The graph with all its integers stated, as Quantize and Dequantize, and the integer graph that it means.

    Args:
        bias_bits: width of the biases of layers with shared weights; None keeps 32 bits.
    """
    from ..compress.ptq import quantize_for_mcu
    from ..compress.round_biases import RoundBiases
    from ..passes.lower_quantized import LowerQuantized
    from ..passes.signed_integers import SignedIntegers
    from ..pipeline import run_passes

    stated = quantize_for_mcu(graph, calibration, QuantizeOptions())
    if bias_bits is not None:
        stated = RoundBiases(bias_bits)(stated)
    return stated, run_passes(stated, [LowerQuantized(), SignedIntegers()]).graph


def _student_facts(student: str | Path | None, start: Graph, model: Graph) -> dict[str, object]:
    if student is None:
        return {}
    from ..compress.students import macs

    return {"student": {"from": Path(student).name, "macs": macs(start), "model_macs": macs(model)}}


@dataclass(frozen=True, slots=True, eq=False)
class _Data:
    """Samples by use: the validation part is in no other."""

    calibration: Samples
    validation: Samples
    labels: np.ndarray | None
    training: Samples | None
    training_labels: np.ndarray | None

    @classmethod
    def load(
        cls, graph: Graph, calibration: str | Path | None, train: str | Path | None, *, needs_training: bool
    ) -> _Data:
        source = train if train is not None else calibration
        if source is None:
            kind = "training" if needs_training else "calibration"
            option = "--train" if needs_training else "--calibration"
            raise UsageError(f"there is no {kind} data", hint=f"give {option} data.npz")
        samples = load_samples(source, graph)
        labels = load_labels(source)
        count = min(len(values) for values in samples.values())
        if labels is not None and len(labels) != count:
            raise DataError(f"{len(labels)} labels for {count} samples", file=Path(source).name)
        if count < 2 * VALIDATION_SHARE:
            raise DataError(
                f"{count} samples are too few to set some aside", file=Path(source).name, hint="give a few hundred"
            )
        aside = np.arange(count) % VALIDATION_SHARE == VALIDATION_SHARE - 1
        used = {name: values[~aside] for name, values in samples.items()}
        few = _spread(used, CALIBRATION_SAMPLES)
        if train is not None and calibration is not None:
            few = load_samples(calibration, graph, CALIBRATION_SAMPLES)
        return cls(
            few,
            {name: values[aside] for name, values in samples.items()},
            None if labels is None else labels[aside],
            used if train is not None else None,
            labels[~aside] if labels is not None and train is not None else None,
        )


def _spread(samples: Samples, limit: int) -> Samples:
    count = min(len(values) for values in samples.values())
    picked = np.arange(min(limit, count)) * count // min(limit, count)
    return {name: values[picked] for name, values in samples.items()}


def _fidelity(judge: Judge, value: float, data: _Data) -> Fidelity:
    from ..metrics import top1

    count = len(judge.reference)
    if judge.bound.measure == "accuracy" and data.labels is not None:
        base = top1(judge.reference, data.labels)
        return Fidelity("accuracy", 100 * (base + value), 100 * base, count)
    return Fidelity(judge.bound.measure, value, None, count)


def _told(bound: Bound, value: float) -> str:
    if bound.measure == "accuracy":
        return f"{-100 * value:.2f} points below float"
    return f"{value:.4g}" + (" dB" if bound.measure == "snr" else "")


def _artifact(
    graph: Graph,
    facts: Mapping[str, object],
    fidelity: Fidelity,
    layers: tuple[LayerReport, ...],
    estimate: Estimate | None,
) -> Artifact:
    from ..export import export_model
    from ..manifest import plain

    report = {**facts, "fidelity": plain(fidelity), "layers": plain(layers)}
    if estimate is not None:
        report |= {"board": estimate.board, "total": plain(estimate.total), "details": plain(estimate.details)}
    files = {
        MODEL_FILE: export_model(graph).SerializeToString(deterministic=True),
        "report.json": (json.dumps(report, indent=2, allow_nan=False) + "\n").encode(),
        "report.html": render_html(report).encode(),
    }
    return Artifact(files, MODEL_FILE).with_manifest(facts)
