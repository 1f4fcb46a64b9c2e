"""`make bench-compression`: the LeNets on MNIST from the dense network to the executed image, and ad01 distilled.

Writes `benchmarks/results/compression.json`, rows {case, recipe, seed, bytes, decoder_bytes, ratio, error_percent,
base_error_percent, seconds, instructions, dense_instructions, bytes_equal, ...}. Bytes are all constants of the
emitted C, code stands beside them; the error is the integer interpreter's on the test images; instructions are counted
on the emulated Cortex-M4, of the compressed and of the dense int8 network. What is done is kept in build/benchmarks/
and not done again: an interrupted run goes on where it was.

    python -m benchmarks.compression [lenet300 lenet5 ad01 posttrain methods budget lowrank structured
        transferred student half-flash board-files binary] [--seed 1 ...] [--validation]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from boardfit.frontend import load_model
from boardfit.ir import Graph
from boardfit.options import Optimize
from boardfit.pipeline import canonicalize

from .. import corpus
from ..results import Row, Value, print_rows, write_rows
from .autoencoder import run_autoencoder
from .binary import run_binary
from .board_files import product_rows
from .budget import cases, run_budget
from .low_rank import run_low_rank
from .measurement import cost, error_percent
from .methods import run_methods
from .networks import mnist
from .posttrain import run_posttrain
from .recipe import Chain, Recipe
from .settings import RECIPES
from .structured import run_structured
from .student import run_half_flash, run_student
from .transferred import run_transferred

BUILD = corpus.ROOT / "build" / "benchmarks"
SEEDS = (1, 2, 3)
CASES = (
    *RECIPES,
    "ad01",
    "posttrain",
    "methods",
    "budget",
    "lowrank",
    "structured",
    "transferred",
    "student",
    "half-flash",
    "board-files",
    "binary",
)
ONCE = ("methods", "budget", "half-flash", "board-files")
"""Cases of one seed: without training, or with differences that are larger than those between seeds."""


def run_case(recipe: Recipe, seed: int, folder: Path, *, part: str, progress: bool) -> list[Row]:
    """Rows of one case and seed."""
    start = time.perf_counter()
    chain = Chain(recipe, seed, folder, progress=progress)
    data = mnist(part, recipe.architecture.input)
    base = chain.base()
    graphs = [chain.narrowed(base)]
    dense = chain.integers(base, None)
    dense_cost, base_error = cost(dense, data, Optimize.SPEED), error_percent(dense, data)
    rows: list[Row] = []
    for index in range(len(recipe.stages)):
        graphs.append(chain.stage(index, graphs[-1], base))
        for name, target in recipe.targets.items():
            if target.stage == index:
                made = chain.integers(chain.target(name, graphs[-1], base), target.bias_bits)
                costs = chain.time(name)
                found = cost(made, data, Optimize.SIZE, target.stored)
                rows.append(
                    {
                        "case": recipe.architecture.name,
                        "recipe": name,
                        "seed": seed,
                        "bytes": found.bytes,
                        "decoder_bytes": found.code_bytes,
                        "ratio": round(4 * recipe.architecture.parameters / found.bytes, 1),
                        "error_percent": round(error_percent(made, data), 2),
                        "base_error_percent": round(base_error, 2),
                        "seconds": round(costs.wall),
                        "processor_seconds": round(costs.processor),
                        "instructions": found.instructions,
                        "dense_instructions": dense_cost.instructions,
                        "dense_bytes": dense_cost.bytes,
                        "formats": " ".join(found.formats),
                        "bytes_equal": found.equal and dense_cost.equal,
                    }
                )
                print_rows(f"{recipe.architecture.name}, seed {seed}", rows[-1:])
    print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    return rows


def means(rows: list[Row]) -> list[Row]:
    """One row for each case and recipe: means over the seeds."""
    found: list[Row] = []
    for key in dict.fromkeys((row["case"], row["recipe"]) for row in rows):
        group = [row for row in rows if (row["case"], row["recipe"]) == key]
        merged: dict[str, Value] = {"case": key[0], "recipe": key[1], "seed": "mean"}
        for name, value in group[0].items():
            numbers: list[Any] = [row[name] for row in group]
            if isinstance(value, bool):
                merged[name] = all(numbers)
            elif isinstance(value, (int, float)) and name != "seed":
                merged[name] = round(sum(numbers) / len(numbers), 2)
        found.append(merged)
    return found


def stored(path: Path, rows: list[Row] | None = None) -> list[Row] | None:
    """Rows kept in a file: written whole if given, else read; None if there are none."""
    if rows is not None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(rows, indent=1) + "\n")
        part.replace(path)
        return rows
    return json.loads(path.read_text()) if path.exists() else None


def _rows(case: str, seed: int, folder: Path, part: str) -> list[Row]:
    progress = sys.stdout.isatty()
    if case == "ad01":
        return run_autoencoder(seed, folder, progress=progress)
    if case == "budget":
        return run_budget()
    if case == "binary":
        return run_binary(seed, folder, part, progress=progress)
    if case == "board-files":
        return [row for one in cases() for row in product_rows(one, folder)]
    if case == "student":
        return run_student(seed, folder, progress=progress)
    if case == "half-flash":
        return run_half_flash(seed, folder, progress=progress)
    if case == "structured":
        lenet = BUILD / f"lenet300-{seed}"
        lenet.mkdir(parents=True, exist_ok=True)
        chain = Chain(RECIPES["lenet300"], seed, lenet, progress=progress)
        return run_structured(chain, seed, folder, part=part, progress=progress)
    if case == "transferred":
        return run_transferred(seed, folder, part=part, progress=progress)
    if case == "methods":
        return run_methods(seed, folder, part, progress=progress)
    if case == "posttrain":
        return run_posttrain(_lenet(seed, progress=progress), seed, folder, progress=progress)
    if case == "lowrank":
        return run_low_rank(_lenet(seed, progress=progress), seed, folder, progress=progress)
    return run_case(RECIPES[case], seed, folder, part=part, progress=progress)


def _lenet(seed: int, *, progress: bool) -> Graph:
    """The dense LeNet-300-100 of a seed, trained if it is not there."""
    folder = BUILD / f"lenet300-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lenet300.onnx"
    if path.exists():
        return canonicalize(load_model(path))
    return Chain(RECIPES["lenet300"], seed, folder, progress=progress).base()


def _write_all() -> None:
    """Write every row that was measured on the test images, in this run or before it, and say what is missing.

    Rows of the file that were measured in another build folder stay.
    """
    path = corpus.ROOT / "benchmarks" / "results" / "compression.json"
    written: list[Row] = json.loads(path.read_text()) if path.exists() else []
    rows: list[Row] = []
    missing: list[str] = []
    for case in CASES:
        for seed in SEEDS if case not in ONCE else SEEDS[:1]:
            found = stored(BUILD / f"{case}-{seed}" / "rows-test.json")
            found = found or [row for row in written if (_section(row), row.get("seed", seed)) == (case, seed)]
            rows += found
            missing += [] if found else [f"{case} seed {seed}"]
    print(f"written to {write_rows('compression', rows)}")
    if missing:
        print(f"not measured yet: {', '.join(missing)}")


def _section(row: Row) -> str:
    """The case of the command line that a row belongs to: rows of `budget` are told by their models."""
    return str(row["case"]) if row["case"] in CASES else "budget"


def main(arguments: list[str]) -> int:
    """Run, print, write; the exit code is 1 if an output byte differs from the interpreter's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression")
    parser.add_argument("case", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}; default all")
    parser.add_argument("--seed", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--validation", action="store_true", help="errors on the validation images; writes no results")
    options = parser.parse_args(arguments)
    if unknown := set(options.case) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    if not corpus.available():
        print(corpus.missing())
        return 0
    part = "validation" if options.validation else "test"
    rows: list[Row] = []
    for case in options.case:
        for seed in options.seed if case not in ONCE else SEEDS[:1]:
            folder = BUILD / f"{case}-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"rows-{part}.json"
            found = stored(path)
            if found is None:
                found = stored(path, _rows(case, seed, folder, part))
            rows += found or []
    for case in options.case:
        own = [row for row in rows if row["case"] == case]
        print_rows(case, own)
        print_rows(f"{case}, means over the seeds", means(own))
    if not options.validation:
        _write_all()
    return 0 if all(row.get("bytes_equal", True) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
