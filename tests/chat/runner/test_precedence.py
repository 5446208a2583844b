"""One worker claims first while few tasks come, and another one takes over from it."""

from __future__ import annotations

import pytest

from chat.runner.precedence import MAX_LATE, MAX_LEFT, YIELD_SECONDS, Precedence


def claim(precedence: Precedence, *, is_empty: bool, is_rung: bool = True) -> float:
    """Make a claim after a ring. Returns how long it waited."""
    delay = precedence.delay_seconds(is_rung=is_rung)
    precedence.note_claim(is_empty=is_empty)
    return delay


@pytest.fixture
def late() -> Precedence:
    """That of a worker whose claims have come too late."""
    precedence = Precedence()
    for _ in range(MAX_LATE):
        assert claim(precedence, is_empty=True) == 0
    return precedence


def test_a_worker_whose_claims_come_too_late_leaves_the_tasks_to_the_first(
    late: Precedence,
) -> None:
    assert [claim(late, is_empty=True) for _ in range(5)] == [YIELD_SECONDS] * 5


def test_it_takes_over_once_the_first_leaves_tasks_behind(late: Precedence) -> None:
    assert [claim(late, is_empty=False) for _ in range(MAX_LEFT)] == [YIELD_SECONDS] * MAX_LEFT
    assert claim(late, is_empty=False) == 0


def test_the_first_one_is_not_given_up_for_a_ring_too_many() -> None:
    precedence = Precedence()
    assert [claim(precedence, is_empty=is_empty) for is_empty in (False, True) * 5] == [0] * 10


def test_a_look_without_a_ring_says_nothing() -> None:
    precedence = Precedence()
    for _ in range(10):
        assert claim(precedence, is_empty=True, is_rung=False) == 0
    assert claim(precedence, is_empty=False) == 0
