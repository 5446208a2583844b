"""One turn of the feeder: every run that has not ended goes on as far as it can now.

Any number of processes may take turns at once: each run has a lease.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from uuid import UUID

from aily.concurrency.faults import note_fault
from aily.database.errors import is_outage
from aily.database.outages import is_disk_low
from aily.database.rows import Row, execute, fetch_column, fetch_rows
from aily.problems import Problem
from aily.redis.errors import RedisUnavailable
from chat.exceptions import BudgetExceeded
from chat.models import Run, RunState
from chat.models.runs import ACTIVE_RUNS, Start
from chat.reasons import Reason
from chat.runs import clock, control
from chat.runs.feeding import affordable, feed, submit_lost
from chat.runs.kinds import kind_of
from chat.runs.lead_call import rows_to_lead
from chat.runs.leases import Lease, LeaseLostError, leased
from chat.runs.off_peak import next_off_peak, price_list
from chat.runs.results import collect_overdue
from chat.runs.states import change_state
from chat.runs.validating import validate

logger = logging.getLogger(__name__)

#: Rows that failed one after the other for good, none succeeding, after which a run is paused.
MAX_STREAK = 20
#: Errors that the next row would have as well; others are the row's own.
HOPELESS_CODES = (
    *("provider_auth", "provider_balance", "provider_model_not_found", "provider_bad_request"),
    *("provider_forbidden_address", "invalid_template", "template_timeout", "internal_error"),
)
#: How often other runs go on while one is being validated.
EVERY_SECONDS = 1.0
#: Open rows are compared with their tasks so often, for what a fault has left behind.
CHECK_EVERY = timedelta(seconds=60)
#: Pending rows that end by one statement.
PAGE = 5_000

#: A run that is ready and has a start is one whose process died between the two.
_DUE = """
SELECT id, state FROM chat_run
 WHERE (fed_until IS NULL OR fed_until < now())
   AND state NOT IN ('done', 'cancelled', 'failed', 'expired')
   AND (state IN ('validating', 'running', 'finishing')
        OR (state = 'ready' AND start <> '')
        OR open > 0
        OR (state = 'scheduled' AND start_at <= %(now)s)
        OR (state IN ('scheduled', 'paused') AND deadline_at <= %(now)s))
 ORDER BY id LIMIT %(limit)s
"""
_END_PENDING = """
WITH ended AS (
  UPDATE chat_runrow SET state = %(state)s, ended_at = now()
   WHERE run_id = %(run_id)s AND number IN (
     SELECT number FROM chat_runrow WHERE run_id = %(run_id)s AND state = 'pending'
      ORDER BY number LIMIT %(limit)s FOR NO KEY UPDATE)
  RETURNING 1)
UPDATE chat_run SET pending = pending - n,
       cancelled = cancelled + CASE WHEN %(state)s = 'cancelled' THEN n ELSE 0 END,
       expired = expired + CASE WHEN %(state)s = 'expired' THEN n ELSE 0 END
  FROM (SELECT count(*) AS n FROM ended) counted WHERE id = %(run_id)s
RETURNING n
"""
_RECONCILE = """
UPDATE chat_run SET total = c.total, pending = c.pending, open = c.open,
       succeeded = c.succeeded, failed = c.failed, cancelled = c.cancelled,
       expired = c.expired, invalid = c.invalid, skipped = c.skipped
  FROM (SELECT count(*) AS total,
               count(*) FILTER (WHERE state = 'pending') AS pending,
               count(*) FILTER (WHERE state = 'open') AS open,
               count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
               count(*) FILTER (WHERE state = 'failed') AS failed,
               count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
               count(*) FILTER (WHERE state = 'expired') AS expired,
               count(*) FILTER (WHERE state = 'invalid') AS invalid,
               count(*) FILTER (WHERE state = 'skipped') AS skipped
          FROM chat_runrow WHERE run_id = %(run_id)s) c
 WHERE id = %(run_id)s
"""


def step() -> None:
    """Take one turn over all runs. What fails in one does not keep the others from going on.

    Raises django.db.Error while PostgreSQL is away.
    """
    due = due_runs()
    # What is being validated comes last, as that may take long.
    _step_all(sorted(due, key=lambda run: run.state == RunState.VALIDATING))


class DueRun(Row, frozen=True):
    id: UUID
    state: str


def due_runs(limit: int | None = None) -> list[DueRun]:
    """Runs that no process steps now and for which a turn may do something: others may wait for
    weeks. The oldest come first."""
    return fetch_rows(DueRun, _DUE, {"now": clock.now(), "limit": limit})


def _step_all(runs: Iterable[DueRun]) -> None:
    for run in runs:
        try:
            _step_run(run.id)
        except LeaseLostError:
            continue
        except RedisUnavailable as error:
            logger.warning("runs: Redis is away: %s", error)
            return
        except Exception as error:
            if is_outage(error):
                raise
            note_fault("runs")


def _step_run(pk: UUID) -> None:
    with leased(pk) as lease:
        run = Run.objects.select_related("model", "owner").filter(pk=pk).first()
        if lease is None or run is None:
            return
        _repair(run, lease)
        match run.state:
            case RunState.VALIDATING:
                validate(run, lease, _Others(lease))
                _start_by_itself(run)
            case RunState.READY:
                _start_by_itself(run)
            case RunState.SCHEDULED:
                _begin(run)
            case RunState.RUNNING:
                _feed(run, lease)
            case RunState.PAUSED:
                _hold(run)
            case RunState.FINISHING:
                _finish(run, lease)


def _repair(run: Run, lease: Lease) -> None:
    """Put right what a process left behind that died, now and then also without that sign."""
    now = clock.now()
    is_due = run.checked_at is None or run.checked_at < now - CHECK_EVERY
    if run.open and (lease.was_abandoned or is_due):
        collect_overdue(run.pk)
        submit_lost(run, lease)
        Run.objects.filter(pk=run.pk).update(checked_at=now)
        run.refresh_from_db()


class _Others:
    """Lets other runs go on while one is being validated or finished, whose lease it renews."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._stepped_at = time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._stepped_at >= EVERY_SECONDS:
            self._lease.renew()
            _step_all(run for run in due_runs() if run.state in ACTIVE_RUNS)
            self._stepped_at = time.monotonic()


# --- States -------------------------------------------------------------------------------------
def _start_by_itself(run: Run) -> None:
    """Start a run that was made with `start`. If it cannot be, it stays ready and says why."""
    if run.state != RunState.READY or not run.start:
        return
    if kind_of(run).begin(run):
        return
    try:
        control.start(run, run.start, run.start_at)
    except Problem as problem:
        own = Run.objects.filter(pk=run.pk, state=RunState.READY)
        own.update(
            reason=problem.code,
            message=_words(problem),
            reason_params=problem.params,
            start="",
        )


def _words(problem: Problem) -> str:
    words = f"{problem.field}: {problem.message}" if problem.field else problem.message
    return words[:500]


def _begin(run: Run) -> None:
    if _expire(run):
        return
    if run.start_at is None or run.start_at <= clock.now():
        change_state(run, [RunState.SCHEDULED], RunState.RUNNING, start_at=None)


def _feed(run: Run, lease: Lease) -> None:
    if _expire(run) or _wait_for_off_peak(run):
        return
    if not run.owner.is_active:
        why = Reason("owner_disabled")
        _halt(run, why.name, str(why), why.as_params())
        return
    if _is_hopeless(run):
        why = Reason.of("rows_failed", count=run.failing_streak)
        control.pause(run, run.failing_code or "failing", str(why), why.as_params())
        return
    if is_disk_low() or kind_of(run).must_wait(run):
        return
    obstacle = feed(run, lease, rows_to_lead(run)) if run.pending else None
    run.refresh_from_db()
    if run.state != RunState.RUNNING:
        # What was being submitted when it was paused or cancelled.
        _hold(run)
    elif obstacle is not None:
        _stop_for(run, obstacle)
    elif run.pending and not run.open and not affordable(run, 1):
        why = Reason.of("cost_spent", cost=f"{run.cost.normalize():f} {run.currency}")
        control.pause(run, "max_cost", str(why), why.as_params())
    elif not run.pending and not run.open:
        _end(run, lease, [RunState.RUNNING], RunState.DONE)


def _is_hopeless(run: Run) -> bool:
    has_failed = run.failing_streak >= MAX_STREAK and run.failing_code in HOPELESS_CODES
    return has_failed and kind_of(run).stops_when_failing


def _stop_for(run: Run, obstacle: Problem) -> None:
    """Pause the run, unless tasks of its own are in the way, whose end gives room."""
    passes = isinstance(obstacle, BudgetExceeded) and obstacle.retry_after_seconds is not None
    if not (passes and run.open):
        _halt(run, obstacle.code, _words(obstacle), obstacle.params)


def _halt(run: Run, reason: str, message: str, params: Mapping[str, str | float]) -> None:
    """Pause the run; or, if no user could resume it, let it wait for a while."""
    seconds = kind_of(run).halt_seconds
    if seconds is None:
        control.pause(run, reason, message, params)
        return
    change_state(
        run,
        [RunState.RUNNING],
        RunState.SCHEDULED,
        reason=reason,
        message=message,
        params=params,
        start_at=clock.now() + timedelta(seconds=seconds),
    )
    control.withdraw(run)


def _wait_for_off_peak(run: Run) -> bool:
    """running → scheduled in dear hours, if the run is for the cheap ones."""
    if run.start != Start.OFF_PEAK or run.model_id is None:
        return False
    now = clock.now()
    begins_at = next_off_peak(price_list(run.model_id), now)
    if begins_at <= now:
        return False
    change_state(
        run, [RunState.RUNNING], RunState.SCHEDULED, reason=Start.OFF_PEAK, start_at=begins_at
    )
    control.withdraw(run)
    return True


def _expire(run: Run) -> bool:
    """Whether the run's deadline has passed: then no further row is fed."""
    if run.deadline_at is None or run.deadline_at > clock.now():
        return False
    states = [RunState.SCHEDULED, RunState.RUNNING, RunState.PAUSED]
    return change_state(
        run, states, RunState.FINISHING, reason="deadline", ends_as=RunState.EXPIRED
    )


def _hold(run: Run) -> None:
    """Keep the queue free of tasks of a paused run; of a cancelled one also the providers."""
    if run.state == RunState.FINISHING and run.ends_as == RunState.CANCELLED:
        control.stop_open(run)
    elif run.open and run.state in (RunState.PAUSED, RunState.SCHEDULED):
        control.withdraw(run)
    if run.state == RunState.PAUSED:
        _expire(run)


def _finish(run: Run, lease: Lease) -> None:
    """End what is pending; the run ends when its last task is settled."""
    _hold(run)
    state = "expired" if run.ends_as == RunState.EXPIRED else "cancelled"
    params = {"run_id": run.pk, "state": state, "limit": PAGE}
    while fetch_column(int, _END_PENDING, params)[0]:
        pass
    run.refresh_from_db()
    if not run.open and not run.pending:
        _end(run, lease, [RunState.FINISHING], RunState(run.ends_as))


def _end(run: Run, lease: Lease, states: list[RunState], to: RunState) -> None:
    execute(_RECONCILE, {"run_id": run.pk})
    run.refresh_from_db()
    if run.open or run.pending:
        return
    kind_of(run).finish(run, _Others(lease))
    change_state(run, states, to, reason=run.reason, ended_at=clock.now())
