"""Which task finds out whether a provider that is being left alone works again.

One that has failed may be to blame itself, and so may others of its owner, mostly those of its
lane, such as a batch: with those, a provider that is well would stay closed to everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aily.database.statements import fetch_all
from aily.database.threads import in_database
from chat import scheduler
from chat.runner.pools import Pool
from chat.scheduler import Probe

_WAITING = """
SELECT id::text, owner_id, lane, failures FROM chat_task
 WHERE id = ANY(string_to_array(%s, ' ')::uuid[]) AND status = 'queued'
"""
_HEALTHY = """
SELECT id::text, owner_id, lane, failures FROM chat_task
 WHERE status = 'queued' AND model_id = %s AND failures = 0 AND leader_id IS NULL
 ORDER BY id LIMIT 1
"""


#: Task id, owner, lane, failures.
_Row = tuple[str, int, int, int]


async def choose(pool: Pool, *, only_fresh: bool) -> Probe | None:
    """A waiting task of an owner none of whose tasks in its lane failed, the most urgent first;
    else, unless `only_fresh`, one that has not failed itself, else any.

    Raises RedisUnavailable and django.db.Error.
    """
    heads = await scheduler.heads(pool.name)
    waiting = await in_database(_look_up, heads)
    if not only_fresh and not any(failures == 0 for *_, failures in waiting):
        found: Any = await in_database(fetch_all, _HEALTHY, [pool.model_id])
        waiting += found
    lanes = list({(owner_id, lane) for _, owner_id, lane, _ in waiting})
    failing = await scheduler.failing_lanes(pool.name, lanes)
    probes = [_probe(*row, failing) for row in waiting]
    by_kind = {probe.kind: probe for probe in reversed(probes)}
    wanted = ("fresh",) if only_fresh else ("fresh", "healthy", "failed")
    return next((by_kind[kind] for kind in wanted if kind in by_kind), None)


def _look_up(task_ids: Sequence[str]) -> list[_Row]:
    """In the order of `task_ids`."""
    rows: Any = fetch_all(_WAITING, [" ".join(task_ids)])
    found: dict[str, _Row] = {row[0]: row for row in rows}
    return [found[task_id] for task_id in task_ids if task_id in found]


def _probe(
    task_id: str, owner_id: int, lane: int, failures: int, failing: set[tuple[int, int]]
) -> Probe:
    if failures:
        return Probe(task_id, "failed")
    return Probe(task_id, "healthy" if (owner_id, lane) in failing else "fresh")
