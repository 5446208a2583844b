"""Checks of followers after a grant was taken away: of those it concerns, and never too early."""

from __future__ import annotations

import pytest

from aily.web import grant_changes
from aily.web.grant_changes import ANYBODY, GrantWatches
from tests.waiting import until

ALICE, BOB = 1, 2


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grant_changes, "COPY_SECONDS", 0.01)
    monkeypatch.setattr(grant_changes, "SPREAD_SECONDS", 0.0)


@pytest.mark.parametrize(("changed", "checked"), [(ALICE, {"alice"}), (ANYBODY, {"alice", "bob"})])
async def test_the_followers_of_the_user_are_checked(changed: int, checked: set[str]) -> None:
    watches, seen = GrantWatches(), set[str]()
    with (
        watches.watching(ALICE, lambda: seen.add("alice")),
        watches.watching(BOB, lambda: seen.add("bob")),
    ):
        watches.note(changed)
        assert not seen
        await until(lambda: seen == checked)
        watches.note(BOB)
        await until(lambda: "bob" in seen)


async def test_a_change_while_a_check_is_due_is_checked_once_more() -> None:
    """The first check may have come too early for it."""
    watches, seen = GrantWatches(), list[int]()
    with watches.watching(ALICE, lambda: seen.append(1)):
        for _ in range(3):
            watches.note(ALICE)
        await until(lambda: len(seen) == 2)
        watches.note(ALICE)
        await until(lambda: len(seen) == 3)


async def test_nothing_is_checked_after_the_end() -> None:
    watches, seen = GrantWatches(), list[int]()
    with watches.watching(ALICE, lambda: seen.append(1)):
        watches.note(ALICE)
    with watches.watching(BOB, lambda: seen.append(2)):
        watches.note(ANYBODY)
        await until(lambda: seen)
    assert seen == [2]
