"""What one socket is subscribed to: tasks it follows, and the life cycle of its user's others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from uuid import UUID

import msgspec
from django.db import Error as DatabaseError

from aily.concurrency.jobs import Job, Jobs
from aily.database.outages import as_problem, is_away
from aily.problems import LimitReached, Problem
from chat.consumers.sender import FrameSender
from chat.eventlog import Feed, Notice, get_hub
from chat.events import START, EventId, EventsMissed
from chat.runs.progress import follow_run
from chat.services.follow import Share, follow

#: Tasks one socket may follow at once.
MAX_FOLLOWED = 20_000
#: Other things, such as tables: each costs a query every few seconds.
MAX_OTHERS_FOLLOWED = 100
#: Tasks of which one socket remembers the last event sent.
MAX_REMEMBERED = 1_000
#: Bytes of frames that may wait for submits of the same socket.
MAX_WAITING_BYTES = 1_048_576


class TooManyFollowedError(Exception):
    """The socket follows MAX_FOLLOWED tasks."""


class Subscriptions:
    """Each followed task is a coroutine, whose whole state is a cursor.

    `submits`: the socket's submits under way.
    """

    def __init__(self, owner_id: int, sender: FrameSender, submits: Jobs) -> None:
        self._owner_id = owner_id
        self._sender = sender
        self._submits = submits
        self._share = Share()
        self._jobs = Jobs("a socket's subscription")
        self._following: dict[str, Job] = {}
        #: Keys of what is neither a task nor a run.
        self._others: set[str] = set()
        self._own_feed: Feed | None = None
        #: Tasks that the client has asked to follow, while their rows are read.
        self._expected: set[str] = set()
        #: New tasks whose follower gets no events yet, and whether there may have been any.
        self._starting: dict[str, bool] = {}
        #: The last event sent of each task, oldest task first.
        self._last_sent: dict[str, EventId] = {}
        #: Events of tasks that a submit under way may have made, by task.
        self._waiting: dict[str, list[Notice]] = {}
        self._waiting_bytes = 0
        self._release: Job | None = None

    def start(self) -> None:
        """Begin to push the life-cycle events of all the user's tasks."""
        self._jobs.spawn(self._push_own_tasks())

    def cancel(self) -> None:
        """End all of them, but for the caller if it is one."""
        self._jobs.cancel()

    # --- Followed tasks -------------------------------------------------------------------------
    def is_following(self, task_id: str) -> bool:
        return task_id in self._following

    @contextmanager
    def expecting(self, task_id: str) -> Iterator[None]:
        """Push no life-cycle events of a task that is about to be followed: the follower sends them
        after those that the client lacks."""
        self._expected.add(task_id)
        try:
            yield
        finally:
            self._expected.discard(task_id)

    def follow(self, task_id: str, after: EventId, *, text: bool, is_new: bool = False) -> None:
        """Push the task's events after `after`. Replaces what was followed of the task before.

        Raises TooManyFollowedError.
        """
        self.unfollow(task_id)
        if len(self._following) >= MAX_FOLLOWED:
            raise TooManyFollowedError
        if is_new and not text:
            self._starting[task_id] = self._may_have_events(task_id)
        job = self._jobs.spawn(self._push_task(task_id, after, text=text, is_new=is_new))
        self._following[task_id] = job
        job.add_done_callback(partial(self._forget, task_id))

    def follow_run(self, run_id: UUID, ref: str | None) -> None:
        """Push the run's progress until it has ended, or the user may not read it any more.

        Raises TooManyFollowedError.
        """
        self._follow_as(str(run_id), self._push_frames(follow_run(self._owner_id, run_id), ref))

    def follow_frames(
        self, key: str, frames: AsyncGenerator[msgspec.Struct], ref: str | None
    ) -> None:
        """Push these frames, and the problem that ends them, with `ref`. Replaces what was followed
        under this key before. Raises LimitReached and TooManyFollowedError."""
        if len(self._others - {key}) >= MAX_OTHERS_FOLLOWED:
            raise LimitReached(
                f"One connection can follow {MAX_OTHERS_FOLLOWED} of these.",
                limit_name="max_followed",
                limit=MAX_OTHERS_FOLLOWED,
                retry_after_seconds=60,
            )
        self._follow_as(key, self._push_frames(frames, ref))
        self._others.add(key)

    def _follow_as(self, key: str, work: Coroutine[object, None, None]) -> None:
        self.unfollow(key)
        if len(self._following) >= MAX_FOLLOWED:
            work.close()
            raise TooManyFollowedError
        job = self._jobs.spawn(work)
        self._following[key] = job
        job.add_done_callback(partial(self._forget, key))

    def _may_have_events(self, task_id: str) -> bool:
        """False if the user's feed, which is older than the task, has had no event of it."""
        is_known = task_id in self._last_sent or task_id in self._waiting
        return is_known or self._own_feed is None or not self._own_feed.is_empty

    def unfollow(self, task_id: str) -> None:
        self._starting.pop(task_id, None)
        self._others.discard(task_id)
        if job := self._following.pop(task_id, None):
            job.cancel()

    def _forget(self, task_id: str, job: Job) -> None:
        if self._following.get(task_id) is job:
            del self._following[task_id]
            self._others.discard(task_id)

    async def _push_task(self, task_id: str, after: EventId, *, text: bool, is_new: bool) -> None:
        frames = follow(
            task_id,
            self._owner_id,
            after,
            text=text,
            is_new=is_new,
            share=self._share,
            may_have_events=partial(self._starting.pop, task_id, True),
        )
        async with aclosing(frames):
            async for followed in frames:
                self._note_sent(task_id, followed.event_id)
                await self._sender.send_bytes(followed.frame)

    async def _push_frames(self, frames: AsyncGenerator[msgspec.Struct], ref: str | None) -> None:
        try:
            async with aclosing(frames):
                async for frame in frames:
                    await self._sender.send(frame)
        except Problem as problem:
            await self._sender.send_problem(ref, problem)
        except DatabaseError as error:
            if not is_away(error):
                raise
            await self._sender.send_problem(ref, as_problem(error))

    # --- The user's other tasks -----------------------------------------------------------------
    async def _push_own_tasks(self) -> None:
        """Push life-cycle events of the user's tasks that this socket does not follow.

        Where some were dropped, because the client or Redis lags, the client is only sent that.
        """
        async with get_hub().user_feed(self._owner_id, skip=self._skips) as feed:
            self._own_feed = feed
            while True:
                notice = await feed.next()
                if notice is not None:
                    await self._push_or_wait(notice)
                elif feed.is_lagging:
                    feed.clear_lag()
                    await self._sender.send(EventsMissed())

    def _skips(self, task_id: str) -> bool:
        """Whether a follower sends the events of this task. Notes those that come before it is
        fed."""
        if task_id in self._starting:
            self._starting[task_id] = True
        return self._has_follower(task_id)

    def _has_follower(self, task_id: str) -> bool:
        return task_id in self._following or task_id in self._expected

    async def _push_or_wait(self, notice: Notice) -> None:
        """Push an event, or let it wait where its task may be that of a submit under way.

        `task.accepted` is sent first; then the task is followed from its start. Events of other
        tasks go on meanwhile.
        """
        task_id = notice.task_id
        is_known = task_id in self._last_sent
        if task_id not in self._waiting and (is_known or not self._submits):
            await self._push(notice)
        elif self._waiting_bytes > MAX_WAITING_BYTES and self._release is not None:
            await asyncio.wait([self._release])
            await self._push(notice)
        else:
            self._waiting.setdefault(task_id, []).append(notice)
            self._waiting_bytes += len(notice.frame)
            if self._release is None:
                self._release = self._jobs.spawn(self._push_waiting())

    async def _push_waiting(self) -> None:
        try:
            while self._waiting:
                await self._submits.wait()
                for task_id in list(self._waiting):
                    while notices := self._waiting[task_id]:
                        notice = notices.pop(0)
                        self._waiting_bytes -= len(notice.frame)
                        await self._push(notice)
                    del self._waiting[task_id]
        finally:
            self._release = None

    async def _push(self, notice: Notice) -> None:
        if not self._has_follower(notice.task_id) and self._is_new(notice):
            self._note_sent(notice.task_id, notice.event_id)
            await self._sender.send_bytes(notice.frame)

    def _is_new(self, notice: Notice) -> bool:
        """False for what a follower, that may have read the log meanwhile, has sent already."""
        event_id = notice.event_id
        return event_id is None or event_id > self._last_sent.get(notice.task_id, START)

    def _note_sent(self, task_id: str, event_id: EventId | None) -> None:
        if event_id is not None:
            self._last_sent[task_id] = event_id
            if len(self._last_sent) > MAX_REMEMBERED:
                del self._last_sent[next(iter(self._last_sent))]
