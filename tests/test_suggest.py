"""Names in hints are few, short and likely."""

from __future__ import annotations

from boardfit.suggest import LENGTH, SHOWN, listed


def test_names_alike_come_first() -> None:
    assert listed(["conv1", "dense_2", "dense_1"], "dense1") == "dense_1, dense_2, conv1"


def test_many_names_are_counted() -> None:
    assert listed([f"n{i}" for i in range(SHOWN + 3)]).endswith(f"n{SHOWN - 1} and 3 more")


def test_names_that_a_converter_joined_are_cut() -> None:
    text = listed(["a" * 100 + "z" * 100])
    assert len(text) <= LENGTH
    assert text.startswith("aaa")
    assert "..." in text
    assert text.endswith("zzz")
