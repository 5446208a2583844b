"""How many tasks may wait, and how many of one user may be in flight: checked before storing.

The rows are counted, so that the bounds hold while Redis is away. A count is trusted for a second
while little of the room it found has been used, so that far from a bound a submit costs no query.
Within a process the bounds are exact. Processes that count at the same moment may together go over
a bound by what each of them accepts in that batch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from django.conf import settings

from accounts.access.limits import Limits, limits_of
from aily.database.statements import fetch_all
from aily.problems import LimitReached, retry_after
from aily.redis.clients import RedisAway
from chat import scheduler
from chat.exceptions import QueueFull, TooManyInFlight
from chat.models import Task

#: A count is taken again after this long, or when more than this part of the room it found is used.
TRUST_SECONDS = 1.0
TRUST_SHARE = 0.25
#: Seconds until a place gets free, where no call has ended yet to tell.
UNKNOWN_SECONDS = 10.0
#: Stands for the owners of all tasks together.
EVERYBODY = 0

_COUNT = """
SELECT owner_id, count(*), count(*) FILTER (WHERE status = 'queued')
  FROM chat_task
 WHERE owner_id = ANY(%s) AND status IN ('queued', 'running')
 GROUP BY owner_id
UNION ALL
SELECT 0, 0, count(*) FROM chat_task WHERE %s AND status = 'queued'
"""


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `most` tasks of `owner` may be queued, or (`in_flight`) not have ended."""

    owner: int
    in_flight: bool
    most: int

    def reached(self, seconds: float) -> LimitReached:
        """The refusal of a task that this bound has room for in about `seconds`."""
        kind, name, message = self._words()
        return kind(
            message, limit_name=name, limit=self.most, retry_after_seconds=retry_after(seconds)
        )

    def _words(self) -> tuple[type[LimitReached], str, str]:
        if self.in_flight:
            message = f"At most {self.most} of your tasks may be waiting or running at once."
            return TooManyInFlight, "max_tasks_in_flight", message
        if self.owner == EVERYBODY:
            message = f"At most {self.most} tasks may be waiting at once, of all users together."
            return QueueFull, "max_queued", message
        message = f"At most {self.most} of your tasks may be waiting at once."
        return QueueFull, "max_tasks_queued", message


def _bounds(owner: int, limits: Limits) -> list[Bound]:
    bounds = [
        (owner, True, limits.max_tasks_in_flight),
        (owner, False, limits.max_tasks_queued),
        (EVERYBODY, False, settings.MAX_QUEUED or None),
    ]
    return [Bound(who, in_flight, most) for who, in_flight, most in bounds if most is not None]


@dataclass(slots=True)
class _Count:
    """An owner's rows at a moment, and the tasks admitted that they may not show."""

    at: float
    in_flight: int
    queued: int
    admitted: int

    def room(self, bound: Bound) -> int:
        rows = self.in_flight if bound.in_flight else self.queued
        return bound.most - rows - self.admitted


class Depths:
    """What one process knows of how full the queue is."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[int, _Count] = {}
        #: Admitted and perhaps not committed yet, by owner.
        self._pending: Counter[int] = Counter()

    def admit(self, wishes: Sequence[Sequence[Bound]]) -> list[tuple[Bound, int] | None]:
        """Admit a task for each list of bounds, in order, where all of them have room.

        Else gives the bound that has none, and how many places must get free for this task.
        """
        with self._lock:
            self._count_again(wishes)
            refused: Counter[Bound] = Counter()
            return [self._admit_one(bounds, refused) for bounds in wishes]

    def settle(self, admitted: Iterable[Sequence[Bound]]) -> None:
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

    def _count_again(self, wishes: Sequence[Sequence[Bound]]) -> None:
        now = time.monotonic()
        wanted = Counter(bound for bounds in wishes for bound in bounds)
        stale = {
            bound.owner for bound, tasks in wanted.items() if not self._suffices(bound, tasks, now)
        }
        if not stale:
            return
        fresh = (owner for owner in self._counts if now - self._counts[owner].at <= TRUST_SECONDS)
        self._counts = {owner: self._counts[owner] for owner in fresh}
        rows = _count_rows(stale)
        for owner in stale:
            in_flight, queued = rows.get(owner, (0, 0))
            self._counts[owner] = _Count(now, in_flight, queued, self._pending[owner])

    def _suffices(self, bound: Bound, tasks: int, now: float) -> bool:
        count = self._counts.get(bound.owner)
        if count is None or now - count.at > TRUST_SECONDS:
            return False
        used = count.admitted + tasks
        return used <= (count.room(bound) + count.admitted) * TRUST_SHARE


def _owners(bounds: Sequence[Bound]) -> set[int]:
    return {bound.owner for bound in bounds}


def _count_rows(owners: set[int]) -> dict[int, tuple[int, int]]:
    rows = fetch_all(_COUNT, [list(owners - {EVERYBODY}), EVERYBODY in owners])
    return {owner: (in_flight, queued) for owner, in_flight, queued in rows}


_depths = Depths()


@contextmanager
def admitted(outcomes: Sequence[Task | Exception]) -> Iterator[list[Task | Exception]]:
    """Give `outcomes` with the tasks for which there is no room replaced by their LimitReached.

    The others are to be stored before this ends.
    """
    tasks = [one for one in outcomes if isinstance(one, Task)]
    limits = limits_of({task.owner_id for task in tasks})
    wishes = [_bounds(task.owner_id, limits[task.owner_id]) for task in tasks]
    refusals = _depths.admit(wishes)
    problems = _problems(tasks, refusals)
    try:
        yield [problems.get(one.pk, one) if isinstance(one, Task) else one for one in outcomes]
    finally:
        _depths.settle(
            bounds for bounds, refusal in zip(wishes, refusals, strict=True) if refusal is None
        )


def _problems(
    tasks: Sequence[Task], refusals: Sequence[tuple[Bound, int] | None]
) -> dict[object, LimitReached]:
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
    except RedisAway:
        return {}
