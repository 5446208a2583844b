"""Which task finds out whether a deployment works again whose circuit breaker is open.

A task that has failed may be to blame itself, and so may others of its owner, mostly those of its
lane, such as a batch: by them, one that works would stay closed to all owners.
"""

from __future__ import annotations

from collections.abc import Sequence

from aily.database.rows import Row, fetch_rows
from aily.database.threads import in_database
from chat import scheduler
from chat.runner.pools import Deployment, Pool
from chat.scheduler import Probe
from chat.scheduler.claims import ProbeKind


class _WaitingTask(Row, frozen=True):
    task_id: str
    owner_id: int
    lane: int
    failures: int


_WAITING = """
SELECT id::text AS task_id, owner_id, lane, failures FROM chat_task
 WHERE id = ANY(string_to_array(%s, ' ')::uuid[]) AND status = 'queued'
"""
_HEALTHY = """
SELECT id::text AS task_id, owner_id, lane, failures FROM chat_task
 WHERE status = 'queued' AND model_id = %s AND failures = 0 AND leader_id IS NULL
 ORDER BY id LIMIT 1
"""


async def choose(pool: Pool, deployment: Deployment, *, only_fresh: bool) -> Probe | None:
    """Return a waiting task of an owner none of whose tasks in its lane failed, the most urgent
    first; else, unless `only_fresh`, one that has not failed itself, else any.

    Raises RedisUnavailable and django.db.Error.
    """
    heads = await scheduler.heads(pool.name)
    waiting = await in_database(_look_up, heads)
    if not only_fresh and all(task.failures for task in waiting):
        waiting += await in_database(fetch_rows, _WaitingTask, _HEALTHY, [pool.model_id])
    lanes = list({(task.owner_id, task.lane) for task in waiting})
    failing = await scheduler.failing_lanes(deployment.key, lanes)
    name = deployment.key[1]
    probes = [Probe(task.task_id, _kind(task, failing), name) for task in waiting]
    by_kind = {probe.kind: probe for probe in reversed(probes)}
    wanted = ("fresh",) if only_fresh else ("fresh", "healthy", "failed")
    return next((by_kind[kind] for kind in wanted if kind in by_kind), None)


def _look_up(task_ids: Sequence[str]) -> list[_WaitingTask]:
    """In the order of `task_ids`."""
    rows = fetch_rows(_WaitingTask, _WAITING, [" ".join(task_ids)])
    found = {task.task_id: task for task in rows}
    return [found[task_id] for task_id in task_ids if task_id in found]


def _kind(task: _WaitingTask, failing: set[tuple[int, int]]) -> ProbeKind:
    if task.failures:
        return "failed"
    return "healthy" if (task.owner_id, task.lane) in failing else "fresh"
