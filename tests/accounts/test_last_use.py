"""Uses of keys and sessions: written once a minute for each, together where they come together."""

from __future__ import annotations

import asyncio

import pytest

from accounts.last_use import LAST_USED_PRECISION, LastUse


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the module's clock, as its one element."""
    now = [1000.0]
    monkeypatch.setattr("accounts.last_use.time.monotonic", lambda: now[0])
    return now


def test_a_use_is_due_once_a_minute_for_each_key(clock: list[float]) -> None:
    uses: LastUse[str, str] = LastUse(list.clear, 10)
    assert [uses.is_due(key) for key in ("a", "b", "a", "b")] == [True, True, False, False]
    clock[0] += LAST_USED_PRECISION.total_seconds() - 0.1
    assert not uses.is_due("a")
    clock[0] += 0.2
    assert uses.is_due("a")


def test_more_keys_than_are_remembered_are_written_once_more(clock: list[float]) -> None:
    uses: LastUse[int, int] = LastUse(list.clear, 3)
    assert all(uses.is_due(key) for key in range(4))
    assert uses.is_due(0)


@pytest.mark.django_db(transaction=True)
async def test_uses_of_the_same_moment_share_a_write() -> None:
    written: list[list[int]] = []
    uses: LastUse[int, int] = LastUse(written.append, 10)
    await asyncio.gather(*(uses.write(key) for key in range(5)))
    assert written == [[0, 1, 2, 3, 4]]
