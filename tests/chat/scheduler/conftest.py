"""Pools that no other test knows, and claims on them."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

from aily.redis.clients import sync_redis
from chat import scheduler
from chat.models import Lane
from chat.scheduler import Claim, Entry

LEASE_SECONDS = 60


@pytest.fixture
def pool() -> Iterator[str]:
    """A pool of a provider of its own; the names of its workers are unique as well."""
    provider = f"test-{uuid4().hex}"
    scheduler.mark_known(provider)
    yield f"{provider}.1"
    redis = sync_redis()
    redis.delete(*redis.scan_iter(f"aily:*{provider}*"))


@pytest.fixture(autouse=True)
def _loop_services(loop_services: None) -> None:
    pass


def entries(owner: int, count: int, lane: Lane = Lane.NORMAL, name: str = "") -> list[Entry]:
    return [Entry(f"{name}{owner}.{number}", lane, owner) for number in range(count)]


async def claim(
    pool: str, worker: str = "w", *, cap: int = 10_000, want: int = 1_000, **options: object
) -> Claim:
    return await scheduler.claim(
        pool,
        f"{pool}-{worker}",
        cap=cap,
        want=want,
        lease_seconds=LEASE_SECONDS,
        **options,  # type: ignore[arg-type]
    )
