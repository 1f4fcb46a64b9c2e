"""kws01 and ic01 compiled for boards that are too small for them: what a user types, with board files of their own.

`boardfit compile --board F --max-drop D --calibration data.npz` and `boardfit fit --board F --plot curve.png`. The
flash of the board file holds everything, code included. One half of the calibration data steers, the other half judges
the bound; accuracies are told on inputs that did neither.
"""

from __future__ import annotations

import re
import time
from importlib import resources
from pathlib import Path

import numpy as np

from boardfit import api
from boardfit.board import find_board
from boardfit.errors import BudgetError
from boardfit.ir import Graph
from boardfit.measure import real_outputs
from boardfit.metrics import top1
from boardfit.options import BackendOptions, Optimize, QuantizeOptions

from .. import corpus
from ..results import Row, print_rows
from .budget import BOARD, Case

KIB = 1024
LIMITS = {"kws01": (24 * KIB, 12 * KIB, 1.0), "ic01": (48 * KIB, 36 * KIB, 2.0)}
"""Model -> flash and RAM of the board in bytes, code included, and points of accuracy that may be lost."""

CALIBRATION = {"kws01": 100, "ic01": 1000}
"""Labelled inputs that steer and judge."""

POINTS = 6
OPTIONS = BackendOptions(optimize=Optimize.SIZE)


def small_board(folder: Path, name: str, flash: int, ram: int) -> Path:
    """A board file like that of the NUCLEO-L4R5ZI with less memory."""
    text = (resources.files("boardfit.boards") / f"{BOARD}.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^name: .*$", f"name: {name}", text, flags=re.MULTILINE)
    text = re.sub(r"^title: .*$", f"title: {name}", text, flags=re.MULTILINE)
    text = re.sub(r"^aliases: .*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^(flash: .*bytes: )\d+", rf"\g<1>{flash}", text, flags=re.MULTILINE)
    text = re.sub(r"^(ram: .*bytes: )\d+", rf"\g<1>{ram}", text, flags=re.MULTILINE)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def product_rows(case: Case, folder: Path) -> list[Row]:
    """What the product makes of a model and a board file: the compiled design and the curve."""
    flash, ram, drop = LIMITS[case.name]
    folder.mkdir(parents=True, exist_ok=True)
    board = small_board(folder, f"{case.name}-{flash // KIB}k", flash, ram)
    data = folder / f"{case.name}.npz"
    x, y = _calibration(case.name)
    np.savez(data, x=x, y=y)
    rows: list[Row] = []
    quantize = QuantizeOptions(max_drop=drop)
    start = time.perf_counter()
    name = f"{case.name}: boardfit compile, {flash // KIB} KB flash with code, {ram // KIB} KB RAM, max-drop {drop:g}"
    try:
        made = api.compile(corpus.model_path(case.name), str(board), data, quantize=quantize, backend=OPTIONS)
        total = made.estimate.total
        rows.append(
            {
                "case": "board-files",
                "recipe": name,
                "accuracy_percent": round(_accuracy(made.graph, case), 2),
                "float_accuracy_percent": round(_accuracy(made.floating, case), 2),
                "flash": total.flash,
                "ram": total.ram,
                "cycles": total.cycles,
                "seconds": round(time.perf_counter() - start),
            }
        )
    except BudgetError as error:
        rows.append({"case": "board-files", "recipe": name, "proof": str(error).splitlines()[0]})
    print_rows(f"{case.name} compiled for {find_board(str(board)).title}", rows)
    curve = api.fit(
        corpus.model_path(case.name),
        str(board),
        data,
        quantize=quantize,
        backend=OPTIONS,
        points=POINTS,
        plot=folder / f"{case.name}.png",
    )
    points: list[Row] = [
        {
            "case": "board-files",
            "recipe": f"{case.name}: boardfit fit",
            "flash": point.estimate.total.flash,
            "fits": point.estimate.fits,
            "points_below_float": round(-100 * point.value, 2),
            "cycles": point.estimate.total.cycles,
        }
        for point in curve.points
    ]
    print_rows(f"{case.name}: the curve", points)
    return rows + points


def _calibration(name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == "kws01":
        x, y = corpus.kws()
        first = np.arange(len(x)) % 6 == 0
        return x[first], y[first]
    images, labels = corpus.cifar("train")
    return images[: CALIBRATION[name]], labels[: CALIBRATION[name]]


def _accuracy(graph: Graph, case: Case) -> float:
    (name,) = graph.inputs
    samples = case.test.reshape(len(case.test), *graph.types[name].shape)
    return 100 * top1(real_outputs(graph, {name: samples}), case.labels)
