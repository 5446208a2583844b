"""Following a task: everything in its log after a cursor, then whatever comes, to the end.

The one reader behind WebSocket, SSE and `?sync=true`. Its whole state is a cursor, so that a slow
client costs no memory; the row stands in for a log that is gone.

A task that waits for another's answer (chat/models/flights.py) has no log of its own. Its readers
are given the other's, told as its own, and its end from its row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from aily.concurrency.batching import Batcher
from aily.concurrency.loops import per_loop
from aily.database.outages import AWAY
from aily.database.threads import in_database
from aily.problems import NotFound
from chat import eventlog, scheduler
from chat.eventlog import Feed, FeedPool, Source, get_hub
from chat.events import (
    START,
    TEXT_TYPES,
    EventId,
    TaskQueued,
    TaskSnapshot,
    encode,
    event_type,
    fits_frame,
    retold,
)
from chat.models import ServedFrom, Status, Task, apools_of, paused_models
from chat.models.ids import ais_own
from chat.models.tasks import ACTIVE
from chat.services.pieces import Followed, in_pieces, is_in_pieces, snapshot_pieces

logger = logging.getLogger(__name__)

#: How long a follower of an ended task waits for the log's own end before it takes the row's.
CLOSE_SECONDS = 2.0
#: A task that ended longer ago than this has all of its log, or never will.
SETTLED_SECONDS = 10.0
#: Pages of logs held for one client, and bytes of live frames.
MAX_PAGES = 4
MAX_FEED_BYTES = 2_097_152
#: Pause before looking again while PostgreSQL or Redis is away.
AWAY_SECONDS = 1.0
#: How often a waiting task's place is looked up at the most.
PLACE_SECONDS = 2.0


class Share:
    """What all readers of one client may take together, however many tasks it follows."""

    def __init__(self) -> None:
        #: Pages of logs that are being sent.
        self.pages = asyncio.Semaphore(MAX_PAGES)
        #: Frames that came meanwhile; what is more is read from the logs later.
        self.feeds = FeedPool(MAX_FEED_BYTES)


async def follow(
    task_id: str,
    owner_id: int,
    after: EventId = START,
    *,
    text: bool = True,
    is_new: bool = False,
    share: Share | None = None,
) -> AsyncGenerator[Followed]:
    """Give the task's frames after `after`, in order and each once, and end with the terminal one.

    Without `text`, only life-cycle frames; their ids then show gaps. Nothing at all is given when
    `after` is the terminal event already. `is_new` saves the look at the row of a task that was
    accepted a moment ago and waits for a call of its own. A task that was deleted meanwhile ends
    with what its log still has. `share`: of all readers of one client. The caller must have checked
    that the task is the owner's, and close the generator (`contextlib.aclosing`).
    """
    share = share or Share()
    reader = _Reader(task_id, owner_id, after, text, share.pages)
    while not reader.is_over:
        feeding = get_hub().task_feed(
            task_id, owner_id, text=text, source=reader.source, pool=share.feeds
        )
        async with feeding as feed, aclosing(reader.frames(feed, is_new=is_new)) as frames:
            async for one in frames:
                yield one
                if one.is_terminal:
                    return
        is_new = False


class _Reader:
    """Where one reader of a task stands."""

    feed: Feed

    def __init__(
        self, task_id: str, owner_id: int, after: EventId, text: bool, pages: asyncio.Semaphore
    ) -> None:
        self.task_id = task_id
        self.owner_id = owner_id
        self.cursor = after
        self.text = text
        self.pages = pages
        #: The task that this one follows, as far as is known; None: it has a log of its own.
        self.source: Source | None = None
        #: Of the source's events, those before this one are this task's as well.
        self.bound = START
        self.place: scheduler.Place | None = None
        self.closing_since: float | None = None
        #: The row was deleted: nothing will come any more.
        self.is_gone = False
        self.is_over = False

    async def frames(self, feed: Feed, *, is_new: bool) -> AsyncGenerator[Followed]:
        """All frames to the end, or until they come from elsewhere than `feed`.

        While PostgreSQL or Redis is away there are just none.
        """
        self.feed = feed
        standing = None
        while not self.is_over:
            try:
                if not is_new:
                    standing = await _standing(self.task_id)
                    self.is_gone = standing is None
                if standing is not None and self.moves_to(standing):
                    return
                async with aclosing(self.round(standing)) as frames:
                    async for one in frames:
                        yield one
            except AWAY as error:
                logger.warning("following %s: a server is away (%s)", self.task_id, error)
                await asyncio.sleep(AWAY_SECONDS)
            is_new = False

    def moves_to(self, standing: Standing) -> bool:
        """Note whose log is to be read, and how far. True when it is another than before."""
        before, self.source, self.bound = self.source, standing.source, standing.bound
        return self.source != before

    @property
    def source_id(self) -> str:
        return self.source.task_id if self.source else self.task_id

    async def round(self, standing: Standing | None) -> AsyncGenerator[Followed]:
        """What there is, and then what comes, until it is time to look again."""
        is_queued = standing is not None and standing.status == Status.QUEUED
        if standing is not None and is_queued and await self.has_moved(standing):
            yield self.queued()
        if self.text:
            await eventlog.tell_listening(self.source_id)
        self.feed.caught_up()
        async with aclosing(self.replay()) as frames:
            async for one in frames:
                yield one
        ended = standing.ended if standing is not None else None
        if ended is not None and self.log_is_behind(ended):
            self.is_over = True
            async with self.pages:
                whole = await _ended_tasks().submit(self.task_id)
                if whole is not None:
                    for one in _from_row(whole, self.cursor, self.text):
                        yield one
            return
        if self.is_gone:
            self.is_over = True
            return
        async with aclosing(self.live()) as frames:
            async for one in frames:
                yield one

    def log_is_behind(self, ended: Task) -> bool:
        """True when the log will not tell the end of an ended task any more.

        The row is committed first. What its worker, or whoever ended it, then appends may still be
        on its way, the last of the text included.
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
        """What the log has after the cursor."""
        count = eventlog.FIRST_PAGE
        while True:
            # Held until all of the page is taken: of a client that does not read few are read.
            async with self.pages:
                page = await eventlog.read(self.source_id, self.cursor, count)
                if not page:
                    return
                for event_id, frame in page:
                    one = self.told(event_id, frame)
                    if self.is_foreign(one, self.source_id):
                        return
                    before, self.cursor = self.cursor, event_id
                    if self.text or one.type not in TEXT_TYPES:
                        for piece in in_pieces(one, before):
                            yield piece
            count = eventlog.next_count(page)

    async def live(self) -> AsyncGenerator[Followed]:
        """Frames as they come. Ends when one is missing, or none came for a while."""
        while news := await self.feed.next(self.check_after_seconds()):
            event_id, task_id, frame = news
            one = self.told(event_id, frame)
            if self.is_foreign(one, task_id):
                return
            if event_id is not None:
                if event_id <= self.cursor:
                    continue
                is_gap = self.text and not event_id.follows(self.cursor)
                # What comes in pieces is read from the log, so that all before it is known.
                if is_in_pieces(one) or (is_gap and one.type != "task.snapshot"):
                    return
                self.cursor = event_id
            yield one

    def told(self, event_id: EventId | None, frame: bytes) -> Followed:
        if self.source is not None:
            frame = retold(frame, self.source.task_id, self.task_id)
        return Followed(event_id, event_type(frame), frame)

    def is_foreign(self, one: Followed, task_id: str) -> bool:
        """True where an event says that the row must be looked at, as it may have changed sides.

        The source's end may be this task's, or not. A new attempt of the source is this task's
        only if that was still waiting when it began. And a first event of its own says that it
        waits for nobody any more.
        """
        if self.source is None or one.event_id is None:
            return False
        if task_id == self.task_id:
            return not one.is_terminal
        return one.is_terminal or one.event_id >= self.bound

    def check_after_seconds(self) -> float:
        """How long to wait for news before looking whether some were missed."""
        if self.closing_since is not None:
            return CLOSE_SECONDS
        if self.cursor != START:
            check_seconds: float = settings.POSITION_CHECK_SECONDS
            return check_seconds
        return place_check_seconds(self.place)

    async def has_moved(self, standing: Standing) -> bool:
        before = self.place
        place = await _places().submit((standing.model_id, self.source_id))
        self.place = scheduler.later(place, scheduler.Place.of_retry(standing.not_before))
        return self.place is not None and self.place != before

    def queued(self) -> Followed:
        place = self.place or scheduler.Place(None, None)
        frame = TaskQueued(self.task_id, place.position, place.eta_seconds, place.waiting_for)
        return Followed(None, "task.queued", encode(frame))


# --- The place ----------------------------------------------------------------------------------
def place_check_seconds(place: scheduler.Place | None) -> float:
    """Who waits in the queue is told how it moves: the further back, the more seldom."""
    check_seconds: float = settings.POSITION_CHECK_SECONDS
    if place and place.waiting_for and place.waiting_for.kind == "staff":
        # It may last for days; its end is followed by a start, which is an event.
        return check_seconds
    eta_seconds = (place.eta_seconds if place else None) or 0
    return min(max(eta_seconds / 10, PLACE_SECONDS), check_seconds)


def with_staff_pauses(
    model_ids: Sequence[int], places: Sequence[scheduler.Place | None]
) -> list[scheduler.Place | None]:
    """The places of tasks of these models, `pools_of` which was just asked for: those whose model
    staff have paused say so."""
    paused = paused_models()
    return [
        scheduler.held_by_staff(place) if model_id in paused else place
        for model_id, place in zip(model_ids, places, strict=True)
    ]


@per_loop
def _places() -> Batcher[tuple[int, str], scheduler.Place | None]:
    async def handle(tasks: list[tuple[int, str]]) -> Sequence[scheduler.Place | None]:
        pools = await apools_of({model_id for model_id, _ in tasks})
        places = await scheduler.places([(pools[model_id], task_id) for model_id, task_id in tasks])
        return with_staff_pauses([model_id for model_id, _ in tasks], places)

    return Batcher(handle)


# --- The row ------------------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Standing:
    """Where a task stands by its row; `ended` is the row itself once it has ended.

    `model_id` and `not_before` are those of whichever task is to be called, `source` who that is if
    another. Of that one's events, those before `bound` are this task's as well.
    """

    owner_id: int
    model_id: int
    status: str
    ended: Task | None
    source: Source | None
    bound: EventId
    not_before: datetime | None


@per_loop
def _standings() -> Batcher[str, Standing | None]:
    async def handle(task_ids: list[str]) -> Sequence[Standing | None]:
        return await in_database(_load, task_ids)

    return Batcher(handle, max_batches=2)


#: Columns of any size. Texts are asked for by who sends them, for a few tasks at a time.
_LARGE = ("messages", "params", "metadata", "text", "reasoning", "tool_calls")


@per_loop
def _ended_tasks() -> Batcher[str, Task | None]:
    async def handle(task_ids: list[str]) -> Sequence[Task | None]:
        return await in_database(_load_ended, task_ids)

    return Batcher(handle, max_size=16, max_batches=2)


def _load_ended(task_ids: list[str]) -> list[Task | None]:
    found = Task.objects.defer("messages", "params", "metadata").in_bulk(task_ids)
    by_id = {str(pk): task for pk, task in found.items()}
    return [by_id.get(task_id) for task_id in task_ids]


def _load(task_ids: list[str]) -> list[Standing | None]:
    """One light query for all, and another for those that have ended."""
    found = Task.objects.filter(pk__in=set(task_ids))
    rows: list[tuple[Any, ...]] = list(
        found.values_list(
            "pk", "owner_id", "model_id", "status", "leader_id", "leader__owner_id",
            "leader__model_id", "leader__attempt", "not_before", "leader__not_before",
        )
    )  # fmt: skip
    ended = [pk for pk, _, _, status, *_ in rows if status not in ACTIVE]
    tasks = Task.objects.defer(*_LARGE).in_bulk(ended) if ended else {}
    by_id = {str(row[0]): _stands(row, tasks.get(row[0])) for row in rows}
    return [by_id.get(task_id) for task_id in task_ids]


def _stands(row: tuple[Any, ...], ended: Task | None) -> Standing:
    _, owner_id, model_id, status, leader_id, *of_leader, not_before, leader_not_before = row
    leader_owner_id, leader_model_id, attempt = of_leader
    if leader_id is None:
        return Standing(owner_id, model_id, status, ended, None, START, not_before)
    source = Source(str(leader_id), leader_owner_id)
    if ended is not None:
        bound = EventId(ended.attempt, ended.last_event)
    else:
        # Attempts that begin later are looked at again: this task may have ended by then.
        bound = EventId(attempt + 1, 0)
    return Standing(owner_id, leader_model_id, status, ended, source, bound, leader_not_before)


async def _standing(task_id: str) -> Standing | None:
    return await _standings().submit(task_id)


async def check_owner(owner_id: int, task_id: UUID) -> None:
    """Raise NotFound unless there is such a task and it is the owner's."""
    standing = await _standing(str(task_id)) if await ais_own(task_id) else None
    if standing is None or standing.owner_id != owner_id:
        raise NotFound("There is no such task.", field="task_id")


def _from_row(task: Task, cursor: EventId, text: bool) -> list[Followed]:
    """The end as the row has it: for a log that expired, was lost, or never got its last event."""
    end = EventId(task.attempt, max(task.last_event, 1))
    if task.last_event and cursor == end:
        return []
    if cursor >= end:
        end = EventId(cursor.attempt, cursor.n + 1)
    event = task.terminal_event(str(end))
    before = EventId(end.attempt, end.n - 1) if end.n > 1 else None
    # A reader from the start gets the whole text with the end itself, if that has it.
    has_it_all = task.status == Status.SUCCEEDED and cursor == START and fits_frame(event)
    lacks_text = text and not has_it_all and cursor < (before or EventId(end.attempt, 1))
    frames: list[Followed] = []
    if lacks_text and (task.text or task.reasoning):
        frames = _snapshot(task, before, cursor)
    frame = encode(event)
    return [*frames, Followed(end, event_type(frame), frame)]


def _snapshot(task: Task, place: EventId | None, cursor: EventId) -> list[Followed]:
    task_id = str(task.pk)
    if place is None:
        return list(snapshot_pieces(task_id, task.text, task.reasoning, None, cursor))
    snapshot = TaskSnapshot(
        task_id=task_id, id=str(place), text=task.text, reasoning=task.reasoning
    )
    whole = Followed(place, "task.snapshot", encode(snapshot))
    # A log that is only late may yet get events of the ids between.
    return list(in_pieces(whole, cursor if cursor == START else place))
