"""Every change of a task's status: one conditional UPDATE each, for many tasks at a time.

The condition names the status and, where a worker acts, the attempt and the worker. Whoever
changes no row has lost a race and must treat the task as somebody else's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from django.db import transaction
from psycopg.types.json import Jsonb

from aily.database.statements import fetch_all
from chat.models.conversations import Message, touch
from chat.models.tasks import Status
from chat.tool_calls import from_result

#: The error of a task that failed by no fault of the provider's.
INTERNAL = {"code": "internal", "message": "aily itself failed."}
WORKER_LOST = {"code": "worker_lost", "message": "Its worker died too often while running it."}


@dataclass(frozen=True, slots=True)
class StartedTask:
    """What a worker needs to know of a task it has just started."""

    id: UUID
    owner_id: int
    model_id: int
    lane: int
    weight: float
    fallbacks: list[int]
    attempt: int
    failures: int
    #: JSON: a list of messages, and an object.
    messages: str
    params: str
    deadline_at: datetime | None
    flight_key: str
    cache_ttl_seconds: int
    in_conversation: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """How an attempt ended. `status` QUEUED sends the task back for another attempt."""

    id: UUID
    attempt: int
    status: Status
    last_event: int
    text: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    tool_calls: Sequence[Any] = ()
    usage: dict[str, Any] | None = None
    error: dict[str, str] | None = None
    upstream_request_id: str = ""
    first_token_at: datetime | None = None
    not_before: datetime | None = None
    #: Added to the task's failures (1 when the provider is to blame).
    failures: int = 0
    #: True: the next attempt is made by the task's next fallback model.
    falls_back: bool = False
    #: True: there may be others who wait for the same answer (chat/models/flights.py).
    may_lead: bool = False
    #: False: its answer is no message of a conversation.
    in_conversation: bool = True


_START = """
UPDATE chat_task t SET status = 'running', attempt = attempt + 1, worker_id = %(worker)s,
       started_at = now(), first_token_at = NULL, not_before = NULL, last_event = 0,
       text = '', reasoning = '', error = NULL
 WHERE id = ANY(%(ids)s) AND status = 'queued' AND model_id = %(model)s
   AND leader_id IS NULL AND (deadline_at IS NULL OR deadline_at > now())
   AND EXISTS (SELECT FROM chat_worker w WHERE w.id = %(worker)s AND NOT w.is_dead)
RETURNING id, owner_id, model_id, lane, weight, fallbacks, attempt, failures,
          messages::text, params::text, deadline_at, flight_key,
          CASE WHEN flight_key = '' THEN 0 ELSE coalesce(
            (SELECT v.cache_ttl_seconds FROM chat_sceneversion v WHERE v.id = t.scene_version_id), 0
          ) END,
          conversation_id IS NOT NULL
"""

_EXPIRE = """
UPDATE chat_task SET status = 'expired', finished_at = now(), last_event = last_event + 1
 WHERE id IN (SELECT id FROM chat_task
               WHERE status = 'queued' AND deadline_at <= now() AND leader_id IS NULL {only}
               ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING id, owner_id, model_id, attempt, last_event
"""

# IS NOT DISTINCT FROM in place of =: no index may be used for these two. Of how many tasks run the
# statistics tell from before a rush, and a way through all of them would look shorter than by ids.
_END = """
UPDATE chat_task t SET status = v.status, last_event = v.last_event, text = v.text,
       reasoning = v.reasoning, finish_reason = v.finish_reason, tool_calls = v.tool_calls,
       usage = coalesce(v.usage, '{}'), error = v.error,
       upstream_request_id = v.upstream_request_id,
       first_token_at = v.first_token_at, not_before = v.not_before,
       failures = CASE WHEN v.falls_back THEN 0 ELSE t.failures + v.failures END,
       model_id = CASE WHEN v.falls_back THEN t.fallbacks[1] ELSE t.model_id END,
       fallbacks = CASE WHEN v.falls_back THEN t.fallbacks[2:] ELSE t.fallbacks END,
       finished_at = CASE WHEN v.status = 'queued' THEN NULL ELSE now() END
  FROM json_to_recordset(%s)
    AS v(id uuid, attempt int, status text, last_event int, text text, reasoning text,
         finish_reason text, tool_calls jsonb, usage jsonb, error jsonb, upstream_request_id text,
         first_token_at timestamptz, not_before timestamptz, failures int, falls_back bool)
 WHERE t.id = ANY(string_to_array(%s, ' ')::uuid[]) AND t.id = v.id AND t.attempt = v.attempt
   AND t.status IS NOT DISTINCT FROM 'running' AND t.worker_id IS NOT DISTINCT FROM %s
RETURNING t.id, t.conversation_id
"""

_KEEP_PARTIAL = """
UPDATE chat_task SET text = %s, reasoning = %s, last_event = %s, first_token_at = %s
 WHERE id = %s AND attempt = %s AND worker_id = %s AND status = 'cancelled' AND last_event = 0
RETURNING id, conversation_id
"""

_CANCEL_QUEUED = """
UPDATE chat_task SET status = 'cancelled', finished_at = now(), last_event = last_event + 1
 WHERE id IN (SELECT id FROM chat_task
               WHERE id = ANY(%s) AND status = 'queued' AND leader_id IS NULL
               ORDER BY id FOR UPDATE)
RETURNING id, owner_id, model_id, attempt, last_event
"""

_CANCEL_RUNNING = """
UPDATE chat_task SET status = 'cancelled', finished_at = now(), last_event = 0
 WHERE id IN (SELECT id FROM chat_task
               WHERE id = ANY(%s) AND status = 'running' ORDER BY id FOR UPDATE)
RETURNING id, worker_id
"""

_FAIL_QUEUED = """
UPDATE chat_task SET status = 'failed', finished_at = now(), last_event = last_event + 1, error = %s
 WHERE id = ANY(%s) AND status = 'queued' AND leader_id IS NULL
RETURNING id, owner_id, model_id, attempt, last_event
"""

_RECOVER = """
UPDATE chat_task SET crashes = crashes + 1, worker_id = NULL,
       status = CASE WHEN crashes + 1 > %(most)s THEN 'failed' ELSE 'queued' END,
       finished_at = CASE WHEN crashes + 1 > %(most)s THEN now() END,
       error = CASE WHEN crashes + 1 > %(most)s THEN %(error)s END
 WHERE id IN (SELECT t.id FROM chat_task t {whose}
               ORDER BY t.id LIMIT 1000 FOR UPDATE OF t SKIP LOCKED)
RETURNING id, owner_id, model_id, lane, weight, attempt, status, crashes
"""
_RECOVER_OF_DEAD = _RECOVER.format(
    whose="""JOIN chat_worker w ON w.id = t.worker_id
               WHERE t.status = 'running' AND w.is_dead"""
)
_RECOVER_STRANDED = _RECOVER.format(
    whose="""JOIN unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS v(id, attempt)
                 ON v.id = t.id AND v.attempt = t.attempt
               WHERE t.status = 'running' AND t.worker_id = %(worker)s"""
)

# What it passes over, as that may not be called now either, comes after what it has left.
_DIVERT = """
UPDATE chat_task t SET model_id = old.fallback, failures = 0, not_before = NULL,
       fallbacks = t.fallbacks[old.place + 1:] || t.fallbacks[:old.place - 1]
  FROM (SELECT t.id, t.model_id, f.fallback, f.place FROM chat_task t
         CROSS JOIN LATERAL (
           SELECT f.fallback, f.place::int
             FROM unnest(t.fallbacks) WITH ORDINALITY AS f(fallback, place)
             JOIN chat_llmmodel m ON m.id = f.fallback
            WHERE f.fallback <> ALL(%(blocked)s) ORDER BY f.place LIMIT 1) f
         WHERE t.status = 'queued' AND t.leader_id IS NULL AND t.fallbacks <> '{}'
           AND t.model_id = ANY(%(blocked)s)
         ORDER BY t.id LIMIT 1000 FOR UPDATE OF t SKIP LOCKED) old
 WHERE t.id = old.id
RETURNING t.id, t.owner_id, old.model_id, t.model_id, t.lane, t.weight
"""

_HASTEN = """
UPDATE chat_task SET not_before = NULL
 WHERE id IN (SELECT id FROM chat_task
               WHERE status = 'queued' AND not_before > now() AND model_id = ANY(%s)
               ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED)
RETURNING id, model_id, lane, owner_id, weight
"""

_NOTE_LAST_EVENTS = """
UPDATE chat_task t SET last_event = v.last_event + CASE WHEN t.status = 'failed' THEN 1 ELSE 0 END
  FROM unnest(%s::uuid[], %s::int[], %s::int[]) AS v(id, attempt, last_event)
 WHERE t.id = v.id AND t.attempt = v.attempt AND t.status IN ('queued', 'failed')
RETURNING t.id
"""


@dataclass(frozen=True, slots=True)
class EndedQueued:
    """A task that ended while it waited; its terminal event is `attempt-last_event`."""

    id: UUID
    owner_id: int
    model_id: int
    attempt: int
    last_event: int

    @property
    def event_id(self) -> str:
        return f"{self.attempt}-{self.last_event}"


@dataclass(frozen=True, slots=True)
class RecoveredTask:
    """A task that ran without a call, as one of a dead worker does: queued again, or failed after
    too many crashes."""

    id: UUID
    owner_id: int
    model_id: int
    lane: int
    weight: float
    attempt: int
    status: str
    crashes: int


@dataclass(frozen=True, slots=True)
class DivertedTask:
    """A waiting task that went over to its next fallback model."""

    id: UUID
    owner_id: int
    old_model_id: int
    model_id: int
    lane: int
    weight: float


def start(worker_id: UUID, model_id: int, task_ids: Sequence[str]) -> list[StartedTask]:
    """queued → running for those still queued for this model, in time, while the worker is not
    declared dead."""
    rows = fetch_all(_START, {"worker": worker_id, "model": model_id, "ids": list(task_ids)})
    return [StartedTask(*row) for row in rows]


def expire(task_ids: Sequence[str] | None = None) -> list[EndedQueued]:
    """queued → expired where the deadline has passed; of `task_ids`, or any (1,000 at most).

    Not those that follow another task.
    """
    only = "" if task_ids is None else "AND id = ANY(%s)"
    params = [] if task_ids is None else [list(task_ids)]
    return [EndedQueued(*row) for row in fetch_all(_EXPIRE.format(only=only), params)]


def end(worker_id: UUID, endings: Sequence[Ending]) -> set[UUID]:
    """running → the endings' status, with all results, in one transaction.

    Returns the ids that changed; the others had been cancelled or taken over meanwhile.
    """
    # One value: of arrays, psycopg would write every item by itself.
    values = msgspec.json.encode(endings).decode()
    ids = " ".join(str(one.id) for one in endings)
    # One statement is a transaction by itself, and two round trips less.
    stores_answers = any(one.in_conversation for one in endings)
    with transaction.atomic() if stores_answers else nullcontext():
        changed = dict(fetch_all(_END, [values, ids, worker_id]))
        store_answers(
            Answer(conversation_id, one.id, one.text, one.reasoning, one.tool_calls)
            for one in endings
            if one.status is Status.SUCCEEDED and (conversation_id := changed.get(one.id))
        )
    return set(changed)


def keep_partial(worker_id: UUID, ending: Ending) -> bool:
    """Store how far a cancelled task's answer had come. Only its own worker may, and only once."""
    with transaction.atomic():
        rows = fetch_all(
            _KEEP_PARTIAL,
            [
                ending.text,
                ending.reasoning,
                ending.last_event,
                ending.first_token_at,
                ending.id,
                ending.attempt,
                worker_id,
            ],
        )
        store_answers(
            (
                Answer(conversation_id, ending.id, ending.text)
                for _, conversation_id in rows
                if conversation_id
            ),
            to_questions=True,
        )
    return bool(rows)


def cancel_queued(task_ids: Sequence[UUID]) -> list[EndedQueued]:
    """queued → cancelled, for those that follow no other task."""
    return [EndedQueued(*row) for row in fetch_all(_CANCEL_QUEUED, [list(task_ids)])]


def cancel_running(task_ids: Sequence[UUID]) -> list[tuple[UUID, UUID | None]]:
    """running → cancelled. Returns (task id, worker id): that worker stops the call."""
    return [(row[0], row[1]) for row in fetch_all(_CANCEL_RUNNING, [list(task_ids)])]


def recover(most_crashes: int) -> list[RecoveredTask]:
    """Take running tasks from workers declared dead, 1,000 at most."""
    params = {"most": most_crashes, "error": Jsonb(WORKER_LOST)}
    return [RecoveredTask(*row) for row in fetch_all(_RECOVER_OF_DEAD, params)]


def recover_stranded(
    worker_id: UUID, attempts: Sequence[tuple[str, int]], most_crashes: int
) -> list[RecoveredTask]:
    """Take running tasks from a worker that has no call of these attempts, (task id, attempt)."""
    params = {
        "worker": worker_id,
        "ids": [task_id for task_id, _ in attempts],
        "attempts": [attempt for _, attempt in attempts],
        "most": most_crashes,
        "error": Jsonb(INTERNAL),
    }
    return [RecoveredTask(*row) for row in fetch_all(_RECOVER_STRANDED, params)]


def fail_queued(task_ids: Sequence[str]) -> list[EndedQueued]:
    """queued → failed, for tasks that cannot be started."""
    rows = fetch_all(_FAIL_QUEUED, [Jsonb(INTERNAL), list(task_ids)])
    return [EndedQueued(*row) for row in rows]


def divert(model_ids: Collection[int]) -> list[DivertedTask]:
    """Hand queued tasks of these models to their first fallback that is none of them, 1,000 at
    most."""
    return [DivertedTask(*row) for row in fetch_all(_DIVERT, {"blocked": list(model_ids)})]


def hasten(model_ids: Sequence[int]) -> list[tuple[UUID, int, int, int, float]]:
    """Let queued tasks of these models start at once, 10,000 at most: (id, model, lane, owner,
    weight)."""
    return [(*row,) for row in fetch_all(_HASTEN, [list(model_ids)])]


def note_last_events(recovered: Sequence[RecoveredTask], last_events: Sequence[int]) -> None:
    """Store how far the logs of recovered tasks go, so that what ends them finds its place."""
    if recovered:
        ids = [one.id for one in recovered]
        attempts = [one.attempt for one in recovered]
        fetch_all(_NOTE_LAST_EVENTS, [ids, attempts, list(last_events)])


@dataclass(frozen=True, slots=True)
class Answer:
    """What a task adds to its conversation when it ends."""

    conversation_id: UUID
    task_id: UUID
    text: str
    reasoning: str = ""
    #: Flat, as they are in the task's row.
    tool_calls: Sequence[Any] = ()

    def message(self) -> Message:
        return Message(
            conversation_id=self.conversation_id,
            role=Message.Role.ASSISTANT,
            content=self.text,
            # Without tool calls no provider wants it back.
            reasoning=self.reasoning if self.tool_calls else "",
            tool_calls=[from_result(call) for call in self.tool_calls] or None,
            task_id=self.task_id,
        )


def store_answers(given: Iterable[Answer], *, to_questions: bool = False) -> None:
    """Add answers to their conversations; one that says nothing is no message.

    With `to_questions` only those whose question is still there: of a task that was cancelled, it
    may have been asked again meanwhile.
    """
    answers = [answer for answer in given if answer.text.strip() or answer.tool_calls]
    if not answers:
        return
    touch({answer.conversation_id for answer in answers})
    if to_questions:
        asked = Message.objects.filter(task__in=[answer.task_id for answer in answers])
        there = set(asked.values_list("task", flat=True))
        answers = [answer for answer in answers if answer.task_id in there]
    Message.objects.bulk_create([answer.message() for answer in answers])
