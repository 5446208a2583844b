"""Whatever a client sends, it is answered by one `error` frame, and the socket lives on."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes as application
from chat.consumers import commands, connection
from chat.models import LLMModel
from tests.communicators import WebsocketCommunicator
from tests.subtests import subtested

SUBMIT = {"type": "task.submit", "messages": [{"role": "user", "content": "Hi"}]}
SOME_ID = "0198c0de-9c33-7000-8000-0123456789ab"
FLAGS = '{"type":"ping","ref":"r","flag":'


@pytest.fixture
async def socket(alice: User, loop_services: None, model: LLMModel) -> AsyncIterator[Any]:
    _, secret = await in_database(APIKey.create, alice, "test")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    accepted, _ = await socket.connect()
    assert accepted
    assert (await socket.receive_json_from())["type"] == "hello"
    yield socket
    await socket.disconnect()


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert not [record for record in caplog.records if record.exc_info], caplog.text


async def send(socket: Any, data: str | bytes) -> None:
    kind = "text" if isinstance(data, str) else "bytes"
    await socket.send_input({"type": "websocket.receive", kind: data})


@subtested(
    ("data", "field", "ref"),
    [
        ('{"type":"ping","ref":"\\ud800"}', "ref", "\ufffd"),
        ('{"type":"ping","ref":"a\\udfffb"}', "ref", "a\ufffdb"),
        ('{"type":"ping","ref":"\\u0000"}', "ref", "\0"),
        ('{"type":"ping","ref":"' + "x" * 200_000 + '"}', "ref", None),
        ('{"type":"ping","ref":7}', "ref", None),
        ('{"type":"ping","ref":"r","\\ud800":1}', None, "r"),
        ('{"type":"ping","ref":"r","more":1}', "more", "r"),
        (json.dumps({**SUBMIT, "ref": "r", "metadata": {"a": ["\ud83d"]}}), "metadata.a.0", "r"),
        (json.dumps({**SUBMIT, "ref": "r", "lane": "\udc00"}), "lane", "r"),
        (json.dumps({**SUBMIT, "ref": "r", "metadata": {"a": "\0"}}), "metadata.a", "r"),
        (json.dumps({**SUBMIT, "ref": "r", "metadata": {"a": float("nan")}}), "metadata.a", "r"),
        (json.dumps({**SUBMIT, "ref": "r", "temperature": float("inf")}), "temperature", "r"),
        (
            json.dumps({**SUBMIT, "ref": "r"})[:-1] + ',"deadline_seconds":1e999}',
            "deadline_seconds",
            "r",
        ),
        (
            json.dumps({**SUBMIT, "ref": "r"})[:-1] + ',"max_tokens":' + "9" * 400 + "}",
            "max_tokens",
            "r",
        ),
        (json.dumps({**SUBMIT, "ref": "r", "metadata": {"a": "x" * 17_000}}), "metadata", "r"),
        (json.dumps({**SUBMIT, "ref": "r", "metadata": {"a": [1e300] * 100}}), "metadata", "r"),
        (json.dumps({**SUBMIT, "ref": "r", "idempotency_key": "x" * 256}), "idempotency_key", "r"),
        ('{"type":"task.cancel","ref":"r","task_id":"x"}', "task_id", "r"),
        (
            f'{{"type":"task.subscribe","task_id":"{SOME_ID}","after":"1-' + "9" * 5000 + '"}',
            "after",
            None,
        ),
        (f'{{"type":"task.subscribe","task_id":"{SOME_ID}","after":"\u00b2-1"}}', "after", None),
        ('{"type":"table.subscribe","table":1,"ref":"r","after":"x"}', "after", "r"),
        ('{"type":"table.subscribe","table":1,"ref":"r","after":[1]}', "after", "r"),
        ('{"type":"task.begin","ref":"r"}', "type", "r"),
        ('{"type":{},"ref":"r"}', "type", "r"),
        ('{"type":"' + "x" * 200_000 + '","ref":"r"}', "type", "r"),
        ('{"type":"\\ud800","ref":"r"}', "type", "r"),
        ('{"ref":"r"}', "type", "r"),
        ("[" * 200_000, None, None),
        ('{"ref":"r","a":' + "[" * 200_000, None, None),
        (FLAGS + "[" * 200 + "]" * 200 + "}", None, "r"),
        (FLAGS + '{"a":' * 30_000 + "1" + "}" * 30_000 + "}", None, None),
        (FLAGS + "9" * 100_000 + "}", None, None),
        ("", None, None),
        ("[]", None, None),
        ("7", None, None),
        ('"ping"', None, None),
        ("null", None, None),
        ("\ufeff{}", None, None),
        (b"\xff\xfe\x00", None, None),
        (b'{"type":"ping","ref":"\xff"}', None, None),
        (b"", None, None),
    ],
)
async def test_a_bad_frame_is_answered_with_its_field(
    socket: Any, data: str | bytes, field: str | None, ref: str | None
) -> None:
    await send(socket, data)
    answer = await socket.receive_json_from()
    assert answer["type"] == "error"
    assert answer["error"]["code"] == "invalid_request"
    assert answer["error"].get("field") == field
    assert answer["ref"] == ref
    assert len(json.dumps(answer)) < 2_000
    await send(socket, '{"type":"ping"}')
    assert await socket.receive_json_from() == {"type": "pong"}


async def test_numbers_and_texts_of_any_kind_are_stored_or_refused(socket: Any) -> None:
    values = [10**30, -(10**300), 1e-300, 0.1 + 0.2, "\u2028\u0085🚀", {"": [None, True]}]
    await send(socket, json.dumps({**SUBMIT, "metadata": {"a": values}}))
    assert (await socket.receive_json_from())["type"] == "task.accepted"


async def test_a_fault_of_ours_is_an_error_frame(
    socket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: Any) -> None:
        raise AttributeError("a fault of our own")

    monkeypatch.setattr(commands, "cancel_row", broken)
    await send(socket, f'{{"type":"task.cancel","ref":"r","task_id":"{SOME_ID}"}}')
    answer = await socket.receive_json_from()
    assert (answer["ref"], answer["error"]["code"]) == ("r", "internal_server_error")
    assert "a fault of our own" in caplog.text
    assert "fault of our own" not in json.dumps(answer)
    caplog.clear()


async def test_frames_with_bytes_changed_at_random_never_end_a_socket(
    socket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_BAD_FRAMES", 1_000_000)
    chance = random.Random(13)
    good = [
        {**SUBMIT, "ref": "r", "metadata": {"a": [1, {"b": "c"}]}, "deadline_seconds": 7.5},
        {"type": "task.subscribe", "task_id": SOME_ID, "after": "1-2", "ref": "r"},
        {"type": "task.cancel", "task_id": SOME_ID, "ref": "r"},
    ]
    parts = [b"\\ud800", b"\\u0000", b"[", b"{", b'"', b"1e99", b"-", b"null", b"\xff", b",", b"\\"]
    for _ in range(300):
        data = bytearray(json.dumps(chance.choice(good)).encode())
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(data))
            data[place : place + chance.randint(0, 3)] = chance.choice(parts)
        await send(socket, bytes(data))
    await send(socket, '{"type":"ping"}')
    # Of each an answer at least, or it was good enough.
    while (frame := await socket.receive_json_from())["type"] != "pong":
        assert frame["type"] in {"error", "task.accepted", "task.queued"}
        if frame["type"] == "error":
            assert frame["error"]["code"] in {"invalid_request", "not_found", "conversation_busy"}


async def test_a_pong_has_the_ref_of_its_ping(socket: Any) -> None:
    await socket.send_json_to({"type": "ping", "ref": "a"})
    assert await socket.receive_json_from() == {"type": "pong", "ref": "a"}
