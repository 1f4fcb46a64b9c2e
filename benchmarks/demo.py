"""`make demo`: the digits network on a Cortex-M4 and on an FPGA, compiled, executed and verified.

Needs no data from outside. The outputs stay in `out/demo/` for a look. Ends with exit code 1 if any value differs from
the integer reference.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

import boardfit
from boardfit.backend import find_backend
from boardfit.backends.mcu.footprint import measure
from boardfit.data import load_samples
from boardfit.errors import BoardfitError
from boardfit.interp import run
from boardfit.metrics import top1
from boardfit.numerics import quantize
from boardfit.resources import Resources

from .corpus import ROOT

EXAMPLES = ROOT / "examples"
MODEL = EXAMPLES / "digits.onnx"
OUTPUT = ROOT / "out" / "demo"
MCU, FPGA = "nucleo-l4r5zi", "pynq-z2"


@dataclass(frozen=True, slots=True)
class Executed:
    """One board's share of the table.

    Attributes:
        made: the compilation.
        accuracy: of the executed implementation on the test images.
        equal: whether every output of every execution equals the interpreter's.
        values: outputs compared.
    """

    made: boardfit.Compilation
    accuracy: float
    equal: bool
    values: int


def execute(board: str, runner: str, console: Console) -> Executed:
    """Compile for a board, verify on the reference inputs, execute all test images."""
    folder = OUTPUT / board
    console.print(f"{board}: compiling {MODEL.name}", highlight=False)
    made = boardfit.compile(MODEL, board, EXAMPLES / "digits_calibration.npz", output=folder)
    console.print(f"{board}: verifying {folder.relative_to(ROOT)}", highlight=False)
    found = boardfit.verify(folder)
    for one in found.runs:
        verdict = "equal" if one.equal else f"{one.different} DIFFERENT"
        console.print(f"  {one.runner}: {one.values:,} values of {one.samples} inferences: {verdict}", highlight=False)
    images, labels = test_set(made)
    console.print(f"{board}: executing {len(images)} test images ({runner})", highlight=False)
    (name,) = made.graph.inputs
    raw = quantize(images, made.graph.types[name].element, sample_axis=True)
    (outputs,) = find_backend(made.board.kind).execute(folder, [raw], runner)
    wanted = run(made.graph, {name: raw})[made.graph.outputs[0]]
    values = outputs.size + sum(one.values for one in found.runs)
    return Executed(made, top1(outputs, labels), found.equal and np.array_equal(outputs, wanted), values)


def test_set(made: boardfit.Compilation) -> tuple[np.ndarray, np.ndarray]:
    """Images (S, *shape) and labels (S,) the network has never seen."""
    path = EXAMPLES / "digits_test.npz"
    (name,) = made.floating.inputs
    with np.load(path) as file:
        labels: np.ndarray = file["y"]
    return load_samples(path, made.floating)[name], labels


def float_accuracy(made: boardfit.Compilation) -> float:
    """Accuracy of the float network in the interpreter."""
    images, labels = test_set(made)
    return top1(run(made.floating, {made.floating.inputs[0]: images})[made.floating.outputs[0]], labels)


def percent(share: float) -> str:
    """A share as a percentage."""
    return f"{100 * share:.2f} %"


def rows(mcu: Executed, fpga: Executed) -> list[tuple[str, str, str]]:
    """(what, value, remark) of the closing table."""
    folder = OUTPUT / MCU
    (name,) = mcu.made.graph.inputs
    few = quantize(test_set(mcu.made)[0][:4], mcu.made.graph.types[name].element, sample_axis=True)
    elf = measure(folder, [few])
    need, plan = mcu.made.estimate.total, fpga.made.estimate
    return [
        ("accuracy, float", percent(float_accuracy(mcu.made)), "500 test images, interpreter"),
        ("accuracy, int8", percent(mcu.accuracy), f"{MCU}, emulated Cortex-M4"),
        ("accuracy, fixed point", percent(fpga.accuracy), f"{FPGA}, C simulation"),
        ("bytes equal to the reference", "yes" if mcu.equal else "NO", f"{MCU}, {mcu.values:,} values"),
        ("values equal to the reference", "yes" if fpga.equal else "NO", f"{FPGA}, {fpga.values:,} values"),
        (
            "flash",
            f"{elf.flash:,} bytes",
            f"measured in the ELF; estimated {need.flash:,} ({deviation(need.flash, elf.flash)})",
        ),
        ("RAM", f"{elf.ram:,} bytes", f"measured; estimated {need.ram:,} ({deviation(need.ram, elf.ram)})"),
        (
            "time on the microcontroller",
            f"{need.cycles:,} cycles",
            f"estimated; {1e3 * mcu.made.estimate.latency_seconds:.3g} ms",
        ),
        ("FPGA resources", amounts(plan.total), f"estimated, of {amounts(plan.budget)}"),
        ("time on the FPGA", f"{plan.total.cycles:,} cycles", f"estimated; {1e6 * plan.latency_seconds:.3g} us"),
    ]


def deviation(estimated: int, measured: int) -> str:
    """Relative error of an estimate."""
    return f"{100 * (estimated - measured) / measured:+.1f} %" if measured else "nothing measured"


def amounts(need: Resources) -> str:
    """The main resources of a design in one line."""
    return f"{need.lut:,} LUT, {need.ff:,} FF, {need.dsp} DSP, {need.bram18} BRAM18"


def main() -> int:
    """Run the demo; the exit code is 0 if everything was equal."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        mcu = execute(MCU, "qemu", console)
        fpga = execute(FPGA, "csim", console)
        table = Table(title="digits: a CNN of 1,898 parameters on two boards", title_justify="left")
        for heading in ("what", "value", "where"):
            table.add_column(heading)
        for row in rows(mcu, fpga):
            table.add_row(*row)
    except BoardfitError as error:
        console.print(f"error: {error}", style=None, highlight=False)
        return 2
    console.print(table)
    console.print(f"The files are in {OUTPUT.relative_to(ROOT)}.", highlight=False)
    return 0 if mcu.equal and fpga.equal else 1


if __name__ == "__main__":
    sys.exit(main())
