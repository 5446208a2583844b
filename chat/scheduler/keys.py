"""Every Redis key of the queue, and its channel.

What a claim touches is under one hash tag, the provider's: a Redis Cluster then keeps it on one
node. So a pool is named after its provider as well: `<provider id>.<model id>` (LLMModel.pool).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

#: Pub/sub channel of the names of pools that have work: reaches idle workers at once. The Dramatiq
#: message that goes with it reaches, a little later, a worker that was not subscribed.
DOORBELL = "aily:doorbell"

#: Pub/sub channel that has workers look at their rows now: a model or provider was changed, or a
#: worker is to drain. Without it they would find out with the next renewal of their lease.
RELOAD = "aily:reload"


@dataclass(frozen=True, slots=True)
class ProviderKeys:
    """The keys of a provider that all of its pools share."""

    #: zset  worker id -> when its slots run out (Redis time, seconds)
    workers: str
    #: string  missing: Redis is new, or has lost everything
    known: str
    #: string  set for a while after that: workers report the slots of their calls again
    counting: str
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


@dataclass(frozen=True, slots=True)
class PoolKeys:
    """The keys of a pool, and those of its provider."""

    #: zset  task id -> lane * width + virtual start
    ready: str
    #: hash  now:<lane> -> virtual time; owner:<lane>:<owner id> -> that owner's finish
    virtual_times: str
    #: hash  seconds (mean of a call), in_use, cap, blocked_by, blocked_until: as of the last claim
    stats: str
    #: hash  worker id -> how many slots it has
    in_use: str
    #: hash  limit (calls at once, under the cap), paused_until, halved_until
    limit: str
    #: string  set while a ring of the doorbell is under way
    rung: str
    #: string  set after a Dramatiq message although a worker was subscribed to the doorbell
    messaged: str
    provider: ProviderKeys
    _slots: str

    def slots(self, worker_id: str) -> str:
        """set  ids of the tasks that a worker has a slot for"""
        return f"{self._slots}:{worker_id}"


def provider_of(pool: str) -> str:
    """The id of a pool's provider."""
    return pool.partition(".")[0]


@lru_cache(maxsize=1024)
def provider_keys(provider: str) -> ProviderKeys:
    """The keys of a provider, by its id."""
    return ProviderKeys(
        workers=f"aily:workers:{{{provider}}}",
        known=f"aily:known:{{{provider}}}",
        counting=f"aily:counting:{{{provider}}}",
        breaker=f"aily:breaker:{{{provider}}}",
        failures=f"aily:failures:{{{provider}}}",
        unreachable=f"aily:unreachable:{{{provider}}}",
        failing_owners=f"aily:failing-owners:{{{provider}}}",
        failing_lanes=f"aily:failing-lanes:{{{provider}}}",
        successes=f"aily:successes:{{{provider}}}",
        served=f"aily:served:{{{provider}}}",
    )


@lru_cache(maxsize=1024)
def pool_keys(pool: str) -> PoolKeys:
    """The keys of a pool, by its name."""
    provider, _, model = pool.partition(".")
    return PoolKeys(
        ready=f"aily:ready:{{{provider}}}:{model}",
        virtual_times=f"aily:virtual-times:{{{provider}}}:{model}",
        stats=f"aily:stats:{{{provider}}}:{model}",
        in_use=f"aily:in-use:{{{provider}}}:{model}",
        limit=f"aily:limit:{{{provider}}}:{model}",
        rung=f"aily:rung:{{{provider}}}:{model}",
        messaged=f"aily:messaged:{{{provider}}}:{model}",
        provider=provider_keys(provider),
        _slots=f"aily:slots:{{{provider}}}:{model}",
    )
