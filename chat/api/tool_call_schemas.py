"""REST schemas of a task's tool calls."""

# Annotations stay objects here: ninja looks them up.

from collections.abc import Collection
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from ninja import Schema
from pydantic import Field

from aily.rest.openapi import example
from chat.models.tool_calls import ToolCall

#: Of a task, the last ones are shown in it; of each so many characters of arguments and result.
MAX_SHOWN_CALLS, MAX_SHOWN_CHARS = 200, 4_000


class ToolCallOut(Schema):
    """A call of one of aily's tools that the task's model has asked for."""

    model_config = example(
        call_id="0198c0de-9c33-7000-8000-0123456789ab",
        step=1,
        tool="calculate",
        server="demo",
        state="succeeded",
        arguments='{"expression": "2 + 3"}',
        edited_arguments=None,
        input=None,
        deadline=None,
        decided_at=None,
        reason="",
        text="5",
        is_error=False,
        error_code="",
        result_bytes=1,
        is_truncated=False,
        started_at="2026-11-29T15:00:00Z",
        finished_at="2026-11-29T15:00:01Z",
        duration_seconds=1.0,
    )

    call_id: UUID = Field(alias="pk")
    step: int = Field(description="Of its task's loop; the calls of a step are made at once.")
    tool: str = Field(alias="name", description="As the model calls it.")
    server: str = Field(description="Empty: there is no such tool.")
    state: Literal[
        "requires_action",
        "queued",
        "running",
        "succeeded",
        "failed",
        "rejected",
        "unknown",
        "cancelled",
    ] = Field(
        description="unknown: the connection was lost in the middle of it; it may have had its "
        "effect, and is not made again."
    )
    arguments: str = Field(description="JSON as the model wrote it.")
    edited_arguments: str | None = Field(
        description="JSON with which its user approved it in place of the model's."
    )
    input: dict[str, Any] | None = Field(
        description="What its tool asks while it waits for the answer, else null: `question`, "
        "which counts from 1, `message`, and `schema`, the JSON Schema of a flat object."
    )
    deadline: datetime | None = Field(
        alias="expires_at", description="Until when it may be approved; null: it needs none."
    )
    decided_at: datetime | None
    reason: str = Field(description="Why it was rejected.")
    text: str = Field(description="The result, as the model is sent it.")
    is_error: bool
    error_code: str
    result_bytes: int
    is_truncated: bool = Field(description="Arguments or result are cut here; the call has all.")
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None

    @staticmethod
    def resolve_input(call: ToolCall) -> dict[str, Any] | None:
        if (question := call.open_question) is None:
            return None
        shown = {"message": question.message, "schema": question.schema}
        return {"question": len(call.questions), **shown}

    @staticmethod
    def resolve_is_truncated(call: ToolCall) -> bool:
        return bool(vars(call).get("is_cut", False))

    @staticmethod
    def resolve_duration_seconds(call: ToolCall) -> float | None:
        if call.started_at is None or call.finished_at is None:
            return None
        return (call.finished_at - call.started_at).total_seconds()


def load_calls(task_ids: Collection[UUID]) -> dict[UUID, list[ToolCall]]:
    """The calls of these tasks in their order, `MAX_SHOWN_CALLS` of each at most, long texts
    cut."""
    found: dict[UUID, list[ToolCall]] = {}
    for task_id in task_ids:
        newest = ToolCall.objects.filter(task_id=task_id).order_by("-step", "-place")
        found[task_id] = [_shortened(call) for call in reversed(newest[:MAX_SHOWN_CALLS])]
    return found


def _shortened(call: ToolCall) -> ToolCall:
    texts = {"arguments": call.arguments, "text": call.text}
    if call.edited_arguments is not None:
        texts["edited_arguments"] = call.edited_arguments
    for name, text in texts.items():
        if len(text) > MAX_SHOWN_CHARS:
            setattr(call, name, text[:MAX_SHOWN_CHARS])
            vars(call)["is_cut"] = True
    return call
