"""Waiting for the end of a task, in the request that has made it.

    async with ends_of(owner_id) as ends:
        accepted = await submit(...)
        end = await ends.end_of(accepted.task_id, is_new=accepted.waits_alone, timeout_seconds=60)

The terminal event has the result, so no row is read, except where an end may have been missed: when
Redis was away, after a long silence, and for tasks that share a call or may have ended before. What
a follower does (chat/services/follow), for one event, at a tenth of its cost.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple

import msgspec
from django.conf import settings

from aily.concurrency.signals import Signal
from aily.database.outages import AWAY
from aily.problems import NotFound
from aily.web.interruptions import Interruption
from aily.web.shutdown import shutdown_event
from chat.eventlog import Notice, UserEnds, get_hub
from chat.events import (
    EventId,
    TaskCancelled,
    TaskCompleted,
    TaskExpired,
    TaskFailed,
)
from chat.exceptions import because
from chat.models import Task
from chat.reasons import Reason
from chat.services.follow.state import load_ended, load_state

logger = logging.getLogger(__name__)

#: Pause before the row is read again while PostgreSQL is away.
AWAY_SECONDS = 1.0

TerminalEvent = TaskCompleted | TaskFailed | TaskCancelled | TaskExpired
_decoder = msgspec.json.Decoder(TerminalEvent)


class End(NamedTuple):
    """How a task has ended. The event is whole: nothing of a large result is left out."""

    event: TerminalEvent
    event_id: EventId


@asynccontextmanager
async def ends_of(owner_id: int) -> AsyncIterator[Ends]:
    """The ends of a user's tasks, from before the task is submitted until its end has come."""
    async with get_hub().user_ends(owner_id) as ends:
        yield Ends(ends)


class Ends:
    """The ends of one user's tasks."""

    def __init__(self, ends: UserEnds) -> None:
        self._ends = ends

    async def end_of(
        self,
        task_id: str,
        *,
        is_new: bool,
        timeout_seconds: float,
        interruptions: Mapping[Interruption, Signal] | None = None,
    ) -> End | Interruption:
        """Wait for the end of a task of this user, or for one of `interruptions`, for the shutdown
        of this process, or for the time to be over.

        `is_new`: the task was submitted since the ends were entered, and has a call of its own
        (`Accepted.waits_alone`). Raises NotFound if the task is deleted meanwhile. An outage of
        PostgreSQL or Redis only prolongs the waiting.
        """
        wait = _Wait(asyncio.get_running_loop().time() + timeout_seconds, must_read_row=not is_new)
        signals = {Interruption.SHUTDOWN: shutdown_event(), **(interruptions or {})}
        callbacks = [(signal, partial(wait.end, reason)) for reason, signal in signals.items()]
        for signal, callback in callbacks:
            signal.subscribe(callback)
        self._ends.wait(task_id, wait.notice)
        try:
            return await wait.outcome(task_id)
        finally:
            self._ends.wait_no_more(task_id, wait.notice)
            for signal, callback in callbacks:
                signal.unsubscribe(callback)


class _Wait:
    """One wait: what ends it, and when to read the row."""

    def __init__(self, deadline: float, *, must_read_row: bool) -> None:
        self._deadline = deadline
        self._must_read_row = must_read_row
        self._outcome: Notice | Interruption | None = None
        self._woken: asyncio.Future[None] | None = None

    def notice(self, notice: Notice | None) -> None:
        """The task's terminal notice came; None: it may have been lost."""
        if notice is None:
            self._must_read_row = True
            self._wake()
        else:
            self.end(notice)

    def end(self, outcome: Notice | Interruption) -> None:
        """The first outcome counts."""
        if self._outcome is None:
            self._outcome = outcome
        self._wake()

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def outcome(self, task_id: str) -> End | Interruption:
        while self._outcome is None:
            if self._must_read_row:
                self._must_read_row = False
                if (end := await self._read_row(task_id)) is not None:
                    return end
            elif asyncio.get_running_loop().time() >= self._deadline:
                return Interruption.TIMED_OUT
            else:
                await self._sleep(settings.POSITION_CHECK_SECONDS)
        if isinstance(self._outcome, Interruption):
            return self._outcome
        return await _end_of_notice(self._outcome)

    async def _sleep(self, check_seconds: float) -> None:
        """Return when there is something to do: an outcome, or the row has to be read."""
        loop = asyncio.get_running_loop()
        self._woken = loop.create_future()
        seconds = min(self._deadline - loop.time(), check_seconds)
        timer = loop.call_later(seconds, self._after_silence)
        try:
            await self._woken
        finally:
            timer.cancel()
            self._woken = None

    def _after_silence(self) -> None:
        self._must_read_row = asyncio.get_running_loop().time() < self._deadline
        self._wake()

    async def _read_row(self, task_id: str) -> End | None:
        """The end by the row, if it has one."""
        try:
            state = await load_state(task_id)
            if state is not None and state.ended is None:
                return None
            return await _end_of_row(task_id)
        except AWAY as error:
            logger.warning("waiting for %s: a server is away (%s)", task_id, error)
            self._must_read_row = True
            await self._sleep(AWAY_SECONDS)
            return None


async def _end_of_notice(notice: Notice) -> End:
    event = _decoder.decode(notice.frame)
    if isinstance(event, TaskCompleted) and event.is_truncated is True:
        # Its row was committed before it was published.
        return await _end_of_row(notice.task_id)
    return End(event, EventId.parse(event.id))


async def _end_of_row(task_id: str) -> End:
    task = await load_ended(task_id)
    if task is None:
        raise because(NotFound, Reason("no_such_task"), field="task_id")
    event_id = EventId(task.attempt, max(task.last_event, 1))
    return End(_terminal_event(task, event_id), event_id)


def _terminal_event(task: Task, event_id: EventId) -> TerminalEvent:
    event = task.terminal_event(str(event_id))
    if not isinstance(event, TerminalEvent):
        raise TypeError(f"{task.pk} has not ended")
    return event
