"""How many lasting connections, sockets and event streams, each user has to this process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from aily.concurrency.loops import per_loop
from aily.problems import LimitReached

#: When one that is refused may come again: others end meanwhile.
_RETRY_SECONDS = 30


class Connections:
    """Those of one event loop."""

    def __init__(self) -> None:
        self._of_user: Counter[int] = Counter()

    @contextmanager
    def opened(self, user_id: int) -> Iterator[None]:
        """Counts from the moment this is entered. Raises LimitReached where a user has as many as
        one may have."""
        most: int = settings.MAX_CONNECTIONS_PER_USER
        if most and self._of_user[user_id] >= most:
            raise LimitReached(
                f"You have {most} connections to this process already.",
                limit_name="max_connections",
                limit=most,
                retry_after_seconds=_RETRY_SECONDS,
            )
        self._of_user[user_id] += 1
        try:
            yield
        finally:
            self._of_user[user_id] -= 1
            if not self._of_user[user_id]:
                del self._of_user[user_id]


@per_loop
def connections() -> Connections:
    """The running loop's."""
    return Connections()
