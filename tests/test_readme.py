"""The README's tables are those of the boards and of the committed results."""

from __future__ import annotations

from benchmarks.readme import README, TABLES, refreshed


def test_tables_are_up_to_date() -> None:
    text = README.read_text()
    for name in TABLES:
        assert f"<!-- table: {name} -->" in text
    assert text == refreshed(text), "run make readme"
