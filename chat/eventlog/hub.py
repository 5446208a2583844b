"""The hub: one Redis subscription of a process for all its followers.

A follower is given the frames of notices while it keeps up. Where some were dropped, because it is
slow or the connection broke, its feed is marked as lagging, and it reads the log instead.
Measured against a channel-layer channel a socket: docs/decisions/hub.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import redis.asyncio

from aily.concurrency.faults import is_cancelled, note_fault
from aily.concurrency.jobs import Jobs
from aily.concurrency.loops import per_loop
from aily.redis.clients import is_redis_unavailable
from aily.redis.errors import RedisUnavailable
from aily.redis.pubsub import listen, subscriber_client
from chat.eventlog.ends import UserEnds
from chat.eventlog.feeds import CHANGE_FEED_BYTES, TASK_FEED_BYTES, USER_FEED_BYTES, Feed, FeedPool
from chat.eventlog.keys import (
    CONNECTED_CHANNEL,
    RESUBSCRIBED_CHANNEL,
    is_text_channel,
    text_channel,
    user_channel,
)
from chat.eventlog.notices import parse_notice
from chat.observability import metrics

logger = logging.getLogger(__name__)

#: One notice in so many is measured for the metric of its lag.
_LAG_SAMPLE = 16
#: How long a follower waits for Redis to confirm its channels; without that it reads the log.
_CONFIRM_SECONDS = 2.0
_RECONNECT_SECONDS = 0.5
#: How long the ends of a user's tasks are listened to after the last request that waited for one:
#: the next one needs no subscription.
_LINGER_SECONDS = 10.0

_FeedTable = defaultdict[str, set[Feed]]


@dataclass(frozen=True, slots=True)
class Source:
    """The task whose log another one is followed by: they share a call."""

    task_id: str
    owner_id: int


class Hub:
    """Feeds of one process by task and by user, behind one pub/sub connection."""

    def __init__(self) -> None:
        self._life_of_task: _FeedTable = defaultdict(set)
        self._text_of_task: _FeedTable = defaultdict(set)
        self._of_user: _FeedTable = defaultdict(set)
        #: By the user's channel.
        self._ends_of_user: dict[str, UserEnds] = {}
        #: When the last request left those that a timer is to drop (the loop's time).
        self._left_at: dict[str, float] = {}
        #: How many feeds need each channel.
        self._channels: dict[str, int] = {}
        self._confirmed: dict[str, asyncio.Future[None]] = {}
        self._pubsub: redis.asyncio.client.PubSub | None = None
        self._reader: asyncio.Task[None] | None = None
        self._jobs = Jobs("unsubscribing")
        self._routed = 0
        self._was_connected = False

    def task_feed(
        self,
        task_id: str,
        owner_id: int,
        *,
        text: bool,
        source: Source | None = None,
        pool: FeedPool | None = None,
    ) -> _Registration:
        """A feed of one task, and of `source` where its text comes from there.

        Once entered, it gets everything that is appended later, or is marked as lagging.
        """
        places = [(self._life_of_task, task_id)]
        channels = {user_channel(owner_id)}
        if source is not None:
            places.append((self._life_of_task, source.task_id))
            channels.add(user_channel(source.owner_id))
        if text:
            text_of = source.task_id if source is not None else task_id
            places.append((self._text_of_task, text_of))
            channels.add(text_channel(text_of))
        return _Registration(self, Feed(TASK_FEED_BYTES, pool=pool), places, channels)

    def user_feed(self, user_id: int, *, skip: Callable[[str], bool]) -> _Registration:
        """A feed of the life-cycle events of one user's tasks, without those that `skip(task id)`
        is true of."""
        channel = user_channel(user_id)
        feed = Feed(USER_FEED_BYTES, skip)
        return _Registration(self, feed, [(self._of_user, channel)], {channel})

    def change_feed(self, channel: str) -> _Registration:
        """A feed of the notices that something, such as a run, has changed. They have no frames."""
        feed = Feed(CHANGE_FEED_BYTES)
        return _Registration(self, feed, [(self._of_user, channel)], {channel})

    @asynccontextmanager
    async def user_ends(self, user_id: int) -> AsyncIterator[UserEnds]:
        """The ends of one user's tasks, for a request that is about to make one and wait for it.

        Once entered, it gets every end that is published later, or is marked as lagging.
        """
        channel = user_channel(user_id)
        ends = self._ends_of_user.get(channel)
        if ends is None:
            ends = self._ends_of_user[channel] = UserEnds()
            self.count_channels({channel})
        ends.enter()
        try:
            # While Redis is away what follows is refused, and should be so at once.
            if not is_redis_unavailable():
                await self.subscribe({channel})
            yield ends
        finally:
            ends.leave()
            if not ends.has_users:
                self._drop_later(channel)

    def _drop_later(self, channel: str) -> None:
        """Have a user's ends dropped, unless they are used again. One timer does for all requests
        that follow each other meanwhile."""
        loop = asyncio.get_running_loop()
        if channel not in self._left_at:
            loop.call_later(_LINGER_SECONDS, self._drop_ends, channel)
        self._left_at[channel] = loop.time()

    def _drop_ends(self, channel: str) -> None:
        """Drop a user's ends that nothing has used for long enough."""
        left_at = self._left_at.pop(channel)
        if self._ends_of_user[channel].has_users:
            return
        loop = asyncio.get_running_loop()
        seconds = left_at + _LINGER_SECONDS - loop.time()
        if seconds > 0:
            self._left_at[channel] = left_at
            loop.call_later(seconds, self._drop_ends, channel)
            return
        del self._ends_of_user[channel]
        self._jobs.spawn(self.unsubscribe({channel}))

    async def aclose(self) -> None:
        """End the subscription. A feed that is entered later begins another one."""
        if self._reader is None:
            return
        self._reader.cancel()
        await asyncio.wait([self._reader])
        self._reader = self._pubsub = None
        self._confirmed.clear()

    # --- Channels -------------------------------------------------------------------------------
    def count_channels(self, channels: Collection[str]) -> None:
        for channel in channels:
            self._channels[channel] = self._channels.get(channel, 0) + 1

    async def subscribe(self, channels: Collection[str]) -> None:
        """Return once Redis confirmed them all, or while it is away (feeds are then lagging)."""
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
            await asyncio.wait(waiting, timeout=_CONFIRM_SECONDS)

    async def unsubscribe(self, channels: Collection[str]) -> None:
        for channel in channels:
            self._channels[channel] -= 1
            if not self._channels[channel]:
                del self._channels[channel]
                self._confirmed.pop(channel, None)
                await self._send("unsubscribe", channel)

    async def _send(self, command: Literal["subscribe", "unsubscribe"], channel: str) -> None:
        # While disconnected nothing is sent: connecting subscribes to all channels anyway.
        if self._pubsub is None:
            return
        try:
            await getattr(self._pubsub, command)(channel)
        except RedisUnavailable as error:
            logger.warning("hub: %s failed: %s", command, error)

    def _confirm(self, channel: str) -> None:
        if channel in self._channels:
            future = self._confirmation(channel)
            if not future.done():
                future.set_result(None)

    def _confirmation(self, channel: str) -> asyncio.Future[None]:
        if channel not in self._confirmed:
            self._confirmed[channel] = asyncio.get_running_loop().create_future()
        return self._confirmed[channel]

    # --- Reading --------------------------------------------------------------------------------
    async def _read_for_ever(self) -> None:
        while True:
            try:
                await self._read()
            except RedisUnavailable as error:
                logger.warning("hub: Redis is away (%s); connecting again", error)
            except Exception:  # noqa: BLE001 - logged; feeds go on after a new connection
                note_fault("hub")
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                note_fault("hub")
            self._pubsub = None
            self._confirmed.clear()
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _read(self) -> None:
        client = subscriber_client()
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(CONNECTED_CHANNEL)
            self._pubsub = pubsub
            # Redis confirms in order: with the last one, all channels are subscribed to again.
            await pubsub.subscribe(*self._channels, RESUBSCRIBED_CHANNEL)
            async for message in listen(pubsub):
                channel = message.channel.decode()
                if message.kind == "message":
                    self._route(channel, message.data)
                elif message.kind == "subscribe":
                    self._confirm(channel)
                    if channel == RESUBSCRIBED_CHANNEL:
                        self._mark_all_lagging()

    def _route(self, channel: str, payload: bytes) -> None:
        notice = parse_notice(payload)
        if is_text_channel(channel):
            feeds = self._text_of_task.get(notice.task_id, ())
        else:
            feeds = self._life_of_task.get(notice.task_id, ())
            for feed in self._of_user.get(channel, ()):
                feed.push(notice)
            if (ends := self._ends_of_user.get(channel)) is not None:
                ends.push(notice)
        for feed in feeds:
            feed.push(notice)
        self._routed += 1
        if notice.written_at is not None and not self._routed % _LAG_SAMPLE:
            metrics.RELAY_LAG.observe(max(time.time() - notice.written_at, 0.0))

    def _mark_all_lagging(self) -> None:
        tables = [self._life_of_task, self._text_of_task]
        # For a user's events there is no log to read: a client is sent that it missed some, unless
        # this is the hub's first connection.
        if self._was_connected:
            tables.append(self._of_user)
        self._was_connected = True
        for table in tables:
            for feeds in table.values():
                for feed in feeds:
                    feed.mark_lagging()
        for ends in self._ends_of_user.values():
            ends.mark_lagging()


class _Registration:
    """A feed's place in the hub, for as long as this context lasts.

    No generator: every followed task enters one (figures in docs/performance.md).
    """

    __slots__ = ("_channels", "_feed", "_hub", "_places")

    def __init__(
        self,
        hub: Hub,
        feed: Feed,
        places: Sequence[tuple[_FeedTable, str]],
        channels: Collection[str],
    ) -> None:
        self._hub = hub
        self._feed = feed
        self._places = places
        self._channels = channels

    async def __aenter__(self) -> Feed:
        for table, key in self._places:
            table[key].add(self._feed)
        self._hub.count_channels(self._channels)
        try:
            await self._hub.subscribe(self._channels)
        except BaseException:
            await self._leave()
            raise
        return self._feed

    async def __aexit__(self, *error: object) -> None:
        await self._leave()

    async def _leave(self) -> None:
        self._feed.clear()
        for table, key in self._places:
            table[key].discard(self._feed)
            if not table[key]:
                del table[key]
        await self._hub.unsubscribe(self._channels)


@per_loop
def get_hub() -> Hub:
    """The running loop's hub."""
    return Hub()
