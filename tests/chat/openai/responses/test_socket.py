"""The WebSocket at `/v1/responses`: its lanes, its errors, its limits and its close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes
from aily.web.access_revocation import CLOSE_RESTART, CLOSE_UNAUTHENTICATED, open_sockets
from chat.models import LLMModel, StoredResponse, Task
from chat.openai.responses import lanes, memory
from chat.openai.responses.socket import CLOSE_SERVICE_RESTART, MAX_BAD_FRAMES
from chat.runner.runtime import Runtime
from chat.services.submit import Accepted, Submission, submit
from tests.chat.openai.responses.client import TERMINAL_TYPES, deltas_of, numbers, text_of
from tests.communicators import WebsocketCommunicator
from tests.waiting import eventually

SLOW = "Slowly [sim:tokens=2000,tps=50]"


class Socket:
    """A client of the socket."""

    def __init__(self, secret: str | None, origin: str | None = "http://localhost") -> None:
        headers = [(b"authorization", f"Bearer {secret}".encode())] if secret else []
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        headers.append((b"host", b"localhost"))
        self.asgi = WebsocketCommunicator(routes, "/v1/responses", headers)

    async def create(self, prompt: Any, **fields: Any) -> None:
        frame = {"type": "response.create", "model": "plain", "input": prompt, **fields}
        await self.asgi.send_json_to(frame)

    async def receive(self) -> Any:
        return await self.asgi.receive_json_from()

    async def events(self) -> list[Any]:
        """The events of one response, or an error."""
        events: list[Any] = []
        while not (events and events[-1]["type"] in (*TERMINAL_TYPES, "error")):
            events.append(await self.receive())
        return events

    async def closed(self) -> Any:
        """The close code."""
        while (output := await self.asgi.receive_output())["type"] == "websocket.send":
            pass
        return output["code"]


@pytest.fixture
def key(alice: User) -> tuple[APIKey, str]:
    return APIKey.create(alice, "test")


@pytest.fixture
async def socket(
    key: tuple[APIKey, str], plain_model: LLMModel, loop_services: None
) -> AsyncIterator[Socket]:
    socket = Socket(key[1])
    accepted, subprotocol = await socket.asgi.connect()
    assert (accepted, subprotocol) == (True, None)
    yield socket
    await socket.asgi.disconnect()


async def test_a_response_is_streamed_and_stored(socket: Socket, worker: Runtime) -> None:
    await socket.create("Hello")
    events = await socket.events()
    assert numbers(events) == list(range(len(events)))
    response = events[-1]["response"]
    assert text_of(response) == deltas_of(events) != ""
    assert "stream_id" not in events[0]
    stored = await in_database(StoredResponse.objects.get)
    assert str(stored) == response["id"]


async def test_a_lane_is_first_come_first_served(socket: Socket, worker: Runtime) -> None:
    for number in range(3):
        await socket.create(f"Number {number}", stream_id="one")
    seen = [await socket.events() for _ in range(3)]
    for number, events in enumerate(seen):
        assert {event["stream_id"] for event in events} == {"one"}
        assert f"Number {number}" in text_of(events[-1]["response"])


async def test_what_is_not_stored_is_remembered(
    socket: Socket, worker: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await socket.create("My name is Ada", store=False, instructions="Be kind.")
    first = (await socket.events())[-1]["response"]
    await socket.create("My name?", store=False, previous_response_id=first["id"])
    second = (await socket.events())[-1]["response"]
    task = await in_database(Task.objects.latest, "id")
    assert task.messages == [
        {"role": "user", "content": "My name is Ada"},
        {"role": "assistant", "content": text_of(first)},
        {"role": "user", "content": "My name?"},
    ]
    [item] = second["output"]
    reference = {"type": "item_reference", "id": item["id"]}
    await socket.create([reference, {"role": "user", "content": "So?"}], store=False)
    assert (await socket.events())[-1]["type"] == "response.completed"
    monkeypatch.setattr(memory, "MAX_RESPONSES", 1)
    await socket.create("Another", store=False)
    await socket.events()
    await socket.create("Go on", store=False, previous_response_id=first["id"])
    [error] = await socket.events()
    assert error["error"]["code"] == "previous_response_not_found"
    assert not await in_database(StoredResponse.objects.exists)


def test_connections_of_one_owner_remember_so_much_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "MAX_OWNER_BYTES", 1_000)
    first, second, another = memory.Memory(1), memory.Memory(1), memory.Memory(2)

    def remembers(connection: memory.Memory, name: str) -> bool:
        connection.add({"id": name, "output": []}, [{"role": "user", "content": "x" * 600}])
        return connection.messages(name) is not None

    assert [remembers(first, "a"), remembers(second, "b"), remembers(another, "c")] == [
        True,
        False,
        True,
    ]
    first.clear()
    another.clear()
    assert remembers(second, "d")
    assert not remembers(first, "e")
    second.clear()
    assert not memory._of_owners


async def test_a_closed_socket_ends_what_is_being_made(
    socket: Socket, worker: Runtime, settings: Any
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 0
    await socket.create(SLOW)
    while (await socket.receive())["type"] != "response.output_text.delta":
        pass
    await socket.asgi.disconnect()

    async def cancelled() -> bool:
        return (await in_database(Task.objects.get)).status == "cancelled"

    await eventually(cancelled)


async def test_what_is_accepted_as_its_socket_is_closed_is_cancelled(
    socket: Socket, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DROPPED_REQUEST_SECONDS = 0
    committed, closed = asyncio.Event(), asyncio.Event()

    async def slow_submit(submission: Submission) -> Accepted:
        accepted = await submit(submission)
        committed.set()
        await closed.wait()
        return accepted

    monkeypatch.setattr(lanes, "submit", slow_submit)
    await socket.create("Hello")
    await asyncio.wait_for(committed.wait(), 20)
    await socket.asgi.disconnect()
    closed.set()

    async def cancelled() -> bool:
        return (await in_database(Task.objects.get)).status == "cancelled"

    await eventually(cancelled)


# --- Errors -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"background": True}, 400, "background"),
        ({"generate": False}, 400, "generate"),
        ({"stream_id": 5}, 400, "stream_id"),
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, 400, "tools"),
    ],
)
async def test_an_error_leaves_the_socket_open(
    socket: Socket, fields: Any, status: int, param: str
) -> None:
    await socket.create("Hello", **fields)
    error = await socket.receive()
    assert (error["type"], error["status"]) == ("error", status)
    assert error["error"]["param"] == param
    assert error["error"]["message"] != ""
    await socket.create("Hello", type="response.steer", previous_response_id="resp_1")
    failed = await socket.receive()
    assert failed["error"]["code"] == "steering_not_supported"
    assert failed["steer"]["input"] == "Hello"
    assert not await in_database(Task.objects.exists)


@pytest.mark.parametrize("frame", ["no JSON", "[]", '{"type": "task.submit"}', "{}"])
async def test_bad_frames_end_in_a_close(socket: Socket, frame: str) -> None:
    for _ in range(MAX_BAD_FRAMES):
        await socket.asgi.send_to(text_data=frame)
        assert (await socket.receive())["status"] == 400
    assert await socket.closed() == 4400


async def test_there_is_a_limit_of_lanes(socket: Socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_LANES", 1)
    await socket.create("First", stream_id="one")
    assert (await socket.receive())["type"] == "response.created"
    await socket.create("Second", stream_id="two")
    error = await socket.receive()
    assert (error["status"], error["error"]["code"]) == (429, "rate_limit_exceeded")


# --- Handshake and close ------------------------------------------------------------------------
@pytest.mark.parametrize("origin", ["http://localhost", "http://elsewhere.example", None])
@pytest.mark.parametrize("secret", [None, "nonsense"])
async def test_a_handshake_without_a_key_is_refused(
    model: LLMModel, loop_services: None, secret: str | None, origin: str | None
) -> None:
    socket = Socket(secret, origin)
    await socket.asgi.send_input({"type": "websocket.connect"})
    start = await socket.asgi.receive_output()
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 401)
    headers = dict(start["headers"])
    assert headers[b"x-request-id"]
    assert headers[b"www-authenticate"] == b"Bearer"
    body = await socket.asgi.receive_output()
    assert b"invalid_api_key" in body["body"]


async def test_one_connection_too_many_is_refused(
    socket: Socket, key: tuple[APIKey, str], settings: Any
) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 1
    other = Socket(key[1])
    await other.asgi.send_input({"type": "websocket.connect"})
    assert (await other.asgi.receive_output())["status"] == 429


async def test_a_revoked_key_closes_the_socket(socket: Socket, key: tuple[APIKey, str]) -> None:
    await in_database(lambda: APIKey.objects.filter(pk=key[0].pk).revoke())
    assert await socket.closed() == CLOSE_UNAUTHENTICATED


async def test_a_restart_has_a_code_that_clients_know(socket: Socket) -> None:
    await open_sockets().close_all(CLOSE_RESTART, 0)
    assert await socket.closed() == CLOSE_SERVICE_RESTART


async def test_a_frame_over_the_limit_closes_the_socket(socket: Socket, settings: Any) -> None:
    settings.WEBSOCKET_FRAME_MAX_BYTES = 1_000
    await socket.create("x" * 1_000)
    assert await socket.closed() == 1009
