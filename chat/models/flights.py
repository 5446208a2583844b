"""Flights: tasks that wait for one and the same answer. One of them, the leader, is called.

A follower is a queued row with a `leader`. It is never made ready and never started; it ends with
its leader, or by itself when it is cancelled or its deadline passes. Where a leader is cancelled or
expires, one of its followers takes its place.

Row locks order all of this. Who joins a flight holds KEY SHARE on its leader's row, which starting
and requeueing it do not touch. Who ends a leader locks the row FOR UPDATE, and so waits for those
who are joining; its next statement then sees them. A leader's row is locked before its followers'.

Readers of a follower are shown its leader's log. So that whatever comes to a follower alone has an
id above all that they can have seen, it counts as an attempt after the leader's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models.functions import Now

from aily.database.statements import fetch_all
from chat.models import transitions
from chat.models.tasks import ServedFrom, Status, Task
from chat.models.transitions import Answer, EndedQueued, Ending, store_answers

#: Followers whose deadline has passed, ended in one go.
PAGE = 1000

_LOCK_KEYS = "SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key"

_LEADERS = """
SELECT id, flight_key, lane, status FROM chat_task
 WHERE flight_key = ANY(%s) AND flight_key <> '' AND leader_id IS NULL
   AND status IN ('queued', 'running')
 ORDER BY id FOR KEY SHARE SKIP LOCKED
"""

_LOCK = "SELECT id FROM chat_task WHERE id = ANY(%s) ORDER BY id FOR UPDATE"

_LOCK_ONE = "SELECT attempt FROM chat_task WHERE id = %s FOR NO KEY UPDATE"

_LOCK_STRANDED = """
SELECT id FROM chat_task
 WHERE id IN (SELECT leader_id FROM chat_task WHERE status = 'queued' AND leader_id IS NOT NULL)
   AND status NOT IN ('queued', 'running')
 ORDER BY id FOR UPDATE SKIP LOCKED
"""

_LAND = """
UPDATE chat_task f SET status = l.status, attempt = l.attempt,
       last_event = greatest(l.last_event, 1), model_id = l.model_id, text = l.text,
       reasoning = l.reasoning, finish_reason = l.finish_reason, tool_calls = l.tool_calls,
       usage = l.usage, error = l.error, upstream_request_id = l.upstream_request_id,
       finished_at = l.finished_at
  FROM chat_task l
 WHERE l.id = ANY(%s) AND l.status IN ('succeeded', 'failed')
   AND f.leader_id = l.id AND f.status = 'queued'
RETURNING f.id, f.owner_id, l.id, f.status, f.conversation_id, f.text, f.reasoning,
          f.tool_calls::text
"""

_PROMOTE = """
WITH successor AS (
  SELECT DISTINCT ON (f.leader_id) f.id, f.leader_id,
         l.attempt + CASE WHEN l.attempt > 0 THEN 1 ELSE 0 END AS attempt
    FROM chat_task f JOIN chat_task l ON l.id = f.leader_id
   WHERE f.leader_id = ANY(%s) AND f.status = 'queued' AND l.status IN ('cancelled', 'expired')
   ORDER BY f.leader_id, f.lane, f.id)
UPDATE chat_task f
   SET leader_id = CASE WHEN f.id = s.id THEN NULL ELSE s.id END,
       attempt = CASE WHEN f.id = s.id THEN s.attempt ELSE f.attempt END,
       served_from = CASE WHEN f.id = s.id THEN 'provider' ELSE f.served_from END
  FROM successor s
 WHERE f.leader_id = s.leader_id AND f.status = 'queued'
RETURNING f.id, f.owner_id, f.model_id, f.lane, f.weight, s.leader_id, f.id = s.id
"""

_LEAVE = """
UPDATE chat_task SET status = %(status)s, finished_at = now(), last_event = 1,
       attempt = %(attempt)s
 WHERE id = ANY(%(ids)s) AND leader_id = %(leader)s AND status = 'queued'
RETURNING id, owner_id, model_id, attempt, last_event
"""


@dataclass(frozen=True, slots=True)
class Follower:
    """A task that ended with its leader."""

    id: UUID
    owner_id: int


@dataclass(frozen=True, slots=True)
class Successor:
    """A task that takes the place of its leader, to be made ready."""

    id: UUID
    owner_id: int
    model_id: int
    lane: int
    weight: float


@dataclass(slots=True)
class Landing:
    """What became of those who followed a task that has ended."""

    followers: list[Follower] = field(default_factory=list)
    successor: Successor | None = None


# --- Joining ------------------------------------------------------------------------------------
def join(tasks: Sequence[Task]) -> None:
    """Let those that may (`may_follow`) follow a task that is asked the same and has not ended.

    That may be one of `tasks` itself. Belongs into the transaction that is about to insert them.
    Never waits for a leader's row: one that is being ended at this moment has no room any more.
    """
    joining = [task for task in tasks if task.may_follow]
    if not joining:
        return
    keys = sorted({task.flight_key for task in joining})
    # One lock a key: of those who come at the same moment, one leads. In one order, so that two
    # transactions never wait for each other.
    fetch_all(_LOCK_KEYS, [sorted(int(key[:16], 16) - 2**63 for key in keys)])
    leaders: defaultdict[str, list[tuple[UUID, int]]] = defaultdict(list)
    for leader_id, key, lane, status in fetch_all(_LEADERS, [keys]):
        # One that runs suits all. One that waits does so in its lane.
        leaders[key].append((leader_id, -1 if status == Status.RUNNING else lane))
    for task in joining:
        suitable = (pk for pk, lane in leaders[task.flight_key] if lane <= task.lane)
        task.leader_id = next(suitable, None)
        task.served_from = ServedFrom.FLIGHT if task.leader_id else ServedFrom.PROVIDER
        if task.leader_id is None:
            leaders[task.flight_key].append((task.pk, task.lane))


# --- Leaders that end ---------------------------------------------------------------------------
def end(worker_id: UUID, endings: Sequence[Ending]) -> dict[UUID, Landing]:
    """`transitions.end`, and whoever follows those that ended, in one transaction.

    Returns the ids that changed.
    """
    leading = [one.id for one in endings if one.may_lead and one.status is not Status.QUEUED]
    if not leading:
        return {pk: Landing() for pk in transitions.end(worker_id, endings)}
    with transaction.atomic():
        fetch_all(_LOCK, [leading])
        changed = transitions.end(worker_id, endings)
        landings = _land(changed.intersection(leading))
    return {pk: landings.get(pk) or Landing() for pk in changed}


def end_stranded() -> list[Landing]:
    """What `end` and `promote` do, for followers whose leader ended without."""
    with transaction.atomic():
        stranded = [row[0] for row in fetch_all(_LOCK_STRANDED, [])]
        return list(_land(stranded).values()) if stranded else []


def _land(leader_ids: Iterable[UUID]) -> dict[UUID, Landing]:
    """Give followers of ended leaders, whose rows are locked, the same end, or a new leader."""
    ids = list(leader_ids)
    landings: defaultdict[UUID, Landing] = defaultdict(Landing)
    answers = []
    for pk, owner_id, leader_id, status, conversation_id, *said in fetch_all(_LAND, [ids]):
        landings[leader_id].followers.append(Follower(pk, owner_id))
        if conversation_id and status == Status.SUCCEEDED:
            text, reasoning, calls = said
            decoded = msgspec.json.decode(calls)
            answers.append(Answer(conversation_id, pk, text, reasoning, decoded))
    store_answers(answers)
    for leader_id, successor in _promote(ids):
        landings[leader_id].successor = successor
    return dict(landings)


def promote(leader_ids: Sequence[UUID]) -> list[Successor]:
    """Let a follower of each of these, cancelled or expired in this transaction, lead the others.

    The most urgent of them, the oldest first.
    """
    return [successor for _, successor in _promote(leader_ids)]


def _promote(leader_ids: Sequence[UUID]) -> list[tuple[UUID, Successor]]:
    rows = fetch_all(_PROMOTE, [list(leader_ids)]) if leader_ids else []
    return [(leader_id, Successor(*of)) for *of, leader_id, is_successor in rows if is_successor]


def expire(task_ids: Sequence[str] | None = None) -> tuple[list[EndedQueued], list[Successor]]:
    """`transitions.expire`, and whoever follows those that expired, in one transaction."""
    with transaction.atomic():
        expired = transitions.expire(task_ids)
        return expired, promote([one.id for one in expired])


# --- Followers that end alone -------------------------------------------------------------------
def leave(task_ids: Sequence[UUID], status: Status) -> list[EndedQueued]:
    """queued → cancelled or expired, for those of these tasks that follow others."""
    following = Task.objects.filter(pk__in=task_ids, status=Status.QUEUED, leader__isnull=False)
    ended: list[EndedQueued] = []
    # Again where one got another leader meanwhile.
    while leaders := set(following.values_list("leader", flat=True)):
        for leader_id in filter(None, leaders):
            ended += _leave(task_ids, leader_id, status)
    return ended


def _leave(task_ids: Sequence[UUID], leader_id: UUID, status: Status) -> list[EndedQueued]:
    with transaction.atomic():
        # The lock keeps the leader from being started until this is committed: whoever sees its
        # next attempt also sees that this follower has ended.
        (attempt,) = (fetch_all(_LOCK_ONE, [leader_id]) or [(0,)])[0]
        params = {
            "status": status.value,
            "attempt": attempt + 1 if attempt else 0,
            "ids": list(task_ids),
            "leader": leader_id,
        }
        return [EndedQueued(*row) for row in fetch_all(_LEAVE, params)]


def expire_followers() -> list[EndedQueued]:
    """Expire followers whose deadline has passed (1,000 at most), their leader started or not."""
    late = Task.objects.filter(
        status=Status.QUEUED, leader__isnull=False, deadline_at__lte=Now()
    ).order_by("id")
    ids = list(late.values_list("pk", flat=True)[:PAGE])
    return leave(ids, Status.EXPIRED) if ids else []
