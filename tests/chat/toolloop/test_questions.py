"""Tools of MCP servers that ask their user in the middle of a call, and go on with the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
import uvicorn
from mcp import types
from mcp.server.lowlevel import Server
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from aily.problems import Conflict
from chat.models import (
    Delivery,
    LLMModel,
    Status,
    StoredResponse,
    Tool,
    ToolCall,
    ToolPolicy,
    ToolServer,
    WebhookEndpoint,
)
from chat.models.transitions import tool_steps
from chat.runner import recovery
from chat.runner.runtime import Runtime
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission, submit
from chat.services.tool_approvals import approve, reject
from tests.chat.api.conftest import API, Api
from tests.chat.conftest import StartWorker, eventually, frames_of, row, until
from tests.chat.consumers.conftest import socket as socket
from tests.chat.mcp_server.conftest import address as address
from tests.chat.mcp_server.conftest import http as http
from tests.chat.mcp_server.conftest import key as key
from tests.chat.mcp_server.rpc import TASKS, modern
from tests.chat.toolloop.conftest import Plan, asked, calls_of, ended, no_calls, publish_scene
from tests.client import TaskFrames

MODERN = "2026-07-28"
MESSAGE = "Which room?"
SCHEMA = {
    "type": "object",
    "properties": {
        "room": {"type": "string", "oneOf": [{"const": "a", "title": "Large"}, {"const": "b"}]},
        "guests": {"type": "integer", "minimum": 1},
        "coffee": {"type": "boolean", "default": True},
    },
    "required": ["room", "guests"],
}
ANSWER = {"room": "a", "guests": 3}
Params = types.CallToolRequestParams


class AskingServer:
    """An MCP server whose tool `book` asks `rounds` times; `seen` are the calls as they came."""

    def __init__(self) -> None:
        self.rounds = 1
        self.schema: dict[str, Any] = SCHEMA
        self.keys = ["form"]
        self.seen: list[Params] = []
        self.url = ""
        self.held: asyncio.Event | None = None

    async def book(self, ctx: Any, params: Params) -> Any:
        self.seen.append(params)
        if self.held is not None:
            await self.held.wait()
        if len(self.seen) > self.rounds:
            answers = params.input_responses or {}
            given = [getattr(answer, "content", None) for answer in answers.values()]
            text = f"{[answer.action for answer in answers.values()]} {given}"  # type: ignore[union-attr]
            return types.CallToolResult(content=[types.TextContent(text=text)])
        form = types.ElicitRequestFormParams(message=MESSAGE, requested_schema=self.schema)
        requests: types.InputRequests = {key: types.ElicitRequest(params=form) for key in self.keys}
        state = f"sealed {len(self.seen)}"
        return types.InputRequiredResult(input_requests=requests, request_state=state)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[AskingServer]:
        application = Server("rooms", on_call_tool=self.book).streamable_http_app(host="127.0.0.1")
        config = uvicorn.Config(
            application, port=0, log_config=None, loop="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        listening = config.bind_socket()
        serving = asyncio.ensure_future(server._serve([listening]))
        self.url = f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"
        try:
            yield self
        finally:
            server.should_exit = True
            await serving


def _add_tool(url: str, policy: ToolPolicy = ToolPolicy.AUTOMATIC) -> None:
    server = ToolServer.objects.create(name="rooms", url=url, protocol_version=MODERN)
    Tool.objects.create(
        server=server,
        name="book",
        function_name="book",
        input_schema={"type": "object"},
        is_enabled=True,
        policy=policy,
    )
    publish_scene("office", ["book"])


@pytest.fixture
async def rooms(loop_services: None, model: LLMModel) -> AsyncIterator[AskingServer]:
    async with AskingServer().running() as server:
        await in_database(_add_tool, server.url)
        yield server


@pytest.fixture
def submit_booking(alice: User, rooms: AskingServer) -> Plan:
    async def submit_it(plan: str = 'book {"day": 1}', **fields: Any) -> str:
        body = {"scene": "office", "variables": {"text": f"[sim:tools={plan}]"}, **fields}
        request = CompositeRequest.model_validate(body)
        return (await submit(Submission(owner_id=alice.pk, request=request))).task_id

    return submit_it


async def asked_again(task_id: str, number: int) -> ToolCall:
    """The call of a task once its tool waits for the answer to this question."""

    async def waits() -> bool:
        return [len(call.questions or ()) for call in await calls_of(task_id)] == [number]

    await eventually(waits, f"question {number}")
    return await asked(task_id)


def path(task_id: str, call: ToolCall) -> str:
    return f"{API}/tasks/{task_id}/tool-calls/{call.pk}"


async def test_the_user_is_asked_and_the_call_goes_on_with_the_answer(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, alice: User, api: Api
) -> None:
    frames = TaskFrames()
    task_id = await submit_booking()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    call = await asked(task_id)
    await no_calls(worker)
    shown = (await api.get(f"{API}/tasks/{task_id}")).json()
    assert shown["status"] == "requires_action"
    [row_of_call] = shown["tool_calls"]
    assert row_of_call["input"]["message"] == MESSAGE
    schema = row_of_call["input"]["schema"]
    assert list(schema["properties"]) == ["room", "guests", "coffee"]
    assert schema["properties"]["room"]["enum"] == ["a", "b"]
    assert "sealed" not in str(shown)
    assert row_of_call["deadline"]

    answer = await api.post(path(task_id, call), {"decision": "approve", "input": ANSWER})
    assert answer.status_code == 200, answer.content
    late = await api.post(path(task_id, call), {"decision": "approve", "input": ANSWER})
    assert late.status_code == 409
    task = await ended(task_id)
    assert task.status == Status.SUCCEEDED
    await reading
    [first, second] = rooms.seen
    assert (first.request_state, second.request_state) == (None, "sealed 1")
    assert first.arguments == second.arguments == {"day": 1}
    [call] = await calls_of(task_id)
    assert (call.state, call.runs, call.request_state) == ("succeeded", 1, None)
    assert call.text == "['accept'] [{'room': 'a', 'guests': 3}]"

    [event] = [frame for frame in frames.frames if frame["type"] == "task.requires_action"]
    assert (event["kind"], event["message"], event["question"]) == ("input", MESSAGE, 1)
    assert event["schema"] == schema
    numbers = [frame["id"] for frame in frames.logged if frame["id"].startswith("1-")]
    assert numbers == [f"1-{n}" for n in range(1, len(numbers) + 1)]


UNFIT: list[tuple[Any, int]] = [
    ({"decision": "approve"}, 400),
    ({"decision": "approve", "input": {"room": "a"}}, 400),
    ({"decision": "approve", "input": {**ANSWER, "room": "c"}}, 400),
    ({"decision": "approve", "input": {**ANSWER, "guests": 0}}, 400),
    ({"decision": "approve", "input": {**ANSWER, "more": 1}}, 400),
    ({"decision": "approve", "input": {**ANSWER, "room": "\x00"}}, 400),
    ({"decision": "approve", "arguments": {"day": 2}}, 400),
    ({"decision": "approve", "input": ANSWER, "arguments": {}}, 422),
    ({"decision": "reject", "input": ANSWER}, 422),
    ({"decision": "approve", "input": ANSWER, "question": 2}, 409),
    ({"decision": "reject", "question": 2}, 409),
]


async def test_an_answer_that_does_not_fit_changes_nothing(
    worker: Runtime, submit_booking: Plan, api: Api, subtests: pytest.Subtests
) -> None:
    task_id = await submit_booking()
    call = await asked(task_id)
    for body, status in UNFIT:
        with subtests.test(body=body):
            answer = await api.post(path(task_id, call), body)
            allowed = (status, 422 if "\x00" in str(body) else status)
            assert answer.status_code in allowed, answer.content
            call = await asked(task_id)
            assert (call.decided_at, call.questions[0]["action"]) == (None, "")


async def test_a_refusal_is_told_to_the_tool_and_its_reason_to_the_model(
    worker: Runtime, submit_booking: Plan, alice: User
) -> None:
    task_id = await submit_booking()
    call = await asked(task_id)
    await reject(alice.pk, UUID(task_id), call.pk, "none of your business")
    task = await ended(task_id)
    assert task.status == Status.SUCCEEDED
    [call] = await calls_of(task_id)
    assert call.state == "succeeded"
    assert call.text.startswith("['decline'] [None]")
    assert "none of your business" in call.text


async def test_of_two_answers_at_once_one_holds(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, alice: User
) -> None:
    task_id = await submit_booking()
    call = await asked(task_id)
    answers = await asyncio.gather(
        *(approve(alice.pk, UUID(task_id), call.pk, answer=ANSWER, number=1) for _ in range(4)),
        *(reject(alice.pk, UUID(task_id), call.pk, "no", 1) for _ in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, ToolCall) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 7
    await ended(task_id)
    assert len(rooms.seen) == 2


async def test_a_tool_asks_again_and_again_but_not_for_ever(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, alice: User
) -> None:
    rooms.rounds = 100
    task_id = await submit_booking()
    for number in range(1, 6):
        call = await asked_again(task_id, number)
        await approve(alice.pk, UUID(task_id), call.pk, answer=ANSWER, number=number)
    await ended(task_id)
    [call] = await calls_of(task_id)
    assert (call.state, call.error_code) == ("failed", "tool_input_required")
    assert [params.request_state for params in rooms.seen[1:]] == [
        f"sealed {number}" for number in range(1, 6)
    ]


async def test_a_late_approval_does_not_answer_the_question(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, alice: User
) -> None:
    await in_database(Tool.objects.update, policy=ToolPolicy.ASK)
    task_id = await submit_booking()
    call = await asked(task_id)
    await approve(alice.pk, UUID(task_id), call.pk)
    call = await asked_again(task_id, 1)
    late = await in_database(
        lambda: tool_steps.approve_call(call.pk, decided_by_id=alice.pk, edited_arguments=None)
    )
    assert late is None
    await approve(alice.pk, UUID(task_id), call.pk, answer=ANSWER)
    assert (await ended(task_id)).status == Status.SUCCEEDED


async def test_a_question_survives_the_worker(
    start_worker: StartWorker, submit_booking: Plan, alice: User, rooms: AskingServer
) -> None:
    first = await start_worker()
    task_id = await submit_booking()
    call = await asked(task_id)
    await first.aclose()
    await approve(alice.pk, UUID(task_id), call.pk, answer=ANSWER)
    assert (await row(task_id)).status == Status.CALLING_TOOLS
    second = await start_worker()
    for pool in await in_database(recovery.sweep):
        second.wake(pool)
    assert (await ended(task_id)).status == Status.SUCCEEDED
    assert rooms.seen[1].request_state == "sealed 1"


async def test_a_question_that_nobody_answers_expires_and_the_task_goes_on(
    worker: Runtime, submit_booking: Plan, settings: Settings
) -> None:
    settings.TOOL_APPROVAL_SECONDS = 0.05
    task_id = await submit_booking()
    call = await asked(task_id)
    assert call.expires_at is not None
    await asyncio.sleep(0.06)
    for pool in await in_database(recovery.sweep):
        worker.wake(pool)
    assert (await ended(task_id)).status == Status.SUCCEEDED
    [call] = await calls_of(task_id)
    assert (call.state, call.reason, call.request_state) == ("rejected", "expired", None)


async def test_forms_asked_at_once_become_one(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, alice: User
) -> None:
    rooms.keys = ["first", "second"]
    rooms.schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    task_id = await submit_booking()
    call = await asked(task_id)
    answer = {"first.name": "Ada", "second.name": "Alan"}
    await approve(alice.pk, UUID(task_id), call.pk, answer=answer)
    await ended(task_id)
    [call] = await calls_of(task_id)
    assert call.text == "['accept', 'accept'] [{'name': 'Ada'}, {'name': 'Alan'}]"


@pytest.mark.parametrize(
    "field",
    [
        {"type": "object"},
        {"type": "array", "items": {"type": "string"}},
        {"$ref": "#/x"},
        {"type": "string", "enum": []},
        {"type": "string", "enum": [1]},
        {"type": "string", "description": "x" * 1_001},
    ],
)
async def test_what_cannot_be_asked_is_an_error_that_says_so(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, field: Any
) -> None:
    rooms.schema = {"type": "object", "properties": {"field": field}}
    task_id = await submit_booking()
    assert (await ended(task_id)).status == Status.SUCCEEDED
    [call] = await calls_of(task_id)
    assert (call.state, call.error_code) == ("failed", "tool_input_required")


async def test_a_secret_in_a_question_is_not_shown(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan
) -> None:
    server = await in_database(ToolServer.objects.get)
    server.auth = "bearer"
    server.set_secret("s3cret-token-value")
    await in_database(server.save)
    rooms.schema = {"type": "object", "properties": {"s3cret-token-value": {"type": "string"}}}
    task_id = await submit_booking()
    await ended(task_id)
    [call] = await calls_of(task_id)
    assert (call.error_code, "s3cret" in call.text) == ("tool_input_required", False)


async def test_its_user_is_asked_by_webhook_each_time(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, alice: User
) -> None:
    rooms.rounds = 2
    await in_database(
        lambda: WebhookEndpoint.objects.create(
            owner=alice, url="https://example.com/", events=["task.requires_action"], secret="s"
        )
    )
    task_id = await submit_booking()
    for number in (1, 2):
        call = await asked_again(task_id, number)
        await in_database(recovery.announce_questions)
        deliveries = await in_database(lambda: list(Delivery.objects.order_by("pk")))
        assert len(deliveries) == number
        await approve(alice.pk, UUID(task_id), call.pk, answer=ANSWER, number=number)
    [told] = deliveries[-1].data["tool_calls"]
    assert (told["kind"], told["message"]) == ("input", MESSAGE)
    await ended(task_id)


async def test_users_of_responses_are_not_asked(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan
) -> None:
    rooms.held = asyncio.Event()
    task_id = await submit_booking()
    await until(lambda: rooms.seen, "the call")
    fields = {"request": {}, "input": [], "has_instructions": False, "is_background": False}
    await in_database(
        lambda: StoredResponse.objects.create(task_id=task_id, is_streamed=False, **fields)
    )
    rooms.held.set()
    assert (await ended(task_id)).status == Status.SUCCEEDED
    [call] = await calls_of(task_id)
    assert (call.error_code, call.questions) == ("tool_input_required", None)


# --- The other ways to answer -------------------------------------------------------------------
async def test_a_socket_answers(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, socket: Any
) -> None:
    task_id = await submit_booking()
    call = await asked(task_id)

    async def send(kind: str, wanted: str, **fields: Any) -> Any:
        """Send a frame, and return the next one of the type that is wanted."""
        named = {"task_id": task_id, "call_id": str(call.pk), "ref": "r"}
        await socket.send_json_to({"type": kind, **named, **fields})
        while (frame := await socket.receive_json_from())["type"] != wanted:
            pass
        return frame

    for wrong in ({}, {"input": {**ANSWER, "room": "c"}}, {"input": ANSWER, "question": 2}):
        assert (await send("task.approve", "error", **wrong))["ref"] == "r"
    assert (await calls_of(task_id))[0].state == "requires_action"
    answered = await send("task.approve", "task.tool_call", input=ANSWER, question=1)
    assert (answered["call_id"], answered["state"]) == (str(call.pk), "queued")
    assert (await send("task.reject", "error"))["error"]["code"] == "conflict"
    assert (await ended(task_id)).status == Status.SUCCEEDED
    assert "{'room': 'a', 'guests': 3}" in (await calls_of(task_id))[0].text


async def test_the_tasks_extension_answers(
    worker: Runtime, rooms: AskingServer, submit_booking: Plan, http: httpx.AsyncClient, key: str
) -> None:
    task_id = await submit_booking()
    call = await asked(task_id)
    question = str(call.pk)

    async def state() -> Any:
        return (await modern(http, key, "tasks/get", {"taskId": task_id}, TASKS))["result"]

    async def update(answer: Any) -> Any:
        params = {"taskId": task_id, "inputResponses": {question: answer}}
        return await modern(http, key, "tasks/update", params, TASKS)

    asks = (await state())["inputRequests"][question]["params"]
    assert asks["message"] == MESSAGE
    assert list(asks["requestedSchema"]["properties"]) == ["room", "guests", "coffee"]
    assert "sealed" not in str(asks)
    wrong = await update({"action": "accept", "content": {"room": "c"}})
    assert wrong["error"]["code"] == -32602
    await update({"action": "cancel"})
    assert (await state())["status"] == "input_required"
    await update({"action": "accept", "content": ANSWER})
    assert (await ended(task_id)).status == Status.SUCCEEDED
    assert [params.request_state for params in rooms.seen] == [None, "sealed 1"]
