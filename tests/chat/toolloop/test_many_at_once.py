"""Many tool calls in one moment: Redis is asked by few at once, and no call is taken for lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aily.database.threads import in_database
from chat import scheduler
from chat.models import Status, ToolServer
from chat.runner import tool_calling
from chat.runner.runtime import Runtime
from chat.tools.slots import slot
from tests.chat.conftest import eventually
from tests.chat.toolloop.conftest import Plan, calls_of, ended, no_calls
from tests.chat.toolloop.service import ToolService

#: An event loop's connections to Redis.
CONNECTIONS = 32


class AtOnce:
    """Counts how many awaits of a function are under way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.most = self._now = 0
        self._original: Callable[..., Awaitable[Any]] = getattr(scheduler, name)
        monkeypatch.setattr(scheduler, name, self._counted)

    async def _counted(self, *args: Any) -> Any:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._original(*args)
        finally:
            self._now -= 1


async def test_slots_are_asked_for_by_few_at_once(
    service: ToolService, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, returned = (AtOnce(monkeypatch, name) for name in ("take_slot", "return_slot"))
    server = await in_database(ToolServer.objects.get)
    server.max_concurrent_calls = 200
    all_held = asyncio.Barrier(200)

    async def hold(number: int) -> None:
        async with slot(server, f"call-{number}"):
            await all_held.wait()

    await asyncio.gather(*(hold(number) for number in range(200)))
    assert 0 < taken.most < CONNECTIONS
    assert 0 < returned.most < CONNECTIONS


async def test_tasks_whose_tools_answer_at_once_are_queued_together(
    worker: Runtime, submit_plan: Plan, service: ToolService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_database(ToolServer.objects.update, max_concurrent_calls=40)
    held = service.hold("add")
    task_ids = await asyncio.gather(*(submit_plan(f'add {{"a": {n}}}') for n in range(40)))

    async def all_are_called() -> bool:
        return service.at_once == 40

    await eventually(all_are_called, "all calls")
    queued = AtOnce(monkeypatch, "aenqueue")
    held.set()
    tasks = [await ended(task_id) for task_id in task_ids]
    assert {task.status for task in tasks} == {Status.SUCCEEDED}
    assert queued.most == 1


async def test_a_call_that_is_about_to_begin_is_not_taken_for_lost(
    worker: Runtime, submit_plan: Plan, service: ToolService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the database is between its claim and its beginning."""
    begun, go_on, load = threading.Event(), threading.Event(), tool_calling.load_tools

    def load_late(*args: Any) -> Any:
        begun.set()
        assert go_on.wait(30)
        return load(*args)

    monkeypatch.setattr(tool_calling, "load_tools", load_late)
    task_id = await submit_plan('add {"a": 1}')

    async def is_claimed() -> bool:
        return begun.is_set()

    await eventually(is_claimed, "a claimed call")
    for _ in range(3):
        await worker.tools.reconcile()
    go_on.set()
    task = await ended(task_id)
    assert (task.status, service.begun) == (Status.SUCCEEDED, {"add": 1})
    [call] = await calls_of(task_id)
    assert (call.state, call.runs) == ("succeeded", 1)


async def test_a_call_that_is_stopped_before_its_first_step_takes_no_room(
    worker: Runtime, submit_plan: Plan, service: ToolService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message that ends it, or the loss of the lease, is handled in the same turn of the loop
    in which it was claimed."""
    begin, stopped = worker.tools._begin, asyncio.Event()

    async def begin_and_stop(*args: Any) -> None:
        await begin(*args)
        if not stopped.is_set():
            worker.tools.drop_all()
            stopped.set()

    monkeypatch.setattr(worker.tools, "_begin", begin_and_stop)
    task_id = await submit_plan('again {"a": 1}')
    await asyncio.wait_for(stopped.wait(), 30)
    await no_calls(worker)
    # By its row it runs here. Twice, as only then it is taken for one that nobody makes.
    await worker.tools.reconcile()
    await worker.tools.reconcile()
    assert (await ended(task_id)).status == Status.SUCCEEDED
    assert service.begun == {"again": 1}
