"""The tables of the README and of pages under docs/ are those of the boards and of the committed results."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.readme import PAGES, TABLES, refreshed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_up_to_date(page: Path) -> None:
    text = page.read_text()
    assert text == refreshed(text), "run make readme"


def test_every_table_is_shown() -> None:
    text = "".join(page.read_text() for page in PAGES)
    for name in TABLES:
        assert f"<!-- table: {name} -->" in text
