"""The tool loop of a task: its steps, and the tool calls of each.

A step is an answer of the model that asks for tool calls. It is stored in the transaction that ends
the attempt which gave it, before any of its calls is made. Once all of them have ended, the task is
queued for its next attempt, whose prompt has the results.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import msgspec
from django.conf import settings
from django.db import models
from django.db.models import Q

from aily.database.json_fields import OrderedJSONField
from chat.models.ids import uuid7
from chat.models.tasks import Task

#: The id and the name of a call as the model wrote them; the rest of longer ones is cut off.
CALL_ID_CHARS, NAME_CHARS = 200, 128
REASON_CHARS = 1_000


class ToolOptions(msgspec.Struct, frozen=True):
    """`Task.tools`: the tools that a task's model may call, by name, and the limits of its loop."""

    names: list[str]
    max_steps: int
    #: Of the model's and the tools' time together; the time of waiting for people is not counted.
    max_seconds: float
    #: Of the model's and the tools' prices together, in each currency; None: no limit.
    max_cost: float | None = None
    #: Of one result, as the model is sent it; None (of earlier releases): the setting's.
    max_result_bytes: int | None = None
    #: Tools whose calls wait for the user whatever their policy says.
    asks: list[str] = []
    #: Calls of all steps together; None: no limit.
    max_calls: int | None = None


class CallState(models.TextChoices):
    """requires_action → queued → running → an end; automatic ones begin as queued.

    UNKNOWN: its worker died in the middle of it, and it may not be made twice.
    """

    REQUIRES_ACTION = "requires_action"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        return self not in OPEN_CALLS


class InputQuestion(msgspec.Struct, frozen=True):
    """What a tool asks the user in the middle of its call, and the answer once there is one.

    `fields` has, by the name of each field of the flat `schema`, its request's key and its name
    there; `keys` has those of all requests that the server has made at once.
    """

    message: str
    schema: dict[str, Any]
    keys: list[str]
    fields: dict[str, tuple[str, str]]
    deadline: datetime
    #: n of its events; 0: there is none.
    asked_event: int = 0
    answered_event: int = 0
    #: accept or decline; empty: not answered.
    action: str = ""
    content: dict[str, Any] = {}
    reason: str = ""

    def responses(self) -> dict[str, dict[str, Any]]:
        """What the server is sent in answer to each of its requests."""
        if self.action != "accept":
            return {key: {"action": self.action} for key in self.keys}
        contents: dict[str, dict[str, Any]] = {key: {} for key in self.keys}
        for name, value in self.content.items():
            key, field = self.fields[name]
            contents[key][field] = value
        return {key: {"action": "accept", "content": content} for key, content in contents.items()}


OPEN_CALLS = (CallState.REQUIRES_ACTION, CallState.QUEUED, CallState.RUNNING)


class ToolStep(models.Model):
    """An answer of the model that asks for tool calls."""

    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        db_index=False,  # one_step_a_number begins with it
        related_name="tool_steps",
    )
    number = models.PositiveSmallIntegerField()
    attempt = models.PositiveIntegerField(help_text="The task's attempt that gave the answer.")
    text = models.TextField(blank=True)
    reasoning = models.TextField(blank=True)
    usage = models.JSONField(default=dict)
    model_seconds = models.FloatField(help_text="How long the model took.")
    created_at = models.DateTimeField()
    needs_announcing = models.BooleanField(
        default=False, help_text="Its user is still to be sent webhooks and mail."
    )

    objects: ClassVar[models.Manager[ToolStep]] = models.Manager()

    class Meta:
        ordering = ("task", "number")
        constraints = [models.UniqueConstraint(fields=["task", "number"], name="one_step_a_number")]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(needs_announcing=True), name="toolstep_unannounced"
            )
        ]

    def __str__(self) -> str:
        return f"step {self.number} of {self.task_id}"


class ToolCall(models.Model):
    """A tool call that the model asks for. Every change of `state` is one conditional UPDATE under
    the lock of the task's row (chat/models/transitions/tool_steps)."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="own_tool_calls")
    step = models.PositiveSmallIntegerField(help_text="The number of its step.")
    place = models.PositiveSmallIntegerField(help_text="Its place among the calls of the step.")
    call_id = models.CharField(max_length=CALL_ID_CHARS, help_text="The model's own id.")
    name = models.CharField(max_length=NAME_CHARS, help_text="The function's, as models know it.")
    # No foreign key: a call outlives its tool.
    tool_id = models.BigIntegerField(null=True, help_text="None: there is no such tool.")
    server = models.CharField(max_length=50, blank=True)
    arguments = models.TextField(help_text="JSON, as the model wrote it.")
    edited_arguments = models.TextField(  # noqa: DJ001 - empty is no JSON
        null=True, help_text="JSON, as its user changed it when approving it."
    )
    questions = OrderedJSONField(
        null=True, help_text="What the tool has asked its user in the middle of the call."
    )
    request_state = models.TextField(  # noqa: DJ001 - an empty one is one
        null=True, help_text="The tool's own, to be sent back with the answer."
    )
    is_idempotent = models.BooleanField(help_text="It may be made again after a worker's death.")
    price = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    currency = models.CharField(max_length=3, blank=True)

    state = models.CharField(max_length=15, choices=CallState.choices)
    worker_id = models.UUIDField(null=True, help_text="The worker that makes it.")
    runs = models.PositiveSmallIntegerField(default=0, help_text="How often it was begun.")
    expires_at = models.DateTimeField(null=True, help_text="Until when its user may approve it.")
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.SET_NULL,
        db_index=False,
        related_name="+",
    )
    reason = models.CharField(max_length=REASON_CHARS, blank=True, help_text="Why it was rejected.")
    text = models.TextField(blank=True, help_text="The result, as the model is sent it.")
    is_error = models.BooleanField(default=False)
    error_code = models.CharField(max_length=40, blank=True)
    result_bytes = models.PositiveBigIntegerField(default=0, help_text="Before it was cut.")
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    # n of its events in the log of the step's attempt; 0: there is none.
    called_event = models.PositiveIntegerField(default=0)
    asked_event = models.PositiveIntegerField(default=0)
    decided_event = models.PositiveIntegerField(default=0)
    result_event = models.PositiveIntegerField(default=0)
    attempt = models.PositiveIntegerField(help_text="The attempt of its step.")

    objects: ClassVar[models.Manager[ToolCall]] = models.Manager()

    class Meta:
        ordering = ("task", "step", "place")
        indexes = [
            models.Index(fields=["id"], condition=Q(state="queued"), name="toolcall_queued"),
            models.Index(
                fields=["worker_id"], condition=Q(state="running"), name="toolcall_running"
            ),
            models.Index(
                fields=["expires_at"],
                condition=Q(state="requires_action"),
                name="toolcall_requires_action",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.task_id}"

    @property
    def sent_arguments(self) -> str:
        """The arguments that the tool is called with."""
        return self.arguments if self.edited_arguments is None else self.edited_arguments

    @property
    def open_question(self) -> InputQuestion | None:
        """The question that the tool waits for; None if the call waits for approval or nobody."""
        if self.state != CallState.REQUIRES_ACTION or not self.questions:
            return None
        return msgspec.convert(self.questions[-1], InputQuestion)
