"""Flights: tasks that wait for one and the same answer. One of them, the leader, is called.

A follower is a queued row with a `leader`. It is never made ready and never started; it ends with
its leader, or by itself when it is cancelled or its deadline passes. When a leader is cancelled or
expires, one of its followers takes its place.

Row locks order all of this. A transaction that adds a follower holds KEY SHARE on the leader's row,
which starting and requeueing it do not conflict with. A transaction that ends a leader locks the
row FOR UPDATE, and so waits for those that are adding followers; its next statement then sees them.
A leader's row is locked before its followers'.

Readers of a follower are shown its leader's log. An event that comes to a follower alone must have
an id above all that these readers can have seen, so it counts as an attempt after the leader's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models.functions import Now

from aily.database.rows import Row, execute, fetch_column, fetch_rows
from chat.models import transitions
from chat.models.conversations import AssistantTurn, store_assistant_turns
from chat.models.task_states import ServedFrom, Status
from chat.models.tasks import Task
from chat.models.transitions import AttemptResult, EndedWithoutCall

#: Followers whose deadline has passed, expired in one call.
PAGE = 1000

_LOCK_KEYS = "SELECT pg_advisory_xact_lock(key) FROM unnest(%(keys)s::bigint[]) AS key"

_LEADERS = """
SELECT id, flight_key, lane, status FROM chat_task
 WHERE flight_key = ANY(%(flight_keys)s) AND flight_key <> '' AND leader_id IS NULL
   AND status IN ('queued', 'running')
 ORDER BY id FOR KEY SHARE SKIP LOCKED
"""

_LOCK = "SELECT id FROM chat_task WHERE id = ANY(%(task_ids)s) ORDER BY id FOR UPDATE"

_LOCK_LEADER = "SELECT attempt FROM chat_task WHERE id = %(leader_id)s FOR NO KEY UPDATE"

_LOCK_STRANDED = """
SELECT id FROM chat_task
 WHERE id IN (SELECT leader_id FROM chat_task WHERE status = 'queued' AND leader_id IS NOT NULL)
   AND status NOT IN ('queued', 'running', 'calling_tools', 'requires_action')
 ORDER BY id FOR UPDATE SKIP LOCKED
"""

_FINISH_FOLLOWERS = """
UPDATE chat_task f SET status = l.status, attempt = l.attempt,
       last_event = greatest(l.last_event, 1), model_id = l.model_id, text = l.text,
       reasoning = l.reasoning, finish_reason = l.finish_reason, tool_calls = l.tool_calls,
       usage = l.usage, error = l.error, logprobs = l.logprobs,
       upstream_request_id = l.upstream_request_id,
       deployment = l.deployment, finished_at = l.finished_at
  FROM chat_task l
 WHERE l.id = ANY(%(leader_ids)s) AND l.status IN ('succeeded', 'failed')
   AND f.leader_id = l.id AND f.status = 'queued'
RETURNING f.id, f.owner_id, l.id AS leader_id, f.status, f.conversation_id, f.text, f.reasoning,
          f.tool_calls::text
"""

_PROMOTE = """
WITH successor AS (
  SELECT DISTINCT ON (f.leader_id) f.id, f.leader_id,
         l.attempt + CASE WHEN l.attempt > 0 THEN 1 ELSE 0 END AS attempt
    FROM chat_task f JOIN chat_task l ON l.id = f.leader_id
   WHERE f.leader_id = ANY(%(leader_ids)s) AND f.status = 'queued'
     AND l.status IN ('cancelled', 'expired')
   ORDER BY f.leader_id, f.lane, f.id),
changed AS (
  UPDATE chat_task f
     SET leader_id = CASE WHEN f.id = s.id THEN NULL ELSE s.id END,
         attempt = CASE WHEN f.id = s.id THEN s.attempt ELSE f.attempt END,
         served_from = CASE WHEN f.id = s.id THEN 'provider' ELSE f.served_from END
    FROM successor s
   WHERE f.leader_id = s.leader_id AND f.status = 'queued'
  RETURNING f.id, f.owner_id, f.model_id, f.lane, f.weight, f.leader_id,
            s.leader_id AS old_leader_id)
SELECT id, owner_id, model_id, lane, weight, old_leader_id FROM changed WHERE leader_id IS NULL
"""

_LEAVE = """
UPDATE chat_task SET status = %(status)s, finished_at = now(), last_event = 1,
       attempt = %(attempt)s
 WHERE id = ANY(%(task_ids)s) AND leader_id = %(leader_id)s AND status = 'queued'
RETURNING id, owner_id, model_id, attempt, last_event, tools IS NOT NULL AS has_tools
"""


class _Leader(Row, frozen=True):
    id: UUID
    flight_key: str
    lane: int
    status: str


class _EndedFollower(Row, frozen=True):
    id: UUID
    owner_id: int
    leader_id: UUID
    status: str
    conversation_id: UUID | None
    text: str
    reasoning: str
    #: JSON: a list of objects.
    tool_calls: str


class Successor(Row, frozen=True):
    """A follower that has taken the place of its leader; its caller makes it ready."""

    id: UUID
    owner_id: int
    model_id: int
    lane: int
    weight: float
    old_leader_id: UUID


@dataclass(frozen=True, slots=True)
class Follower:
    """A task that ended with its leader."""

    id: UUID
    owner_id: int


@dataclass(slots=True)
class FlightOutcome:
    """What became of the followers of a task that has ended."""

    followers: list[Follower] = field(default_factory=list)
    successor: Successor | None = None


# --- Joining ------------------------------------------------------------------------------------
def join(tasks: Sequence[Task]) -> None:
    """Give each of these tasks that may follow (`may_follow`) a leader, if there is one: a task
    with the same request that has not ended.

    The leader may be one of `tasks` itself. Call it in the transaction that is about to insert
    them. It never waits for a leader's row: a task that is being ended takes no more followers.
    """
    joining = [task for task in tasks if task.may_follow]
    if not joining:
        return
    flight_keys = sorted({task.flight_key for task in joining})
    # One lock for each key: of equal tasks submitted at the same moment, one leads. The locks are
    # taken in one order, so that two transactions never wait for each other.
    lock_keys = sorted(int(flight_key[:16], 16) - 2**63 for flight_key in flight_keys)
    execute(_LOCK_KEYS, {"keys": lock_keys})
    leaders: defaultdict[str, list[tuple[UUID, int]]] = defaultdict(list)
    for leader in fetch_rows(_Leader, _LEADERS, {"flight_keys": flight_keys}):
        # A running task suits followers of all lanes, a queued one those of its lane or later.
        lane = -1 if leader.status == Status.RUNNING else leader.lane
        leaders[leader.flight_key].append((leader.id, lane))
    for task in joining:
        suitable = (pk for pk, lane in leaders[task.flight_key] if lane <= task.lane)
        task.leader_id = next(suitable, None)
        task.served_from = ServedFrom.FLIGHT if task.leader_id else ServedFrom.PROVIDER
        if task.leader_id is None:
            leaders[task.flight_key].append((task.pk, task.lane))


# --- Leaders that end ---------------------------------------------------------------------------
def end(worker_id: UUID, results: Sequence[AttemptResult]) -> dict[UUID, FlightOutcome]:
    """End attempts as `transitions.end` does, and their followers, in one transaction.

    Returns the outcomes of the tasks that changed, by their ids.
    """
    leading = [
        result.id for result in results if result.may_lead and result.status is not Status.QUEUED
    ]
    if not leading:
        return {pk: FlightOutcome() for pk in transitions.end(worker_id, results)}
    with transaction.atomic():
        execute(_LOCK, {"task_ids": leading})
        changed = transitions.end(worker_id, results)
        outcomes = _end_followers(changed.intersection(leading))
    return {pk: outcomes.get(pk) or FlightOutcome() for pk in changed}


def end_stranded() -> list[FlightOutcome]:
    """Do what `end` and `promote` do for followers whose leader has ended without them."""
    with transaction.atomic():
        stranded = fetch_column(UUID, _LOCK_STRANDED)
        return list(_end_followers(stranded).values()) if stranded else []


def _end_followers(leader_ids: Iterable[UUID]) -> dict[UUID, FlightOutcome]:
    """End the followers of ended leaders, whose rows are locked, or give them a new leader."""
    ids = list(leader_ids)
    outcomes: defaultdict[UUID, FlightOutcome] = defaultdict(FlightOutcome)
    turns = []
    for follower in fetch_rows(_EndedFollower, _FINISH_FOLLOWERS, {"leader_ids": ids}):
        outcomes[follower.leader_id].followers.append(Follower(follower.id, follower.owner_id))
        if follower.conversation_id and follower.status == Status.SUCCEEDED:
            tool_calls = msgspec.json.decode(follower.tool_calls)
            turns.append(
                AssistantTurn(
                    follower.conversation_id,
                    follower.id,
                    follower.text,
                    follower.reasoning,
                    tool_calls,
                )
            )
    store_assistant_turns(turns)
    for successor in promote(ids):
        outcomes[successor.old_leader_id].successor = successor
    return dict(outcomes)


def promote(leader_ids: Sequence[UUID]) -> list[Successor]:
    """Make one follower of each task the leader of the others: the oldest of the most urgent lane.
    The tasks were cancelled, or have expired, in this transaction."""
    if not leader_ids:
        return []
    return fetch_rows(Successor, _PROMOTE, {"leader_ids": list(leader_ids)})


def expire(
    task_ids: Sequence[str] | None = None,
) -> tuple[list[EndedWithoutCall], list[Successor]]:
    """Expire tasks as `transitions.expire` does, and promote their followers, in one
    transaction."""
    with transaction.atomic():
        expired = transitions.expire(task_ids)
        return expired, promote([task.id for task in expired])


# --- Followers that end alone -------------------------------------------------------------------
def leave(task_ids: Sequence[UUID], status: Status) -> list[EndedWithoutCall]:
    """queued → cancelled or expired, for those of these tasks that follow others."""
    following = Task.objects.filter(pk__in=task_ids, status=Status.QUEUED, leader__isnull=False)
    ended: list[EndedWithoutCall] = []
    # Repeated for a task that has been given another leader meanwhile.
    while leaders := set(following.values_list("leader", flat=True)):
        for leader_id in filter(None, leaders):
            ended += _leave(task_ids, leader_id, status)
    return ended


def _leave(task_ids: Sequence[UUID], leader_id: UUID, status: Status) -> list[EndedWithoutCall]:
    with transaction.atomic():
        # The lock keeps the leader from being started until this is committed: a reader that sees
        # the leader's next attempt also sees that this follower has ended.
        attempts = fetch_column(int, _LOCK_LEADER, {"leader_id": leader_id})
        attempt = attempts[0] if attempts else 0
        params = {
            "status": status.value,
            "attempt": attempt + 1 if attempt else 0,
            "task_ids": list(task_ids),
            "leader_id": leader_id,
        }
        return fetch_rows(EndedWithoutCall, _LEAVE, params)


def expire_followers() -> list[EndedWithoutCall]:
    """Expire followers whose deadline has passed, `PAGE` at most, whether or not their leader has
    been started."""
    late = Task.objects.filter(
        status=Status.QUEUED, leader__isnull=False, deadline_at__lte=Now()
    ).order_by("id")
    ids = list(late.values_list("pk", flat=True)[:PAGE])
    return leave(ids, Status.EXPIRED) if ids else []
