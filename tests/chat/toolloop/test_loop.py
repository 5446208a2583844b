"""The loop of model and tools, with a worker, a simulated provider and a real HTTP service."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat import scheduler
from chat.llm.simulator.server import Simulator
from chat.models import Status, Task, Tool, ToolServer, ToolStep, Worker
from chat.runner import recovery
from chat.runner.attempt import Stop
from chat.runner.runtime import Runtime
from chat.scheduler import single_slots
from chat.services import tool_approvals
from chat.services.cancel import cancel
from tests.chat.conftest import StartWorker, Submit, eventually, frames_of, row, until
from tests.chat.toolloop.conftest import Plan, asked, calls_of, ended, no_calls, publish_scene
from tests.chat.toolloop.service import ToolService
from tests.clocks import LoopClock


async def test_three_steps_with_calls_at_once_end_in_an_answer(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    plan = 'add {"a": 1} | again {"a": 2} ; add {"a": 3} ; again {"a": 4}'
    task_id = await submit_plan(plan)
    frames = await frames_of(task_id, alice)
    task = await row(task_id)

    assert task.status == Status.SUCCEEDED, task.error
    assert task.attempt == 4
    assert service.calls[2:] == [("add", {"a": 3}), ("again", {"a": 4})]
    assert sorted(service.calls[:2]) == [("add", {"a": 1}), ("again", {"a": 2})]
    assert all(f'"a": {number}' in task.text or f'"a":{number}' in task.text for number in (1, 4))
    steps = await in_database(lambda: list(ToolStep.objects.filter(task_id=task_id)))
    assert [step.number for step in steps] == [1, 2, 3]
    assert [(call.step, call.place, call.state) for call in await calls_of(task_id)] == [
        (1, 0, "succeeded"), (1, 1, "succeeded"), (2, 0, "succeeded"), (3, 0, "succeeded")
    ]  # fmt: skip
    assert task.usage["total_tokens"] > sum(step.usage["total_tokens"] for step in steps) > 0
    kinds = Counter(frames.types)
    assert kinds["task.tool_call"] == kinds["task.tool_result"] == 4
    assert kinds["task.started"] == 4
    assert frames.types[-1] == "task.completed"


async def test_events_have_ids_without_gaps_and_name_call_and_result(
    worker: Runtime, submit_plan: Plan, alice: User
) -> None:
    task_id = await submit_plan('add {"a": 1} | again {"a": 2}')
    frames = await frames_of(task_id, alice)
    [first, second] = await calls_of(task_id)

    numbers = [frame["id"] for frame in frames.logged if frame["id"].startswith("1-")]
    assert numbers == [f"1-{n}" for n in range(1, len(numbers) + 1)]
    called = [frame for frame in frames.frames if frame["type"] == "task.tool_call"]
    assert [frame["call_id"] for frame in called] == [str(first.pk), str(second.pk)]
    assert called[0] == {
        "type": "task.tool_call",
        "task_id": task_id,
        "id": called[0]["id"],
        "call_id": str(first.pk),
        "tool": "add",
        "server": "office",
        "step": 1,
        "state": "queued",
        "arguments": '{"a": 1}',
    }
    results = {
        frame["call_id"]: frame for frame in frames.frames if frame["type"] == "task.tool_result"
    }
    result = results[str(first.pk)]
    assert (result["state"], result["is_error"]) == ("succeeded", False)
    assert '"a": 1' in result["text"]
    assert result["duration_seconds"] >= 0


async def test_a_task_without_tools_loads_none_of_it(
    worker: Runtime, submit_as_alice: Any, alice: User, queries: list[str]
) -> None:
    task_id = await submit_as_alice("hello")
    await frames_of(task_id, alice)
    assert not [sql for sql in queries if "chat_tool" in sql]


async def test_results_are_sent_as_data_in_the_order_of_the_calls(
    worker: Runtime, submit_plan: Plan, simulator: Simulator, alice: User
) -> None:
    task_id = await submit_plan('again {"a": 1} | add {"a": 2}')
    await frames_of(task_id, alice)
    from chat.toolloop.turns import DATA_NOTICE, load_turns

    turns = await in_database(load_turns, UUID(task_id))
    messages = turns.messages()
    calls = await calls_of(task_id)
    assert [message["role"] for message in messages] == ["assistant", "tool", "tool"]
    assert [message.get("tool_call_id") for message in messages[1:]] == [
        call.call_id for call in calls
    ]
    assert all(str(message["content"]).startswith(DATA_NOTICE) for message in messages[1:])


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ('missing {"a": 1}', "tool_unknown"),
        ('add {"a": "one"}', "tool_invalid_arguments"),
        ('broken {"a": 1}', "tool_http_error"),
    ],
)
async def test_the_model_gets_a_short_error_and_the_task_goes_on(
    worker: Runtime, submit_plan: Plan, alice: User, plan: str, code: str
) -> None:
    task_id = await submit_plan(plan)
    await frames_of(task_id, alice)
    task, [call] = await row(task_id), await calls_of(task_id)
    assert task.status == Status.SUCCEEDED
    assert (call.state, call.is_error, call.error_code) == ("failed", True, code)
    assert 0 < len(call.text) < 600


async def test_a_large_result_is_cut_with_a_note(
    worker: Runtime, submit_plan: Plan, alice: User, settings: Settings
) -> None:
    settings.TOOL_RESULT_MAX_BYTES = 1_000
    task_id = await submit_plan('large {"a": 1}')
    await frames_of(task_id, alice)
    [call] = await calls_of(task_id)
    assert call.text.startswith("xxx")
    assert "cut" in call.text
    assert len(call.text) < 1_200
    assert call.result_bytes >= 65_536


async def test_a_limit_of_steps_ends_the_task(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User, settings: Settings
) -> None:
    settings.TOOL_MAX_STEPS = 2
    task_id = await submit_plan("; ".join(f'add {{"a": {number}}}' for number in range(5)))
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert task.status == Status.FAILED
    assert task.error is not None
    assert task.error["code"] == "tool_limit"
    assert "2 steps" in task.error["message"]
    assert service.begun["add"] == 2
    assert task.usage["total_tokens"] > 0


@pytest.mark.parametrize(
    ("limit", "setting", "calls", "words"),
    [
        ({"max_tool_steps": 1}, {}, 1, "1 steps"),
        ({"max_tool_steps": 9}, {"TOOL_MAX_STEPS": 2}, 2, "2 steps"),
        ({"max_tool_seconds": 60}, {}, 1, "0.001 s"),
        ({"max_tool_cost": 0.3}, {}, 2, "0.3 USD"),
        ({"max_tool_cost": 0.3}, {"TOOL_LOOP_MAX_COST": 0.15}, 1, "0.15 USD"),
    ],
)
async def test_limits_of_the_scenes_version_end_the_task(
    worker: Runtime,
    submit_plan: Plan,
    service: ToolService,
    alice: User,
    settings: Settings,
    limit: dict[str, Any],
    setting: dict[str, Any],
    calls: int,
    words: str,
) -> None:
    await in_database(lambda: Tool.objects.update(price="0.2"))
    await in_database(lambda: publish_scene(**limit))
    for name, value in setting.items():
        setattr(settings, name, value)
    held = service.hold("add")
    task_id = await submit_plan("; ".join(f'add {{"a": {number}}}' for number in range(4)))
    await until(lambda: service.calls, "a call")
    if "max_tool_seconds" in limit:
        tools = (await row(task_id)).tools
        assert tools is not None
        assert tools["max_seconds"] == limit["max_tool_seconds"]
        await let_time_run_out(task_id)
    held.set()
    task = await ended(task_id)
    assert task.error is not None
    assert task.error["code"] == "tool_limit"
    assert words in task.error["message"]
    assert service.begun["add"] == calls


async def test_a_result_is_cut_to_the_limit_of_the_scenes_version(
    worker: Runtime, submit_plan: Plan
) -> None:
    await in_database(lambda: publish_scene(max_tool_result_bytes=300))
    task_id = await submit_plan('large {"a": 1}')
    await ended(task_id)
    [call] = await calls_of(task_id)
    assert call.text.startswith("x" * 300 + "\n[cut: the first 300 of")


async def test_a_request_may_bound_the_calls_and_have_them_wait(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    plan = 'add {"a": 1} | again {"a": 2} ; add {"a": 3}'
    task_id = await submit_plan(plan, require_approval=["again"], max_tool_calls=2)
    waiting = await asked(task_id)
    assert (waiting.name, service.begun["again"]) == ("again", 0)
    await tool_approvals.approve(alice.pk, UUID(task_id), waiting.pk)
    assert (await ended(task_id)).status == Status.SUCCEEDED
    *made, third = await calls_of(task_id)
    assert [call.state for call in made] == ["succeeded", "succeeded"]
    assert (third.state, third.error_code) == ("failed", "tool_limit")
    assert service.begun == {"add": 1, "again": 1}


async def let_time_run_out(task_id: str) -> None:
    """As if the task's model and tools had taken as long as they may."""
    tools = (await row(task_id)).tools
    assert tools is not None
    tasks = Task.objects.filter(pk=task_id)
    await in_database(tasks.update, tools={**tools, "max_seconds": 0.001})


async def test_a_limit_of_time_counts_model_and_tools(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    held = service.hold("add")
    task_id = await submit_plan('add {"a": 1} ; add {"a": 2}')
    await until(lambda: service.calls, "a call")
    await let_time_run_out(task_id)
    held.set()
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert task.error is not None
    assert task.error["code"] == "tool_limit"
    assert service.begun["add"] == 1


async def test_the_time_of_a_call_counts_while_another_waits_for_its_user(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    held = service.hold("add")
    task_id = await submit_plan('add {"a": 1} | ask {"a": 2} ; again {"a": 3}')
    waiting = await asked(task_id)
    await until(lambda: service.calls, "a call")
    await let_time_run_out(task_id)
    held.set()
    await tool_approvals.approve(alice.pk, UUID(task_id), waiting.pk)
    task = await ended(task_id)
    assert task.error is not None
    assert task.error["code"] == "tool_limit"
    assert service.begun == {"add": 1, "ask": 1}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"vanished_at": timezone.now()}, "tool_unknown"),
        ({"is_enabled": False}, "tool_unknown"),
        ({"input_schema": {"type": "object", "required": ["b"]}}, "tool_invalid_arguments"),
    ],
)
async def test_a_tool_that_changes_between_steps_is_an_error_for_the_model(
    worker: Runtime,
    submit_plan: Plan,
    service: ToolService,
    alice: User,
    change: dict[str, Any],
    code: str,
) -> None:
    held = service.hold("again")
    task_id = await submit_plan('again {"a": 1} ; add {"a": 2}')
    await until(lambda: service.calls, "a call")
    changed = Tool.objects.filter(function_name="add")
    await in_database(lambda: changed.update(**change))
    held.set()
    await frames_of(task_id, alice)
    [_, gone] = await calls_of(task_id)
    assert (await row(task_id)).status == Status.SUCCEEDED
    assert (gone.state, gone.error_code) == ("failed", code)
    assert service.begun == {"again": 1}


# --- What waits holds nothing -------------------------------------------------------------------
async def test_calls_of_tools_hold_no_slot_of_the_model(
    worker: Runtime, submit_plan: Plan, submit_as_alice: Any, service: ToolService, alice: User,
    model: Any,
) -> None:  # fmt: skip
    model.max_concurrency = 1
    await in_database(model.save)
    held = service.hold("add")
    waiting = [await submit_plan(f'add {{"a": {number}}}') for number in range(5)]
    await until(lambda: len(service.calls) == 5, "five calls at once")
    assert {(await row(task_id)).status for task_id in waiting} == {Status.CALLING_TOOLS}
    await no_calls(worker, tools=5)
    plain = await submit_as_alice("hello")
    assert (await ended(plain)).status == Status.SUCCEEDED
    held.set()
    assert {(await ended(task_id)).status for task_id in waiting} == {Status.SUCCEEDED}


async def test_the_cap_of_a_server_holds(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    await in_database(ToolServer.objects.update, max_concurrent_calls=2)
    waiting = [await submit_plan(f'add {{"a": {number}}}') for number in range(6)]
    assert {(await ended(task_id)).status for task_id in waiting} == {Status.SUCCEEDED}
    assert service.most_at_once <= 2
    assert service.finished["add"] == 6


async def test_a_call_that_finds_no_slot_asks_again_after_a_pause(
    worker: Runtime,
    submit_plan: Plan,
    submit_as_alice: Submit,
    service: ToolService,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another process has all slots. No end of a call in this one announces that they are free."""
    monkeypatch.setattr(single_slots, "BUSY_RETRY_SECONDS", 5.0)
    server = await in_database(ToolServer.objects.get)
    await in_database(ToolServer.objects.update, max_concurrent_calls=1)
    assert await scheduler.take_slot(server.key, "another", "x", 1, 600) is None
    clock, tries = LoopClock(monkeypatch), count_tries(monkeypatch)
    task_id = await submit_plan('add {"a": 1}')
    await until(lambda: tries, "a try")
    # Meanwhile it leaves the server alone.
    assert (await ended(await submit_as_alice("hello"))).status == Status.SUCCEEDED
    assert len(tries) == 1
    await scheduler.return_slot(server.key, "another", "x")
    # The loop's clock is ahead of the others: a timer may fire a little before its time by those.
    clock.advance(5.0)
    assert (await ended(task_id)).status == Status.SUCCEEDED
    assert len(tries) == 2


def count_tries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the calls that have asked for a slot since."""
    tries: list[str] = []
    take = scheduler.take_slot

    async def take_slot(key: Any, holder: str, call_id: str, cap: int, lease: int) -> float | None:
        tries.append(call_id)
        return await take(key, holder, call_id, cap, lease)

    monkeypatch.setattr(scheduler, "take_slot", take_slot)
    return tries


# --- Ends -----------------------------------------------------------------------------------------
async def test_cancelling_during_a_call_stops_it(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    service.hold("add")
    task_id = await submit_plan('add {"a": 1} ; again {"a": 2}')
    await until(lambda: service.calls, "a call")
    task = await cancel(alice.pk, UUID(task_id))
    assert task.status == Status.CANCELLED
    await until(lambda: service.at_once == 0, "the end of the connection")
    frames = await frames_of(task_id, alice)
    assert frames.types[-1] == "task.cancelled"
    assert [call.state for call in await calls_of(task_id)] == ["cancelled"]
    assert service.begun == {"add": 1}
    await no_calls(worker)


async def test_the_deadline_ends_a_task_that_waits_for_a_tool(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    service.hold("add")
    task_id = await submit_plan('add {"a": 1}', deadline_seconds=600)
    await until(lambda: service.calls, "a call")
    await in_database(Task.objects.filter(pk=task_id).update, deadline_at=timezone.now())
    task = await _swept(task_id)
    assert task.status == Status.EXPIRED
    assert [call.state for call in await calls_of(task_id)] == ["cancelled"]


async def _swept(task_id: str) -> Task:
    async def has_ended() -> bool:
        await in_database(recovery.sweep)
        return Status((await row(task_id)).status).is_terminal

    await eventually(has_ended, "the end of the task")
    return await row(task_id)


# --- Death of a worker --------------------------------------------------------------------------
async def test_a_call_that_was_running_is_repeated_only_if_it_is_idempotent(
    start_worker: StartWorker, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    first = await start_worker()
    held = {name: service.hold(name) for name in ("add", "again")}
    task_id = await submit_plan('add {"a": 1} | again {"a": 2}')
    await until(lambda: len(service.calls) == 2, "two calls")
    await _kill(first)
    for event in held.values():
        event.set()
    second = await start_worker()
    for pool in await in_database(recovery.sweep):
        second.wake(pool)
    task = await ended(task_id)

    [unknown, repeated] = await calls_of(task_id)
    assert task.status == Status.SUCCEEDED
    assert (unknown.state, unknown.error_code) == ("unknown", "tool_outcome_unknown")
    assert "Outcome unknown" in unknown.text
    assert (repeated.state, repeated.runs) == ("succeeded", 2)
    assert service.begun == {"add": 1, "again": 2}


async def _kill(worker: Runtime) -> None:
    """As if the process were gone: nothing of it is stored any more."""
    worker.tools.drop_all()
    worker.calls.stop_all(Stop.LOST)
    await in_database(Worker.objects.filter(pk=worker.worker_id).update, is_dead=True)
    await worker.aclose()


async def test_no_call_that_has_answered_is_made_again(
    start_worker: StartWorker, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    first = await start_worker()
    service.hold("again")
    task_id = await submit_plan('add {"a": 1} ; add {"a": 2} | again {"a": 3}')
    await until(lambda: service.begun == {"add": 2, "again": 1}, "the second step")
    await until(lambda: service.finished["add"] == 2, "the ends of its other call")

    async def is_stored() -> bool:
        return [call.state for call in await calls_of(task_id)].count("succeeded") == 2

    await eventually(is_stored, "their rows")
    await _kill(first)
    service.held["again"].set()
    second = await start_worker()
    for pool in await in_database(recovery.sweep):
        second.wake(pool)
    assert (await ended(task_id)).status == Status.SUCCEEDED
    assert service.finished == {"add": 2, "again": 1}
    assert service.begun == {"add": 2, "again": 2}


# --- Who may name what --------------------------------------------------------------------------
async def test_a_request_names_the_tools_that_may_be_called(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    task_id = await submit_plan('add {"a": 1} | again {"a": 2}', tools=["again"])
    await frames_of(task_id, alice)
    assert [call.error_code for call in await calls_of(task_id)] == ["tool_unknown", ""]
    assert service.begun == {"again": 1}
    none = await submit_plan('add {"a": 1}', tools=[])
    await frames_of(none, alice)
    assert (await row(none)).tools is None


async def test_a_tool_that_the_scene_does_not_offer_is_refused(
    submit_plan: Plan, alice: User
) -> None:
    from aily.problems import InvalidRequest

    with pytest.raises(InvalidRequest) as refused:
        await submit_plan("add {}", tools=["add", "elsewhere"])
    assert refused.value.field == "tools"
    assert not await in_database(Task.objects.exists)


async def test_calls_of_the_callers_own_functions_are_given_back(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    own = {"type": "function", "function": {"name": "mine", "parameters": {"type": "object"}}}
    task_id = await submit_plan('add {"a": 1} ; mine {} | add {"a": 2}', tools=[own])
    await frames_of(task_id, alice)
    task = await row(task_id)
    assert task.status == Status.SUCCEEDED
    assert [call["name"] for call in task.tool_calls] == ["mine", "add"]
    assert service.begun == {"add": 1}
