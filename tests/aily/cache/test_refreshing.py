"""Copies in use are read again together before they run out, and others are not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from aily.cache import refreshing
from aily.cache.refreshing import Refresher

SECONDS = 0.02


class Refreshed:
    """Notes what is refreshed. `next_batch()` returns the keys of the next one."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[set[int]] = asyncio.Queue()
        self.refresher: Refresher[int] = Refresher(SECONDS, self._refresh)

    async def _refresh(self, keys: Sequence[int]) -> None:
        self._batches.put_nowait(set(keys))
        if 13 in keys:
            raise OSError("no luck")

    async def next_batch(self) -> set[int]:
        return await asyncio.wait_for(self._batches.get(), 20)

    async def is_at_rest(self) -> bool:
        """Whether nothing is refreshed any more."""
        try:
            await asyncio.wait_for(self._batches.get(), 10 * SECONDS)
        except TimeoutError:
            return True
        return False


async def test_keys_in_use_are_refreshed_together_until_they_are_used_no_more() -> None:
    refreshed = Refreshed()
    for key in (1, 2, 1):
        refreshed.refresher.note_use(key)
    assert await refreshed.next_batch() == {1, 2}
    refreshed.refresher.note_use(2)
    assert await refreshed.next_batch() == {1, 2}
    assert await refreshed.next_batch() == {2}
    assert await refreshed.is_at_rest()
    refreshed.refresher.note_use(3)
    assert await refreshed.next_batch() == {3}


async def test_a_failure_ends_nothing() -> None:
    refreshed = Refreshed()
    refreshed.refresher.note_use(13)
    assert await refreshed.next_batch() == {13}
    refreshed.refresher.note_use(14)
    assert await refreshed.next_batch() == {13, 14}
    assert await refreshed.next_batch() == {14}


async def test_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "MAX_KEYS", 2)
    refreshed = Refreshed()
    for key in range(5):
        refreshed.refresher.note_use(key)
    assert await refreshed.next_batch() == {0, 1}
