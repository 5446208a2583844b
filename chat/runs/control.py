"""What people do with a run: try, start, pause, resume, cancel, and retry what failed.

The row decides: each is a conditional UPDATE of the run's state, and the feeder follows it. Pausing
and cancelling withdraw queued tasks at once, so that no new call begins; the feeder repeats that
for what was being submitted at that moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.db import transaction

from aily.database.long_transactions import long_transaction
from aily.database.rows import execute, fetch_column
from aily.problems import Conflict, InvalidRequest
from chat.exceptions import because
from chat.models import Lane, Run, RunState, Scene
from chat.models.runs import Start
from chat.models.task_states import ACTIVE
from chat.reasons import Reason
from chat.runs import changing, clock, estimating, sampling
from chat.runs.creation import check_columns, require_scene
from chat.runs.leases import Lease, leased
from chat.runs.marking import OpenRow, mark_rows
from chat.runs.off_peak import next_off_peak, price_list
from chat.runs.retention import delete_rows
from chat.runs.states import change_state, require_state
from chat.runs.submitting import submit_rows
from chat.services.cancel import announce_cancelled, cancel_many, cancel_waiting

MAX_TRIED_ROWS = 100
#: Tasks that are cancelled by one statement.
PAGE = 500

_OPEN_TASKS = """
SELECT r.task_id FROM chat_runrow r JOIN chat_task t ON t.id = r.task_id
 WHERE r.run_id = %(run_id)s AND r.state = 'open' AND t.status = ANY(%(statuses)s) {condition}
 ORDER BY r.number LIMIT %(limit)s
"""
#: Between two steps of a tool loop a task is queued, too. Its tools are not called once more.
_NOT_BETWEEN_STEPS = "AND (t.tools IS NULL OR t.attempt = 0)"
_TAKE_BACK = """
WITH back AS (
  UPDATE chat_runrow SET state = 'pending', task_id = NULL
   WHERE task_id = ANY(%(task_ids)s) AND state = 'open' RETURNING run_id)
UPDATE chat_run SET open = open - n, pending = pending + n
  FROM (SELECT count(*) AS n FROM back) counted WHERE id = %(run_id)s
"""
_RETRY = """
WITH again AS (
  UPDATE chat_runrow SET state = 'pending', task_id = NULL, tries = 0, not_before = NULL
   WHERE run_id = %(run_id)s AND state IN ('failed', 'expired', 'cancelled') RETURNING 1)
UPDATE chat_run SET pending = pending + (SELECT count(*) FROM again), failed = 0, expired = 0,
       cancelled = 0, failing_streak = 0, failing_code = ''
 WHERE id = %(run_id)s
RETURNING (SELECT count(*) FROM again)
"""


# --- Before the start ---------------------------------------------------------------------------
class Trial:
    """A try of a few rows. First they are marked, then submitted: wherever the process dies in
    between, the feeder submits what was marked."""

    def __init__(self, run: Run, lease: Lease) -> None:
        self._run = run
        self._lease = lease
        self._marked: list[OpenRow] = []

    def mark(self, rows: int) -> dict[int, str]:
        """Mark rows that stand for all. Returns their numbers, each with the key of the row.

        Raises Conflict.
        """
        run = self._run
        numbers = sampling.rows_to_try(run, min(rows, MAX_TRIED_ROWS))
        states = (RunState.READY, RunState.PAUSED)
        with transaction.atomic():
            changing.lock_unchanged(run)
            self._marked = mark_rows(run, self._lease, len(numbers), numbers=numbers, states=states)
        return {marked.row.number: marked.row.key for marked in self._marked}

    def submit(self) -> None:
        """Submit what was marked, before people's batch work. Raises a Problem if that is refused
        for all rows, which are then pending again."""
        if not self._marked:
            return
        fed = submit_rows(self._run, self._marked, Lane.NORMAL)
        if fed.obstacle is not None:
            raise fed.obstacle


@contextmanager
def trying(run: Run) -> Iterator[Trial]:
    """Try rows of a run that is ready or paused: it stays so, and their results count. Raises
    Conflict, or another Problem if none can be sent."""
    require_state(run, RunState.READY, RunState.PAUSED, to_do="tried")
    require_scene(run)
    check_columns(run)
    sampling.sample(run)
    with leased(run.pk) as lease:
        if lease is None:
            raise because(Conflict, Reason("run_worked_on"), retry_after_seconds=1)
        yield Trial(run, lease)


def try_rows(run: Run, rows: int) -> list[int]:
    """Mark and submit a few rows. Returns their numbers."""
    with trying(run) as trial:
        numbers = list(trial.mark(rows))
        trial.submit()
    return numbers


def start(run: Run, when: str, at: datetime | None = None) -> None:
    """ready → running, or scheduled. Raises Conflict, or a Problem if no row can be sent."""
    require_state(run, RunState.READY, to_do="started")
    require_scene(run)
    if (at is None) == (when == Start.AT):
        raise because(InvalidRequest, Reason("start_time"), field="start_at")
    check_columns(run)
    run.scene_version = _live_version(run)
    drafts = sampling.sample(run)
    estimated = estimating.estimate(run, drafts)
    row_cost = _row_cost(estimated)
    begins_at = _begin(when, at, drafts.model.pk)
    is_later = begins_at > clock.now()
    changed = change_state(
        run,
        [RunState.READY],
        RunState.SCHEDULED if is_later else RunState.RUNNING,
        reason=(when if is_later else ""),
        start=when,
        start_at=begins_at if is_later else None,
        scene_version=run.scene_version,
        model=drafts.model,
        currency=run.currency or estimated.currency,
        row_cost=row_cost,
        started_at=clock.now(),
    )
    if not changed:
        raise because(Conflict, Reason("run_changed"), field="state")


def _row_cost(estimated: estimating.Estimate) -> Decimal:
    """What a row costs that no kept answer is given to."""
    if fresh := estimated.rows - estimated.cached:
        return estimated.likely.cost / fresh
    return estimated.at_most.cost / estimated.rows if estimated.rows else Decimal(0)


def _live_version(run: Run) -> int | None:
    """The number of the version that all rows get; None for whole requests."""
    if not run.scene or run.scene_version is not None:
        return run.scene_version
    scene = Scene.objects.filter(slug=run.scene).select_related("live_version").first()
    return scene.live_version.number if scene and scene.live_version else None


def _begin(when: str, at: datetime | None, model_id: int) -> datetime:
    now = clock.now()
    if when == Start.AT and at is not None:
        return at
    return next_off_peak(price_list(model_id), now) if when == Start.OFF_PEAK else now


# --- Pause, resume, cancel, retry ---------------------------------------------------------------
def pause(
    run: Run,
    reason: str = "asked",
    message: str = "",
    params: Mapping[str, str | float] | None = None,
) -> bool:
    """running or scheduled → paused. Queued tasks are withdrawn, running ones end and count.

    Returns whether it was paused by this.
    """
    states = [RunState.RUNNING, RunState.SCHEDULED]
    why = {"reason": reason, "message": message}
    if not change_state(run, states, RunState.PAUSED, **why, params=params):
        return False
    withdraw(run)
    return True


def resume(run: Run) -> None:
    """paused → running, or scheduled if its time has not come. Raises Conflict, or a Problem if no
    row could be sent."""
    require_state(run, RunState.PAUSED, to_do="resumed")
    if run.max_cost is not None and run.cost >= run.max_cost and run.pending:
        spent = Reason.of("run_spent", cost=f"{run.cost.normalize():f}")
        raise because(Conflict, spent, field="max_cost")
    if run.pending:
        sampling.sample(run)
    fields: dict[str, Any] = {"failing_streak": 0, "failing_code": ""}
    # Another scene may have been named while nothing had been run.
    fields["scene_version"] = _live_version(run)
    is_early = run.start == Start.AT and run.start_at is not None and run.start_at > clock.now()
    to = RunState.SCHEDULED if is_early else RunState.RUNNING
    if not change_state(run, [RunState.PAUSED], to, reason=Start.AT if is_early else "", **fields):
        raise because(Conflict, Reason("run_changed"), field="state")


def cancel(run: Run) -> None:
    """End a run for good; harmless on one that has ended. Running calls are stopped; what they
    have cost counts."""
    if run.state == RunState.VALIDATING and _cancel_validating(run):
        return
    states = [RunState.READY, RunState.SCHEDULED, RunState.RUNNING, RunState.PAUSED]
    change_state(run, states, RunState.FINISHING, reason="asked", ends_as=RunState.CANCELLED)
    if run.state == RunState.FINISHING and run.ends_as == RunState.CANCELLED:
        stop_open(run)


def _cancel_validating(run: Run) -> bool:
    """validating → cancelled, without the rows that were read so far."""
    fields: dict[str, Any] = dict.fromkeys(("total", "pending", "invalid", "input_bytes"), 0)
    fields |= {"reason": "asked", "ended_at": clock.now()}
    if not change_state(run, [RunState.VALIDATING], RunState.CANCELLED, **fields):
        return False
    delete_rows(run.pk)
    return True


def discard(run: Run) -> bool:
    """ready → cancelled at once, of a run that is about to be deleted."""
    states = [RunState.READY]
    return not run.open and change_state(
        run, states, RunState.CANCELLED, reason="asked", ended_at=clock.now()
    )


def retry_failed(run: Run) -> int:
    """Have rows that failed, expired or were cancelled run again. Returns how many. Raises Conflict
    while the run is being validated or finishing."""
    allowed = (
        RunState.RUNNING,
        RunState.PAUSED,
        RunState.DONE,
        RunState.CANCELLED,
        RunState.EXPIRED,
    )
    require_state(run, *allowed, to_do="retried")
    if run.deadline_at is not None and run.deadline_at <= clock.now():
        raise because(Conflict, Reason("run_deadline"), field="deadline_at")
    to = RunState.PAUSED if run.state == RunState.PAUSED else RunState.RUNNING
    # All of 100,000 rows may have failed.
    with long_transaction():
        if not change_state(run, [RunState(run.state)], to, ends_as="", ended_at=None):
            raise because(Conflict, Reason("run_changed"), field="state")
        [rows] = fetch_column(int, _RETRY, {"run_id": run.pk})
        if not rows:
            raise because(Conflict, Reason("no_failed_row"), field="state")
    run.refresh_from_db()
    return rows


# --- Tasks of a run -----------------------------------------------------------------------------
def withdraw(run: Run) -> int:
    """Take queued tasks of the run back: their rows are pending again. Returns how many."""
    total = 0
    while task_ids := _open_tasks(run, "queued", condition=_NOT_BETWEEN_STEPS):
        with transaction.atomic():
            cancelled = cancel_waiting(task_ids)
            taken = [task.id for task in cancelled.waiting]
            execute(_TAKE_BACK, {"run_id": run.pk, "task_ids": taken})
        announce_cancelled(cancelled, is_quiet=True)
        if not taken:
            # All of them were started meanwhile.
            break
        total += len(taken)
    return total


def stop_open(run: Run) -> None:
    """Cancel the run's tasks that have not ended. Their rows end when they are settled."""
    while task_ids := _open_tasks(run, *ACTIVE):
        if not cancel_many(task_ids, is_quiet=True):
            break


def _open_tasks(run: Run, *statuses: str, condition: str = "") -> Sequence[UUID]:
    params = {"run_id": run.pk, "statuses": list(statuses), "limit": PAGE}
    return fetch_column(UUID, _OPEN_TASKS.format(condition=condition), params)
