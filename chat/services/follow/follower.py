"""The one follower behind WebSocket, SSE and `?sync=true`.

Its whole state is a cursor, so that a slow client costs no memory; the row is read where the log is
gone. A task that shares another one's call (chat/models/flights.py) has no log of its own: its
followers are given the other's events under its id, and its end from its row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.database.outages import AWAY
from aily.database.threads import in_database
from chat import eventlog, scheduler
from chat.eventlog import Feed, FeedPool, Source, get_hub
from chat.events import (
    START,
    TEXT_TYPES,
    EventId,
    TaskQueued,
    encode,
    event_type,
    with_task_id,
)
from chat.models import ServedFrom, Status, Task, apaused_models, pools_of
from chat.models.task_states import WAITING
from chat.services.follow.ended import frames_of_row
from chat.services.follow.state import TaskState, load_ended, load_state, recheck_state
from chat.services.pieces import Followed, in_pieces, is_in_pieces

logger = logging.getLogger(__name__)

#: How long a follower of an ended task waits for the log's own end before it takes the row's.
CLOSE_SECONDS = 2.0
#: A task that ended longer ago than this has all of its log, or never will.
SETTLED_SECONDS = 10.0
#: Pages of logs in memory for one client, and bytes of live frames.
MAX_PAGES = 4
MAX_FEED_BYTES = 2_097_152
#: Pause before looking again while PostgreSQL or Redis is away.
AWAY_SECONDS = 1.0
#: The shortest time between two queries for a waiting task's place.
PLACE_SECONDS = 2.0


class Share:
    """The memory that all followers of one client may use together."""

    def __init__(self) -> None:
        #: Pages of logs that are being sent.
        self.pages = asyncio.Semaphore(MAX_PAGES)
        #: Frames that came meanwhile; beyond its bound they are read from the logs later.
        self.feeds = FeedPool(MAX_FEED_BYTES)


def follow(
    task_id: str,
    owner_id: int,
    after: EventId = START,
    *,
    text: bool = True,
    is_new: bool = False,
    share: Share | None = None,
    may_have_events: Callable[[], bool] = lambda: True,
) -> AsyncGenerator[Followed]:
    """Yield the task's frames after `after`, in order and each once, up to the terminal one.

    Without `text`, only life-cycle frames; their ids then show gaps. Nothing at all is yielded when
    `after` is the terminal event already. `is_new` saves the first look at the row of a task that
    was accepted a moment ago and waits for a call of its own. A task that was deleted meanwhile
    ends with what its log still has. `share`: of all followers of one client. `may_have_events`
    saves a follower without text the first look at the log of such a new task: it is asked once
    the follower gets all further events, and returns False if there was none before. The caller
    must have checked that the task is the owner's, and close the generator (`contextlib.aclosing`).
    """
    follower = _Follower(task_id, owner_id, after, text, share or Share())
    return follower.frames(is_new, may_have_events)


class _Follower:
    """One follower of one task."""

    feed: Feed

    def __init__(
        self, task_id: str, owner_id: int, after: EventId, text: bool, share: Share
    ) -> None:
        self.task_id = task_id
        self.owner_id = owner_id
        self.cursor = after
        self.text = text
        self.share = share
        #: The row as it was last seen; None: it was accepted a moment ago, or deleted.
        self.state: TaskState | None = None
        #: The task whose call this one shares, as far as is known; None: it has a log of its own.
        self.source: Source | None = None
        #: Of the source's events, those before this one are this task's as well.
        self.source_limit = START
        self.place: scheduler.Place | None = None
        #: When the row was first found to have ended (the loop's time).
        self.closing_since: float | None = None
        #: The log was read to its end, and no notice has been dropped since.
        self.is_current = False
        #: No notice came for a while, and none is known to be missing.
        self.is_silent = False
        #: A server was away since the last look at the row.
        self.must_look = False
        #: The row was deleted: nothing will come any more.
        self.is_gone = False
        self.is_over = False

    async def frames(
        self, is_new: bool, may_have_events: Callable[[], bool]
    ) -> AsyncGenerator[Followed]:
        """Yield all frames to the end. While PostgreSQL or Redis is away there are just none.

        What comes live passes this one generator only: each layer costs with every frame.
        """
        while not self.is_over:
            feeding = get_hub().task_feed(
                self.task_id,
                self.owner_id,
                text=self.text,
                source=self.source,
                pool=self.share.feeds,
            )
            async with feeding as self.feed:
                self.is_current = is_new and not self.text and not may_have_events()
                while is_new or await self.look():
                    is_new = False
                    if self.may_lack_frames():
                        async with aclosing(self.past()) as frames:
                            async for frame in frames:
                                yield frame
                                if frame.is_terminal:
                                    return
                    while (live := await self.next_live()) is not None:
                        yield live
                        if live.is_terminal:
                            return

    async def look(self) -> bool:
        """Look at the row. Returns False if what comes next is in another feed, or nothing is."""
        while not self.is_over:
            try:
                load = recheck_state if self.is_silent else load_state
                self.state = await load(self.task_id)
            except AWAY as error:
                await self.wait_for_server(error)
            else:
                self.must_look = False
                self.is_gone = self.state is None
                return self.state is None or not self.source_changed(self.state)
        return False

    async def wait_for_server(self, error: Exception) -> None:
        self.is_current = False
        self.must_look = True
        logger.warning("following %s: a server is away (%s)", self.task_id, error)
        await asyncio.sleep(AWAY_SECONDS)

    def source_changed(self, state: TaskState) -> bool:
        """Note whose log to read, and how far. True when it is another one than before."""
        before, self.source, self.source_limit = self.source, state.source, state.source_limit
        return self.source != before

    @property
    def source_id(self) -> str:
        return self.source.task_id if self.source else self.task_id

    def may_lack_frames(self) -> bool:
        """Whether `past` may have any."""
        is_queued = self.state is not None and self.state.status == Status.QUEUED
        return is_queued or not self.needs_no_replay()

    async def past(self) -> AsyncGenerator[Followed]:
        """Yield what there is: the place in the queue, what the log has, the end that it lacks."""
        try:
            state = self.state
            if state is not None and state.status == Status.QUEUED and await self.has_moved(state):
                yield self.queued()
            if self.needs_no_replay():
                return
            if self.text:
                await eventlog.announce_listener(self.source_id)
            self.feed.clear_lag()
            async with aclosing(self.replay()) as frames:
                async for frame in frames:
                    yield frame
            if state is not None and state.ended is not None and self.log_is_behind(state.ended):
                async with self.share.pages:
                    whole = await load_ended(self.task_id)
                    self.is_over = True
                    if whole is not None:
                        for frame in frames_of_row(whole, self.cursor, text=self.text):
                            yield frame
            elif self.is_gone:
                self.is_over = True
        except AWAY as error:
            await self.wait_for_server(error)

    def lacks_tool_events(self, state: TaskState) -> bool:
        """True when Redis has lost the log of a task that waits for its tools, or for its user: no
        worker writes into it then."""
        return state.status in WAITING and self.cursor.attempt < state.attempt

    def needs_no_replay(self) -> bool:
        """True when the row shows that the log has no further life-cycle events.

        So a follower without text costs the log nothing while its task waits or runs.
        """
        if self.text or not self.is_current or self.feed.is_lagging or self.is_gone:
            return False
        state = self.state
        # None: it was accepted a moment ago.
        return state is None or (state.ended is None and state.attempt == self.cursor.attempt)

    def log_is_behind(self, ended: Task) -> bool:
        """True when the log will not get the end of an ended task any more.

        The row is committed first. What the worker, or another process that ended it, then appends
        may still be on its way, the last of the text included.
        """
        now = asyncio.get_running_loop().time()
        if self.closing_since is None:
            self.closing_since = now
        end = EventId(ended.attempt, ended.last_event)
        has_seen_the_end = self.cursor == end
        # All but the end, which no log has.
        is_whole = ended.served_from != ServedFrom.PROVIDER and end.follows(self.cursor)
        settled = timezone.now() - timedelta(seconds=SETTLED_SECONDS)
        is_old = ended.finished_at is not None and ended.finished_at < settled
        return has_seen_the_end or is_whole or is_old or now - self.closing_since >= CLOSE_SECONDS

    async def replay(self) -> AsyncGenerator[Followed]:
        """Yield what the log has after the cursor."""
        async with aclosing(self.pages_of_log()) as frames:
            async for frame in frames:
                yield frame
        if self.state is not None and self.lacks_tool_events(self.state):
            await in_database(_restore_tool_events, UUID(self.task_id))
            async with aclosing(self.pages_of_log()) as frames:
                async for frame in frames:
                    yield frame

    async def pages_of_log(self) -> AsyncGenerator[Followed]:
        """Yield what the log has after the cursor now."""
        count = eventlog.FIRST_PAGE
        while True:
            # Until all of the page is taken: for a client that does not read, few are read.
            async with self.share.pages:
                page = await eventlog.read(self.source_id, self.cursor, count)
                if not page:
                    self.is_current = True
                    return
                for event_id, frame in page:
                    followed = self.to_frame(event_id, frame)
                    if self.must_recheck_row(followed, self.source_id):
                        return
                    before, self.cursor = self.cursor, event_id
                    if self.text or followed.type not in TEXT_TYPES:
                        for piece in in_pieces(followed, before):
                            yield piece
            count = eventlog.next_count(page)

    async def next_live(self) -> Followed | None:
        """Return the next frame that comes. None when it is time to look at the row: a frame is
        missing, none came for a while, a server was away, or all have come."""
        if self.is_over or self.must_look:
            return None
        self.is_silent = False
        while notice := await self.feed.next(self.check_after_seconds()):
            event_id = notice.event_id
            followed = self.to_frame(event_id, notice.frame)
            if self.must_recheck_row(followed, notice.task_id):
                return None
            if event_id is None:
                return followed
            if event_id > self.cursor:
                is_gap = self.text and not event_id.follows(self.cursor)
                # What comes in pieces is read from the log, so that all before it is known.
                if is_in_pieces(followed) or (is_gap and followed.type != "task.snapshot"):
                    return None
                self.cursor = event_id
                return followed
        self.is_silent = self.closing_since is None and not self.feed.is_lagging
        return None

    def to_frame(self, event_id: EventId | None, frame: bytes) -> Followed:
        """An event as one of this task, if it is its source's."""
        if self.source is not None:
            frame = with_task_id(frame, self.source.task_id, self.task_id)
        return Followed(event_id, event_type(frame), frame)

    def must_recheck_row(self, followed: Followed, task_id: str) -> bool:
        """True when an event of `task_id` may mean that this task has another source now, or none.

        The source's end may be this task's, or not. A new attempt of the source is this task's
        only if that was still waiting when it began. And a first event of this task's own says that
        it shares no call any more.
        """
        if self.source is None or followed.event_id is None:
            return False
        if task_id == self.task_id:
            return not followed.is_terminal
        return followed.is_terminal or followed.event_id >= self.source_limit

    def check_after_seconds(self) -> float:
        """How long to wait for notices before looking whether some were missed."""
        if self.closing_since is not None:
            return CLOSE_SECONDS
        if self.cursor != START:
            check_seconds: float = settings.POSITION_CHECK_SECONDS
            return check_seconds
        return _place_check_seconds(self.place)

    async def has_moved(self, state: TaskState) -> bool:
        """Look up the task's place in the queue. True when it is another one than before."""
        before = self.place
        place = await _places().submit((state.model_id, self.source_id))
        self.place = scheduler.later(place, scheduler.Place.of_retry(state.not_before))
        return self.place is not None and self.place != before

    def queued(self) -> Followed:
        place = self.place or scheduler.Place(None, None)
        frame = TaskQueued(self.task_id, place.position, place.eta_seconds, place.waiting_for)
        return Followed(None, "task.queued", encode(frame))


def _restore_tool_events(task_id: UUID) -> None:
    # Imported here: a process without tools loads none of this.
    from chat.toolloop import events

    events.publish([task_id])


def _place_check_seconds(place: scheduler.Place | None) -> float:
    """How long until the next look for a waiting task's place: the further back, the longer."""
    check_seconds: float = settings.POSITION_CHECK_SECONDS
    if place and place.waiting_for and place.waiting_for.kind == "staff":
        # It may last for days; its end is followed by a start, which is an event.
        return check_seconds
    eta_seconds = (place.eta_seconds if place else None) or 0
    return min(max(eta_seconds / 10, PLACE_SECONDS), check_seconds)


@per_loop
def _places() -> Batcher[tuple[int, str], scheduler.Place | None]:
    async def handle(tasks: list[tuple[int, str]]) -> Sequence[scheduler.Place | None]:
        pools = pools_of({model_id for model_id, _ in tasks})
        paused = await apaused_models()
        places = await scheduler.places([(pools[model_id], task_id) for model_id, task_id in tasks])
        return [
            scheduler.held_by_staff(place) if model_id in paused else place
            for (model_id, _), place in zip(tasks, places, strict=True)
        ]

    return Batcher(handle)
