"""Which task finds out whether a provider that is being left alone works again.

One that has failed may be to blame itself, and so may others of its owner: with those, a provider
that is well would stay closed to everybody.
"""

from __future__ import annotations

from collections.abc import Sequence

from aily.database import fetch_all, in_database
from chat import scheduler
from chat.scheduler import Probe

_WAITING = """
SELECT id::text, owner_id, failures FROM chat_task
 WHERE id = ANY(string_to_array(%s, ' ')::uuid[]) AND status = 'queued'
"""
_HEALTHY = """
SELECT id::text, owner_id, failures FROM chat_task
 WHERE status = 'queued' AND model_id = %s AND failures = 0 AND leader_id IS NULL
 ORDER BY id LIMIT 1
"""


async def choose(pool: str, provider: str, *, only_fresh: bool) -> Probe | None:
    """A waiting task of an owner none of whose tasks failed, the most urgent first; else, unless
    `only_fresh`, one that has not failed itself, else any.

    Raises RedisAway and django.db.Error.
    """
    heads = await scheduler.heads(pool)
    waiting = await in_database(_look_up, heads)
    if not only_fresh and not any(failures == 0 for _, _, failures in waiting):
        waiting += await in_database(fetch_all, _HEALTHY, [int(pool)])
    owners = list({owner_id for _, owner_id, _ in waiting})
    failing = await scheduler.failing_owners(provider, owners)
    probes = [_probe(*row, failing) for row in waiting]
    by_kind = {probe.kind: probe for probe in reversed(probes)}
    wanted = ("fresh",) if only_fresh else ("fresh", "healthy", "failed")
    return next((by_kind[kind] for kind in wanted if kind in by_kind), None)


def _look_up(task_ids: Sequence[str]) -> list[tuple[str, int, int]]:
    """(task id, owner, failures), in the order of `task_ids`."""
    found = {row[0]: row for row in fetch_all(_WAITING, [" ".join(task_ids)])}
    return [(task_id, *found[task_id][1:]) for task_id in task_ids if task_id in found]


def _probe(task_id: str, owner_id: int, failures: int, failing: set[int]) -> Probe:
    if failures:
        return Probe(task_id, "failed")
    return Probe(task_id, "healthy" if owner_id in failing else "fresh")
