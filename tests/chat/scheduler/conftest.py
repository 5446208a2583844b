"""Pools that no other test knows, and claims on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from uuid import uuid4

import pytest

from aily.redis.clients import sync_redis
from chat import scheduler
from chat.models import Lane
from chat.scheduler import Claim, DeploymentClaim, DeploymentKey, Entry, Place, Probe

LEASE_SECONDS = 60
#: The name of the only deployment of a pool.
OWN = "0.1"


@pytest.fixture
def pool() -> Iterator[str]:
    """A pool of its own; the names of its workers are unique as well."""
    pool = f"test-{uuid4().hex}"
    scheduler.mark_known(pool)
    yield pool
    redis = sync_redis()
    redis.delete(*redis.scan_iter(f"aily:*{pool}*"))


@pytest.fixture(autouse=True)
def _loop_services(loop_services: None) -> None:
    pass


def entries(owner: int, count: int, lane: Lane = Lane.NORMAL, name: str = "") -> list[Entry]:
    return [Entry(f"{name}{owner}.{number}", lane, owner) for number in range(count)]


def place_of(pool: str, task_id: str) -> Place | None:
    [place] = scheduler.places_of([(pool, task_id)])
    return place


def own(pool: str) -> DeploymentKey:
    return pool, OWN


async def claim(
    pool: str,
    worker: str = "w",
    *,
    cap: int = 10_000,
    want: int = 1_000,
    probe: Probe | None = None,
    may_be_preferred: bool = False,
    **options: object,
) -> Claim:
    """Claim for the only deployment of a pool."""
    deployment = DeploymentClaim(OWN, cap, **options)  # type: ignore[arg-type]
    return await claim_for(
        pool, [deployment], worker, want=want, probe=probe, may_be_preferred=may_be_preferred
    )


async def claim_for(
    pool: str,
    deployments: Sequence[DeploymentClaim],
    worker: str = "w",
    *,
    want: int = 1_000,
    probe: Probe | None = None,
    may_be_preferred: bool = False,
) -> Claim:
    return await scheduler.claim(
        pool,
        f"{pool}-{worker}",
        deployments,
        want=want,
        lease_seconds=LEASE_SECONDS,
        probe=probe,
        may_be_preferred=may_be_preferred,
    )
