"""The cap of a tool server holds over all processes, and outlives their deaths and Redis'."""

from __future__ import annotations

import asyncio

import pytest
import redis

from aily.database.threads import in_database
from aily.redis.clients import async_redis
from chat import scheduler
from chat.models import ToolServer
from chat.tools import slots
from chat.tools.results import NoSlotError
from tests.waiting import eventually


@pytest.fixture
async def server(tool_loop: None) -> ToolServer:
    return await in_database(
        lambda: ToolServer.objects.create(
            name="crm", url="http://127.0.0.1:9", max_concurrent_calls=2
        )
    )


async def take(server: ToolServer, holder: str, call_id: str) -> float | None:
    return await scheduler.take_slot(server.key, holder, call_id, 2, 5)


async def test_processes_share_a_cap(server: ToolServer) -> None:
    assert await take(server, "one", "a") is None
    assert await take(server, "two", "b") is None
    assert await take(server, "two", "c") is not None
    # Asked again for the same call, it is the same slot.
    assert await take(server, "one", "a") is None
    await scheduler.return_slot(server.key, "one", "a")
    await scheduler.return_slot(server.key, "one", "a")
    assert await take(server, "two", "c") is None
    assert await take(server, "one", "d") is not None
    loads = await in_database(scheduler.deployment_loads, [server.key])
    assert loads[server.key].in_use == 2


async def test_a_dead_process_holds_no_slots(server: ToolServer) -> None:
    for call_id in "ab":
        assert await scheduler.take_slot(server.key, "dead", call_id, 2, 1) is None

    async def is_free() -> bool:
        return await take(server, "alive", "c") is None

    await eventually(is_free)


async def test_nothing_is_given_out_while_calls_are_counted(server: ToolServer) -> None:
    """Redis has lost everything: until the processes have said what they hold, none is free."""
    async with slots.slot(server, "a"), slots.slot(server, "b"):
        await async_redis().flushdb()
        assert await take(server, "other", "c") is not None

        async def are_counted() -> bool:
            loads = await in_database(scheduler.deployment_loads, [server.key])
            return loads[server.key].in_use == 2

        await eventually(are_counted)
        with pytest.raises(NoSlotError):
            async with slots.slot(server, "c"):
                pass


async def test_a_slot_without_a_call_is_given_back(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a call that ended while Redis was away, or whose slot was taken by a lost reply."""
    monkeypatch.setattr(slots, "_RENEWAL_SECONDS", 0.5)
    async with slots.slot(server, "a"):
        holder = slots._holder()._id
        assert await take(server, holder, "leaked") is None
        assert await take(server, "other", "b") is not None

        async def is_free() -> bool:
            return await take(server, "other", "b") is None

        await eventually(is_free)


async def test_cancelled_calls_give_their_slots_back(server: ToolServer) -> None:
    async def call(number: int) -> None:
        async with slots.slot(server, f"call-{number}"):
            await asyncio.Event().wait()

    for _ in range(5):
        calls = [asyncio.ensure_future(call(number)) for number in range(2)]
        done, _pending = await asyncio.wait(calls, timeout=0.05)
        assert not done
        for running in calls:
            running.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    assert await take(server, "other", "x") is None
    assert await take(server, "other", "y") is None


async def test_redis_away_is_no_slot_now(
    server: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*args: object) -> float:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(scheduler, "take_slot", away)
    with pytest.raises(NoSlotError):
        async with slots.slot(server, "a"):
            pass
