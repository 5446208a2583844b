"""The task: one durable row from acceptance to its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q
from msgspec import UNSET

from aily.database.json_fields import OrderedJSONField
from chat.events import (
    Event,
    TaskCancelled,
    TaskCompleted,
    TaskExpired,
    TaskFailed,
    WaitingFor,
)
from chat.models.conversations import Conversation, UserTurn
from chat.models.ids import tagged_id
from chat.models.kinds import TaskKind
from chat.models.llm_models import LLMModel
from chat.models.scenes import Scene, SceneVersion
from chat.models.task_states import (
    ACTIVE,
    FINISH_REASON_CHARS,
    WAITING,
    Lane,
    ServedFrom,
    Status,
    is_held_to_schema,
)
from chat.models.workers import Worker
from chat.vectors import Vectors

if TYPE_CHECKING:
    from chat.models.responses import StoredResponse
    from chat.models.tool_calls import ToolCall


def value_of(text: str) -> Any:
    """The value of a JSON text; None if it is none, as a worker of before may have stored it while
    this version was deployed."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None


class TaskQuerySet(models.QuerySet["Task"]):
    def owned_by(self, user_id: int) -> TaskQuerySet:
        return self.filter(owner_id=user_id)

    def active(self) -> TaskQuerySet:
        return self.filter(status__in=ACTIVE)

    def with_metadata(self, condition: Q) -> TaskQuerySet:
        """Tasks whose metadata fits the condition, which those without any never do.

        The index has settled tasks alone. Each of these three parts has an index, and every task is
        in one of them.
        """
        return self.filter(
            condition,
            Q(needs_settling=False) & ~Q(metadata={})
            | Q(status__in=ACTIVE)
            | Q(needs_settling=True) & ~Q(status__in=ACTIVE),
        )


class Task(models.Model):
    """Every change of `status` is one conditional UPDATE (chat/models/transitions/).

    Such a change writes to every index. So a foreign key has no index of its own if a declared one
    begins with it, or if only the deletion of the row that it refers to would use one: the deletion
    reads the whole table instead.
    """

    id = models.UUIDField(primary_key=True, default=tagged_id, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="tasks"
    )
    api_key = models.ForeignKey(
        "accounts.APIKey",
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,  # keys are revoked, and hardly ever deleted
        related_name="+",
        help_text="What it was submitted with; none: a session.",
    )
    scene = models.ForeignKey(
        Scene, null=True, on_delete=models.SET_NULL, db_index=False, related_name="tasks"
    )
    scene_version = models.ForeignKey(
        SceneVersion, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    conversation = models.ForeignKey(
        Conversation, null=True, on_delete=models.CASCADE, db_index=False, related_name="tasks"
    )
    model = models.ForeignKey(
        LLMModel, on_delete=models.PROTECT, db_index=False, related_name="tasks"
    )
    fallbacks = ArrayField(
        models.BigIntegerField(),
        default=list,
        help_text="Models that take over, in this order, when the provider fails.",
    )
    weight = models.FloatField(default=1, help_text="The owner's, when it was accepted.")
    lane = models.PositiveSmallIntegerField(choices=Lane.choices, default=Lane.INTERACTIVE)
    kind = models.CharField(
        max_length=10, choices=TaskKind.choices, default=TaskKind.CHAT, db_default=TaskKind.CHAT
    )
    # Of embeddings none: their input is one of the parameters, as in the provider's request.
    messages = models.JSONField(help_text="The rendered prompt, as sent to the provider.")
    prompt_bytes = models.PositiveIntegerField(
        default=0, db_default=0, help_text="Of its messages as JSON; 0: not counted."
    )
    history_from = models.UUIDField(
        null=True,
        help_text="The first message of the conversation that was sent, where older ones were not.",
    )
    params = models.JSONField(default=dict)
    # Also among `params`, which lose its order: models write properties in that of the schema.
    response_format = OrderedJSONField(
        null=True, help_text="The JSON Schema that the answer must fit, as OpenAI writes it."
    )
    tools = models.JSONField(
        null=True,
        help_text="The tools of aily's that its model may call, and the limits of that "
        "(chat/models/tool_calls.py); none: no tools.",
    )
    metadata = models.JSONField(default=dict, help_text="The caller's own; never sent on.")
    # What is deleted of it is not looked for here: that would read the whole table.
    webhook = models.ForeignKey(
        "chat.WebhookEndpoint",
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="+",
        help_text="The endpoint that the request named. It may be deleted since.",
    )
    # No foreign key: a run is deleted in pieces, and its tasks when their time has come.
    run_id = models.UUIDField(
        null=True, help_text="The run it is a row of, whose end is announced in place of its own."
    )
    idempotency_key = models.CharField(max_length=255, null=True)  # noqa: DJ001 - NULL is not unique
    request_digest = models.CharField(max_length=64, blank=True)

    # The next three: see chat/models/flights.py.
    flight_key = models.CharField(
        max_length=64,
        blank=True,
        help_text="Digest of the request, where its scene lets equal requests share an answer.",
    )
    leader = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="followers",
        help_text="The task whose call answers this one as well.",
    )
    served_from = models.CharField(
        max_length=8, choices=ServedFrom.choices, default=ServedFrom.PROVIDER
    )

    status = models.CharField(max_length=15, choices=Status.choices, default=Status.QUEUED)
    attempt = models.PositiveIntegerField(default=0, help_text="How often it was started.")
    failures = models.PositiveSmallIntegerField(
        default=0, help_text="Attempts that ended in an error of the provider."
    )
    crashes = models.PositiveSmallIntegerField(
        default=0, help_text="Attempts that ended with their worker."
    )
    worker = models.ForeignKey(
        Worker, null=True, on_delete=models.SET_NULL, db_index=False, related_name="tasks"
    )
    not_before = models.DateTimeField(null=True, help_text="When the next attempt may start.")
    deadline_at = models.DateTimeField(null=True)
    last_event = models.PositiveIntegerField(
        default=0, help_text="n of the attempt's last event, once that is known."
    )

    needs_settling = models.BooleanField(
        default=False,
        help_text="Its end is still to be entered in the ledger, and to be delivered.",
    )

    text = models.TextField(blank=True)
    reasoning = models.TextField(blank=True)
    finish_reason = models.CharField(max_length=FINISH_REASON_CHARS, blank=True)
    tool_calls = models.JSONField(default=list)
    # Megabytes of them at most: lists do not read them.
    logprobs = models.JSONField(
        null=True, help_text="The log probabilities of its tokens, if the request asked for them."
    )
    usage = models.JSONField(default=dict)
    repair = models.JSONField(
        null=True,
        help_text="The first answer where it did not fit its JSON Schema, which another attempt "
        "was asked to repair: its text, what was wrong, its usage, its attempt.",
    )
    error = models.JSONField(null=True)
    upstream_request_id = models.CharField(max_length=200, blank=True)
    deployment = models.CharField(
        max_length=50,
        blank=True,
        default="",
        db_default="",
        help_text="The deployment of its model that its last attempt called.",
    )

    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(
        null=True, help_text="When its last attempt began; none: it has had no call of its own."
    )
    first_token_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # Written by chat/models/transitions/earlier_attempts.py; none: it has had one attempt at most.
    earlier_attempts = models.JSONField(
        null=True, help_text="Times and outcomes of the attempts before the last one."
    )

    objects: ClassVar = TaskQuerySet.as_manager()

    #: Place in the ready set, set by code that looks it up. Not columns.
    position: int | None = None
    eta_seconds: float | None = None
    waiting_for: WaitingFor | None = None
    #: The user's turn in its conversation. Not a column.
    user_turn: UserTurn | None = None
    #: The vectors that answer it, set by code that reads them. Not a column.
    loaded_vectors: Vectors | None = None
    #: Its tool calls, set by code that reads them. Not a column.
    loaded_tool_calls: Sequence[ToolCall] = ()
    #: Whether it may share a call with equal requests. Not a column.
    may_follow: bool = False
    #: Whether it may share a call with equal requests of its owner alone. Not a column.
    shares_with_owner: bool = False
    #: The response that is inserted with it. Not a column.
    new_response: StoredResponse | None = None

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "idempotency_key"],
                condition=Q(idempotency_key__isnull=False),
                name="unique_owner_idempotency_key",
            ),
            # With tasks without a conversation it would list all active tasks, and the planner
            # would take it for a short list if there were few at the last ANALYZE.
            models.UniqueConstraint(
                fields=["conversation"],
                condition=Q(conversation__isnull=False, status__in=ACTIVE),
                name="one_active_task_a_conversation",
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-id"], name="task_owner_recent"),
            models.Index(fields=["owner", "status", "-id"], name="task_owner_status"),
            models.Index(fields=["scene", "-id"], name="task_scene_recent"),
            models.Index(
                fields=["conversation"],
                condition=Q(conversation__isnull=False),
                name="task_conversation",
            ),
            models.Index(fields=["id"], condition=Q(status="queued"), name="task_queued"),
            models.Index(fields=["worker"], condition=Q(status="running"), name="task_running"),
            # For staff. Small, as tasks that succeed are not in it.
            models.Index(
                fields=["id"],
                condition=Q(status__in=["failed", "cancelled", "expired"]),
                name="task_unanswered",
            ),
            models.Index(
                fields=["id"],
                condition=Q(needs_settling=True) & ~Q(status__in=["queued", "running"]),
                name="task_unsettled",
            ),
            models.Index(
                fields=["deadline_at"],
                condition=Q(status__in=["queued", "running"], deadline_at__isnull=False),
                name="task_deadline",
            ),
            models.Index(
                fields=["deadline_at"], condition=Q(status__in=WAITING), name="task_waiting"
            ),
            models.Index(
                fields=["flight_key"],
                condition=~Q(flight_key="") & Q(leader=None, status__in=["queued", "running"]),
                name="task_flight",
            ),
            models.Index(fields=["leader"], condition=~Q(leader=None), name="task_follower"),
            # Written once a task, when it is settled, and never for one without metadata.
            GinIndex(
                fields=["metadata"],
                opclasses=["jsonb_path_ops"],
                condition=Q(needs_settling=False) & ~Q(metadata={}),
                name="task_metadata",
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)

    def result(self) -> dict[str, Any]:
        """The answer, complete or partial; vectors only if they were loaded."""
        if self.kind == TaskKind.EMBEDDINGS:
            vectors = self.loaded_vectors
            return {
                "dimensions": vectors.dimensions if vectors else None,
                "embeddings": vectors.in_base64() if vectors else None,
            }
        result = {
            "text": self.text,
            "reasoning": self.reasoning,
            "finish_reason": self.finish_reason or None,
            "tool_calls": self.tool_calls,
        }
        if self.logprobs is not None:
            result["logprobs"] = self.logprobs
        if self.has_output:
            result["output"] = value_of(self.text)
        return result

    @property
    def has_output(self) -> bool:
        """Whether its text is JSON that fits the schema that was asked for."""
        return (
            self.response_format is not None
            and self.status == Status.SUCCEEDED
            and is_held_to_schema(self.finish_reason, self.tool_calls)
        )

    def terminal_event(self, event_id: str) -> Event:
        """The terminal event of a task that has ended."""
        task_id = str(self.pk)
        match self.status:
            case Status.SUCCEEDED:
                return TaskCompleted(
                    task_id=task_id,
                    id=event_id,
                    result=self.result(),
                    usage=self.usage,
                    served_from=self.served_from,
                    is_truncated=UNSET if self.kind == TaskKind.CHAT else True,
                )
            case Status.FAILED:
                return TaskFailed(task_id=task_id, id=event_id, error=self.error or {})
            case Status.CANCELLED:
                return TaskCancelled(task_id=task_id, id=event_id)
            case _:
                return TaskExpired(task_id=task_id, id=event_id)
