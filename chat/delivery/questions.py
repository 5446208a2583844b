"""Webhooks and mails that ask users to approve tool calls."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import transaction
from django.db.models import Count
from django.utils import timezone

from aily.database.rows import fetch_column
from chat.delivery.filters import Wants
from chat.models import Delivery, NotificationPreferences, WebhookEndpoint
from chat.models.delivery import ACTION_EVENT
from chat.models.ended import EndedTask
from chat.models.metadata import LABELS

#: Steps announced in one transaction.
PAGE = 200
#: Calls that one message names, and characters of the arguments of each.
MAX_CALLS, MAX_CHARS = 8, 1_500
#: Of a webhook's data: its body has at most 20,000 bytes. What is longer is shortened to this.
_MAX_DATA_BYTES, _SHORT_CHARS = 19_000, 200

_ARE_THERE = "SELECT EXISTS (SELECT FROM chat_toolstep WHERE needs_announcing)"
_TAKE = f"""
WITH taken AS (
  UPDATE chat_toolstep SET needs_announcing = false
   WHERE id IN (SELECT id FROM chat_toolstep WHERE needs_announcing
                 ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
  RETURNING id, task_id, number)
SELECT coalesce(json_agg(question), '[]')::text FROM (
  SELECT taken.id AS step_id, s.slug AS scene, m.name AS model, chat_task.metadata,
         json_build_object(
           'id', chat_task.id, 'owner_id', owner_id, 'api_key_id', api_key_id,
           'model_id', model_id, 'scene_id', scene_id, 'webhook_id', webhook_id,
           'run_id', run_id, 'status', status, 'usage', '{{}}'::json,
           'created_at', chat_task.created_at, 'started_at', started_at, 'finished_at', now(),
           'labels', {LABELS}) AS task,
         (SELECT json_agg(json_build_object(
                   'call_id', c.id, 'tool', c.name, 'server', c.server,
                   'arguments', left(c.arguments, %(chars)s), 'deadline', c.expires_at,
                   'kind', CASE WHEN c.questions IS NULL THEN 'approval' ELSE 'input' END,
                   'message', left(coalesce(c.questions -> -1 ->> 'message', ''), %(chars)s))
                 ORDER BY c.place)
            FROM chat_toolcall c
           WHERE c.task_id = chat_task.id AND c.step = taken.number
             AND c.state = 'requires_action') AS calls,
         (SELECT coalesce(sum(json_array_length(c.questions)), 0) FROM chat_toolcall c
           WHERE c.task_id = chat_task.id AND c.step = taken.number) AS asked
    FROM taken JOIN chat_task ON chat_task.id = taken.task_id
    JOIN chat_llmmodel m ON m.id = chat_task.model_id
    LEFT JOIN chat_scene s ON s.id = chat_task.scene_id
   WHERE chat_task.status = 'requires_action') question
"""  # noqa: S608 - an expression of ours


class _Call(msgspec.Struct, frozen=True):
    call_id: UUID
    tool: str
    server: str
    #: The beginning of the JSON.
    arguments: str
    deadline: datetime
    #: approval, or input: what the tool asks is in `message`.
    kind: str
    message: str


class _Question(msgspec.Struct, frozen=True):
    """A step with a question for its user."""

    step_id: int
    scene: str | None
    model: str
    metadata: dict[str, object]
    task: EndedTask
    #: Those that wait; None: they were all decided meanwhile.
    calls: list[_Call] | None
    #: Questions that the tools of the step have asked so far.
    asked: int

    @property
    def key(self) -> str:
        """A key of this announcement: the tools of one step may ask several times."""
        return f"{self.step_id}.{self.asked}" if self.asked else str(self.step_id)

    def data(self) -> dict[str, object]:
        """`data` of the webhook."""
        calls = [msgspec.to_builtins(call) for call in (self.calls or [])[:MAX_CALLS]]
        data: dict[str, object] = {
            "task_id": str(self.task.id),
            "status": self.task.status,
            "metadata": self.metadata,
            "scene": self.scene,
            "model": self.model,
            "tool_calls": calls,
            "is_truncated": len(calls) < len(self.calls or ())
            or any(
                max(len(call["arguments"]), len(call["message"])) >= MAX_CHARS for call in calls
            ),
        }
        if len(msgspec.json.encode(data)) <= _MAX_DATA_BYTES:
            return data
        shortened = [
            {**call, **{name: call[name][:_SHORT_CHARS] for name in ("arguments", "message")}}
            for call in calls
        ]
        return {**data, "metadata": None, "tool_calls": shortened, "is_truncated": True}

    def mail_data(self) -> dict[str, object]:
        calls = (self.calls or [])[:MAX_CALLS]
        return {
            "task_id": str(self.task.id),
            "scene": self.scene or "",
            "calls": [
                {"tool": call.tool, "arguments": call.arguments, "message": call.message}
                for call in calls
            ],
            "deadline": min(call.deadline for call in calls).isoformat(),
        }


_decoder = msgspec.json.Decoder(list[_Question])


def has_questions() -> bool:
    """Whether there is a step to be announced."""
    [found] = fetch_column(bool, _ARE_THERE)
    return found


@transaction.atomic
def announce_questions() -> tuple[list[UUID], int]:
    """Insert the webhooks and mails of steps that wait for their users, each step's once.

    Returns the tasks, and how many deliveries were made.
    """
    [taken] = fetch_column(str, _TAKE, {"limit": PAGE, "chars": MAX_CHARS})
    questions = [question for question in _decoder.decode(taken) if question.calls]
    if not questions:
        return [], 0
    deliveries = [*_webhooks(questions), *_mails(questions)]
    Delivery.objects.bulk_create(deliveries, ignore_conflicts=True)
    return [question.task.id for question in questions], len(deliveries)


def _webhooks(questions: Sequence[_Question]) -> list[Delivery]:
    owners = {question.task.owner_id for question in questions}
    active = WebhookEndpoint.objects.filter(owner__in=owners, owner__is_active=True, is_active=True)
    endpoints: defaultdict[int, list[WebhookEndpoint]] = defaultdict(list)
    for endpoint in active:
        endpoints[endpoint.owner_id].append(endpoint)
    wants = Wants.of_endpoints(active)
    return [
        _delivery(
            question,
            Delivery.Kind.WEBHOOK,
            question.data(),
            endpoint=endpoint,
            key=f"{ACTION_EVENT}:{question.key}:{endpoint.pk}",
        )
        for question in questions
        for endpoint in endpoints[question.task.owner_id]
        if wants.event(endpoint, question.task, ACTION_EVENT)
    ]


def _mails(questions: Sequence[_Question]) -> list[Delivery]:
    """For those who want them, EMAIL_MAX_PER_HOUR at most: what is beyond is in the web app."""
    wanting = set(
        NotificationPreferences.objects.filter(
            user__in={question.task.owner_id for question in questions},
            user__is_active=True,
            email_on_requires_action=True,
        )
        .exclude(user__email="")
        .values_list("pk", flat=True)
    )
    made = _mails_of_last_hour(wanting) if wanting else Counter()
    mails = []
    for question in questions:
        owner_id = question.task.owner_id
        if owner_id in wanting and made[owner_id] < settings.EMAIL_MAX_PER_HOUR:
            made[owner_id] += 1
            key = f"{ACTION_EVENT}:{question.key}"
            mails.append(_delivery(question, Delivery.Kind.EMAIL, question.mail_data(), key=key))
    return mails


def _mails_of_last_hour(owners: set[int]) -> Counter[int]:
    recent = Delivery.objects.filter(
        kind=Delivery.Kind.EMAIL,
        event=ACTION_EVENT,
        owner__in=owners,
        created_at__gte=timezone.now() - timedelta(hours=1),
    )
    return Counter(dict(recent.order_by().values_list("owner").annotate(Count("pk"))))


def _delivery(
    question: _Question,
    kind: Delivery.Kind,
    data: Mapping[str, object],
    *,
    key: str,
    endpoint: WebhookEndpoint | None = None,
) -> Delivery:
    return Delivery(
        owner_id=question.task.owner_id,
        kind=kind,
        endpoint=endpoint,
        event=ACTION_EVENT,
        data=dict(data),
        key=key,
        next_attempt_at=timezone.now(),
    )
