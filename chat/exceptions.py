"""Chat's own additions to aily.problems.

InvalidRequest
├── UnknownModel         invalid_request       400  there is no such model, for this user
├── UnsuitableModel      invalid_request       400  a model that makes vectors, where text is wanted
├── InvalidVariable      invalid_variable      422  a scene's variable is missing or wrong
└── InvalidTemplate      invalid_template      422  a prompt template or schema cannot be used
    └── TemplateTimeout  template_timeout      422  working on it took too long and was stopped
Conflict
├── ConversationBusy     conversation_busy     409  a conversation answers one task at a time
├── ModelDisabled        model_disabled        409  staff have disabled the model or its provider
└── ToolServerFailed     tool_server_failed    409  a tool server does not do what it is asked for
LimitReached
├── QueueFull            queue_full            429  too many tasks wait, of one user or of all
├── TooManyInFlight      too_many_in_flight    429  too many tasks of one user have not ended
└── TooManyRenderings    too_many_renderings   429  too many prompts of one user wait for rendering
Problem
└── BudgetExceeded       budget_exceeded       429  the rest of a budget is too small for this task
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self, TypeVar

from aily.problems import Conflict, InvalidRequest, LimitReached, Problem
from chat.reasons import Reason

P = TypeVar("P", bound=Problem)


def because(
    kind: type[P],
    reason: Reason,
    *,
    field: str | None = None,
    retry_after_seconds: int | None = None,
) -> P:
    """A problem of this kind with the sentence of a reason, which pages show in their language."""
    return kind(
        str(reason),
        field=field,
        retry_after_seconds=retry_after_seconds,
        params=reason.as_params(),
    )


class UnknownModel(InvalidRequest):
    def __init__(self, name: str) -> None:
        reason = Reason.of("no_model", name=repr(name))
        super().__init__(str(reason), field="model", params=reason.as_params())


class UnsuitableModel(InvalidRequest):
    """A model that cannot do what is asked for: text of one that makes vectors, or the reverse."""


class _Refused(InvalidRequest):
    """Base of refusals of what an author or a user writes."""

    @classmethod
    def because(cls, reason: Reason, *, field: str | None = None) -> Self:
        return because(cls, reason, field=field)


class InvalidVariable(_Refused):
    code, status, title = "invalid_variable", 422, "Invalid variable"


class RunBegun(Conflict):
    """Rows of the run have been run with what is to be changed."""

    code, title = "run_begun", "The run has begun"


class RowsOpen(Conflict):
    """Rows of the run are being tried with what is to be changed."""

    code, title = "rows_open", "Rows are being tried"


class UnknownColumn(InvalidRequest):
    """A file has no column of this name."""

    code, title = "unknown_column", "Unknown column"


class EmptyFile(InvalidRequest):
    code, title = "empty_file", "Empty file"


class PackedFile(InvalidRequest):
    """A file is an archive or a workbook where a plain text is expected."""

    code, title = "packed_file", "Packed file"


class InvalidTemplate(_Refused):
    code, status, title = "invalid_template", 422, "Invalid template"


class TemplateTimeout(InvalidTemplate):
    code, title = "template_timeout", "Template takes too long"


class ConversationBusy(Conflict):
    code, title = "conversation_busy", "Conversation busy"


class ModelDisabled(Conflict):
    code, title = "model_disabled", "Model disabled"

    def __init__(self, name: str) -> None:
        super().__init__(f"The model {name!r} is disabled. Name another.", field="model")


class ToolServerFailed(Conflict):
    code, title = "tool_server_failed", "Tool server failed"


class QueueFull(LimitReached):
    code, title = "queue_full", "Queue full"


class TooManyInFlight(LimitReached):
    code, title = "too_many_in_flight", "Too many tasks in flight"


class TooManyRenderings(LimitReached):
    code, title = "too_many_renderings", "Too many prompts to render"


class BudgetExceeded(Problem):
    """`budget` describes the budget, in texts for JSON."""

    code, status, title = "budget_exceeded", 429, "Budget exceeded"

    def __init__(
        self,
        message: str,
        *,
        budget: Mapping[str, str | None],
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.budget = budget

    def details(self) -> dict[str, object]:
        return {"budget": self.budget}
