"""Tasks that requests would become: looked up, rendered and built, and not stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from aily.problems import Problem
from chat.models import SceneVersion, Task
from chat.services.output_formats import NeedsSchemaCheckError
from chat.services.rendering import Rendered, check_schema_now
from chat.services.submit.build import build_tasks
from chat.services.submit.pending import NeedsRenderingError, PendingSubmission, Submission
from chat.services.submit.resolve import resolve_names

#: Drafts whose prompt is much work, rendered in another process each.
MAX_HEAVY = 5
_MUCH_WORK = (NeedsRenderingError, NeedsSchemaCheckError)

Render = Callable[[SceneVersion, Mapping[str, JsonValue], int], Rendered]


def draft_tasks(
    submissions: Sequence[Submission], render: Render | None = None
) -> list[Task | Exception]:
    """The task that each submission would become now, or why it would be refused.

    `render` renders a prompt that is much work; without it, and where there are many of these,
    they stay refused with NeedsRenderingError. So it is with schemas that were not checked yet.
    Limits and budgets are not checked.
    """
    batch = [PendingSubmission(submission) for submission in submissions]
    if not batch:
        return []
    _build(batch)
    if render is None:
        return [pending.refusal or pending.task for pending in batch]
    heavy = [pending for pending in batch if isinstance(pending.refusal, _MUCH_WORK)]
    for pending in heavy[:MAX_HEAVY]:
        _render(pending, render)
    _build([pending for pending in heavy[:MAX_HEAVY] if pending.refusal is None])
    return [pending.refusal or pending.task for pending in batch]


def _build(batch: Sequence[PendingSubmission]) -> None:
    if batch:
        resolve_names(batch)
        build_tasks(batch)


def _render(pending: PendingSubmission, render: Render) -> None:
    needed, submission = pending.refusal, pending.submission
    try:
        if isinstance(needed, NeedsSchemaCheckError):
            check_schema_now(needed.schema, submission.owner_id)
        elif isinstance(needed, NeedsRenderingError):
            rendered = render(needed.version, submission.request.variables, submission.owner_id)
            pending.submission = replace(submission, rendered=rendered)
    except Problem as problem:
        pending.refuse(problem)
    else:
        pending.refusal = None
