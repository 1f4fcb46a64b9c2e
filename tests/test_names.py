"""The sanitiser: whatever a model calls its tensors, the generated code stays valid."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boardfit.names import MAX_LENGTH, RESERVED, c_identifier


@given(st.lists(st.text(max_size=60), max_size=20))
def test_any_text_becomes_a_unique_valid_identifier(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        made = c_identifier(name, taken)
        assert re.fullmatch(r"[a-z][a-z0-9_]*", made)
        assert "__" not in made
        assert not made.endswith("_")
        assert len(made) <= MAX_LENGTH
        assert made not in RESERVED
        assert made.lower() not in {other.lower() for other in taken}
        taken.append(made)


@given(st.text(alphabet="ab", min_size=40, max_size=40), st.integers(8, 31))
def test_long_names_are_cut_and_stay_unique(name: str, length: int) -> None:
    taken: list[str] = []
    for _ in range(12):
        taken.append(c_identifier(name, taken, max_length=length))
    assert len(set(taken)) == 12
    assert max(map(len, taken)) <= length


@given(st.text(max_size=40))
def test_same_name_gives_same_identifier(name: str) -> None:
    assert c_identifier(name) == c_identifier(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/conv1/Conv_output_0", "conv1_conv_output_0"),
        ("dense:0", "dense_0"),
        ("3x3", "x3x3"),
        ("", "unnamed"),
        ("[exec rm]", "exec_rm"),
        ("int", "int_2"),
        ("class", "class_2"),
        ("New", "new_2"),
        ("puts", "puts_2"),
        ("INT8_MAX", "int8_max"),
        ("größe", "groe"),
        ('a";system("x")//', "a_system_x"),
        ("___", "unnamed"),
        ("main", "main_2"),
    ],
)
def test_examples(name: str, expected: str) -> None:
    assert c_identifier(name) == expected
