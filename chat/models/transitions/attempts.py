"""Attempts: a worker starts tasks, stores how they ended, and is stopped by a cancelling."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import msgspec
from django.db import transaction
from msgspec.structs import replace

from aily.database.rows import Row, execute, fetch_prepared, fetch_rows
from chat.models.conversations import AssistantTurn, store_assistant_turns
from chat.models.responses import TranscriptEntry, add_transcript_entries
from chat.models.task_states import Status
from chat.models.transitions.earlier_attempts import (
    HANDED_BACK,
    INVALID_OUTPUT,
    TOOL_CALLS,
    with_this_attempt,
)
from chat.models.transitions.tool_steps import NewStep, store_steps
from chat.models.vectors import store_vectors
from chat.vectors import Vectors


class StartedTask(Row, frozen=True):
    """A task that a worker has just started: all that it needs to call the provider."""

    id: UUID
    kind: str
    owner_id: int
    model_id: int
    lane: int
    weight: float
    fallbacks: list[int]
    attempt: int
    failures: int
    #: JSON: a list of messages, and an object. The messages are empty if they are large
    #: (LARGE_PROMPT_BYTES), and are loaded by `load_messages`.
    messages: str
    params: str
    prompt_bytes: int
    #: JSON, None where any text will do; and the answer to repair.
    response_format: str | None
    repair: str | None
    #: JSON (chat/models/tool_calls.py), None where it may call no tools of aily's.
    tools: str | None
    deadline_at: datetime | None
    flight_key: str
    cache_ttl_seconds: int
    in_conversation: bool
    #: True: it is a response that keeps how its text was streamed.
    keeps_transcript: bool
    #: The run that it is a row of.
    run_id: UUID | None


class AttemptResult(msgspec.Struct, frozen=True):
    """How an attempt ended. `status` QUEUED sends the task back for another attempt."""

    id: UUID
    attempt: int
    status: Status
    last_event: int
    text: str = ""
    reasoning: str = ""
    finish_reason: str = ""
    tool_calls: Sequence[dict[str, object]] = ()
    usage: dict[str, int] | None = None
    #: The answer that the next attempt is to repair.
    repair: object = None
    error: dict[str, str] | None = None
    upstream_request_id: str = ""
    first_token_at: datetime | None = None
    not_before: datetime | None = None
    #: Added to the task's failures (1 if the provider is to blame).
    failures: int = 0
    #: True: the next attempt is made by the task's next fallback model.
    falls_back: bool = False
    #: True: other tasks may wait for the same answer (chat/models/flights.py).
    may_lead: bool = False
    #: True: its text is JSON that fits the task's schema.
    has_output: bool = False
    #: False: its answer is no message of a conversation.
    in_conversation: bool = True
    #: Of embeddings, which have no text.
    vectors: Vectors | None = None
    #: How its text was streamed, if a response keeps that.
    transcript: TranscriptEntry | None = None
    #: The log probabilities of its tokens as JSON, if they were asked for.
    logprobs: Sequence[msgspec.Raw] = ()
    #: The tool calls that its answer asks for.
    step: NewStep | None = None
    #: True: there is such a step.
    is_step: bool = False


class CancelledCall(Row, frozen=True):
    """A running task that was cancelled; `worker_id` stops its call."""

    id: UUID
    worker_id: UUID | None


class _Messages(Row, frozen=True):
    messages: str


class _EndedTask(Row, frozen=True):
    id: UUID
    conversation_id: UUID | None


#: Larger prompts are not read with the rows of many tasks, but each when there is memory for it.
LARGE_PROMPT_BYTES = 262_144
#: How long an answer is kept for equal rows of a run that shares them.
RUN_SHARED_SECONDS = 21_600

_START = """
UPDATE chat_task t SET status = 'running', attempt = attempt + 1, worker_id = %(worker_id)s,
       started_at = now(), first_token_at = NULL, not_before = NULL, last_event = 0,
       text = '', reasoning = '', error = NULL, deployment = %(deployment)s
 WHERE id = ANY(%(task_ids)s) AND status = 'queued' AND model_id = %(model_id)s
   AND leader_id IS NULL AND (deadline_at IS NULL OR deadline_at > now())
   AND EXISTS (SELECT FROM chat_worker w WHERE w.id = %(worker_id)s AND NOT w.is_dead)
   AND EXISTS (SELECT FROM chat_llmmodel m JOIN chat_provider p ON p.id = %(provider_id)s
                WHERE m.id = %(model_id)s AND m.is_enabled AND p.is_enabled
                  AND m.paused_at IS NULL AND p.paused_at IS NULL
                  AND CASE WHEN %(deployment_id)s::bigint IS NULL
                    THEN m.provider_id = p.id AND m.own_paused_at IS NULL ELSE
                    EXISTS (SELECT FROM chat_deployment d
                             WHERE d.id = %(deployment_id)s AND d.model_id = m.id
                               AND d.provider_id = p.id AND d.paused_at IS NULL) END)
RETURNING id, kind, owner_id, model_id, lane, weight, fallbacks, attempt, failures,
          CASE WHEN prompt_bytes > %(large_prompt_bytes)s THEN '' ELSE messages::text END
            AS messages,
          params::text, prompt_bytes, response_format::text, repair::text, tools::text,
          deadline_at, flight_key,
          CASE WHEN flight_key = '' THEN 0 ELSE greatest(
            (SELECT v.cache_ttl_seconds FROM chat_sceneversion v WHERE v.id = t.scene_version_id),
            (SELECT %(shared_seconds)s::int FROM chat_run r
              WHERE r.id = t.run_id AND r.shares_equal_rows),
            0) END AS cache_ttl_seconds,
          conversation_id IS NOT NULL AS in_conversation,
          EXISTS (SELECT FROM chat_response r WHERE r.task_id = t.id AND r.is_streamed)
            AS keeps_transcript, run_id
"""

_MESSAGES = "SELECT messages::text FROM chat_task WHERE id = %(task_id)s"

# IS NOT DISTINCT FROM in place of =: PostgreSQL uses no index for these two conditions. Its
# statistics of how many tasks run are older than a rush, and an index on the status or the worker
# would then look cheaper than the primary key.
_END_TEMPLATE = """
UPDATE chat_task t SET status = v.status, last_event = v.last_event, text = v.text,
       reasoning = v.reasoning, finish_reason = v.finish_reason, tool_calls = v.tool_calls,
       usage = coalesce(v.usage, CASE WHEN t.tools IS NULL THEN t.repair -> 'usage'
                                      ELSE t.usage END, '{{}}'), error = v.error,
       repair = coalesce(v.repair, t.repair),
       upstream_request_id = v.upstream_request_id,
       first_token_at = v.first_token_at, not_before = v.not_before,
       failures = CASE WHEN v.falls_back OR v.is_step THEN 0 ELSE t.failures + v.failures END,
       crashes = CASE WHEN v.is_step THEN 0 ELSE t.crashes END,
       model_id = CASE WHEN v.falls_back THEN t.fallbacks[1] ELSE t.model_id END,
       fallbacks = CASE WHEN v.falls_back THEN t.fallbacks[2:] ELSE t.fallbacks END,
       finished_at = CASE WHEN v.status = 'queued' OR v.is_step THEN NULL ELSE now() END,
       earlier_attempts = CASE WHEN v.status <> 'queued' AND NOT v.is_step THEN t.earlier_attempts
                               ELSE {with_this_attempt} END
  FROM json_to_recordset(%(results)s)
    AS v(id uuid, attempt int, status text, last_event int, text text, reasoning text,
         finish_reason text, tool_calls jsonb, usage jsonb, error jsonb, repair jsonb,
         upstream_request_id text,
         first_token_at timestamptz, not_before timestamptz, failures int, falls_back bool,
         is_step bool)
 WHERE t.id = ANY(string_to_array(%(task_ids)s, ' ')::uuid[])
   AND t.id = v.id AND t.attempt = v.attempt
   AND t.status IS NOT DISTINCT FROM 'running' AND t.worker_id IS NOT DISTINCT FROM %(worker_id)s
RETURNING t.id, t.conversation_id
"""
_END = _END_TEMPLATE.format(
    with_this_attempt=with_this_attempt(
        "t",
        first_text_at="v.first_token_at",
        outcome=f"coalesce(v.error ->> 'code', CASE WHEN v.is_step THEN '{TOOL_CALLS}'"
        f" WHEN v.repair IS NULL THEN '{HANDED_BACK}' ELSE '{INVALID_OUTPUT}' END)",
    )
)

_STORE_LOGPROBS = "UPDATE chat_task SET logprobs = %(logprobs)s::jsonb WHERE id = %(id)s"

_KEEP_PARTIAL = """
UPDATE chat_task SET text = %(text)s, reasoning = %(reasoning)s, last_event = %(last_event)s,
       first_token_at = %(first_token_at)s
 WHERE id = %(id)s AND attempt = %(attempt)s AND worker_id = %(worker_id)s
   AND status = 'cancelled' AND last_event = 0
RETURNING id, conversation_id
"""

_CANCEL_RUNNING = """
UPDATE chat_task SET status = 'cancelled', finished_at = now(), last_event = 0
 WHERE id IN (SELECT id FROM chat_task
               WHERE id = ANY(%(task_ids)s) AND status = 'running' ORDER BY id FOR UPDATE)
RETURNING id, worker_id
"""


class Route(NamedTuple):
    """Where a call goes: a deployment of a model. `deployment_id` None: the model's own."""

    model_id: int
    provider_id: int
    deployment_id: int | None
    deployment: str


def start(worker_id: UUID, route: Route, task_ids: Sequence[str]) -> list[StartedTask]:
    """queued → running for those still queued for this model, in time, while the worker is not
    declared dead and staff have neither paused nor disabled the model, its deployment, or the
    provider of that."""
    params = {
        "worker_id": worker_id,
        "task_ids": list(task_ids),
        "model_id": route.model_id,
        "provider_id": route.provider_id,
        "deployment_id": route.deployment_id,
        "deployment": route.deployment,
        "shared_seconds": RUN_SHARED_SECONDS,
        "large_prompt_bytes": LARGE_PROMPT_BYTES,
    }
    return fetch_prepared(StartedTask, _START, params)


def load_messages(task_id: UUID) -> str | None:
    """The messages of a task, as JSON; None if it was deleted."""
    rows = fetch_rows(_Messages, _MESSAGES, {"task_id": task_id})
    return rows[0].messages if rows else None


def end(worker_id: UUID, results: Sequence[AttemptResult]) -> set[UUID]:
    """running → the results' status, with all their values, in one transaction.

    Returns the ids that changed; the others had been cancelled or taken over meanwhile.
    """
    vectors = {result.id: result.vectors for result in results if result.vectors is not None}
    params = {
        # One JSON value: psycopg adapts every item of an array by itself.
        "results": msgspec.json.encode(_of_the_row(results)).decode(),
        "task_ids": " ".join(str(result.id) for result in results),
        "worker_id": worker_id,
    }
    # One statement is a transaction by itself, and two round trips less.
    has_more = bool(vectors) or any(
        result.in_conversation or result.transcript or result.is_step or result.logprobs
        for result in results
    )
    with transaction.atomic() if has_more else nullcontext():
        rows = fetch_prepared(_EndedTask, _END, params)
        changed = {row.id: row.conversation_id for row in rows}
        add_transcript_entries(
            (result.id, result.transcript)
            for result in results
            if result.transcript and result.id in changed
        )
        store_assistant_turns(
            AssistantTurn(
                conversation_id, result.id, result.text, result.reasoning, result.tool_calls
            )
            for result in results
            if result.status is Status.SUCCEEDED and (conversation_id := changed.get(result.id))
        )
        store_vectors((pk, found) for pk, found in vectors.items() if pk in changed)
        _store_logprobs(result for result in results if result.logprobs and result.id in changed)
        store_steps(
            (result.id, result.step)
            for result in results
            if result.step is not None and result.id in changed
        )
    return set(changed)


def _store_logprobs(results: Iterable[AttemptResult]) -> None:
    for result in results:
        logprobs = msgspec.json.encode(result.logprobs).decode()
        execute(_STORE_LOGPROBS, {"id": result.id, "logprobs": logprobs})


def _of_the_row(results: Sequence[AttemptResult]) -> Sequence[AttemptResult]:
    """The results as they go into the statement, without what others store."""
    return [
        result
        if result.vectors is None and result.step is None and not result.logprobs
        else replace(result, vectors=None, step=None, logprobs=())
        for result in results
    ]


def keep_partial(worker_id: UUID, result: AttemptResult) -> bool:
    """Store the partial answer of a cancelled task; False if the task is not this worker's, or has
    one already."""
    params = {
        "id": result.id,
        "attempt": result.attempt,
        "worker_id": worker_id,
        "text": result.text,
        "reasoning": result.reasoning,
        "last_event": result.last_event,
        "first_token_at": result.first_token_at,
    }
    with transaction.atomic():
        rows = fetch_rows(_EndedTask, _KEEP_PARTIAL, params)
        turns = [
            AssistantTurn(row.conversation_id, result.id, result.text)
            for row in rows
            if row.conversation_id
        ]
        store_assistant_turns(turns, if_question_exists=True)
        if rows and result.transcript:
            add_transcript_entries([(result.id, result.transcript)])
    return bool(rows)


def cancel_running(task_ids: Sequence[UUID]) -> list[CancelledCall]:
    """running → cancelled."""
    return fetch_rows(CancelledCall, _CANCEL_RUNNING, {"task_ids": list(task_ids)})
