"""Watching tasks whose text nobody asked for: a place in the queue, a start, an end.

Their life-cycle events reach every socket of their owner as it is (`Hub.user_feed`). All that a
reader has to add is what a lost event would leave open, and that is asked for all tasks of a
process together: a coroutine, a look at the log and a query for each would cost more than all else
that a web process does for such a task. Where a row says more than was told,
chat/services/follow.py takes over, which knows how an end is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.conf import settings

from aily.concurrency.faults import note_fault
from aily.concurrency.jobs import Jobs
from aily.concurrency.loops import per_loop
from aily.database.outages import AWAY
from aily.database.statements import fetch_all
from aily.database.threads import in_database
from chat import scheduler
from chat.events import START, EventId
from chat.models import Status, apools_of
from chat.services.follow import place_check_seconds, with_staff_pauses

logger = logging.getLogger(__name__)

#: Time between two rounds.
ROUND_SECONDS = 1.0
#: Rows asked for at once.
MAX_ROWS = 1000

_STANDINGS = """
SELECT id::text, status, attempt, model_id FROM chat_task
 WHERE id = ANY(%s) AND leader_id IS NULL
"""


@dataclass(slots=True, eq=False)
class Watch:
    """One task of one socket, that was accepted a moment ago and waits for a call of its own.

    `tell_place` is called when the task's place has changed, `hand_over` when the row says what no
    event has told: the watch is over then.
    """

    task_id: str
    tell_place: Callable[[str, scheduler.Place], None]
    hand_over: Callable[[str, EventId], None]
    cursor: EventId = START
    place: scheduler.Place | None = None
    due_at: float = 0.0
    is_over: bool = False

    def told(self, event_id: EventId) -> None:
        """An event has reached the socket."""
        self.cursor = event_id
        self.due_at = asyncio.get_running_loop().time() + settings.POSITION_CHECK_SECONDS

    def doubt(self) -> None:
        """Events may have been missed."""
        if not self.is_over:
            self.is_over = True
            self.hand_over(self.task_id, self.cursor)


class Watcher:
    """All watches of a process."""

    def __init__(self) -> None:
        self._jobs = Jobs("the watching of tasks")
        self._is_running = False
        #: By the round they are due in, or a later one: an event moves only `due_at`.
        self._rounds: defaultdict[int, list[Watch]] = defaultdict(list)

    def add(self, watch: Watch) -> None:
        watch.due_at = asyncio.get_running_loop().time() + place_check_seconds(None)
        self._put(watch)
        if not self._is_running:
            self._is_running = True
            self._jobs.spawn(self._run())

    def _put(self, watch: Watch) -> None:
        self._rounds[int(watch.due_at / ROUND_SECONDS) + 1].append(watch)

    async def _run(self) -> None:
        """Until nothing is left to watch."""
        try:
            while self._rounds:
                await asyncio.sleep(ROUND_SECONDS)
                due = self._due()
                for start in range(0, len(due), MAX_ROWS):
                    await self._look_again(due[start : start + MAX_ROWS])
        finally:
            self._is_running = False

    async def _look_again(self, watches: Sequence[Watch]) -> None:
        """Look, and have each looked at once more when it is due, unless it is over."""
        try:
            await self._look(watches)
        except AWAY as error:
            logger.warning("watching: a server is away (%s)", error)
        except Exception:  # noqa: BLE001 - logged; they are looked at again
            note_fault("watching")
        finally:
            for watch in watches:
                if not watch.is_over:
                    self._put(watch)

    def _due(self) -> list[Watch]:
        now = asyncio.get_running_loop().time()
        due: list[Watch] = []
        for number in [one for one in self._rounds if one * ROUND_SECONDS <= now]:
            for watch in self._rounds.pop(number):
                if watch.is_over:
                    continue
                if watch.due_at <= now:
                    due.append(watch)
                else:
                    self._put(watch)
        return due

    async def _look(self, watches: Sequence[Watch]) -> None:
        rows = await in_database(fetch_all, _STANDINGS, [[one.task_id for one in watches]])
        standings = {task_id: (status, attempt, model) for task_id, status, attempt, model in rows}
        waiting: list[tuple[Watch, int, EventId]] = []
        for watch in watches:
            status, attempt, model_id = standings.get(watch.task_id, ("", 0, 0))
            if watch.is_over:
                continue
            if status == Status.QUEUED and attempt == watch.cursor.attempt:
                waiting.append((watch, model_id, watch.cursor))
            elif status == Status.RUNNING and attempt == watch.cursor.attempt:
                watch.told(watch.cursor)
            else:
                watch.doubt()
        await self._look_at_places(waiting)

    async def _look_at_places(self, waiting: Sequence[tuple[Watch, int, EventId]]) -> None:
        pools = await apools_of({model_id for _, model_id, _ in waiting})
        asked = [(pools[model_id], watch.task_id) for watch, model_id, _ in waiting]
        found = await scheduler.places(asked) if asked else []
        places = with_staff_pauses([model_id for _, model_id, _ in waiting], found)
        now = asyncio.get_running_loop().time()
        for (watch, _, cursor), place in zip(waiting, places, strict=True):
            # Unless it was told meanwhile that it waits no more.
            if watch.cursor == cursor and not watch.is_over:
                watch.due_at = now + place_check_seconds(place)
                if place is not None and place != watch.place:
                    watch.place = place
                    watch.tell_place(watch.task_id, place)


@per_loop
def get_watcher() -> Watcher:
    """The running loop's watcher."""
    return Watcher()
