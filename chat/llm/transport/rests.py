"""Held connections rest between their reads while very many events come.

A provider sends each token by itself, fifty a second and answer. A read costs 14 microseconds of
the worker, also where its bytes are only kept: 400 reads are more than all else that an answer
costs. A connection that rests is not read, so that the kernel collects what comes, and one read
takes all of it. The price: the end of such an answer is seen up to MAX_SECONDS late, which is why
connections rest only while a worker has many events a second.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

#: Events a second that are read one by one, in all held connections, from which on these rest:
#: reading so many takes about 6 % of a processor.
MANY_EVENTS = 4000
#: Reads a second that the rests allow.
READS = 2000
#: A rest is this long at least, or would save few reads; and no longer than this.
MIN_SECONDS = 0.04
MAX_SECONDS = 0.4
#: A read of more bytes than this is no trickle of tokens: the connection does not rest after it.
TRICKLE_BYTES = 16 * 1024
#: How long events are counted for their rate.
_COUNTED_SECONDS = 0.25


class Resting(Protocol):
    """A connection that is not being read."""

    def end_rest(self) -> None:
        """Read again."""


class Rests:
    """The rests of all connections of one event loop, which end together by one timer."""

    def __init__(self) -> None:
        self._resting: list[Resting] = []
        self._seconds = MIN_SECONDS
        #: Events that came since the time `_counted_from` of the loop.
        self._events = 0
        self._counted_from = 0.0
        self._are_many = False

    def may_begin(self, data: bytes, now: float) -> bool:
        """Whether a held connection that has read this `now` (the loop's time) may rest. Counts
        its events."""
        # A provider that sends many events in one write is read seldom as it is. After a rest they
        # are counted by the empty lines that end them: each would be a read of its own.
        self._events += (self._are_many and data.count(b"\n\n")) or 1
        seconds = now - self._counted_from
        if seconds >= _COUNTED_SECONDS:
            # After a pause the rate is too low, for one count.
            self._are_many = self._events / seconds >= MANY_EVENTS
            self._events, self._counted_from = 0, now
        return self._are_many and len(data) <= TRICKLE_BYTES

    def add(self, connection: Resting) -> None:
        """Call `end_rest` of this connection when the rests end next."""
        self._resting.append(connection)
        if len(self._resting) == 1:
            asyncio.get_running_loop().call_later(self._seconds, self._end)

    def _end(self) -> None:
        resting, self._resting = self._resting, []
        # Those that rest are read once each time.
        self._seconds = min(max(len(resting) / READS, MIN_SECONDS), MAX_SECONDS)
        for connection in resting:
            connection.end_rest()
