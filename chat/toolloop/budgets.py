"""Budgets of tool loops: before a task is queued again, another turn of its model is reserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

import msgspec
from django.db import transaction

from chat import accounting
from chat.models.transitions import tool_steps
from chat.models.transitions.tool_steps import LoopState


def within_budgets(change: Callable[[], Sequence[LoopState]]) -> list[LoopState]:
    """Carry out a change of tool calls. Of the tasks that could go on by it, those fail whose
    budgets do not allow another turn of the model; in the same transaction."""
    with transaction.atomic():
        changed = list(change())
        ready = [task.id for task in changed if task.is_ready]
        refused = accounting.reserve_turns(ready) if ready else {}
        if not refused:
            return changed
        errors: dict[UUID, dict[str, str]] = {
            task_id: {"code": problem.code, "message": problem.message}
            for task_id, problem in refused.items()
        }
        tool_steps.fail_ready(errors)
        return [
            msgspec.structs.replace(task, status="failed") if task.id in refused else task
            for task in changed
        ]
