"""Requests and tokens a minute, over all workers. A minute is made short, or passes by hand."""

from __future__ import annotations

import asyncio
import math
import time
from random import Random
from typing import Any, cast

import pytest

from aily.redis.clients import sync_redis
from chat import scheduler
from chat.models import Lane
from chat.scheduler import NOT_CALLED, Claim, DeploymentClaim, Entry, claims
from chat.scheduler.keys import deployment_keys
from tests.chat.scheduler.conftest import OWN, claim_for, entries, own, place_of

#: Buckets of the window: a minute and up to half a second.
BUCKETS = 242


async def claim(pool: str, worker: str = "w", *, want: int = 1000, **limits: object) -> Claim:
    deployment = DeploymentClaim(OWN, 10_000, **limits)  # type: ignore[arg-type]
    return await claim_for(pool, [deployment], worker, want=want)


def sized(count: int, tokens: int, name: str = "t") -> list[Entry]:
    return [Entry(f"{name}{n}", Lane.NORMAL, 1, tokens=tokens) for n in range(count)]


def minute(pool: str) -> tuple[int, int]:
    load = scheduler.deployment_loads([own(pool)])[own(pool)]
    return load.requests, load.tokens


def pass_seconds(pool: str, seconds: float) -> None:
    """As if all that was counted had been counted so much earlier."""
    key = deployment_keys(own(pool)).minute
    counted = cast("dict[bytes, bytes]", sync_redis().hgetall(key))
    earlier = round(seconds * 1000 / claims.BUCKET_MS)
    moved: dict[str, Any] = {}
    for field, value in counted.items():
        kind, number = field[:1].decode(), field[1:].decode()
        if number.isdecimal():
            moved[f"{kind}{(int(number) - earlier) % BUCKETS}"] = value
        else:
            moved[field.decode()] = value
    moved["at"] = str(int(counted[b"at"]) - earlier).encode()
    sync_redis().delete(key)
    sync_redis().hset(key, mapping=moved)
    key = deployment_keys(own(pool)).charges
    charges = cast("dict[bytes, bytes]", sync_redis().hgetall(key))
    for task_id, charge in charges.items():
        bucket, _, rest = charge.decode().partition(":")
        sync_redis().hset(key, task_id.decode(), f"{int(bucket) - earlier}:{rest}")


# --- Requests -------------------------------------------------------------------------------------
async def test_no_more_requests_than_the_limit_whatever_ends_meanwhile(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 300))
    taken = (await claim(pool, requests_per_minute=100)).task_ids
    assert len(taken) == 100
    claimed = await claim(pool, requests_per_minute=100, released=taken)
    assert claimed.task_ids == []
    assert claimed.wait_seconds == pytest.approx(60.5, abs=1)


async def test_workers_share_a_minute(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 300))
    taken = await asyncio.gather(
        *(claim(pool, f"w{n}", want=40, requests_per_minute=100) for n in range(5))
    )
    assert sum(len(claimed.task_ids) for claimed in taken) == 100


@pytest.mark.parametrize("seconds", [1, 30, 59, 60])
async def test_a_request_counts_for_a_minute_whichever_borders_it_crosses(
    pool: str, seconds: float
) -> None:
    scheduler.enqueue(pool, entries(1, 300))
    await claim(pool, want=60, requests_per_minute=100)
    pass_seconds(pool, seconds)
    assert len((await claim(pool, requests_per_minute=100)).task_ids) == 40
    pass_seconds(pool, 60.5 - seconds)
    assert len((await claim(pool, requests_per_minute=100)).task_ids) == 60
    assert minute(pool)[0] == 100


async def test_after_a_long_silence_the_minute_is_empty(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 300))
    await claim(pool, requests_per_minute=100)
    pass_seconds(pool, 600)
    assert len((await claim(pool, requests_per_minute=100)).task_ids) == 100


async def test_a_task_that_was_not_called_is_no_request(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 300))
    taken = (await claim(pool, requests_per_minute=100)).task_ids
    unused = dict.fromkeys(taken[:10], NOT_CALLED)
    claimed = await claim(pool, requests_per_minute=100, released=taken[:10], used_tokens=unused)
    assert len(claimed.task_ids) == 10


async def test_a_waiting_task_says_until_when_and_the_worker_is_told(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 300))
    await claim(pool, want=100, requests_per_minute=100)
    pass_seconds(pool, 20)
    claimed = await claim(pool, requests_per_minute=100)
    assert claimed.wait_seconds == pytest.approx(40.5, abs=1)
    place = place_of(pool, claimed.task_ids[0] if claimed.task_ids else "1.100")
    assert place is not None
    assert place.waiting_for is not None
    assert place.waiting_for.kind == "limit"
    assert place.eta_seconds == pytest.approx(40.5, abs=1.5)


async def test_another_deployment_takes_what_one_has_no_minute_for(pool: str) -> None:
    scheduler.enqueue(pool, entries(1, 300))
    both = [DeploymentClaim("0.1", 50, requests_per_minute=10), DeploymentClaim("1.1", 30)]
    claimed = await claim_for(pool, both)
    assert [len(taken.task_ids) for taken in claimed.taken.values()] == [10, 30]
    place = place_of(pool, "1.299")
    assert place is not None
    assert place.waiting_for is None


# --- Tokens ---------------------------------------------------------------------------------------
async def test_what_tasks_may_use_counts_until_it_is_known(pool: str) -> None:
    scheduler.enqueue(pool, sized(10, tokens=300))
    taken = (await claim(pool, tokens_per_minute=1000)).task_ids
    assert (len(taken), minute(pool)) == (3, (3, 900))
    used = dict.fromkeys(taken, 100)
    claimed = await claim(pool, tokens_per_minute=1000, released=taken, used_tokens=used)
    # 300 are used, and a task of this size uses 100, as is known by now.
    assert (len(claimed.task_ids), minute(pool)) == (7, (10, 1000))


async def test_more_than_was_expected_counts_as_well(pool: str) -> None:
    scheduler.enqueue(pool, sized(10, tokens=100))
    taken = (await claim(pool, want=5, tokens_per_minute=1000)).task_ids
    used = dict.fromkeys(taken, 190)
    claimed = await claim(pool, tokens_per_minute=1000, released=taken, used_tokens=used)
    assert (claimed.task_ids, minute(pool)[1]) == ([], 950)


async def test_a_correction_counts_when_its_call_began(pool: str) -> None:
    scheduler.enqueue(pool, sized(10, tokens=500))
    taken = (await claim(pool, tokens_per_minute=1000)).task_ids
    pass_seconds(pool, 30)
    used = dict.fromkeys(taken, 400)
    await claim(pool, want=0, tokens_per_minute=1000, released=taken, used_tokens=used)
    assert minute(pool)[1] == 800
    pass_seconds(pool, 30.5)
    assert len((await claim(pool, tokens_per_minute=1000)).task_ids) == 2
    assert minute(pool)[1] == 800, "the first two are a minute ago"


async def test_a_task_larger_than_the_limit_is_called_when_the_minute_is_empty(pool: str) -> None:
    scheduler.enqueue(pool, sized(2, tokens=5000))
    assert len((await claim(pool, tokens_per_minute=1000)).task_ids) == 1
    assert (await claim(pool, tokens_per_minute=1000)).task_ids == []
    pass_seconds(pool, 60.5)
    assert len((await claim(pool, tokens_per_minute=1000)).task_ids) == 1


async def test_a_large_task_is_not_overtaken_for_ever_by_small_ones(pool: str) -> None:
    scheduler.enqueue(pool, sized(1, 600, "first"))
    scheduler.enqueue(pool, sized(1, 600, "large"))
    scheduler.enqueue(pool, sized(5, 10, "small"))
    assert (await claim(pool, tokens_per_minute=1000)).task_ids == ["first0"]


async def test_a_task_of_which_nothing_is_known_counts_as_others_do(pool: str) -> None:
    """As one that the sweep puts back, which reads no prompts."""
    scheduler.enqueue(pool, sized(2, tokens=300))
    taken = (await claim(pool, tokens_per_minute=1000)).task_ids
    scheduler.enqueue(pool, entries(1, 20))
    used = dict.fromkeys(taken, 100)
    claimed = await claim(pool, tokens_per_minute=1000, released=taken, used_tokens=used)
    assert (len(claimed.task_ids), minute(pool)[1]) == (8, 1000)


async def test_unused_tokens_of_a_call_without_a_connection_are_given_back(pool: str) -> None:
    scheduler.enqueue(pool, sized(4, tokens=500))
    taken = (await claim(pool, tokens_per_minute=1000)).task_ids
    used = dict.fromkeys(taken, NOT_CALLED)
    claimed = await claim(pool, tokens_per_minute=1000, released=taken, used_tokens=used)
    assert (len(claimed.task_ids), minute(pool)) == (2, (2, 1000))


# --- Over many minutes ----------------------------------------------------------------------------
async def starts_of(pool: str, minutes: int, **limits: int) -> tuple[list[float], float]:
    """When the calls of three workers begin that claim at odd moments, in seconds from the first,
    and how late that may be noted: as long as the slowest claim took.

    A call may use 80 tokens and uses 50; it ends before its worker claims again.
    """
    random, began, passed, slowest = Random(7), time.monotonic(), 0.0, 0.0
    ended: dict[str, list[str]] = {}
    starts: list[float] = []
    while passed < minutes * 60:
        worker = f"w{random.randrange(3)}"
        released = ended.pop(worker, [])
        used = dict.fromkeys(released, 50)
        want = random.choice([1, 10, 100])
        asked = time.monotonic()
        claimed = await claim(
            pool, worker, want=want, released=released, used_tokens=used, **limits
        )
        slowest = max(slowest, time.monotonic() - asked)
        ended[worker] = claimed.task_ids
        starts += [passed + time.monotonic() - began] * len(claimed.task_ids)
        # A worker looks again when there is room, at the latest.
        seconds = min(random.choice([0.25, 0.5, 1, 2.75]), claimed.wait_seconds or 60)
        seconds = math.ceil(seconds * 1000 / claims.BUCKET_MS) * claims.BUCKET_MS / 1000
        pass_seconds(pool, seconds)
        passed += seconds
    return starts, slowest


@pytest.mark.parametrize("limits", [{"requests_per_minute": 200}, {"tokens_per_minute": 10_000}])
async def test_any_minute_has_the_limit_within_two_percent(
    pool: str, limits: dict[str, int]
) -> None:
    minutes = 6
    scheduler.enqueue(pool, sized(200 * (minutes + 2), tokens=80))
    starts, late = await starts_of(pool, minutes, **limits)
    windows = [sum(at <= start < at + 60 - late for start in starts) for at in starts]
    assert max(windows) <= 200
    # The first is whole at once, and so is the last.
    assert len(starts) >= 0.98 * 200 * minutes
