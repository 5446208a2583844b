"""The web process's ear: one Redis subscription for all its readers.

A hub only tells that there is news, and hands the frame along while its reader keeps up. What is
lost (a slow reader, a broken connection) is marked, and the reader reads the log instead.
Measured against a channel-layer channel a socket: see ARCHITECTURE.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import redis.asyncio

from aily.concurrency.faults import is_cancelled, note_fault
from aily.concurrency.loops import per_loop
from aily.redis.errors import RedisUnavailable
from aily.redis.pubsub import listen, subscriber_client
from chat.events import EventId, text_channel, user_channel
from chat.observability import metrics

logger = logging.getLogger(__name__)

#: Bytes of frames held for one reader of a task; past that it reads the log.
TASK_FEED_BYTES = 65_536
#: The same for one socket's news of all its user's tasks, of which there is no log to read.
USER_FEED_BYTES = 1_048_576
_TASK_ID_LENGTH = 36
#: Of so many frames, one is asked how late it is.
_LAG_SAMPLE = 16
_CONNECTED = "aily:hub:connected"
_RESUBSCRIBED = "aily:hub:resubscribed"


@dataclass(frozen=True, slots=True)
class Source:
    """The task whose log tells what becomes of another one as well."""

    task_id: str
    owner_id: int


@dataclass(slots=True)
class FeedPool:
    """Bytes of frames held for several readers, such as those of one socket, and their bound."""

    max_bytes: int
    held_bytes: int = 0


class Feed:
    """News for one reader: frames in order, or the word that some were lost."""

    def __init__(
        self,
        max_bytes: int,
        skip: Callable[[str], bool] | None = None,
        pool: FeedPool | None = None,
    ) -> None:
        self.is_lost = False
        self._skip = skip
        self._pool = pool or FeedPool(max_bytes)
        self._frames: deque[tuple[EventId | None, str, bytes]] = deque()
        self._bytes = 0
        self._max_bytes = max_bytes
        self._news = asyncio.Event()

    def push(self, event_id: EventId | None, task_id: str, frame: bytes) -> None:
        if self._skip is not None and self._skip(task_id):
            return
        size = len(frame)
        is_full = self._bytes + size > self._max_bytes
        # A reader that keeps up gets a frame of any size.
        if self._frames and (is_full or self._pool.held_bytes + size > self._pool.max_bytes):
            self.lose()
        else:
            self._frames.append((event_id, task_id, frame))
            self._hold(size)
            self._news.set()

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._pool.held_bytes += size

    def clear(self) -> None:
        self._frames.clear()
        self._hold(-self._bytes)

    def lose(self) -> None:
        metrics.FEEDS_LOST.inc()
        self.clear()
        self.is_lost = True
        self._news.set()

    def caught_up(self) -> None:
        """The reader is about to read the log: whatever was lost until now will be there."""
        self.is_lost = False

    async def next(
        self, timeout_seconds: float | None = None
    ) -> tuple[EventId | None, str, bytes] | None:
        """The next (id, task id, frame); None after the timeout, or when frames were lost."""
        if not self._frames and not self.is_lost:
            self._news.clear()
            if timeout_seconds is None:
                await self._news.wait()
            else:
                try:
                    async with asyncio.timeout(timeout_seconds):
                        await self._news.wait()
                except TimeoutError:
                    return None
        if self.is_lost or not self._frames:
            return None
        news = self._frames.popleft()
        self._hold(-len(news[2]))
        return news


class Hub:
    """Feeds of one process by task and by user, behind one pub/sub connection."""

    def __init__(self) -> None:
        self._life_of_task: defaultdict[str, set[Feed]] = defaultdict(set)
        self._text_of_task: defaultdict[str, set[Feed]] = defaultdict(set)
        self._of_user: defaultdict[str, set[Feed]] = defaultdict(set)
        self._channels: dict[str, int] = {}
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._pubsub: redis.asyncio.client.PubSub | None = None
        self._reader: asyncio.Task[None] | None = None
        self._routed = 0
        self._was_connected = False

    @asynccontextmanager
    async def task_feed(
        self,
        task_id: str,
        owner_id: int,
        *,
        text: bool,
        source: Source | None = None,
        pool: FeedPool | None = None,
    ) -> AsyncIterator[Feed]:
        """News of one task; of `source` as well, where its text comes from there.

        Once entered, nothing that is appended later goes unnoticed.
        """
        feed = Feed(TASK_FEED_BYTES, pool=pool)
        places = [(self._life_of_task, task_id)]
        channels = {user_channel(owner_id)}
        if source is not None:
            places.append((self._life_of_task, source.task_id))
            channels.add(user_channel(source.owner_id))
        if text:
            text_of = source.task_id if source is not None else task_id
            places.append((self._text_of_task, text_of))
            channels.add(text_channel(text_of))
        async with self._registered(feed, places, channels):
            yield feed

    @asynccontextmanager
    async def user_feed(self, user_id: int, *, skip: Callable[[str], bool]) -> AsyncIterator[Feed]:
        """Life-cycle news of one user's tasks, but for those that `skip(task id)` is true of."""
        feed, channel = Feed(USER_FEED_BYTES, skip), user_channel(user_id)
        async with self._registered(feed, [(self._of_user, channel)], {channel}):
            yield feed

    @asynccontextmanager
    async def _registered(
        self,
        feed: Feed,
        places: Sequence[tuple[defaultdict[str, set[Feed]], str]],
        channels: Collection[str],
    ) -> AsyncIterator[None]:
        for table, key in places:
            table[key].add(feed)
        try:
            for channel in channels:
                self._channels[channel] = self._channels.get(channel, 0) + 1
            await self._subscribe(channels)
            yield
        finally:
            feed.clear()
            for table, key in places:
                table[key].discard(feed)
                if not table[key]:
                    del table[key]
            await self._release(channels)

    async def _subscribe(self, channels: Collection[str]) -> None:
        """Return once Redis confirmed them all, or while it is away (feeds then read the log)."""
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_for_ever())
        for channel in channels:
            if channel not in self._confirmed:
                self._confirmation(channel)
                await self._send("subscribe", channel)
        waiting = [
            future
            for future in (self._confirmation(channel) for channel in channels)
            if not future.done()
        ]
        if waiting:
            await asyncio.wait(waiting, timeout=2)

    async def _release(self, channels: Collection[str]) -> None:
        for channel in channels:
            self._channels[channel] -= 1
            if not self._channels[channel]:
                del self._channels[channel]
                self._confirmed.pop(channel, None)
                await self._send("unsubscribe", channel)

    async def _send(self, command: str, channel: str) -> None:
        # While disconnected nothing is sent: connecting subscribes to all channels anyway.
        if self._pubsub is None:
            return
        try:
            await getattr(self._pubsub, command)(channel)
        except RedisUnavailable as error:
            logger.warning("hub: %s failed: %s", command, error)

    async def _read_for_ever(self) -> None:
        while True:
            try:
                await self._read()
            except RedisUnavailable as error:
                logger.warning("hub: Redis is away (%s); connecting again", error)
            except Exception:  # noqa: BLE001 - logged; readers go on after a new connection
                note_fault("hub")
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                note_fault("hub")
            self._pubsub = None
            self._confirmed.clear()
            await asyncio.sleep(0.5)

    async def _read(self) -> None:
        client = subscriber_client()
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(_CONNECTED)
            self._pubsub = pubsub
            # Redis confirms in order: with the last one, all channels are heard again.
            await pubsub.subscribe(*self._channels, _RESUBSCRIBED)
            async for message in listen(pubsub):
                channel = message.channel.decode()
                if message.kind == "message":
                    self._route(channel, message.data)
                elif message.kind == "subscribe":
                    self._confirm(channel)
                    if channel == _RESUBSCRIBED:
                        self._lose_all()

    def _confirm(self, channel: str) -> None:
        if channel in self._channels:
            future = self._confirmation(channel)
            if not future.done():
                future.set_result(None)

    def _confirmation(self, channel: str) -> asyncio.Future[None]:
        if channel not in self._confirmed:
            self._confirmed[channel] = asyncio.get_running_loop().create_future()
        return self._confirmed[channel]

    def _route(self, channel: str, payload: bytes) -> None:
        task_id = payload[:_TASK_ID_LENGTH].decode()
        end = payload.index(b" ", _TASK_ID_LENGTH)
        place, _, written_ms = payload[_TASK_ID_LENGTH:end].decode().partition("@")
        event_id = EventId.parse(place) if place else None
        frame = payload[end + 1 :]
        if channel.startswith("aily:text:"):
            feeds = self._text_of_task.get(task_id, ())
        else:
            feeds = self._life_of_task.get(task_id, ())
            for feed in self._of_user.get(channel, ()):
                feed.push(event_id, task_id, frame)
        for feed in feeds:
            feed.push(event_id, task_id, frame)
        self._routed += 1
        if written_ms and not self._routed % _LAG_SAMPLE:
            metrics.RELAY_LAG.observe(max(time.time() - int(written_ms) / 1000, 0.0))

    def _lose_all(self) -> None:
        tables = [self._life_of_task, self._text_of_task]
        # Of which there is no log to read: their readers are told that they missed something.
        if self._was_connected:
            tables.append(self._of_user)
        self._was_connected = True
        for table in tables:
            for feeds in table.values():
                for feed in feeds:
                    feed.lose()


@per_loop
def get_hub() -> Hub:
    """The running loop's hub."""
    return Hub()
