"""Limits the lasting connections, sockets and event streams, of each user to this process."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from django.conf import settings

from aily.concurrency.loops import per_loop
from aily.problems import LimitReached

#: When a refused client may try again: other connections end meanwhile.
_RETRY_SECONDS = 30


class Connections:
    """Counts the connections of one event loop by user."""

    def __init__(self) -> None:
        self._by_user: Counter[int] = Counter()

    def opened(self, user_id: int) -> _Connection:
        """A context manager that counts one connection from its entry on. Entering it raises
        LimitReached if the user has MAX_CONNECTIONS_PER_USER already."""
        return _Connection(self._by_user, user_id)


class _Connection:
    # No generator: its frame would take 0.5 KiB a socket.
    __slots__ = ("_by_user", "_user_id")

    def __init__(self, by_user: Counter[int], user_id: int) -> None:
        self._by_user = by_user
        self._user_id = user_id

    def __enter__(self) -> None:
        limit: int = settings.MAX_CONNECTIONS_PER_USER
        if limit and self._by_user[self._user_id] >= limit:
            raise LimitReached(
                f"You have {limit} connections to this process already.",
                limit_name="max_connections",
                limit=limit,
                retry_after_seconds=_RETRY_SECONDS,
            )
        self._by_user[self._user_id] += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._by_user[self._user_id] -= 1
        if not self._by_user[self._user_id]:
            del self._by_user[self._user_id]


@per_loop
def connections() -> Connections:
    """The running loop's connections."""
    return Connections()
