"""Thousands of tasks that wait for people and for tools hold neither slots nor threads."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import psutil
import pytest
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat.models import Status, Task, ToolCall, ToolServer
from chat.runner.runtime import Runtime
from chat.services.tool_approvals import approve
from tests.chat.conftest import StartWorker, Submit, eventually
from tests.chat.toolloop.conftest import Plan, ended, no_calls
from tests.chat.toolloop.service import ToolService

_SLOW = [pytest.mark.slow, pytest.mark.timeout(900)]
many = pytest.mark.parametrize("count", [80, pytest.param(2_000, marks=_SLOW)])
#: For which the slow form waits at the most.
PATIENCE_SECONDS = 240.0
#: Pools of fixed sizes begin their threads as they need them, however many tasks wait.
POOLED_THREADS = 16
#: Memory that caches, pools and allocators take besides, however many tasks wait.
SLACK_BYTES = 64 * 1024 * 1024
#: Of a task that waits: the coroutine and connection of its call, those of the service, and what
#: its submit has not given back, all in this process. `make bench ARGS=waiting` has a worker alone.
TASK_BYTES = 128 * 1024


def resident_bytes() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@pytest.fixture
async def narrow_worker(start_worker: StartWorker, model: Any, settings: Settings) -> Runtime:
    """A worker of a model that takes far fewer calls at once than there are tasks."""
    settings.MAX_IN_FLIGHT_PER_USER = settings.MAX_QUEUED_PER_USER = 10_000
    model.max_concurrency = 20
    await in_database(model.save)
    return await start_worker()


async def have_status(count: int, status: Status) -> None:
    async def have_it() -> bool:
        return await in_database(Task.objects.filter(status=status).count) >= count

    await eventually(have_it, f"{count} tasks with the status {status}", PATIENCE_SECONDS)


@many
async def test_tasks_that_wait_for_their_users_hold_nothing(
    narrow_worker: Runtime, submit_plan: Plan, submit_as_alice: Submit, alice: User, count: int,
    service: ToolService,
) -> None:  # fmt: skip
    await asyncio.gather(*(submit_plan(f'ask {{"a": {n}}}') for n in range(20)))
    await have_status(20, Status.REQUIRES_ACTION)
    threads, memory = threading.active_count(), resident_bytes()
    await asyncio.gather(*(submit_plan(f'ask {{"a": {n}}}') for n in range(20, count)))
    await have_status(count, Status.REQUIRES_ACTION)
    assert resident_bytes() - memory < SLACK_BYTES + count * TASK_BYTES
    await no_calls(narrow_worker)
    assert threading.active_count() <= threads + POOLED_THREADS
    assert (await ended(await submit_as_alice("hello"))).status == Status.SUCCEEDED
    waiting = await in_database(lambda: list(ToolCall.objects.values_list("task_id", "pk")))
    for at in range(0, count, 100):
        batch = waiting[at : at + 100]
        await asyncio.gather(*(approve(alice.pk, task_id, call_id) for task_id, call_id in batch))
    await have_status(count + 1, Status.SUCCEEDED)
    assert service.finished["ask"] == count


@many
async def test_tasks_that_wait_for_slow_tools_hold_their_connections_alone(
    narrow_worker: Runtime, submit_plan: Plan, submit_as_alice: Submit, count: int,
    service: ToolService,
) -> None:  # fmt: skip
    await in_database(ToolServer.objects.update, max_concurrent_calls=count)
    held = service.hold("add")
    await asyncio.gather(*(submit_plan(f'add {{"a": {n}}}') for n in range(20)))
    await have_status(20, Status.CALLING_TOOLS)
    threads, memory = threading.active_count(), resident_bytes()
    await asyncio.gather(*(submit_plan(f'add {{"a": {n}}}') for n in range(20, count)))

    async def all_are_called() -> bool:
        return service.at_once == count

    await eventually(all_are_called, "all calls at once", PATIENCE_SECONDS)
    await no_calls(narrow_worker, tools=count)
    assert resident_bytes() - memory < SLACK_BYTES + count * TASK_BYTES
    assert threading.active_count() <= threads + POOLED_THREADS
    assert (await ended(await submit_as_alice("hello"))).status == Status.SUCCEEDED
    held.set()
    await have_status(count + 1, Status.SUCCEEDED)
    assert service.begun == {"add": count}
