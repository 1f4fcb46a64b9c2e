"""The integer program against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boardfit.plan.integer_program import GAP, Option, Program, solve, solve_near, undominated

AMOUNT = st.integers(0, 9).map(float)


def options(keys: int = 1) -> st.SearchStrategy[Option]:
    return st.builds(Option, st.tuples(AMOUNT, AMOUNT), AMOUNT, AMOUNT, st.integers(0, keys - 1))


def programs() -> st.SearchStrategy[Program]:
    choices = st.lists(st.lists(options(), min_size=1, max_size=4), min_size=1, max_size=4)
    limit = st.integers(1, 25).map(float)
    return st.builds(Program, choices, st.tuples(limit, limit), st.sampled_from([0.0, 1.0, 3.0]))


def feasible(program: Program, taken: Sequence[Option]) -> bool:
    ties = all(taken[other].key == key for option in taken for other, key in option.needs)
    return ties and all(sum(o.uses[i] for o in taken) <= limit for i, limit in enumerate(program.limits))


def objective(program: Program, taken: Sequence[Option]) -> float:
    return sum(o.cost for o in taken) + program.bottleneck * max(o.busy for o in taken)


def brute_force(program: Program) -> float | None:
    found = [objective(program, taken) for taken in itertools.product(*program.choices) if feasible(program, taken)]
    return min(found, default=None)


@settings(max_examples=60)
@given(programs())
def test_the_best_of_all_combinations_is_found(program: Program) -> None:
    best, found = brute_force(program), solve(program)
    if best is None:
        assert found is None
        return
    assert found is not None
    taken = [choice[i] for choice, i in zip(program.choices, found, strict=True)]
    assert feasible(program, taken)
    assert objective(program, taken) == pytest.approx(best, rel=2e-4)


@settings(max_examples=40)
@given(
    st.lists(options(3), min_size=1, max_size=4),
    st.lists(st.tuples(options(), st.integers(0, 2)), min_size=1, max_size=5),
)
def test_ties_between_choices_hold(group: list[Option], asking: list[tuple[Option, int]]) -> None:
    tied = [Option(o.uses, o.cost, o.busy, None, ((0, key),)) for o, key in asking]
    program = Program([group, tied], (12.0, 12.0))
    best, found = brute_force(program), solve(program)
    assert (found is None) == (best is None)
    if found is not None and best is not None:
        taken = [choice[i] for choice, i in zip(program.choices, found, strict=True)]
        assert feasible(program, taken)
        assert objective(program, taken) == pytest.approx(best)


def test_what_does_not_fit_exceeds_the_limits_as_little_as_possible() -> None:
    choices = [[Option((8.0, 1.0), 0.0), Option((6.0, 6.0), 0.0)], [Option((4.0, 2.0), 0.0)]]
    assert solve(Program(choices, (5.0, 5.0))) is None
    assert solve(Program(choices, (5.0, 5.0), overrun=1.0)) == [1, 0]  # 10 and 8 of 5 against 12 and 3


@settings(max_examples=200)
@given(programs())
def test_limits_are_stretched_as_little_as_possible_with_or_without_the_solver(program: Program) -> None:
    choices = [[replace(option, cost=0.0) for option in choice] for choice in program.choices]

    def stretch(taken: Sequence[Option]) -> float:
        return max(1.0, *(sum(o.uses[i] for o in taken) / limit for i, limit in enumerate(program.limits)))

    found = solve(Program(choices, program.limits, overrun=1.0))
    assert found is not None
    best = min(stretch(taken) for taken in itertools.product(*choices))
    taken = [choice[i] for choice, i in zip(choices, found, strict=True)]
    assert best <= stretch(taken) <= best * (1 + 2 * GAP)


@settings(max_examples=60)
@given(programs())
def test_options_that_are_left_out_are_never_missed(program: Program) -> None:
    kept = [[choice[i] for i in undominated(choice)] for choice in program.choices]
    assert brute_force(Program(kept, program.limits, program.bottleneck)) == brute_force(program)


@settings(max_examples=60)
@given(programs(), st.integers(1, 4))
def test_the_quick_solution_keeps_the_limits_and_is_the_best_if_nothing_is_left_out(
    program: Program, keep: int
) -> None:
    exact, found = solve(program), solve_near(program, keep)
    assert (exact is None) == (found is None)
    if exact is None or found is None:
        return
    quick, best = (
        objective(program, [choice[i] for choice, i in zip(program.choices, chosen, strict=True)])
        for chosen in (found, exact)
    )
    assert feasible(program, [choice[i] for choice, i in zip(program.choices, found, strict=True)])
    assert quick >= best - 1e-9 - 2e-4 * abs(best)
    if keep >= max(map(len, program.choices)):
        assert quick == pytest.approx(best, rel=2e-4)
