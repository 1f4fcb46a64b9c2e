"""Three methods of the literature on LeNet-300-100, each against its plain alternative; MNIST without deformations.

HashedNets (Chen et al. 2015): all weights of a layer are a few values by a hash of their place, against a dense network
of as many parameters. Fixed point (Gupta et al. 2015): parameters live on a grid while they are trained, updates
rounded at random against rounded to nearest. Hints (FitNets: Romero et al. 2015): a network of 30 and 10 units imitates
the hidden layers of the dense one, against imitating its answers alone.

Errors are the integer interpreter's on the test images, weights and activations of 8 bits.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boardfit.compress.cluster import TieWeights
from boardfit.compress.prune_units import PruneUnits
from boardfit.compress.ptq import quantize_for_mcu
from boardfit.frontend import load_model
from boardfit.ir import Graph
from boardfit.options import QuantizeOptions
from boardfit.passes.lower_quantized import LowerQuantized
from boardfit.passes.signed_integers import SignedIntegers
from boardfit.pipeline import canonicalize, run_passes
from boardfit.train.constraints import FixedPointParameters
from boardfit.train.losses import Distillation, Labels, Loss, matching_hints
from boardfit.train.options import Constraints, TrainOptions, as_real
from boardfit.train.trainer import Training

from ..results import Row, Value, print_rows
from .measurement import error_percent
from .networks import LENET300, Architecture, mnist, write_onnx

CALIBRATION = 1000
OPTIONS = TrainOptions(epochs=12, batch=250, learning_rate=2e-3, hold=0.3, compile=True)
SHARES = (8, 64)
FRACTIONS = (14, 12, 10)
WIDTH = 16
UNITS = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Methods:
    """The trainings of one seed; finished ones are read from `folder`."""

    seed: int
    folder: Path
    progress: bool
    part: str = "test"

    def rows(self) -> list[Row]:
        """All rows."""
        dense = self._trained("dense", self._start(LENET300))
        return [
            self._row("dense", dense, LENET300.parameters),
            *self._hashed(dense),
            *self._fixed_point(),
            *self._hints(dense),
        ]

    def _hashed(self, dense: Graph) -> list[Row]:
        losses = (Labels(0.5), Distillation(0.5, temperature=2.0))
        rows: list[Row] = []
        for share in SHARES:
            # the mean of so many random weights is that much smaller: values start as large as those of a dense network
            tied = TieWeights(1 / share, self.seed)(self._start(LENET300, np.sqrt(share)))
            parameters = sum(round(size / share) for size in (784 * 300, 300 * 100, 100 * 10)) + 410
            made = self._trained(f"hashed-{share}", tied)
            rows.append(self._row(f"hashed 1/{share}", made, parameters))
            made = self._trained(f"hashed-{share}-distilled", tied, losses, teacher=dense)
            rows.append(self._row(f"hashed 1/{share}, distilled", made, parameters))
            narrow = _as_large_as(parameters)
            made = self._trained(f"narrow-{share}", self._start(narrow))
            rows.append(self._row(f"dense of the size, {narrow.dense[0]}-{narrow.dense[1]}", made, narrow.parameters))
        return rows

    def _fixed_point(self) -> list[Row]:
        rows: list[Row] = []
        for fraction in FRACTIONS:
            for mode in ("stochastic", "nearest"):
                grid = FixedPointParameters(WIDTH, fraction, stochastic=mode == "stochastic")
                constraints = Constraints(fixed_point=grid)
                made = self._trained(f"fixed-{fraction}-{mode}", self._start(LENET300), constraints=constraints)
                rows.append(self._row(f"{WIDTH} bits, {fraction} behind the point, {mode}", made, LENET300.parameters))
        return rows

    def _hints(self, dense: Graph) -> list[Row]:
        train = mnist("train", LENET300.input)
        inputs = {dense.inputs[0]: as_real(next(iter(train.inputs.values()))[:CALIBRATION])}
        small = PruneUnits(inputs, UNITS)(dense)
        answers = Distillation(1.0, temperature=2.0)
        hints = matching_hints(small, dense, 0.1)
        parameters = sum(c.values.size for c in small.constants.values())
        return [
            self._row(name, self._trained(file, small, losses, teacher=dense), parameters)
            for file, name, losses in (
                ("small-labels", "30-10 units, labels", (Labels(),)),
                ("small-answers", "30-10 units, distilled", (answers,)),
                ("small-hints", "30-10 units, distilled with hints", (answers, hints)),
            )
        ]

    def _start(self, architecture: Architecture, scale: float = 1.0) -> Graph:
        path = self.folder / f"start-{'-'.join(map(str, architecture.dense))}.onnx"
        weights = {name: np.float32(scale) * values for name, values in architecture.initial(self.seed).items()}
        write_onnx(path, architecture, weights)
        return canonicalize(load_model(path))

    def _trained(
        self,
        name: str,
        graph: Graph,
        losses: tuple[Loss, ...] = (Labels(),),
        constraints: Constraints | None = None,
        teacher: Graph | None = None,
    ) -> Graph:
        start = time.process_time()
        training = Training(
            graph,
            mnist("train", LENET300.input),
            losses,
            # XLA on processors draws random numbers slowly
            replace(OPTIONS, seed=self.seed, compile=constraints is None),
            constraints or Constraints(),
            teacher,
            validation=mnist("validation", LENET300.input),
            checkpoint=self.folder / f"{name}.npz",
        )
        made = training.run(progress=self.progress)
        error = made.history[-1].error
        print(f"  {name}: validation error {error:.2f} %, {time.process_time() - start:.0f} s of processor", flush=True)
        return made.graph

    def _row(self, name: str, graph: Graph, parameters: int) -> Row:
        train, data = mnist("train", LENET300.input), mnist(self.part, LENET300.input)
        few = {graph.inputs[0]: as_real(next(iter(train.inputs.values()))[:CALIBRATION])}
        stated = quantize_for_mcu(graph, few, QuantizeOptions())
        integers = run_passes(stated, [LowerQuantized(), SignedIntegers()]).graph
        row: dict[str, Value] = {
            "case": "methods",
            "recipe": name,
            "seed": self.seed,
            "parameters": parameters,
            "error_percent": round(error_percent(integers, data), 2),
        }
        print_rows(name, [row])
        return row


def _as_large_as(parameters: int) -> Architecture:
    """The network of LeNet's proportions, 3 to 1, that has about so many parameters."""
    found = [Architecture("narrow", LENET300.input, (), (3 * units, units, 10)) for units in range(1, 101)]
    return min(found, key=lambda architecture: abs(architecture.parameters - parameters))


def run_methods(seed: int, folder: Path, part: str, *, progress: bool) -> list[Row]:
    """All rows of this section."""
    return Methods(seed, folder, progress, part).rows()
