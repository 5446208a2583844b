"""The whole result of a task that succeeded, which its last event has unless it is very large."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aily.problems import NotFound
from chat.events import TaskCompleted
from chat.services.follow import load_ended


async def whole_result(end: TaskCompleted) -> Mapping[str, Any]:
    """Return `text`, `reasoning`, `finish_reason` and `tool_calls`. Raises django.db.Error."""
    if not end.is_truncated:
        return end.result
    task = await load_ended(end.task_id)
    if task is None:
        raise NotFound("The request was deleted.")
    return task.result()
