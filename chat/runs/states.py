"""Changes of a run's state: one conditional UPDATE each, with the webhooks that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from aily.problems import Conflict
from chat.models import Run, RunState
from chat.runs import announcing
from chat.runs.kinds import kind_of


def change_state(
    run: Run,
    states: Sequence[RunState],
    to: RunState,
    *,
    reason: str = "",
    message: str = "",
    params: Mapping[str, str | float] | None = None,
    **fields: Any,
) -> bool:
    """Change the state if it is one of `states`, and these fields with it. Returns whether it was.

    `params`: what the reason's text in another language needs besides the code.
    `run` then has what the row has. Its announcements are stored in the same transaction.
    """
    why = {"reason": reason, "message": message[:500], "reason_params": dict(params or {})}
    fields = {**why, **fields, "state": to}
    with transaction.atomic():
        if not Run.objects.filter(pk=run.pk, state__in=states).update(**fields):
            return False
        run.refresh_from_db()
        if (event := announcing.EVENT_OF.get(to)) is not None:
            kind_of(run).announce(run, event)
    transaction.on_commit(lambda: announcing.publish([run.pk]))
    return True


def require_state(run: Run, *states: RunState, to_do: str) -> None:
    """Raise Conflict unless the run is in one of these states."""
    if run.state not in states:
        message = f"A run that is {run.state} cannot be {to_do}."
        raise Conflict(message, field="state", params={"rule": "run_state"})
