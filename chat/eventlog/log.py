"""Appending to and reading the Redis Streams that hold tasks' events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any

import msgspec

from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.observability.metrics import batch_size
from aily.redis.clients import async_redis, sync_redis
from aily.redis.errors import RedisUnavailable
from aily.redis.scripts import LuaScript
from chat.events import (
    LISTENERS_CHANNEL,
    START,
    Event,
    EventId,
    TaskQueued,
    encode,
    log_key,
    user_channel,
)

_append = LuaScript[list[int]](Path(__file__).parent / "lua" / "append.lua")

#: Entries read at once, and bytes as far as the page before lets them be guessed: bounds what one
#: slow reader makes Redis and this process hold.
PAGE, FIRST_PAGE = 200, 50
PAGE_BYTES = 524_288


class Appended(IntEnum):
    """What became of one event. HEARD: appended, and somebody listened; DONE: nobody did. Of one
    that creates a log, whether anybody listens to its text."""

    HEARD = 2
    DONE = 1
    REPEATED = 0
    REFUSED = -1
    MISSING = -2


class Append(msgspec.Struct, frozen=True, gc=False):
    """One event on its way into a log. `keep_seconds` 0 leaves the log's expiry as it is.

    Without `is_logged` it only goes out to who listens now: its place is in the task's row.
    """

    task_id: str
    event_id: EventId
    frame: bytes
    channel: str
    create: bool = False
    keep_seconds: int = 0
    is_logged: bool = True

    def args(self) -> tuple[str | bytes | int, ...]:
        return (
            self.task_id,
            str(self.event_id),
            self.frame,
            self.channel,
            int(self.create) if self.is_logged else -1,
            self.keep_seconds,
        )


def append(appends: Sequence[Append]) -> list[Appended]:
    """Append in one round trip. Raises RedisUnavailable."""
    reply = _append.call([], ["", *(arg for one in appends for arg in one.args())])
    return [Appended(code) for code in reply]


async def aappend(appends: Sequence[Append], written_at: float | None = None) -> list[Appended]:
    """`append` for an event loop; `written_at`, Unix seconds, lets readers tell how late it is."""
    batch_size("append").observe(len(appends))
    stamp = "" if written_at is None else f"@{written_at * 1000:.0f}"
    reply = await _append.acall([], [stamp, *(arg for one in appends for arg in one.args())])
    return [Appended(code) for code in reply]


def end_waiting(endings: Sequence[tuple[int, Event]], keep_seconds: int) -> None:
    """Append the terminal events of tasks that ended while no worker had them: (owner id, event).

    Such a task may never have had a log. Raises RedisUnavailable.
    """
    _append_all(endings, create=True, keep_seconds=keep_seconds)


def announce(endings: Sequence[tuple[int, Event]]) -> None:
    """Tell the terminal events of tasks that have no log of their own: (owner id, event).

    Raises RedisUnavailable.
    """
    _append_all(endings, is_logged=False)


def _append_all(endings: Sequence[tuple[int, Event]], **options: Any) -> None:
    appends = [
        Append(
            event.task_id,
            EventId.parse(event.id),
            encode(event),
            user_channel(owner_id),
            **options,
        )
        for owner_id, event in endings
    ]
    if appends:
        append(appends)


def last_events(attempts: Sequence[tuple[str, int]]) -> list[int]:
    """How far the logs of attempts go whose writer is gone: n of the last event, 0 when there is
    none, for each (task id, attempt). Raises RedisUnavailable.
    """
    pipe = sync_redis().pipeline(transaction=False)
    for task_id, _ in attempts:
        pipe.xrevrange(log_key(task_id), count=1)
    tops = [EventId.parse(top[0][0].decode()) if top else START for top in pipe.execute()]
    return [
        top.n if top.attempt == attempt else 0
        for top, (_, attempt) in zip(tops, attempts, strict=True)
    ]


Page = list[tuple[EventId, bytes]]


async def read(task_id: str, after: EventId, count: int = FIRST_PAGE) -> Page:
    """The next `count` events after `after`, oldest first; empty when there are none.

    Reads of the same moment share a round trip. Raises RedisUnavailable.
    """
    return await _reads().submit((task_id, after, count))


def next_count(page: Page) -> int:
    """How many events to read after this page."""
    size = sum(len(frame) for _, frame in page) // len(page)
    return min(max(PAGE_BYTES // max(size, 1), 1), PAGE)


@per_loop
def _reads() -> Batcher[tuple[str, EventId, int], Page]:
    return Batcher(_read_many, max_size=50, max_batches=4)


async def _read_many(places: Sequence[tuple[str, EventId, int]]) -> list[Page]:
    pipe: Any = async_redis().pipeline(transaction=False)
    for task_id, after, count in places:
        pipe.xrange(log_key(task_id), min=f"({after}", count=count)
    return [
        [(EventId.parse(entry_id.decode()), fields[b"e"]) for entry_id, fields in entries]
        for entries in await pipe.execute()
    ]


async def tell_listening(task_id: str) -> None:
    """Tell the worker that somebody listens to this task's text, in case it thinks nobody does.

    While Redis is away it need not know.
    """
    with suppress(*RedisUnavailable):
        await _listeners().submit(task_id)


@per_loop
def _listeners() -> Batcher[str, None]:
    async def handle(task_ids: list[str]) -> Sequence[None]:
        pipe: Any = async_redis().pipeline(transaction=False)
        for task_id in task_ids:
            pipe.publish(LISTENERS_CHANNEL, task_id)
        await pipe.execute()
        return [None] * len(task_ids)

    return Batcher(handle)


def notify(owner_id: int, frame: TaskQueued) -> None:
    """Tell an owner's readers where a queued task stands. Not logged: only the latest counts."""
    payload = frame.task_id.encode() + b" " + encode(frame)
    sync_redis().publish(user_channel(owner_id), payload)
