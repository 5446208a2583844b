"""Queued tasks: they end without a call, go over to another model, or may start sooner."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from psycopg.types.json import Jsonb

from aily.database.rows import Row, fetch_rows
from chat.models.transitions.task_errors import INTERNAL, MODEL_DISABLED

#: Tasks that expire or go over to another model in one call.
PAGE = 1_000


class EndedWithoutCall(Row, frozen=True):
    """A task that ended while it was queued; its terminal event is `attempt-last_event`."""

    id: UUID
    owner_id: int
    model_id: int
    attempt: int
    last_event: int
    #: Whether its model may call tools of aily's.
    has_tools: bool

    @property
    def event_id(self) -> str:
        return f"{self.attempt}-{self.last_event}"


class QueuedTask(Row, frozen=True):
    """A queued task, with what its entry in the ready set is made of."""

    id: UUID
    owner_id: int
    model_id: int
    lane: int
    weight: float


class DivertedTask(Row, frozen=True):
    """A queued task that went over to its next fallback model."""

    id: UUID
    owner_id: int
    old_model_id: int
    model_id: int
    lane: int
    weight: float


_EXPIRE = """
UPDATE chat_task SET status = 'expired', finished_at = now(), last_event = last_event + 1
 WHERE id IN (SELECT id FROM chat_task
               WHERE status = 'queued' AND deadline_at <= now() AND leader_id IS NULL {condition}
               ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id, owner_id, model_id, attempt, last_event, tools IS NOT NULL AS has_tools
"""
_EXPIRE_ANY = _EXPIRE.format(condition="")
_EXPIRE_THESE = _EXPIRE.format(condition="AND id = ANY(%(task_ids)s)")

_CANCEL = """
UPDATE chat_task SET status = 'cancelled', finished_at = now(), last_event = last_event + 1
 WHERE id IN (SELECT id FROM chat_task
               WHERE id = ANY(%(task_ids)s) AND status = 'queued' AND leader_id IS NULL
               ORDER BY id FOR UPDATE)
RETURNING id, owner_id, model_id, attempt, last_event, tools IS NOT NULL AS has_tools
"""

_CANCEL_WAITING = """
UPDATE chat_task SET status = 'cancelled', finished_at = now(), last_event = last_event + 1
 WHERE id IN (SELECT id FROM chat_task
               WHERE id = ANY(%(task_ids)s) AND status IN ('calling_tools', 'requires_action')
               ORDER BY id FOR UPDATE)
RETURNING id, owner_id, model_id, attempt, last_event, tools IS NOT NULL AS has_tools
"""

_EXPIRE_WAITING = """
UPDATE chat_task SET status = 'expired', finished_at = now(), last_event = last_event + 1
 WHERE id IN (SELECT id FROM chat_task
               WHERE status IN ('calling_tools', 'requires_action') AND deadline_at <= now()
               ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
RETURNING id, owner_id, model_id, attempt, last_event, tools IS NOT NULL AS has_tools
"""

_FAIL = """
UPDATE chat_task SET status = 'failed', finished_at = now(), last_event = last_event + 1,
       error = %(error)s
 WHERE id = ANY(%(task_ids)s) AND status = 'queued' AND leader_id IS NULL
RETURNING id, owner_id, model_id, attempt, last_event, tools IS NOT NULL AS has_tools
"""

#: Whether a model {m} is offered, as LLMModel.is_offered.
_IS_OFFERED = """({m}.is_enabled AND EXISTS (
  SELECT FROM chat_provider p WHERE p.is_enabled AND (p.id = {m}.provider_id OR p.id IN (
    SELECT d.provider_id FROM chat_deployment d WHERE d.model_id = {m}.id))))"""

# No task ends whose model is enabled again by now. One with an enabled fallback goes over to it.
_FAIL_DISABLED_FORM = """
UPDATE chat_task SET status = 'failed', finished_at = now(), last_event = last_event + 1,
       error = %(error)s
 WHERE id IN (SELECT t.id FROM chat_task t
                JOIN chat_llmmodel m ON m.id = t.model_id
               WHERE t.status = 'queued' AND t.leader_id IS NULL
                 AND NOT {is_offered}
                 AND NOT EXISTS (SELECT FROM chat_llmmodel f
                                  WHERE f.id = ANY(t.fallbacks) AND {is_fallback_offered})
               ORDER BY t.id LIMIT %(limit)s FOR UPDATE OF t SKIP LOCKED)
RETURNING id, owner_id, model_id, attempt, last_event, tools IS NOT NULL AS has_tools
"""
_FAIL_DISABLED = _FAIL_DISABLED_FORM.format(
    is_offered=_IS_OFFERED.format(m="m"), is_fallback_offered=_IS_OFFERED.format(m="f")
)

# The fallbacks that are passed over, as they cannot be called now either, move to the list's end.
_DIVERT = """
UPDATE chat_task t SET model_id = old.fallback, failures = 0, not_before = NULL,
       fallbacks = t.fallbacks[old.place + 1:] || t.fallbacks[:old.place - 1]
  FROM (SELECT t.id, t.model_id, f.fallback, f.place FROM chat_task t
         CROSS JOIN LATERAL (
           SELECT f.fallback, f.place::int
             FROM unnest(t.fallbacks) WITH ORDINALITY AS f(fallback, place)
             JOIN chat_llmmodel m ON m.id = f.fallback
            WHERE f.fallback <> ALL(%(model_ids)s) ORDER BY f.place LIMIT 1) f
         WHERE t.status = 'queued' AND t.leader_id IS NULL AND t.fallbacks <> '{}'
           AND t.model_id = ANY(%(model_ids)s)
         ORDER BY t.id LIMIT %(limit)s FOR UPDATE OF t SKIP LOCKED) old
 WHERE t.id = old.id
RETURNING t.id, t.owner_id, old.model_id AS old_model_id, t.model_id, t.lane, t.weight
"""

_CLEAR_NOT_BEFORE = """
UPDATE chat_task SET not_before = NULL
 WHERE id IN (SELECT id FROM chat_task
               WHERE status = 'queued' AND not_before > now() AND model_id = ANY(%(model_ids)s)
               ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED)
RETURNING id, owner_id, model_id, lane, weight
"""


def expire(task_ids: Sequence[str] | None = None) -> list[EndedWithoutCall]:
    """queued → expired if the deadline has passed: of `task_ids`, or `PAGE` of all tasks.

    Followers do not expire here (chat/models/flights.py).
    """
    if task_ids is None:
        return fetch_rows(EndedWithoutCall, _EXPIRE_ANY, {"limit": PAGE})
    params = {"limit": PAGE, "task_ids": list(task_ids)}
    return fetch_rows(EndedWithoutCall, _EXPIRE_THESE, params)


def cancel_queued(task_ids: Sequence[UUID]) -> list[EndedWithoutCall]:
    """queued → cancelled, except followers."""
    return fetch_rows(EndedWithoutCall, _CANCEL, {"task_ids": list(task_ids)})


def cancel_waiting(task_ids: Sequence[UUID]) -> list[EndedWithoutCall]:
    """calling_tools, requires_action → cancelled."""
    return fetch_rows(EndedWithoutCall, _CANCEL_WAITING, {"task_ids": list(task_ids)})


def expire_waiting() -> list[EndedWithoutCall]:
    """calling_tools, requires_action → expired if the deadline has passed, `PAGE` at most."""
    return fetch_rows(EndedWithoutCall, _EXPIRE_WAITING, {"limit": PAGE})


def fail_queued(task_ids: Sequence[str]) -> list[EndedWithoutCall]:
    """queued → failed, for tasks that cannot be started."""
    params = {"error": Jsonb(INTERNAL), "task_ids": list(task_ids)}
    return fetch_rows(EndedWithoutCall, _FAIL, params)


def fail_disabled() -> list[EndedWithoutCall]:
    """queued → failed for tasks whose model is offered no more, as it or all of its providers are
    disabled, and that have no fallback which is; `PAGE` at most."""
    return fetch_rows(
        EndedWithoutCall, _FAIL_DISABLED, {"error": Jsonb(MODEL_DISABLED), "limit": PAGE}
    )


def divert(model_ids: Collection[int]) -> list[DivertedTask]:
    """Hand queued tasks of these models to their first fallback that is not among them, `PAGE` at
    most."""
    return fetch_rows(DivertedTask, _DIVERT, {"model_ids": list(model_ids), "limit": PAGE})


def clear_not_before(model_ids: Sequence[int]) -> list[QueuedTask]:
    """Let tasks of these models that wait for their next attempt start now, 10,000 at most."""
    return fetch_rows(QueuedTask, _CLEAR_NOT_BEFORE, {"model_ids": list(model_ids)})
