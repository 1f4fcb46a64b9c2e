"""Resource vectors."""

from __future__ import annotations

from boardfit.resources import Resources, Shortage


def test_sum_and_difference() -> None:
    one, two = Resources(lut=1, flash=2, cycles=3), Resources(lut=10, ram=5, cycles=4)
    assert one + two == Resources(lut=11, flash=2, ram=5, cycles=7)
    assert one + two - two == one


def test_over_names_each_shortage_and_ignores_time() -> None:
    need = Resources(lut=100, dsp=7, cycles=10**9)
    assert need.over(Resources(lut=99, dsp=7)) == (Shortage("lut", 100, 99),)
    assert need.over(Resources(lut=99, dsp=7))[0].missing == 1
    assert need.fits_in(Resources(lut=100, dsp=7))
    assert not need.fits_in(Resources(lut=100, dsp=6))
