"""Limits of how many tasks may wait, and how many of one user may be in flight.

They are checked before tasks are stored, by counting rows, so that they hold while Redis is away.
A count is used for a second while little of the room that it found has been used: far from a limit
a submit costs no query. Within a process the limits are exact. Processes that count at the same
moment may together exceed a limit by what each of them accepts in that batch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import NamedTuple
from uuid import UUID

from django.conf import settings

from accounts.access.limits import Limits, limits_of
from aily.database.rows import Row, fetch_rows
from aily.problems import LimitReached, retry_after
from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.exceptions import QueueFull, TooManyInFlight
from chat.models import Task

#: A count is taken again after these seconds, or when more than this share of its room is used.
TRUST_SECONDS = 1.0
TRUST_SHARE = 0.25
#: Owners whose counts are taken again beside those that a batch needs.
MAX_COUNTED_TOGETHER = 200
#: Estimate of the seconds until a place is free, before any call has ended.
UNKNOWN_SECONDS = 10.0
#: In place of an owner: the tasks of all owners together.
ALL_OWNERS = 0

_COUNT = """
SELECT owner_id, count(*) AS in_flight, count(*) FILTER (WHERE status = 'queued') AS queued
  FROM chat_task
 WHERE owner_id = ANY(%s) AND status IN ('queued', 'running', 'calling_tools', 'requires_action')
 GROUP BY owner_id
UNION ALL
SELECT 0, 0, count(*) FROM chat_task WHERE %s AND status = 'queued'
"""


class CountRow(Row, frozen=True):
    """How many tasks of an owner have not ended, and how many of these wait."""

    owner_id: int
    in_flight: int
    queued: int


class Bound(NamedTuple):
    """At most `limit` tasks of `owner` may be queued, or (`in_flight`) not have ended."""

    owner: int
    in_flight: bool
    limit: int

    def reached(self, seconds: float) -> LimitReached:
        """The refusal of a task that this bound has room for in about `seconds`."""
        kind, name, message = self._words()
        return kind(
            message, limit_name=name, limit=self.limit, retry_after_seconds=retry_after(seconds)
        )

    def _words(self) -> tuple[type[LimitReached], str, str]:
        if self.in_flight:
            message = f"At most {self.limit} of your tasks may be waiting or running at once."
            return TooManyInFlight, "max_tasks_in_flight", message
        if self.owner == ALL_OWNERS:
            message = f"At most {self.limit} tasks may be waiting at once, of all users together."
            return QueueFull, "max_queued", message
        message = f"At most {self.limit} of your tasks may be waiting at once."
        return QueueFull, "max_tasks_queued", message


def _bounds(owner: int, limits: Limits) -> list[Bound]:
    bounds = [
        (owner, True, limits.max_tasks_in_flight),
        (owner, False, limits.max_tasks_queued),
        (ALL_OWNERS, False, settings.MAX_QUEUED or None),
    ]
    return [
        Bound(owner_id, in_flight, limit)
        for owner_id, in_flight, limit in bounds
        if limit is not None
    ]


@dataclass(slots=True)
class _Count:
    """An owner's rows at a moment, and the tasks admitted that they may not show."""

    at: float
    in_flight: int
    queued: int
    admitted: int

    def room(self, bound: Bound) -> int:
        rows = self.in_flight if bound.in_flight else self.queued
        return bound.limit - rows - self.admitted


class Depths:
    """One process's copy of the number of queued and running tasks."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[int, _Count] = {}
        #: Tasks admitted and perhaps not committed yet, by owner.
        self._pending: Counter[int] = Counter()

    def admit(self, asked: Sequence[Sequence[Bound]]) -> list[tuple[Bound, int] | None]:
        """Admit a task for each list of bounds, in order, where all of them have room.

        For each that is refused: the bound that has no room, and how many places must get free.
        """
        with self._lock:
            self._count_again(asked)
            refused: Counter[Bound] = Counter()
            return [self._admit_one(bounds, refused) for bounds in asked]

    def clear_pending(self, admitted: Iterable[Sequence[Bound]]) -> None:
        """The tasks admitted for these are committed now, or never will be."""
        with self._lock:
            self._pending -= Counter(owner for bounds in admitted for owner in _owners(bounds))

    def _admit_one(
        self, bounds: Sequence[Bound], refused: Counter[Bound]
    ) -> tuple[Bound, int] | None:
        for bound in bounds:
            room = self._counts[bound.owner].room(bound)
            if room <= 0:
                refused[bound] += 1
                return bound, refused[bound] - room
        for owner in _owners(bounds):
            self._counts[owner].admitted += 1
            self._pending[owner] += 1
        return None

    def _count_again(self, asked: Sequence[Sequence[Bound]]) -> None:
        now = time.monotonic()
        wanted = Counter(bound for bounds in asked for bound in bounds)
        stale = {
            bound.owner for bound, tasks in wanted.items() if not self._suffices(bound, tasks, now)
        }
        if not stale:
            return
        fresh = (owner for owner in self._counts if now - self._counts[owner].at <= TRUST_SECONDS)
        self._counts = {owner: self._counts[owner] for owner in fresh}
        stale |= self._soon_stale(now)
        rows = _count_rows(stale)
        for owner in stale:
            row = rows.get(owner) or CountRow(owner, 0, 0)
            self._counts[owner] = _Count(now, row.in_flight, row.queued, self._pending[owner])

    def _soon_stale(self, now: float) -> set[int]:
        """Owners whose counts are to be taken again soon: one query for all of them costs less than
        one in each batch. Those who submit seldom are no longer among them."""
        old = (
            owner
            for owner, count in self._counts.items()
            if count.admitted and now - count.at > TRUST_SECONDS / 2
        )
        return set(islice(old, MAX_COUNTED_TOGETHER))

    def _suffices(self, bound: Bound, tasks: int, now: float) -> bool:
        count = self._counts.get(bound.owner)
        if count is None or now - count.at > TRUST_SECONDS:
            return False
        used = count.admitted + tasks
        return used <= (count.room(bound) + count.admitted) * TRUST_SHARE


def _owners(bounds: Sequence[Bound]) -> set[int]:
    return {bound.owner for bound in bounds}


def _count_rows(owners: set[int]) -> dict[int, CountRow]:
    params = [list(owners - {ALL_OWNERS}), ALL_OWNERS in owners]
    return {row.owner_id: row for row in fetch_rows(CountRow, _COUNT, params)}


_depths = Depths()


@contextmanager
def admitted(tasks: Sequence[Task]) -> Iterator[dict[UUID, LimitReached]]:
    """Give the refusals of those tasks for which there is no room, by task id.

    The caller stores the others before this ends.
    """
    limits = limits_of({task.owner_id for task in tasks})
    asked = [_bounds(task.owner_id, limits[task.owner_id]) for task in tasks]
    refusals = _depths.admit(asked)
    try:
        yield _problems(tasks, refusals)
    finally:
        _depths.clear_pending(
            bounds for bounds, refusal in zip(asked, refusals, strict=True) if refusal is None
        )


def _problems(
    tasks: Sequence[Task], refusals: Sequence[tuple[Bound, int] | None]
) -> dict[UUID, LimitReached]:
    refused = [(task, *refusal) for task, refusal in zip(tasks, refusals, strict=True) if refusal]
    if not refused:
        return {}
    seconds = _drain_seconds({task.model.pool for task, _, _ in refused})
    return {
        task.pk: bound.reached(places * seconds.get(task.model.pool, UNKNOWN_SECONDS))
        for task, bound, places in refused
    }


def _drain_seconds(pools: set[str]) -> dict[str, float]:
    try:
        return scheduler.drain_seconds(pools)
    except RedisUnavailable:
        return {}
