"""The tasks extension: aily's tasks, for clients that know it."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from pytest_django import Settings

from chat.models import Scene, Status
from chat.runner.runtime import Runtime
from tests.chat.conftest import StartWorker, eventually, row
from tests.chat.mcp_server.rpc import TASKS, message, modern, modern_headers, with_meta
from tests.chat.toolloop.conftest import service as service
from tests.chat.toolloop.service import ToolService

ECHO = {"name": "echo", "arguments": {"text": "Hello"}}


async def create(http: httpx.AsyncClient, key: str, text: str = "Hello") -> Any:
    call = {"name": "echo", "arguments": {"text": text}}
    return (await modern(http, key, "tools/call", call, TASKS))["result"]


async def get(http: httpx.AsyncClient, key: str, task_id: str) -> Any:
    return (await modern(http, key, "tasks/get", {"taskId": task_id}, TASKS))["result"]


async def ended(http: httpx.AsyncClient, key: str, task_id: str) -> Any:
    async def found() -> Any:
        state = await get(http, key, task_id)
        return None if state["status"] == "working" else state

    return await eventually(found)


async def test_a_call_becomes_a_committed_task(
    http: httpx.AsyncClient, key: str, scene: Scene, start_worker: StartWorker, settings: Settings
) -> None:
    settings.TASK_RETENTION_DAYS = 1
    created = await create(http, key)
    task = await row(created["taskId"])
    assert (created["resultType"], created["status"], task.status) == ("task", "working", "queued")
    assert created["ttlMs"] == 86_400_000
    assert created["statusMessage"].startswith("Waiting")
    assert "result" not in created
    await start_worker()
    state = await ended(http, key, created["taskId"])
    text = (await row(created["taskId"])).text
    assert (state["resultType"], state["status"]) == ("complete", "completed")
    assert state["result"]["content"] == [{"type": "text", "text": text}]


async def test_a_failure_is_a_completed_task(
    http: httpx.AsyncClient, key: str, scene: Scene, worker: Runtime
) -> None:
    created = await create(http, key, "[sim:status=400]")
    state = await ended(http, key, created["taskId"])
    assert (state["status"], state["result"]["isError"]) == ("completed", True)


async def test_cancelling(http: httpx.AsyncClient, key: str, scene: Scene) -> None:
    task_id = (await create(http, key))["taskId"]
    for _ in range(2):
        answer = await modern(http, key, "tasks/cancel", {"taskId": task_id}, TASKS)
        assert set(answer["result"]) - {"_meta"} == {"resultType"}
    assert (await get(http, key, task_id))["status"] == "cancelled"
    assert (await row(task_id)).status == Status.CANCELLED


async def test_unknown_and_foreign_tasks_are_alike(
    http: httpx.AsyncClient, key: str, foreign_key: str, scene: Scene
) -> None:
    task_id = (await create(http, key))["taskId"]
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        errors = [
            (await modern(http, foreign_key, method, {"taskId": known}, TASKS))["error"]
            for known in (task_id, str(uuid4()), "x", "")
        ]
        assert {(error["code"], error["message"]) for error in errors} == {
            (-32602, "There is no such task.")
        }
    assert (await row(task_id)).status == Status.QUEUED
    own = await modern(http, key, "tasks/update", {"taskId": task_id, "inputResponses": {}}, TASKS)
    assert own["result"]["resultType"] == "complete"


async def test_only_for_clients_that_declare_it(
    http: httpx.AsyncClient, key: str, scene: Scene, worker: Runtime
) -> None:
    result = (await modern(http, key, "tools/call", ECHO))["result"]
    assert (result["resultType"], "taskId" in result) == ("complete", False)
    refused = await modern(http, key, "tasks/get", {"taskId": str(uuid4())})
    assert refused["error"]["code"] == -32021


async def test_a_quick_answer_may_be_waited_for(
    http: httpx.AsyncClient, key: str, scene: Scene, worker: Runtime, settings: Settings
) -> None:
    settings.MCP_TASK_AFTER_SECONDS = 10
    result = await create(http, key)
    assert (result["resultType"], result["isError"]) == ("complete", False)
    settings.MCP_TASK_AFTER_SECONDS = 0.05
    assert (await create(http, key, "[sim:latency=5]"))["resultType"] == "task"


async def test_the_header_names_the_task(http: httpx.AsyncClient, key: str, scene: Scene) -> None:
    task_id = (await create(http, key))["taskId"]
    answer = await http.post(
        "/mcp",
        headers=modern_headers(key, "tasks/get", "another"),
        json=message("tasks/get", with_meta({"taskId": task_id}, TASKS), 1),
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, -32020)


# --- Approval of tool calls ---------------------------------------------------------------------
async def waiting(http: httpx.AsyncClient, key: str, plan: str) -> tuple[str, Any]:
    """A task that waits for its user, and its state."""
    call = {"name": "office", "arguments": {"text": f"[sim:tools={plan}]"}}
    task_id = (await modern(http, key, "tools/call", call, TASKS))["result"]["taskId"]
    return task_id, await ended(http, key, task_id)


async def update(http: httpx.AsyncClient, key: str, task_id: str, answers: Any) -> Any:
    params = {"taskId": task_id, "inputResponses": answers}
    return await modern(http, key, "tasks/update", params, TASKS)


async def test_a_call_that_waits_is_asked_for_and_approved(
    http: httpx.AsyncClient, key: str, service: ToolService, worker: Runtime
) -> None:
    task_id, state = await waiting(http, key, 'add {"a": 1} ; ask {"a": 2}')
    assert state["status"] == "input_required"
    [(question_id, question)] = state["inputRequests"].items()
    assert question["method"] == "elicitation/create"
    assert 'ask on the server office with {"a": 2}' in question["params"]["message"]
    assert question["params"]["requestedSchema"]["required"] == ["approve"]
    for answers in ({}, {"nonsense": {"action": "accept"}}, {question_id: {"action": "cancel"}}):
        assert (await update(http, key, task_id, answers))["result"]["resultType"] == "complete"
    assert (await get(http, key, task_id))["status"] == "input_required"
    accepted = {"action": "accept", "content": {"approve": True, "arguments": '{"a": 3}'}}
    await update(http, key, task_id, {question_id: accepted})
    done = await ended(http, key, task_id)
    assert done["status"] == "completed"
    assert '"a": 3' in done["result"]["content"][0]["text"]
    # A second answer changes nothing.
    await update(http, key, task_id, {question_id: {"action": "decline"}})
    assert service.calls == [("add", {"a": 1}), ("ask", {"a": 3})]


@pytest.mark.parametrize(
    "answer",
    [
        {"action": "decline", "content": {"reason": "Not today"}},
        {"action": "accept", "content": {"approve": False, "reason": "Not today"}},
    ],
)
async def test_a_call_that_waits_is_rejected(
    http: httpx.AsyncClient, key: str, service: ToolService, worker: Runtime, answer: Any
) -> None:
    task_id, state = await waiting(http, key, 'ask {"a": 2}')
    [question_id] = state["inputRequests"]
    await update(http, key, task_id, {question_id: answer})
    done = await ended(http, key, task_id)
    assert "Not today" in done["result"]["content"][0]["text"]
    assert service.calls == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("yes", "action"),
        ({"action": "maybe"}, "action"),
        ({"action": "accept", "content": "yes"}, "object"),
        ({"action": "accept", "content": {"approve": True, "arguments": "[1"}}, "JSON object"),
        ({"action": "accept", "content": {"approve": True, "arguments": {"b": 1}}}, "'a'"),
    ],
)
async def test_an_answer_that_cannot_be_taken_leaves_the_call_waiting(
    http: httpx.AsyncClient,
    key: str,
    service: ToolService,
    worker: Runtime,
    answer: Any,
    words: str,
) -> None:
    task_id, state = await waiting(http, key, 'ask {"a": 2}')
    [question_id] = state["inputRequests"]
    error = (await update(http, key, task_id, {question_id: answer}))["error"]
    assert error["code"] == -32602
    assert words in error["message"]
    assert (await get(http, key, task_id))["status"] == "input_required"


async def test_nobody_else_answers(
    http: httpx.AsyncClient, key: str, foreign_key: str, service: ToolService, worker: Runtime
) -> None:
    task_id, state = await waiting(http, key, 'ask {"a": 2}')
    [question_id] = state["inputRequests"]
    accepted = {question_id: {"action": "accept", "content": {"approve": True}}}
    assert (await update(http, foreign_key, task_id, accepted))["error"]["code"] == -32602
    assert (await get(http, key, task_id))["status"] == "input_required"


# --- Clients without the extension that can ask their user --------------------------------------
ASKS: dict[str, Any] = {"elicitation": {"form": {}}}


async def ask_office(http: httpx.AsyncClient, key: str, plan: str, **fields: Any) -> Any:
    call = {"name": "office", "arguments": {"text": f"[sim:tools={plan}]"}, **fields}
    return await modern(http, key, "tools/call", call, ASKS)


async def test_a_client_that_can_ask_is_given_the_questions_and_calls_again(
    http: httpx.AsyncClient, key: str, service: ToolService, worker: Runtime
) -> None:
    plan = 'ask {"a": 1} ; add {"a": 2} ; ask {"a": 3}'
    first = (await ask_office(http, key, plan))["result"]
    assert first["resultType"] == "input_required"
    [(question, form)] = first["inputRequests"].items()
    assert 'ask on the server office with {"a": 1}' in form["params"]["message"]

    async def go_on(state: str, answer: Any, question: str = question) -> Any:
        answers = {question: {"action": "accept", "content": answer}}
        return await ask_office(http, key, plan, requestState=state, inputResponses=answers)

    refused = await go_on(first["requestState"], {"approve": True, "arguments": '{"b": 1}'})
    assert refused["error"]["code"] == -32602
    second = (await go_on(first["requestState"], {"approve": True}))["result"]
    [next_question] = second["inputRequests"]
    assert next_question != question
    assert service.calls == [("ask", {"a": 1}), ("add", {"a": 2})]
    # An answer to what was asked before is none to what is asked now.
    again = (await go_on(first["requestState"], {"approve": True}))["result"]
    assert list(again["inputRequests"]) == [next_question]
    last = await go_on(again["requestState"], {"approve": False}, next_question)
    assert last["result"]["resultType"] == "complete"
    assert "rejected this call" in last["result"]["content"][0]["text"]
    task_id = last["result"]["_meta"]["aily/task_id"]
    assert (await row(task_id)).status == Status.SUCCEEDED
    assert service.begun == {"ask": 1, "add": 1}


@pytest.mark.parametrize("form", ["nonsense", "other tool", "foreign"])
async def test_a_state_that_is_not_the_callers_goes_on_with_nothing(
    http: httpx.AsyncClient,
    key: str,
    foreign_key: str,
    scene: Scene,
    service: ToolService,
    worker: Runtime,
    form: str,
) -> None:
    asked = (await ask_office(http, key, 'ask {"a": 1}'))["result"]
    [question] = asked["inputRequests"]
    params: dict[str, Any] = {
        "name": "echo" if form == "other tool" else "office",
        "arguments": {"text": "x"},
        "requestState": "x" if form == "nonsense" else asked["requestState"],
        "inputResponses": {question: {"action": "accept", "content": {"approve": True}}},
    }
    caller = foreign_key if form == "foreign" else key
    answer = await modern(http, caller, "tools/call", params, ASKS)
    assert answer["error"]["code"] == -32602
    assert (await get(http, key, asked["_meta"]["aily/task_id"]))["status"] == "input_required"
    assert not service.calls
