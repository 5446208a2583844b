"""Feeding: pending rows become tasks while the window has room for them.

Each page is marked (chat/runs/marking.py), then submitted (chat/runs/submitting.py).
"""

from __future__ import annotations

import time

from django.conf import settings

from aily.database.rows import fetch_column
from aily.database.threads import release_connections
from aily.problems import Problem
from chat.models import LLMModel, Run, RunState
from chat.runs.leases import Lease
from chat.runs.marking import find_lost, mark_rows
from chat.runs.submitting import submit_rows

#: Rows that become tasks by one batch of submits. More would hold the interpreter for longer, which
#: the worker's calls need as well.
PAGE = 50
#: Between two pages. A page of 50 rows takes 0.07 s.
MAX_REST_SECONDS = 0.2
#: Least and most tasks of a run in the queue or running; in between twice its model's cap. They are
#: more than run at once, as there is room for others only once ends are settled, every second.
MIN_WINDOW = 500

#: Tasks of open rows that have not ended.
_UNFINISHED = """
SELECT count(*) FROM chat_runrow r JOIN chat_task t ON t.id = r.task_id
 WHERE r.run_id = %(run_id)s AND r.state = 'open'
   AND t.status IN ('queued', 'running', 'calling_tools', 'requires_action')
"""


def feed(run: Run, lease: Lease, most: int | None = None) -> Problem | None:
    """Feed rows until the window is full, none is pending, or something is in the way: that is
    returned if it does not pass by itself. `most`: so many at the most. Raises LeaseLostError."""
    room = window_of(run) - _count_unfinished(run)
    if most is not None:
        room = min(room, most)
    began = time.monotonic()
    while room > 0:
        limit = affordable(run, min(room, PAGE))
        if limit <= 0:
            return None
        try:
            rows = mark_rows(run, lease, limit)
        except Problem as obstacle:
            return obstacle
        if not rows:
            return None
        fed = submit_rows(run, rows)
        if fed.obstacle is not None or fed.must_wait:
            return fed.obstacle
        room -= fed.accepted
        run.refresh_from_db()
        if run.state != RunState.RUNNING:
            return None
        if room > 0 and run.pending:
            rest(time.monotonic() - began)
            began = time.monotonic()
    return None


def rest(page_seconds: float) -> None:
    """Let the calls of this process go on, after a page that took so long: feeding has half of the
    interpreter's time at the most."""
    release_connections()
    time.sleep(min(page_seconds, MAX_REST_SECONDS))


def window_of(run: Run) -> int:
    """How many tasks of the run may be in the queue or running; the owner's runs share it."""
    limit = min(settings.RUN_WINDOW, max(MIN_WINDOW, 2 * cap_of(run.model_id)))
    if run.max_open:
        limit = min(limit, run.max_open)
    running = Run.objects.filter(owner=run.owner_id, state=RunState.RUNNING).count()
    return max(limit // max(running, 1), 1)


def cap_of(model_id: int | None) -> int:
    """Calls at once of all deployments of a model; 0 where there is none."""
    models = LLMModel.objects.with_deployments().filter(pk=model_id or 0)
    return sum(row.max_concurrency for model in models for row in model.all_deployments())


def affordable(run: Run, rows: int) -> int:
    """How many of `rows` may be fed before `max_cost` is reached by what is spent and in flight."""
    if run.max_cost is None:
        return rows
    left = run.max_cost - run.cost
    if left <= 0:
        return 0
    average = run.cost / run.ended_rows if run.ended_rows and run.cost else run.row_cost
    if not average:
        return rows
    fitting = int((left - average * run.open) // average)
    # The last of the money is spent row by row: what an average says of one row is not certain.
    return min(rows, fitting) if fitting > 0 else int(run.open == 0)


def _count_unfinished(run: Run) -> int:
    [count] = fetch_column(int, _UNFINISHED, {"run_id": run.pk})
    return count


def submit_lost(run: Run, lease: Lease) -> None:
    """Submit open rows whose task is not there: the process that marked them has died."""
    while lost := find_lost(run, PAGE):
        lease.renew()
        fed = submit_rows(run, lost)
        if not fed.accepted and not fed.errors:
            return
