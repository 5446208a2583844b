"""Every Redis key of the queue, and its channel.

What a claim touches is under one hash tag, the pool's: a Redis Cluster then keeps it on one node. A
pool is named after its model's id (LLMModel.pool), a deployment after its row and its provider
(`Deployment.key`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

#: Pub/sub channel of the names of pools that have work: reaches idle workers at once. The Dramatiq
#: message that goes with it reaches, a little later, a worker that was not subscribed.
DOORBELL = "aily:doorbell"


def doorbell_of(worker_id: str) -> str:
    """The channel on which one worker alone is rung: see `PoolKeys.stats`."""
    return f"{DOORBELL}:{worker_id}"


#: Pub/sub channel that has workers read their rows now: a model or provider was changed, or a
#: worker is to drain. Without it they would find out with the next renewal of their lease.
RELOAD = "aily:reload"

#: A deployment: the name of its pool, and its own.
DeploymentKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PoolKeys:
    """The keys that all deployments of a pool share."""

    #: zset  task id -> lane * width + virtual start
    ready: str
    #: hash  now:<lane> -> virtual time; owner:<lane>:<owner id> -> that owner's finish
    virtual_times: str
    #: hash  seconds (mean of a call), in_use, cap, blocked_by, blocked_until: as of the last claim;
    #: preferred: the doorbell of the worker that is rung alone
    stats: str
    #: string  set while a ring of the doorbell is under way
    rung: str
    #: string  set after a Dramatiq message although a worker was subscribed to the doorbell
    messaged: str
    #: zset  worker id -> when its slots run out (Redis time, seconds)
    workers: str
    #: string  missing: Redis is new, or has lost everything
    known: str
    #: string  set for a while after that: workers report the slots of their calls again
    counting: str
    #: hash  task id -> ,deployment,deployment, that have failed it
    tried: str
    #: hash  task id -> tokens that it may use; of pools with a limit of tokens a minute
    sizes: str


@dataclass(frozen=True, slots=True)
class DeploymentKeys:
    """The keys of a deployment."""

    #: hash  worker id -> how many slots it has, or <slots>:<slots of batch tasks>
    in_use: str
    #: hash  limit (calls at once, under the cap), paused_until, halved_until
    limit: str
    #: hash  open_until, opened, probe, probe_until, probe_kind, fresh_at: see lua/failed.lua
    breaker: str
    #: zset  task id -> when it failed last
    failures: str
    #: zset  those of them that found no connection
    unreachable: str
    #: zset  owner id -> when a task of that owner failed last
    failing_owners: str
    #: zset  <owner id>:<lane> -> when a task of that owner in that lane failed last
    failing_lanes: str
    #: string  calls that succeeded since tasks fail
    successes: str
    #: zset  owner id -> when a task of that owner succeeded last
    served: str
    #: hash  requests, tokens (of the last minute), at (its newest bucket), r<n>, t<n> (a bucket's)
    minute: str
    #: hash  task id -> <bucket>:<tokens that were charged>:<tokens that it may use>
    charges: str
    #: hash  calls, estimated, used: how many tokens ended calls were to use, and have used
    learnt: str
    _slots: str
    _batch_slots: str

    def slots(self, worker_id: str) -> str:
        """set  ids of the tasks that a worker has a slot for"""
        return f"{self._slots}:{worker_id}"

    def batch_slots(self, worker_id: str) -> str:
        """set  those of them that are of lane batch"""
        return f"{self._batch_slots}:{worker_id}"


@lru_cache(maxsize=1024)
def pool_keys(pool: str) -> PoolKeys:
    """The keys of a pool, by its name."""
    # Not the bare name: workers of 0.2 have keys of other things under a provider's id.
    tag = f"{{pool:{pool}}}"
    return PoolKeys(
        ready=f"aily:ready:{tag}",
        virtual_times=f"aily:virtual-times:{tag}",
        stats=f"aily:stats:{tag}",
        rung=f"aily:rung:{tag}",
        messaged=f"aily:messaged:{tag}",
        workers=f"aily:workers:{tag}",
        known=f"aily:known:{tag}",
        counting=f"aily:counting:{tag}",
        tried=f"aily:tried:{tag}",
        sizes=f"aily:sizes:{tag}",
    )


@lru_cache(maxsize=4096)
def deployment_keys(deployment: DeploymentKey) -> DeploymentKeys:
    """The keys of a deployment of a pool."""
    pool, name = deployment
    tag = f"{{pool:{pool}}}:{name}"
    return DeploymentKeys(
        in_use=f"aily:in-use:{tag}",
        limit=f"aily:limit:{tag}",
        breaker=f"aily:breaker:{tag}",
        failures=f"aily:failures:{tag}",
        unreachable=f"aily:unreachable:{tag}",
        failing_owners=f"aily:failing-owners:{tag}",
        failing_lanes=f"aily:failing-lanes:{tag}",
        successes=f"aily:successes:{tag}",
        served=f"aily:served:{tag}",
        minute=f"aily:minute:{tag}",
        charges=f"aily:charges:{tag}",
        learnt=f"aily:learnt:{tag}",
        _slots=f"aily:slots:{tag}",
        _batch_slots=f"aily:batch-slots:{tag}",
    )
