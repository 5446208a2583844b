"""Ends of tasks become results of rows, in the transaction that settles the tasks.

One statement changes the rows, and another the counters of their runs. A row that failed by an
error that passes (429, 5xx, a lost worker) is fed again, with a pause that doubles, until it has
used up RUN_ROW_TRIES tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

import msgspec
from django.conf import settings
from django.db import transaction

from aily.concurrency.faults import surviving
from aily.database.rows import execute, fetch_column, fetch_rows
from chat.models.ended import EndedTask
from chat.observability import metrics
from chat.runs import announcing
from chat.runs.kinds import RowResult, kind_named

#: Error codes of tasks that say nothing about the row: it is fed again, unless its task has made a
#: tool call that may not be made twice.
PASSING_CODES = (
    *("provider_error", "provider_rate_limited", "provider_overloaded", "provider_unreachable"),
    *("provider_timeout_connect", "provider_timeout_first_token", "provider_truncated"),
    *("provider_timeout_between_tokens", "worker_lost", "model_disabled"),
)
#: Before a row is fed again: doubled with each try, up to the longest.
FIRST_WAIT_SECONDS = 2.0
MAX_WAIT_SECONDS = 300.0

_END_ROWS = """
WITH ended AS MATERIALIZED (
  SELECT t.id, t.status, t.error,
         coalesce(l.prompt_tokens, 0) AS prompt_tokens,
         coalesce(l.completion_tokens, 0) AS completion_tokens,
         coalesce(l.money, 0) AS money, coalesce(l.currency, '') AS currency,
         t.status = 'failed' AND t.error->>'code' = ANY(%(passing)s)
           AND (t.tools IS NULL OR NOT EXISTS (
             SELECT FROM chat_toolcall c
              WHERE c.task_id = t.id AND c.runs > 0 AND NOT c.is_idempotent)) AS may_pass
    FROM chat_task t
    LEFT JOIN chat_ledgerentry l
      ON l.task_id = t.id AND l.kind <> 'reserve' AND l.budget_id IS NULL
   WHERE t.id = ANY(%(task_ids)s)),
changed AS (
  UPDATE chat_runrow r
     SET state = CASE WHEN e.may_pass AND r.tries + 1 < %(tries)s THEN 'pending' ELSE e.status END,
         tries = r.tries + CASE WHEN e.status = 'failed' THEN 1 ELSE 0 END,
         not_before = CASE WHEN e.may_pass
           THEN now() + make_interval(secs => least(%(first_wait)s * 2 ^ r.tries, %(max_wait)s))
           END,
         error = e.error, ended_at = now(),
         prompt_tokens = r.prompt_tokens + e.prompt_tokens,
         completion_tokens = r.completion_tokens + e.completion_tokens,
         cost = r.cost + e.money
    FROM ended e
   WHERE r.task_id = e.id AND r.state = 'open'
  RETURNING r.run_id, r.number, r.key, r.state, r.task_id, r.generation, r.error->>'code' AS code,
            e.prompt_tokens, e.completion_tokens, e.money, e.currency),
totals AS (
  SELECT run_id, count(*) AS ended,
         count(*) FILTER (WHERE state = 'pending') AS repeated,
         count(*) FILTER (WHERE state = 'succeeded') AS succeeded,
         count(*) FILTER (WHERE state = 'failed') AS failed,
         count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
         count(*) FILTER (WHERE state = 'expired') AS expired,
         sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens,
         sum(money) AS money, max(currency) AS currency,
         max(code) FILTER (WHERE state = 'failed') AS code
    FROM changed GROUP BY run_id),
locked AS (
  SELECT id FROM chat_run WHERE id IN (SELECT run_id FROM totals) ORDER BY id FOR NO KEY UPDATE),
counted AS (
  UPDATE chat_run r
     SET open = r.open - t.ended, pending = r.pending + t.repeated,
         succeeded = r.succeeded + t.succeeded, failed = r.failed + t.failed,
         cancelled = r.cancelled + t.cancelled, expired = r.expired + t.expired,
         prompt_tokens = r.prompt_tokens + t.prompt_tokens,
         completion_tokens = r.completion_tokens + t.completion_tokens,
         cost = r.cost + t.money,
         currency = CASE WHEN r.currency = '' THEN t.currency ELSE r.currency END,
         failing_streak = CASE WHEN t.succeeded > 0 THEN 0 ELSE r.failing_streak + t.failed END,
         failing_code = CASE WHEN t.succeeded > 0 THEN '' ELSE coalesce(t.code, r.failing_code) END,
         rate = r.rate * exp(-extract(epoch FROM now() - coalesce(r.rate_at, now()))::float / 30)
                + (t.ended - t.repeated) / 30.0,
         rate_at = now()
    FROM totals t JOIN locked k ON k.id = t.run_id
   WHERE r.id = k.id
  RETURNING r.id, r.kind)
SELECT c.run_id, n.kind, c.number, c.key, c.state, c.task_id, c.generation
  FROM changed c JOIN counted n ON n.id = c.run_id
 ORDER BY c.run_id, c.number
"""

_FAIL_RESULTS = """
WITH wrong AS (
  UPDATE chat_runrow r SET state = 'failed', error = v.error
    FROM json_to_recordset(%(errors)s) AS v(number int, error jsonb)
   WHERE r.run_id = %(run_id)s AND r.number = v.number AND r.state = 'succeeded' RETURNING 1)
UPDATE chat_run SET succeeded = succeeded - n, failed = failed + n
  FROM (SELECT count(*) AS n FROM wrong) counted WHERE id = %(run_id)s
"""
#: Called after results were committed.
_listeners: list[Callable[[], None]] = []

_OVERDUE = """
SELECT r.task_id FROM chat_runrow r JOIN chat_task t ON t.id = r.task_id
 WHERE r.run_id = %(run_id)s AND r.state = 'open'
   AND t.status NOT IN ('queued', 'running', 'calling_tools', 'requires_action')
   AND NOT t.needs_settling
"""


def collect(tasks: Sequence[EndedTask]) -> None:
    """Collector of settlement: store the results of tasks that are rows of runs."""
    end_rows([task.id for task in tasks])


def end_rows(task_ids: Sequence[UUID]) -> int:
    """Store what became of the open rows of these ended tasks. Returns how many there were."""
    results = fetch_rows(
        RowResult,
        _END_ROWS,
        {
            "task_ids": list(task_ids),
            "passing": list(PASSING_CODES),
            "tries": settings.RUN_ROW_TRIES,
            "first_wait": FIRST_WAIT_SECONDS,
            "max_wait": MAX_WAIT_SECONDS,
        },
    )
    by_kind: defaultdict[str, list[RowResult]] = defaultdict(list)
    for result in results:
        by_kind[result.kind].append(result)
    for name, found in by_kind.items():
        kind_named(name).store_results(found)
    if results:
        transaction.on_commit(lambda: _announce(results))
    return len(results)


def fail_results(run_id: UUID, errors: Mapping[int, Mapping[str, object]]) -> None:
    """Have rows failed whose answers their kind cannot use, by number: for `store_results`."""
    wrong = [{"number": number, "error": error} for number, error in sorted(errors.items())]
    encoded = msgspec.json.encode(wrong).decode()
    execute(_FAIL_RESULTS, {"run_id": run_id, "errors": encoded})


def _announce(results: Sequence[RowResult]) -> None:
    with surviving("announcing runs"):
        metrics.count_run_rows(result.state for result in results)
    announcing.publish({result.run_id for result in results})
    for listener in _listeners:
        with surviving("announcing runs"):
            listener()


def collect_overdue(run_id: UUID) -> None:
    """Store the results of tasks that were settled without their rows, as after a fault."""
    with transaction.atomic():
        if overdue := fetch_column(UUID, _OVERDUE, {"run_id": run_id}):
            end_rows(overdue)


def on_results(listener: Callable[[], None]) -> None:
    """Have `listener` called after results were committed: there may be room for further rows."""
    _listeners.append(listener)
