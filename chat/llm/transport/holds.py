"""What is held of answers that nobody waits for, and when it is to be looked at."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from itertools import chain

#: Holds may end late by this. Thousands are under way, and most are given up before: a timer of
#: the event loop for each costs several times as much.
TICK_SECONDS = 0.25


class Hold:
    """One that is under way."""

    __slots__ = ("over",)

    def __init__(self, over: Callable[[], None]) -> None:
        self.over: Callable[[], None] | None = over

    def cancel(self) -> None:
        self.over = None


class Holds:
    """Those of an event loop, behind one timer."""

    def __init__(self) -> None:
        #: By the tick in which they are over.
        self._ticks: defaultdict[int, list[Hold]] = defaultdict(list)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float, over: Callable[[], None]) -> Hold:
        """Have `over` called after `seconds`, or a little later, unless the hold is cancelled."""
        hold = Hold(over)
        loop = asyncio.get_running_loop()
        self._ticks[int((loop.time() + seconds) / TICK_SECONDS) + 1].append(hold)
        if self._timer is None:
            self._timer = loop.call_later(TICK_SECONDS, self._tick)
        return hold

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time() / TICK_SECONDS
        due = [self._ticks.pop(number) for number in [one for one in self._ticks if one <= now]]
        self._timer = loop.call_later(TICK_SECONDS, self._tick) if self._ticks else None
        for hold in chain.from_iterable(due):
            if hold.over is not None:
                hold.over()
