"""Checks what users follow of others again when a grant, a role or a flag was taken from them.

A follower, such as one of a table, checks with each change whether its user may still read that.
Without changes it would stop only much later.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aily.concurrency.loops import per_loop

#: Copies of grants in a process are younger than this: a check that comes later reads them anew.
COPY_SECONDS = 0.6
#: Over which the checks of a change that concerns many users are spread.
SPREAD_SECONDS = 0.4
#: In place of a user: the change concerns a role, and so anybody.
ANYBODY = 0


@dataclass(slots=True, eq=False)
class _Watch:
    user_id: int
    recheck: Callable[[], None]
    timer: asyncio.TimerHandle | None = None
    #: There was another change while a check was due, which may be too early for it.
    must_repeat: bool = False

    def schedule(self) -> None:
        if self.timer is not None:
            self.must_repeat = True
            return
        delay = COPY_SECONDS + random.uniform(0, SPREAD_SECONDS)  # noqa: S311 - spreads load
        self.timer = asyncio.get_running_loop().call_later(delay, self._check)

    def _check(self) -> None:
        self.timer = None
        if self.must_repeat:
            self.must_repeat = False
            self.schedule()
        self.recheck()

    def cancel(self) -> None:
        if self.timer is not None:
            self.timer.cancel()


class GrantWatches:
    """The followers of one event loop that depend on grants."""

    def __init__(self) -> None:
        self._watches: set[_Watch] = set()

    @contextmanager
    def watching(self, user_id: int, recheck: Callable[[], None]) -> Iterator[None]:
        """Within the block `recheck` is called a moment after something was taken from the user."""
        watch = _Watch(user_id, recheck)
        self._watches.add(watch)
        try:
            yield
        finally:
            self._watches.discard(watch)
            watch.cancel()

    def note(self, user_id: int) -> None:
        """Something was taken from this user, or from ANYBODY."""
        for watch in self._watches:
            if user_id in (ANYBODY, watch.user_id):
                watch.schedule()


@per_loop
def grant_watches() -> GrantWatches:
    """The running loop's watches."""
    return GrantWatches()
