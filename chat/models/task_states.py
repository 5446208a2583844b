"""What a task can be: its statuses, lanes, and the reasons for which an answer ends."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import models


class Status(models.TextChoices):
    """queued → running → succeeded | failed | cancelled | expired; running → queued to retry.

    With tools also running → calling_tools | requires_action → queued, for the next step.
    """

    QUEUED = "queued"
    RUNNING = "running"
    #: Its tool calls are being made. No model is called meanwhile.
    CALLING_TOOLS = "calling_tools"
    #: A tool call waits for its user's approval.
    REQUIRES_ACTION = "requires_action"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        return self not in ACTIVE


#: The finish reason of a task with a JSON Schema where the model refused to answer.
REFUSAL = "refusal"
#: Finish reasons of answers that are not whole, or are no answers: no schema is held against them.
_EXEMPT_REASONS = frozenset(
    {
        *("length", "max_tokens", "max_output_tokens", "model_length"),
        *("model_context_window_exceeded", "content_filter", REFUSAL),
    }
)
#: Providers may send any word; the rest of a longer one is cut off.
FINISH_REASON_CHARS = 40
#: Statuses of a task that waits for tools, or for its user.
WAITING = (Status.CALLING_TOOLS, Status.REQUIRES_ACTION)
ACTIVE = (Status.QUEUED, Status.RUNNING, *WAITING)


def is_held_to_schema(finish_reason: str, tool_calls: Sequence[object]) -> bool:
    """Whether an answer that ended so has to fit its task's JSON Schema."""
    return not tool_calls and finish_reason.lower() not in _EXEMPT_REASONS


class Lane(models.IntegerChoices):
    """A task of a lower lane never waits behind one of a higher."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2

    @classmethod
    def names(cls) -> list[str]:
        return [lane.name.lower() for lane in cls]

    @classmethod
    def named(cls, name: str, default: Lane) -> Lane:
        """Return the lane of this name, such as an API key has; `default` if it is empty."""
        return cls[name.upper()] if name else default


class ServedFrom(models.TextChoices):
    """The source of a task's answer: its own call, another task's call, or the cache."""

    PROVIDER = "provider"
    FLIGHT = "flight"
    CACHE = "cache"
