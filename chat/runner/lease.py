"""A worker process's lease in PostgreSQL: the right to touch the tasks it runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Case, F, When
from django.db.models.functions import Now

from aily.database.rows import Row, fetch_column, fetch_rows
from chat.models import Worker

_TAKEN_AWAY = """
SELECT id::text FROM chat_task
 WHERE id = ANY(string_to_array(%s, ' ')::uuid[])
   AND (status <> 'running' OR worker_id IS DISTINCT FROM %s)
"""
_STRANDED = """
SELECT id::text AS task_id, attempt FROM chat_task
 WHERE status = 'running' AND worker_id = %s
   AND NOT (id = ANY(string_to_array(%s, ' ')::uuid[]))
"""
#: Longer than a living worker takes to renew its lease once PostgreSQL is back.
STEADY_SECONDS = 5
_NONE = UUID(int=0)


@dataclass(slots=True)
class HeldLease:
    """The lease of this process. One that was declared dead goes on with another worker id."""

    #: The newest; meaningless before there is one.
    worker_id: UUID = _NONE
    #: False before the first lease, and from when one was found lost until there is a new one.
    is_held: bool = False


class Attempt(Row, frozen=True):
    """An attempt of a task, as its row has it."""

    task_id: str
    attempt: int


def register(*, is_draining: bool = False) -> UUID:
    """Start a new lease. A process that was declared dead comes back under a new id."""
    worker = Worker.objects.create(
        is_draining=is_draining,
        hostname=socket.gethostname(),
        pid=os.getpid(),
        lease_until=Now() + timedelta(seconds=settings.WORKER_LEASE_SECONDS),
    )
    return worker.pk


def renew(worker_id: UUID) -> bool:
    """Extend the lease. False when the worker was declared dead: it must stop all it runs."""
    living = Worker.objects.filter(pk=worker_id, is_dead=False)
    is_late = When(lease_until__lt=Now() + _half_a_lease(), then=Now())
    steady_since = Case(is_late, default=F("steady_since"))
    lease_until = Now() + timedelta(seconds=settings.WORKER_LEASE_SECONDS)
    return bool(living.update(lease_until=lease_until, steady_since=steady_since))


def can_detect_dead_workers() -> bool:
    """Return True once some worker has renewed in time for a while, and has just done so.

    After an outage of PostgreSQL leases have run out, and living workers renew theirs within
    seconds: until then a worker that is late may be alive. In an outage a little shorter than a
    lease, those run out that were about to be renewed when it began. A worker that had just renewed
    still has its lease, and is no witness either: it was late itself, by half a lease where a
    quarter is usual.
    """
    settled = Now() - timedelta(seconds=STEADY_SECONDS)
    in_time = Worker.objects.filter(is_dead=False, lease_until__gt=Now() + _half_a_lease())
    return in_time.filter(steady_since__lt=settled).exists()


def _half_a_lease() -> timedelta:
    return timedelta(seconds=settings.WORKER_LEASE_SECONDS / 2)


def is_held(worker_id: UUID) -> bool:
    """False when the worker was declared dead, or never registered."""
    return Worker.objects.filter(pk=worker_id, is_dead=False).exists()


def is_draining(worker_id: UUID) -> bool:
    """Whether an operator has asked the worker to claim nothing more, and to stop."""
    return Worker.objects.filter(pk=worker_id, is_draining=True).exists()


def give_up(worker_id: UUID) -> None:
    """End the lease at once, so that the sweep need not wait for it to run out."""
    Worker.objects.filter(pk=worker_id).update(is_dead=True)


def stranded(worker_id: UUID, task_ids: Sequence[str]) -> list[Attempt]:
    """Return what runs by a worker's rows, and is none of `task_ids`."""
    return fetch_rows(Attempt, _STRANDED, [worker_id, " ".join(task_ids)])


def taken_away(worker_id: UUID, task_ids: Sequence[str]) -> list[str]:
    """Return those of a worker's calls whose task was cancelled, or is another worker's by now."""
    # As one value: of thousands of ids, psycopg would write each by itself.
    return fetch_column(str, _TAKEN_AWAY, [" ".join(task_ids), worker_id])
