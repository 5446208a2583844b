"""Delayed calls of one event loop, served by a single timer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from itertools import chain

#: Resolution of the queue: a call may be this late. Thousands are pending and most are cancelled
#: before they are due; a timer of the event loop for each costs several times as much.
TICK_SECONDS = 0.25


class DelayedCall:
    """A pending call. `callback` is None once it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class DelayQueue:
    """All delayed calls of one event loop, grouped by the tick in which they are due."""

    def __init__(self) -> None:
        #: Calls by the number of the tick in which they are due.
        self._ticks: defaultdict[int, list[DelayedCall]] = defaultdict(list)
        self._timer: asyncio.TimerHandle | None = None

    def call_later(self, seconds: float, callback: Callable[[], None]) -> DelayedCall:
        """Call `callback` after `seconds`, at most TICK_SECONDS late, unless it is cancelled."""
        call = DelayedCall(callback)
        loop = asyncio.get_running_loop()
        self._ticks[int((loop.time() + seconds) / TICK_SECONDS) + 1].append(call)
        if self._timer is None:
            self._timer = loop.call_later(TICK_SECONDS, self._tick)
        return call

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time() / TICK_SECONDS
        due = [self._ticks.pop(number) for number in list(self._ticks) if number <= now]
        self._timer = loop.call_later(TICK_SECONDS, self._tick) if self._ticks else None
        for call in chain.from_iterable(due):
            if call.callback is not None:
                call.callback()
