"""Calls that wait for their user: asked over events and REST, decided once, expired."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.problems import Conflict
from chat.models import Status, Tool, ToolCall, ToolPolicy, ToolServer, ToolStep
from chat.observability.gauges import QueueGauges
from chat.runner import recovery, tool_calling
from chat.runner.runtime import Runtime
from chat.services.cancel import cancel
from chat.services.tool_approvals import approve, reject
from chat.tools import calling
from tests.chat.api.conftest import API, Api
from tests.chat.conftest import frames_of, until
from tests.chat.toolloop.conftest import Plan, asked, calls_of, ended, no_calls
from tests.chat.toolloop.service import ToolService
from tests.client import TaskFrames


def path(task_id: str, call: ToolCall | None = None) -> str:
    calls = f"{API}/tasks/{task_id}/tool-calls"
    return f"{calls}/{call.pk}" if call else calls


async def test_a_loop_of_three_steps_with_an_approval_in_the_middle(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User, api: Api
) -> None:
    task_id = await submit_plan('add {"a": 1} ; ask {"a": 2} ; again {"a": 3}')
    call = await asked(task_id)
    assert service.begun == {"add": 1}
    await no_calls(worker)

    shown = (await api.get(f"{API}/tasks/{task_id}")).json()
    assert shown["status"] == "requires_action"
    assert [(each["tool"], each["state"]) for each in shown["tool_calls"]] == [
        ("add", "succeeded"), ("ask", "requires_action")
    ]  # fmt: skip
    assert shown["tool_calls"][1]["deadline"] is not None

    answer = await api.post(path(task_id, call), {"decision": "approve"})
    assert answer.status_code == 200, answer.content
    assert answer.json()["decided_at"]
    task = await ended(task_id)
    assert task.status == Status.SUCCEEDED
    assert service.calls == [("add", {"a": 1}), ("ask", {"a": 2}), ("again", {"a": 3})]
    frames = await frames_of(task_id, alice)
    assert frames.types.count("task.requires_action") == 1
    numbers = [frame["id"] for frame in frames.logged if frame["id"].startswith("2-")]
    assert numbers == [f"2-{n}" for n in range(1, len(numbers) + 1)]


async def test_gauges_say_how_many_calls_wait_and_for_how_long(
    worker: Runtime, submit_plan: Plan, service: ToolService, settings: Settings
) -> None:
    service.hold("add")
    task_id = await submit_plan('ask {"a": 1} | ask {"a": 2} | add {"a": 3}')
    await asked(task_id)
    await until(lambda: service.calls, "a call that runs")
    hour_ago = timezone.now() - timedelta(hours=1)
    await in_database(ToolStep.objects.update, created_at=hour_ago)
    readings = await in_database(lambda: list(QueueGauges(settings.REDIS_URL).from_rows()))
    found = {(reading.family.name, *reading.labels): reading.value for reading in readings}
    states = {"approval": 2, "input": 0, "queued": 0, "running": 1}
    assert {name: found["aily_tool_calls_open", name] for name in states} == states
    ages = {name: found["aily_tool_calls_oldest_age_seconds", name] for name in states}
    assert ages["input"] == ages["queued"] == 0
    assert 3600 <= ages["approval"] < 4000


async def test_the_question_is_an_event_with_a_deadline(
    worker: Runtime, submit_plan: Plan, alice: User
) -> None:
    frames = TaskFrames()
    task_id = await submit_plan('ask {"a": 2}')
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    call = await asked(task_id)
    await until(lambda: "task.requires_action" in frames.types, "the event")
    event = next(frame for frame in frames.frames if frame["type"] == "task.requires_action")
    assert event["call_id"] == str(call.pk)
    assert (event["tool"], event["arguments"]) == ("ask", '{"a": 2}')
    assert event["deadline"]
    await approve(alice.pk, UUID(task_id), call.pk)
    await reading
    calls = [frame for frame in frames.frames if frame["type"] == "task.tool_call"]
    assert [frame["state"] for frame in calls] == ["requires_action", "queued"]


async def test_rejecting_tells_the_model_why(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User, api: Api
) -> None:
    task_id = await submit_plan('ask {"a": 2} | add {"a": 1}')
    call = await asked(task_id)
    body = {"decision": "reject", "reason": "too expensive"}
    answer = await api.post(path(task_id, call), body)
    assert answer.json()["state"] == "rejected"
    task = await ended(task_id)
    assert task.status == Status.SUCCEEDED
    assert "too expensive" in task.text
    assert service.begun == {"add": 1}


async def test_edited_arguments_are_checked_and_used(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User, api: Api
) -> None:
    task_id = await submit_plan('ask {"a": 2}')
    call = await asked(task_id)
    wrong = await api.post(path(task_id, call), {"decision": "approve", "arguments": {"a": "x"}})
    assert wrong.status_code == 400
    assert wrong.json()["errors"][0]["field"] == "arguments"
    assert wrong.json()["params"] == {"rule": "type", "limit": "integer", "path": "a"}
    assert (await asked(task_id)).state == "requires_action"
    edited = await api.post(path(task_id, call), {"decision": "approve", "arguments": {"a": 7}})
    assert edited.status_code == 200
    await ended(task_id)
    assert service.calls == [("ask", {"a": 7})]
    [call] = await calls_of(task_id)
    assert (call.arguments, call.edited_arguments) == ('{"a": 2}', '{"a":7}')


NO_DECISIONS: list[dict[str, Any]] = [
    {},
    {"decision": "maybe"},
    {"decision": "approve", "arguments": [1]},
    {"decision": "approve", "reason": "why not"},
    {"decision": "reject", "arguments": {"a": 1}},
    {"decision": "reject", "reason": "x" * 1001},
    {"decision": "approve", "more": 1},
]


async def test_a_decision_that_is_none_changes_nothing(
    worker: Runtime, submit_plan: Plan, api: Api, subtests: pytest.Subtests
) -> None:
    task_id = await submit_plan('ask {"a": 2}')
    call = await asked(task_id)
    for body in NO_DECISIONS:
        with subtests.test(body=body):
            assert (await api.post(path(task_id, call), body)).status_code == 422
            assert (await asked(task_id)).decided_at is None


async def test_of_two_answers_at_once_one_holds(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User, api: Api
) -> None:
    task_id = await submit_plan('ask {"a": 2}')
    call = await asked(task_id)
    answers = await asyncio.gather(
        *(approve(alice.pk, UUID(task_id), call.pk) for _ in range(4)),
        *(reject(alice.pk, UUID(task_id), call.pk, "no") for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, ToolCall) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7
    await ended(task_id)
    assert service.begun["ask"] <= 1
    late = await api.post(path(task_id, call), {"decision": "approve"})
    assert late.status_code == 409
    assert late.json()["code"] == "conflict"


async def test_others_calls_are_not_there(
    worker: Runtime, submit_plan: Plan, bob_api: Api, api: Api
) -> None:
    task_id = await submit_plan('ask {"a": 2}')
    call = await asked(task_id)
    assert (await bob_api.get(path(task_id))).status_code == 404
    assert (await bob_api.get(path(task_id, call))).status_code == 404
    answer = await bob_api.post(path(task_id, call), {"decision": "approve"})
    assert answer.status_code == 404
    assert (await api.get(path(task_id, call))).json()["state"] == "requires_action"
    call.pk = uuid4()
    assert (await api.post(path(task_id, call), {"decision": "approve"})).status_code == 404


async def test_a_question_that_nobody_answers_expires_and_the_task_goes_on(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User, settings: Settings
) -> None:
    settings.TOOL_APPROVAL_SECONDS = 0.05
    task_id = await submit_plan('ask {"a": 2} ; add {"a": 1}')
    await asked(task_id)
    await asyncio.sleep(0.06)
    for pool in await in_database(recovery.sweep):
        worker.wake(pool)
    task = await ended(task_id)
    [call, _] = await calls_of(task_id)
    assert task.status == Status.SUCCEEDED
    assert (call.state, call.reason) == ("rejected", "expired")
    assert service.begun == {"add": 1}


async def test_cancelling_while_a_call_waits_for_its_user(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User, api: Api
) -> None:
    task_id = await submit_plan('ask {"a": 2}')
    call = await asked(task_id)
    assert (await cancel(alice.pk, UUID(task_id))).status == Status.CANCELLED
    assert [each.state for each in await calls_of(task_id)] == ["cancelled"]
    assert (await api.post(path(task_id, call), {"decision": "approve"})).status_code == 409
    frames = await frames_of(task_id, alice)
    assert frames.types[-1] == "task.cancelled"
    assert not service.calls


async def test_a_race_of_cancelling_and_approving_ends_in_one_of_them(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    for _ in range(5):
        task_id = await submit_plan('ask {"a": 2}')
        call = await asked(task_id)
        await asyncio.gather(
            approve(alice.pk, UUID(task_id), call.pk),
            cancel(alice.pk, UUID(task_id)),
            return_exceptions=True,
        )
        await ended(task_id)
        assert all(each.state != "queued" for each in await calls_of(task_id))


async def test_a_permission_that_is_taken_away_before_the_approval_holds(
    worker: Runtime, submit_plan: Plan, service: ToolService, alice: User
) -> None:
    task_id = await submit_plan('ask {"a": 2}')
    call = await asked(task_id)
    await in_database(Tool.objects.filter(function_name="ask").update, is_restricted=True)
    await approve(alice.pk, UUID(task_id), call.pk)
    await ended(task_id)
    [call] = await calls_of(task_id)
    assert (call.state, call.error_code) == ("failed", "tool_unavailable")
    assert not service.calls


async def test_a_lost_log_is_made_again_from_the_rows(
    worker: Runtime, submit_plan: Plan, alice: User
) -> None:
    from aily.redis.clients import async_redis

    task_id = await submit_plan('add {"a": 1} ; ask {"a": 2}')
    call = await asked(task_id)
    await async_redis().flushall()
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    await until(lambda: "task.requires_action" in frames.types, "the question again")
    await approve(alice.pk, UUID(task_id), call.pk)
    await reading
    assert frames.types[-1] == "task.completed"


async def test_staff_decide_which_tools_ask(
    worker: Runtime, submit_plan: Plan, service: ToolService
) -> None:
    await in_database(Tool.objects.filter(function_name="ask").update, policy=ToolPolicy.AUTOMATIC)
    assert (await ended(await submit_plan('ask {"a": 2}'))).status == Status.SUCCEEDED
    await in_database(Tool.objects.filter(function_name="ask").update, policy=ToolPolicy.NEVER)
    task_id = await submit_plan('ask {"a": 2}')
    await ended(task_id)
    [call] = await calls_of(task_id)
    assert call.error_code == "tool_unknown"


async def test_lists_show_which_tasks_wait_and_which_may_call_tools(
    worker: Runtime, submit_plan: Plan, alice: User, api: Api
) -> None:
    waiting = await submit_plan('ask {"a": 1}')
    await asked(waiting)
    plain = await api.post(f"{API}/request", {"messages": [{"role": "user", "content": "Hi"}]})
    await ended(plain.json()["task_id"])
    items = (await api.get(f"{API}/tasks")).json()["items"]
    assert {item["task_id"]: item["has_tools"] for item in items} == {
        waiting: True,
        plain.json()["task_id"]: False,
    }
    found = (await api.get(f"{API}/tasks?status=requires_action")).json()["items"]
    assert [item["task_id"] for item in found] == [waiting]


# --- What an approval holds for -----------------------------------------------------------------
@pytest.mark.parametrize("arguments", [None, {"a": 3}])
async def test_an_approval_is_not_one_of_another_tool_of_that_name(
    worker: Runtime,
    submit_plan: Plan,
    service: ToolService,
    api: Api,
    arguments: dict[str, int] | None,
) -> None:
    task_id = await submit_plan('ask {"a": 2}')
    call = await asked(task_id)

    def replace_tool() -> None:
        tool = Tool.objects.get(function_name="ask")
        Tool.objects.filter(pk=tool.pk).delete()
        tool.pk, tool.name, tool.path = None, "other", "/tools/add"
        tool.save(force_insert=True)

    await in_database(replace_tool)
    body = {"decision": "approve", **({"arguments": arguments} if arguments else {})}
    answer = await api.post(path(task_id, call), body)
    if arguments:
        assert answer.status_code == 409, answer.content
        await api.post(path(task_id, call), {"decision": "approve"})
    await ended(task_id)
    [call] = await calls_of(task_id)
    assert (call.state, call.error_code) == ("failed", "tool_unavailable")
    assert not service.calls


async def test_a_tool_that_has_come_to_ask_is_not_called_unasked(
    worker: Runtime, submit_plan: Plan, service: ToolService, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The arguments of the other one may still be checked.
    monkeypatch.setattr(tool_calling, "_FRESH_SECONDS", 0)
    await in_database(ToolServer.objects.update, max_concurrent_calls=1)
    held = [service.hold("add"), service.hold("again")]
    task_id = await submit_plan('add {"a": 1} | again {"a": 2}')
    # One has the server's slot, the other waits for it, or comes to it.
    await until(lambda: service.calls, "a call")
    await in_database(Tool.objects.update, policy=ToolPolicy.ASK)
    for event in held:
        event.set()
    await ended(task_id)
    calls = await calls_of(task_id)
    assert sorted(call.state for call in calls) == ["failed", "succeeded"]
    assert {call.error_code for call in calls} == {"", "tool_unavailable"}
    assert len(service.calls) == 1


@pytest.mark.parametrize("change", [{"policy": ToolPolicy.ASK}, {"is_enabled": False}])
async def test_a_call_goes_by_its_tool_as_it_is_when_its_arguments_are_checked(
    worker: Runtime,
    submit_plan: Plan,
    service: ToolService,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
) -> None:
    checking, go_on, check = asyncio.Event(), asyncio.Event(), calling.check_arguments

    async def check_late(*args: Any) -> None:
        checking.set()
        await go_on.wait()
        await check(*args)

    monkeypatch.setattr(calling, "check_arguments", check_late)
    monkeypatch.setattr(tool_calling, "_FRESH_SECONDS", 0)
    task_id = await submit_plan('add {"a": 1}')
    await until(checking.is_set, "a call whose arguments are checked")
    await in_database(lambda: Tool.objects.update(**change))
    go_on.set()
    await ended(task_id)
    [call] = await calls_of(task_id)
    assert (call.state, call.error_code) == ("failed", "tool_unavailable")
    assert not service.calls
