"""The search for narrower values: its bound on data it has not seen, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import boardfit
from benchmarks import corpus
from boardfit.api import fit
from boardfit.board import FpgaBoard, find_board
from boardfit.compress.widths import PROBE_WIDTHS, NoiseModel, fixed_outputs, float_outputs
from boardfit.errors import BudgetError, UsageError
from boardfit.metrics import agreement, snr_db
from boardfit.options import QuantizeOptions
from boardfit.solver.width_curve import WidthCurve

pytest.importorskip("hls4ml", reason="hls4ml is not installed")

DIGITS = corpus.model_path("digits")


def calibration(count: int = 256) -> np.ndarray:
    return corpus.digits("calibration")[0][:count]


def board() -> FpgaBoard:
    found = find_board("pynq-z2")
    assert isinstance(found, FpgaBoard)
    return found


def held_out(made: boardfit.api.Compilation) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of the integer graph and of float on the test images."""
    name = made.graph.inputs[0]
    x = corpus.digits("test")[0].reshape(-1, *made.floating.types[name].shape)
    return fixed_outputs(made.graph, {name: x}), float_outputs(made.floating, {name: x})


def test_a_bound_on_agreement_holds_on_other_data_and_makes_the_design_faster() -> None:
    wide = boardfit.compile(DIGITS, "pynq-z2", calibration())
    made = boardfit.compile(DIGITS, "pynq-z2", calibration(), quantize=QuantizeOptions(max_drop=2.0))
    assert made.estimate.total.cycles < wide.estimate.total.cycles
    assert made.estimate.total.dsp < wide.estimate.total.dsp
    assert agreement(*held_out(made)) >= 0.98


def test_a_bound_on_the_noise_holds_on_other_data_and_the_result_is_the_same_twice() -> None:
    options = QuantizeOptions(min_snr=30.0)
    made = boardfit.compile(DIGITS, "pynq-z2", calibration(64), quantize=options)
    again = boardfit.compile(DIGITS, "pynq-z2", calibration(64), quantize=options)
    assert made.artifact.digest == again.artifact.digest
    assert snr_db(*held_out(made)) >= 30.0


def test_what_does_not_fit_at_16_bits_is_narrowed_within_the_default_bound() -> None:
    small = replace(board(), budget=replace(board().budget, lut=7_500, bram18=24))
    with pytest.raises(BudgetError):
        boardfit.compile(DIGITS, small, calibration(), quantize=QuantizeOptions(width=16))
    made = boardfit.compile(DIGITS, small, calibration())
    assert made.estimate.fits
    assert agreement(*held_out(made)) >= 0.98


def test_a_bound_that_no_width_holds_is_refused() -> None:
    with pytest.raises(BudgetError, match=r"values of 6 bits do not hold a signal-to-noise ratio of at least 90 dB"):
        boardfit.compile(DIGITS, "pynq-z2", calibration(32), quantize=QuantizeOptions(width=6, min_snr=90.0))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (QuantizeOptions(max_drop=-1.0), "max-drop -1 is no number of points"),
        (QuantizeOptions(min_snr=900.0), "min-snr 900 dB is not between"),
        (QuantizeOptions(max_drop=1.0, min_snr=30.0), "exclude each other"),
    ],
)
def test_impossible_bounds_are_refused(options: QuantizeOptions, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        boardfit.compile(DIGITS, "pynq-z2", calibration(8), quantize=options)


def test_labels_must_be_as_many_as_samples(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=calibration(16), y=np.zeros(9, np.int64))
    with pytest.raises(boardfit.errors.DataError, match="9 labels for 16 samples"):
        boardfit.compile(DIGITS, "pynq-z2", tmp_path / "data.npz", quantize=QuantizeOptions(max_drop=1.0))


def test_noise_never_falls_as_values_get_narrower() -> None:
    model = NoiseModel({"a": (1e-4, 3e-2), "b": (0.0, 1e-3)}, ((0.0, 0.0), (2e-5, 1e-5)), 16)
    widths = (16, 12, 10, 8, 7, 6, 5, 4)
    for name in "ab":
        powers = [model.weight_noise(name, width) for width in widths]
        assert powers == sorted(powers)
    for group in (0, 1):
        powers = [model.group_noise(group, width) for width in widths]
        assert powers == sorted(powers)
    assert model.weight_noise("a", PROBE_WIDTHS[0]) == 1e-4


def test_the_curve_trades_resources_for_fidelity(tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    curve = fit(DIGITS, board(), calibration(), plot=picture)
    assert isinstance(curve, WidthCurve)
    *narrow, widest = curve.points
    assert len(narrow) >= 2
    assert set(widest.weights.values()) == {16}
    assert all(point.estimate.fits for point in narrow)
    shares, values = [point.fullest[1] for point in narrow], [point.value for point in narrow]
    assert shares == sorted(shares)
    assert values == sorted(set(values))
    assert curve.best is not None
    assert curve.best.value == max(point.value for point in curve.points)
    assert picture.read_bytes().startswith(b"\x89PNG")
