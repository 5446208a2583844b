"""Reads the Redis Streams that hold tasks' events."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.redis.clients import async_redis, sync_redis
from chat.eventlog.keys import log_key
from chat.events import START, EventId

#: Events of a page, and of a first one, whose sizes are not known yet. PAGE_BYTES, as far as the
#: page before lets the next one's size be guessed, bounds what one slow follower makes Redis and
#: this process keep.
PAGE, FIRST_PAGE = 200, 50
PAGE_BYTES = 524_288

Page = list[tuple[EventId, bytes]]


async def read(task_id: str, after: EventId, count: int = FIRST_PAGE) -> Page:
    """Return the next `count` events after `after`, oldest first; empty when there are none.

    Reads of the same moment share a round trip. Raises RedisUnavailable.
    """
    return await _reads().submit((task_id, after, count))


def next_count(page: Page) -> int:
    """How many events to read after this page."""
    size = sum(len(frame) for _, frame in page) // len(page)
    return min(max(PAGE_BYTES // max(size, 1), 1), PAGE)


def last_events(attempts: Sequence[tuple[str, int]]) -> list[int]:
    """Return n of the last event of each (task id, attempt), 0 when it has none.

    For attempts whose worker is gone. Raises RedisUnavailable.
    """
    pipe = sync_redis().pipeline(transaction=False)
    for task_id, _ in attempts:
        pipe.xrevrange(log_key(task_id), count=1)
    last_ids = [
        EventId.parse(entries[0][0].decode()) if entries else START for entries in pipe.execute()
    ]
    return [
        last.n if last.attempt == attempt else 0
        for last, (_, attempt) in zip(last_ids, attempts, strict=True)
    ]


@per_loop
def _reads() -> Batcher[tuple[str, EventId, int], Page]:
    return Batcher(_read_many, max_size=50, max_batches=4)


class _RangePipeline(Protocol):
    """The part of redis-py's pipeline that is used here; it types no reply of its own."""

    def xrange(self, name: str, *, min: str, count: int) -> object: ...  # noqa: A002 - redis-py's
    def execute(self) -> Awaitable[list[list[tuple[bytes, dict[bytes, bytes]]]]]: ...


async def _read_many(places: Sequence[tuple[str, EventId, int]]) -> list[Page]:
    pipe: _RangePipeline = async_redis().pipeline(transaction=False)
    for task_id, after, count in places:
        pipe.xrange(log_key(task_id), min=f"({after}", count=count)
    return [
        [(EventId.parse(entry_id.decode()), fields[b"e"]) for entry_id, fields in entries]
        for entries in await pipe.execute()
    ]
