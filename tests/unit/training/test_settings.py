"""The course of k, worked out by hand."""

import pytest

from rhobeta.training.settings import TopK, annealed_k


@pytest.mark.parametrize(
    ("anneal", "expected"),
    [
        # From 10 to 4 over 8 of 8 steps: 10, 9.25, 8.5, 7.75, 7, 6.25, 5.5, 4.75.
        (1.0, [10, 9, 8, 8, 7, 6, 6, 5]),
        # Over half of them: 10, 8.5, 7, 5.5.
        (0.5, [10, 8, 7, 6, 4, 4, 4, 4]),
        # Over an eighth, one step.
        (0.125, [10, 4, 4, 4, 4, 4, 4, 4]),
        (0.0, [4] * 8),
    ],
)
def test_k_falls_linearly_over_its_share_of_the_steps(anneal: float, expected: list[int]) -> None:
    assert [annealed_k(step, 8, 4, TopK(10, anneal, 0)) for step in range(8)] == expected


@pytest.mark.parametrize("steps", [1, 7, 100])
@pytest.mark.parametrize("anneal", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("start", [5, 6, 64])
def test_k_starts_at_its_start_never_rises_and_ends_at_k(
    steps: int, anneal: float, start: int
) -> None:
    course = [annealed_k(step, steps, 5, TopK(start, anneal, 0)) for step in range(steps + 1)]
    assert course[0] == (start if anneal > 0 else 5)
    assert course == sorted(course, reverse=True)
    assert course[-1] == 5


def test_a_start_at_k_stays_there() -> None:
    assert {annealed_k(step, 20, 8, TopK(8, 0.5, 0)) for step in range(20)} == {8}
