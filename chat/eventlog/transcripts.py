"""Reads from the log how the text of an attempt was streamed, where its worker has died."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from aily.redis.clients import sync_redis
from chat.eventlog.keys import log_key
from chat.events import AnyEvent, EventId, TaskDelta, TaskStarted, decode

#: Events read in one round trip.
PAGE = 500
#: Above every n of an event.
_MAX_N = 10**9


def read_deltas(task_id: str, attempt: int) -> list[TaskDelta] | None:
    """The deltas of one attempt, in order; None where the log lacks some of its events.

    Raises RedisUnavailable.
    """
    deltas: list[TaskDelta] = []
    expected = 1
    for event in _events(task_id, attempt):
        if EventId.parse(event.id) != EventId(attempt, expected):
            return None
        expected += 1
        match event:
            case TaskDelta():
                deltas.append(event)
            case TaskStarted() if event.id == f"{attempt}-1":
                pass
            case _:
                # A snapshot stands in for deltas that Redis has lost.
                return None
    return deltas if expected > 1 else None


def _events(task_id: str, attempt: int) -> Iterator[AnyEvent]:
    last, end = f"{attempt}-0", f"{attempt}-{_MAX_N}"
    while True:
        reply = sync_redis().xrange(log_key(task_id), min=f"({last}", max=end, count=PAGE)
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", reply)
        for entry_id, fields in entries:
            yield decode(fields[b"e"])
            last = entry_id.decode()
        if len(entries) < PAGE:
            return
