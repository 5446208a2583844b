"""When the tokens of an answer are sent."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

#: What rounding may take from a number of tokens that is whole.
_ROUNDING = 1e-6


class Pace:
    """Sends tokens as they are due by the clock, so that a busy machine makes fewer, larger writes
    and not a slower answer. By timers: a coroutine that wakes for each write costs twice as much.

    `send(first, end)` sends these tokens, or returns False while the client takes none;
    `write_seconds()` is the least time between two calls of it.
    """

    def __init__(
        self,
        tokens_per_second: float,
        send: Callable[[int, int], bool],
        write_seconds: Callable[[], float],
    ) -> None:
        self._tokens_per_second = tokens_per_second
        self._send = send
        self._write_seconds = write_seconds
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, first: int, end: int) -> int:
        """Send tokens `first` to `end` but those of the last write, which can then have more in it.
        Returns the first of these, once all are due."""
        self._all_due = self._loop.create_future()
        self._first = self._sent = first
        self._end = end
        self._started = self._write_at = time.monotonic()
        self._step()
        try:
            await self._all_due
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return self._sent

    def _step(self) -> None:
        # The timers of uvloop count whole milliseconds and may come a little early.
        now = max(time.monotonic(), self._write_at)
        due = 1 + int((now - self._started) * self._tokens_per_second + _ROUNDING)
        if self._first + due >= self._end:
            self._all_due.set_result(None)
            return
        if self._send(self._sent, self._first + due):
            self._sent = self._first + due
        pace = self._tokens_per_second
        next_due = self._started + (self._sent - self._first) / pace
        # Counted from when the last write was due, so that late wake-ups do not add up.
        self._write_at = max(next_due, self._write_at + self._write_seconds())
        # The end comes when it is due, as that of an answer that is sent whole does.
        self._write_at = min(self._write_at, self._started + (self._end - 1 - self._first) / pace)
        delay = max(self._write_at - time.monotonic(), 0)
        self._timer = self._loop.call_later(delay, self._step)
