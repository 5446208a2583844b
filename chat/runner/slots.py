"""The slots that a worker's calls take under the caps of deployments, as Redis counts them."""

from __future__ import annotations

import logging

from django.conf import settings

from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.models import Lane
from chat.runner.calls import Calls
from chat.runner.lease import HeldLease
from chat.runner.pools import Pools
from chat.scheduler import DeploymentKey

logger = logging.getLogger(__name__)


class Slots:
    """Keeps Redis' count in accordance with the calls that run."""

    def __init__(self, pools: Pools, calls: Calls, held: HeldLease) -> None:
        self._pools = pools
        self._calls = calls
        self._held = held
        #: Slots without a call that were found the last time.
        self._suspects: dict[DeploymentKey, set[str]] = {}

    async def renew(self) -> None:
        """Have Redis count the calls that run, also where it had lost them."""
        worker_id, lease_seconds = str(self._held.worker_id), settings.WORKER_LEASE_SECONDS
        running: dict[DeploymentKey, dict[str, bool]] = {}
        for task_id, call in self._calls.by_task.items():
            if not call.was_answered:
                calls = running.setdefault(call.deployment.key, {})
                calls[task_id] = call.task.lane == Lane.BATCH
        try:
            await scheduler.renew_worker(worker_id, self._pools.deployments, lease_seconds)
            for deployment, calls in running.items():
                await scheduler.restore_slots(deployment, worker_id, calls, lease_seconds)
        except RedisUnavailable as error:
            logger.warning("Redis is away: %s", error)

    async def release_unknown(self) -> None:
        """Give back slots without a call, such as those of a claim whose reply was lost.

        Only if they were found twice in a row, as the reply of a claim may be on its way.
        """
        starting = set(self._calls.starting)
        deployments = self._pools.deployments
        known = {key: {*deployment.released, *starting} for key, deployment in deployments.items()}
        for task_id, call in self._calls.by_task.items():
            known.setdefault(call.deployment.key, set()).add(task_id)
        try:
            unknown = await scheduler.unknown_slots(str(self._held.worker_id), known)
        except RedisUnavailable as error:
            logger.warning("looking at slots: Redis is away (%s)", error)
            return
        for key, task_ids in unknown.items():
            leaked = task_ids & self._suspects.get(key, set())
            deployments[key].release(
                [task_id for task_id in leaked if not self._calls.is_known(task_id)]
            )
        self._suspects = unknown
