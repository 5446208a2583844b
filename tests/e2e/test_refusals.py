"""The front door: who and what is turned away, and in which words."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.client import ChatSocket, RestClient, chat_socket
from tests.e2e.conftest import Keys
from tests.stack import Stack

NOBODYS = "01900000-0000-7000-8000-000000000000"
HELLO = [{"role": "user", "content": "Hello"}]
#: (frame without its type task.submit, code, field)
REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "unknown scene": ({"scene": "nope"}, "not_found", "scene"),
    "missing variable": (
        {"scene": "translate", "variables": {"text": "x"}},
        "invalid_variable",
        "variables.language",
    ),
    "wrong variable": (
        {"scene": "summarize", "variables": {"text": 7}},
        "invalid_variable",
        "variables.text",
    ),
    "extra variable": (
        {"scene": "summarize", "variables": {"text": "x", "more": 1}},
        "invalid_variable",
        "variables.more",
    ),
    "unknown field": ({"messages": HELLO, "temprature": 1}, "invalid_request", "temprature"),
    "unknown model": ({"messages": HELLO, "model": "gpt-0"}, "invalid_request", "model"),
    "no prompt": ({}, "invalid_request", None),
    "no such conversation": (
        {"messages": HELLO, "conversation_id": NOBODYS},
        "not_found",
        "conversation_id",
    ),
}


async def count_tasks(rest: RestClient) -> int:
    return int((await rest.get("/api/llmchat/tasks")).body["count"])


@pytest.mark.parametrize("case", REFUSED)
async def test_a_bad_submit_is_answered_with_its_ref_and_field_and_stores_nothing(
    socket: ChatSocket, rest: RestClient, case: str
) -> None:
    before = await count_tasks(rest)
    fields, code, field = REFUSED[case]
    reply = await socket.ask(type="task.submit", **fields)
    assert (reply["type"], reply["error"]["code"]) == ("error", code)
    assert reply["error"].get("field") == field
    assert await count_tasks(rest) == before


@pytest.mark.parametrize(
    "data", ["", "{", "[]", "7", "null", '{"type":7}', '{"type":"task.start"}', "{}", b"\xff\xfe"]
)
async def test_what_is_no_frame_is_answered_and_the_socket_stays(
    socket: ChatSocket, data: str | bytes
) -> None:
    await socket.connection.send(data)
    await socket.until(lambda: bool(socket.errors))
    (error,) = socket.errors
    assert (error["ref"], error["error"]["code"]) == (None, "invalid_request")
    await socket.ping()


async def test_a_bad_frame_gives_its_ref_back(socket: ChatSocket) -> None:
    reply = await socket.ask(type="task.subscribe", task_id="7")
    assert (reply["error"]["code"], reply["error"]["field"]) == ("invalid_request", "task_id")
    reply = await socket.ask(type="task.submit", messages=HELLO, lane="fast")
    assert (reply["error"]["code"], reply["error"]["field"]) == ("invalid_request", "lane")


@pytest.mark.parametrize("kind", ["task.subscribe", "task.cancel"])
async def test_anothers_task_looks_like_one_that_does_not_exist(
    stack: Stack, keys: Keys, socket: ChatSocket, rest: RestClient, kind: str
) -> None:
    task_id = await socket.submit("Mine [sim:latency=60]", model="capped")
    await socket.got(task_id, "task.started")
    async with chat_socket(stack.base_url, keys.bob) as bob:
        replies = [await bob.ask(type=kind, task_id=foreign) for foreign in (task_id, NOBODYS)]
        assert replies[0]["error"] == replies[1]["error"]
        assert replies[0]["error"]["code"] == "not_found"
        await bob.ping()
        assert not bob.tasks
    assert (await rest.task(task_id))["status"] == "running"
    await rest.post(f"/api/llmchat/tasks/{task_id}/cancel")


async def test_a_prompt_over_its_limit_is_too_large(socket: ChatSocket, rest: RestClient) -> None:
    before = await count_tasks(rest)
    body = {"messages": [{"role": "user", "content": "x" * 4_300_000}]}
    long = BytesIO(json.dumps(body).encode())
    as_json = {"Content-Type": "application/json"}
    answer = await rest.call("POST", "/api/llmchat/request", data=long, headers=as_json)
    assert (answer.status, answer.body["code"]) == (413, "too_large")
    large = BytesIO(json.dumps({"metadata": {"x": "y" * 5_500_000}, **body}).encode())
    answer = await rest.call("POST", "/api/llmchat/request", data=large)
    assert (answer.status, answer.body["code"]) == (413, "too_large")
    assert await count_tasks(rest) == before


async def test_a_frame_over_its_limit_closes_the_socket(socket: ChatSocket) -> None:
    await socket.connection.send('{"type":"ping","ref":"' + "x" * 300_000 + '"}')
    # daphne stops reading before it has the frame in memory, and says no word (1006).
    assert await socket.closed() in (1006, 1009)


@pytest.mark.parametrize("key", ["revoked", "unknown", "none"])
async def test_without_a_usable_key_the_socket_is_closed_and_rest_says_401(
    stack: Stack, keys: Keys, key: str
) -> None:
    secret = {"revoked": keys.revoked, "unknown": "aily_unknown", "none": None}[key]
    headers = {} if secret else {"Origin": stack.base_url}
    async with chat_socket(stack.base_url, secret, headers=headers) as socket:
        assert await socket.closed() == 4401
        assert not socket.others
    async with RestClient(stack.base_url, secret) as rest:
        answer = await rest.post("/api/llmchat/request", {"messages": HELLO})
        assert (answer.status, answer.body["code"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_page_of_another_site_gets_403(stack: Stack) -> None:
    for headers in ({"Origin": "https://evil.example"}, {}):
        with pytest.raises(InvalidStatus) as refused:
            async with chat_socket(stack.base_url, None, headers=headers):
                pass
        assert refused.value.response.status_code == 403


async def test_one_key_makes_one_task_over_socket_and_rest_at_once(
    stack: Stack, keys: Keys, socket: ChatSocket, rest: RestClient
) -> None:
    """Submits race through both web processes, as frames and as requests."""
    body = {"messages": [{"role": "user", "content": "Once [sim:latency=60]"}], "model": "capped"}
    header = {"Idempotency-Key": "race"}
    frame = {"type": "task.submit", "idempotency_key": "race", **body}
    async with chat_socket(stack.base_url, keys.alice) as other:
        frames = [opened.ask(**frame) for opened in (socket, other) for _ in range(10)]
        posts = [rest.post("/api/llmchat/request", body, headers=header) for _ in range(10)]
        replies, answers = await asyncio.gather(asyncio.gather(*frames), asyncio.gather(*posts))
        ids = {reply["task_id"] for reply in replies} | {
            answer.body["task_id"] for answer in answers
        }
        assert len(ids) == 1
        mismatch = (await socket.ask(**{**frame, "lane": "batch"}))["error"]
        assert mismatch["code"] == "idempotency_mismatch"
        assert mismatch["field"] == "idempotency_key"
        (task_id,) = ids
        await rest.post(f"/api/llmchat/tasks/{task_id}/cancel")
        for opened in (socket, other):
            (await opened.ended(task_id)).check_ids()
