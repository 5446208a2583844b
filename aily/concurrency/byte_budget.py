"""Bounds the memory that the work of one event loop may take at once."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress


class ByteBudget:
    """Work reserves its bytes before it begins, and waits, in order, while there is no room.

    What needs more than the whole budget runs alone.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reserved = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def reserved(self) -> int:
        return self._reserved

    @property
    def is_waited_for(self) -> bool:
        return bool(self._waiting)

    async def reserve(self, size: int) -> None:
        """Return once there is room; the caller gives it back with `release`."""
        if not self._waiting and self._has_room(size):
            self._reserved += size
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # Its turn came at the moment in which it was cancelled.
                self.release(size)
            else:
                # `_let_in` has passed over it if room came since it was cancelled.
                with suppress(ValueError):
                    self._waiting.remove((size, turn))
                self._let_in()
            raise

    def release(self, size: int) -> None:
        self._reserved -= size
        self._let_in()

    def _has_room(self, size: int) -> bool:
        return self._reserved == 0 or self._reserved + size <= self._limit

    def _let_in(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            if turn.cancelled():
                continue
            self._reserved += size
            turn.set_result(None)
