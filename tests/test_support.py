"""Every op has an implementation in every backend, or a line that says why not; the page says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from boardfit.backend import BACKENDS, find_backend
from boardfit.ops import OPS
from boardfit.support import support_page, support_table

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operators.md"

REFUSED = {
    "mcu": set[str](),
    "hls4ml": {"Div", "MatMul"},
}
"""What is known to be missing; taking an op off this list is progress, putting one on it is not."""


@pytest.mark.parametrize("kind", BACKENDS)
def test_every_op_is_done_or_refused_with_a_reason(kind: str) -> None:
    backend = find_backend(kind)
    refused = {op: reason for op in OPS if (reason := backend.refuse_op(op)) is not None}
    assert set(refused) == REFUSED[backend.name]
    assert all(op in reason for op, reason in refused.items())


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == support_page(), "run: boardfit operators --markdown > docs/operators.md"


def test_common_operators_are_done_by_both() -> None:
    rows = {row.operator: row for row in support_table()}
    for name in ("Conv", "Gemm", "Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Add", "Softmax", "Flatten"):
        assert all(reason is None for reason in rows[name].refusals.values()), name


def test_the_readme_counts_right() -> None:
    readme = (PAGE.parent.parent / "README.md").read_text(encoding="utf-8")
    assert f"[{len(support_table())} operators](docs/operators.md)" in readme
