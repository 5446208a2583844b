"""Waiting requests: dropped ones are found by their repeats, in any process, or cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import cast
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from pytest_django import Settings

from accounts.models import User
from aily.redis.clients import async_redis
from aily.redis.guarded import AsyncGuardedPool
from chat.models import LLMModel, Status
from chat.openai.waiters import Waiter, fingerprint, keys, registry
from chat.openai.waiters import keeper as keeper_module
from chat.openai.waiters.keeper import Keeper
from tests.chat.conftest import Submit, eventually, row

DIGEST = fingerprint(1, "/v1/chat/completions", b"{}")
OTHER = fingerprint(1, "/v1/chat/completions", b"[]")
GRACE = 30.0
#: Makes a request that waits for a task of its own.
MakeWaiter = Callable[..., Awaitable[Waiter]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Heartbeats come often, and all that follows from them."""
    monkeypatch.setattr(keeper_module, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(keeper_module, "SEARCH_SECONDS", 5.0)
    monkeypatch.setattr(registry, "SILENT_SECONDS", 1.0)
    settings.DROPPED_REQUEST_SECONDS = GRACE


@pytest.fixture
async def keepers(loop_services: None, model: LLMModel) -> AsyncIterator[list[Keeper]]:
    """Those of three processes, of which Redis knows nothing yet."""
    await async_redis().delete(*keys.ALL)
    made = [Keeper(f"process-{number}") for number in range(3)]
    yield made
    for keeper in made:
        await keeper.aclose()


@pytest.fixture
def make_waiter(submit_as_alice: Submit, alice: User) -> MakeWaiter:
    async def make(digest: str = DIGEST) -> Waiter:
        return Waiter(digest, UUID(await submit_as_alice("x")), alice.pk)

    return make


async def held() -> list[str]:
    return [member.decode() for member in await async_redis().zrange(keys.HELD, 0, -1)]


async def until_written(waiter: Waiter) -> None:
    async def is_written() -> bool:
        return any(str(waiter) in member for member in await held())

    await eventually(is_written)


async def until_cancelled(waiter: Waiter) -> None:
    async def is_cancelled() -> bool:
        return (await row(str(waiter.task_id))).status == Status.CANCELLED

    await eventually(is_cancelled)


async def die(keeper: Keeper) -> None:
    """As a process that is killed: it tells nobody."""
    assert keeper._beating is not None
    keeper._beating.cancel()
    await asyncio.wait([keeper._beating])


async def test_each_repeat_gets_another_dropped_request(
    keepers: list[Keeper], make_waiter: MakeWaiter
) -> None:
    first, second, third = keepers
    dropped = [await make_waiter() for _ in range(2)]
    other = await make_waiter(OTHER)
    for waiter in (*dropped, other):
        first.hold(waiter)
        await first.drop(waiter, GRACE)
    found = await asyncio.gather(*(second.attach(DIGEST) for _ in range(2)))
    assert set(found) == set(dropped)
    # They wait again, and are dropped again.
    await second.drop(dropped[0], GRACE)
    assert await third.attach(DIGEST) == dropped[0]
    assert await third.attach(OTHER) == other


async def test_dropped_requests_are_counted(keepers: list[Keeper], make_waiter: MakeWaiter) -> None:
    first, second, _ = keepers
    before = _counts()
    waiters = [await make_waiter(), await make_waiter(OTHER)]
    for waiter, grace in zip(waiters, (GRACE, 0.0), strict=True):
        first.hold(waiter)
        await first.drop(waiter, grace)
    assert await second.attach(DIGEST) == waiters[0]
    await until_cancelled(waiters[1])
    await eventually(lambda: _has_counted(before, dropped=2, found_again=1, cancelled=1))


def _counts() -> dict[str, float]:
    outcomes = ("dropped", "found_again", "cancelled")
    name = "aily_dropped_requests_total"
    return {
        outcome: REGISTRY.get_sample_value(name, {"outcome": outcome}) or 0.0
        for outcome in outcomes
    }


async def _has_counted(before: dict[str, float], **more: int) -> bool:
    return _counts() == {outcome: before[outcome] + count for outcome, count in more.items()}


async def test_a_request_that_is_waited_for_is_not_found(
    keepers: list[Keeper], make_waiter: MakeWaiter
) -> None:
    first, second, _ = keepers
    waiter = await make_waiter()
    first.hold(waiter)
    await until_written(waiter)
    assert await second.attach(DIGEST) is None
    first.release(waiter)
    await eventually(lambda: _is_empty())
    assert await second.attach(DIGEST) is None


async def _is_empty() -> bool:
    return not await held()


async def test_a_repeat_may_come_before_the_end_of_the_first_is_noticed(
    keepers: list[Keeper], make_waiter: MakeWaiter
) -> None:
    first, second, _ = keepers
    waiter = await make_waiter()
    first.hold(waiter)
    await until_written(waiter)
    repeating = asyncio.ensure_future(second.attach(DIGEST))
    await first.drop(waiter, GRACE)
    assert await repeating == waiter


async def test_the_requests_of_a_killed_process_are_found(
    keepers: list[Keeper], make_waiter: MakeWaiter
) -> None:
    first, second, third = keepers
    waiter = await make_waiter()
    first.hold(waiter)
    await until_written(waiter)
    await die(first)
    found = await asyncio.gather(second.attach(DIGEST), third.attach(DIGEST))
    assert set(found) == {waiter, None}


async def test_nobody_repeats_the_requests_of_a_killed_process(
    keepers: list[Keeper],
    make_waiter: MakeWaiter,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "DEAD_SECONDS", 0.8)
    settings.DROPPED_REQUEST_SECONDS = 0.1
    first, second, _ = keepers
    lost, other = await make_waiter(), await make_waiter(OTHER)
    first.hold(lost)
    await until_written(lost)
    await die(first)
    second.hold(other)
    await until_cancelled(lost)
    assert (await row(str(other.task_id))).status == Status.QUEUED


async def test_a_stalled_process_keeps_its_requests(
    keepers: list[Keeper], make_waiter: MakeWaiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken for dead, and goes on before the time for repeats is over."""
    monkeypatch.setattr(registry, "DEAD_SECONDS", 0.8)
    first, second, third = keepers
    waiter, other = await make_waiter(), await make_waiter(OTHER)
    first.hold(waiter)
    await until_written(waiter)
    await die(first)
    second.hold(other)

    async def is_dropped() -> bool:
        return bool(await async_redis().zcard(keys.DROPPED))

    await eventually(is_dropped)
    monkeypatch.setattr(registry, "DEAD_SECONDS", 30.0)
    first._run()
    await until_written(waiter)
    assert not await is_dropped()
    assert await third.attach(DIGEST) is None


@pytest.mark.parametrize("is_written", [False, True])
async def test_a_dropped_request_that_nobody_repeats_is_cancelled(
    keepers: list[Keeper], make_waiter: MakeWaiter, is_written: bool
) -> None:
    waiter = await make_waiter()
    keepers[0].hold(waiter)
    if is_written:
        await until_written(waiter)
    await keepers[0].drop(waiter, 0.1)
    await until_cancelled(waiter)
    # After that it is not found any more.
    assert await keepers[1].attach(DIGEST) is None


async def test_another_process_cancels_for_one_that_has_died(
    keepers: list[Keeper], make_waiter: MakeWaiter
) -> None:
    waiter, other = await make_waiter(), await make_waiter(OTHER)
    keepers[0].hold(waiter)
    await keepers[0].drop(waiter, 0.3)
    await die(keepers[0])
    keepers[1].hold(other)
    await until_cancelled(waiter)


async def test_without_redis_a_dropped_request_is_cancelled_at_once(
    keepers: list[Keeper], make_waiter: MakeWaiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiter = await make_waiter()
    keepers[0].hold(waiter)
    circuit = cast("AsyncGuardedPool", async_redis().connection_pool).circuit
    with monkeypatch.context() as patch:
        patch.setattr(circuit, "allows_call", lambda: False)
        await keepers[0].drop(waiter, GRACE)
        assert await keepers[1].attach(DIGEST) is None
    await until_cancelled(waiter)


async def test_a_redis_that_lost_its_memory_is_told_again(
    keepers: list[Keeper], make_waiter: MakeWaiter
) -> None:
    waiter = await make_waiter()
    keepers[0].hold(waiter)
    await until_written(waiter)
    await async_redis().delete(*keys.ALL)
    await until_written(waiter)


async def test_only_so_many_dropped_requests_are_remembered(
    keepers: list[Keeper], make_waiter: MakeWaiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MAX_DROPPED", 1)
    first, second = await make_waiter(), await make_waiter(OTHER)
    for waiter in (first, second):
        keepers[0].hold(waiter)
        await keepers[0].drop(waiter, GRACE)
    await until_cancelled(second)
    assert await keepers[1].attach(DIGEST) == first
