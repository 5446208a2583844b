"""Changing a run before it has begun, or while it is paused.

What rows are asked depends on the scene, the mapping and the options. Before the start, rows that
were tried with others are pending again: no result, and no estimate, is of what is not asked any
more. After the start, scene and mapping stay, so that all results are of one request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from aily.database.rows import execute
from aily.problems import Conflict
from chat.exceptions import RowsOpen, RunBegun, because
from chat.models import Run, RunState
from chat.reasons import Reason

STATES = (RunState.READY, RunState.PAUSED)
#: Fields that say what rows are asked.
_ASKED = ("scene", "scene_version", "mapping", "options")
#: Of these a run that has begun keeps what it has.
_FIXED = ("scene", "scene_version", "mapping")

_TRY_AGAIN = """
WITH again AS (
  UPDATE chat_runrow SET state = 'pending', task_id = NULL, tries = 0, not_before = NULL,
         error = NULL, ended_at = NULL
   WHERE run_id = %(run_id)s AND state IN ('succeeded', 'failed', 'expired', 'cancelled')
  RETURNING 1)
UPDATE chat_run SET pending = pending + (SELECT count(*) FROM again), succeeded = 0, failed = 0,
       expired = 0, cancelled = 0, failing_streak = 0, failing_code = ''
 WHERE id = %(run_id)s
"""


def change(run: Run, fields: Mapping[str, Any]) -> None:
    """Store these fields, which were checked. Raises Conflict, also if rows are being tried with
    what is to be changed."""
    with transaction.atomic():
        now = _lock(run)
        asked = [name for name in _ASKED if name in fields and fields[name] != getattr(now, name)]
        if asked:
            _require_free(now, asked)
            if now.started_at is None:
                execute(_TRY_AGAIN, {"run_id": run.pk})
        Run.objects.filter(pk=run.pk).update(**fields)


def _lock(run: Run) -> Run:
    """The run as it is now, locked. Raises Conflict unless it may be changed."""
    now = Run.objects.select_for_update(no_key=True).filter(pk=run.pk, state__in=STATES).first()
    if now is None:
        raise because(Conflict, Reason("run_changed"), field="state")
    return now


def _require_free(now: Run, asked: list[str]) -> None:
    """Raise Conflict while results are expected of what is to be changed, or once there are any."""
    has_begun = now.started_at is not None
    fixed = [name for name in asked if name in _FIXED]
    if has_begun and fixed and (now.ended_rows or now.open):
        message = "Rows of this run have been run with it: make another run."
        raise RunBegun(message, field=_name_of(fixed[0]))
    if now.open and not has_begun:
        message = "Rows are being tried with it: wait until they have ended."
        raise RowsOpen(message, field=_name_of(asked[0]), retry_after_seconds=1)


def lock_unchanged(run: Run) -> None:
    """Lock the run. Raises Conflict if rows are now asked something else than `run` says."""
    now = _lock(run)
    if any(getattr(now, name) != getattr(run, name) for name in _ASKED):
        raise because(Conflict, Reason("run_changed"), field="state", retry_after_seconds=1)


def _name_of(column: str) -> str:
    """The name of a column in requests."""
    return "version" if column == "scene_version" else column
