"""One user's prompts that take for ever hold up nobody else."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import pytest

from tests.client import Answer, ChatSocket, RestClient
from tests.e2e.conftest import Keys
from tests.stack import Stack

#: An idle machine takes a thousandth of it.
ANSWER_SECONDS = 10.0
#: (scene, variables) that took seconds, or never ended, in the web process.
LONG: list[tuple[str, Any]] = [
    ("endless", {"x": [1] * 60}),
    ("pattern", {"x": "a" * 28 + "b"}),
    ("pattern", {"x": " " * 40_000}),
    ("unique", {"x": [{"a": i, "b": [i]} for i in range(3000)]}),
    ("growing", {"x": [1] * 60}),
]

#: Takes seconds to compile.
NESTED = "{{ x" + " | upper" * 180 + " }}"


async def timed(call: Any) -> tuple[float, Answer]:
    began = monotonic()
    answer = await call
    return monotonic() - began, answer


@pytest.mark.slow
async def test_another_users_submits_go_on_while_renderings_are_stopped(
    stack: Stack, keys: Keys, rest: RestClient, bob_rest: RestClient, socket: ChatSocket
) -> None:
    async def submit_long() -> list[Answer]:
        calls = [
            rest.post(f"/api/llmchat/prompts/{scene}/api", {"variables": variables})
            for scene, variables in LONG * 2
        ]
        return await asyncio.gather(*calls)

    async def write_long() -> list[Answer]:
        async with RestClient(stack.base_url, keys.author) as author:
            body = {"user_template": NESTED}
            calls = [author.post("/api/scenes/endless/versions", body) for _ in range(10)]
            return await asyncio.gather(*calls)

    attack = asyncio.create_task(submit_long())
    by_socket = asyncio.create_task(
        socket.ask(type="task.submit", scene="endless", variables={"x": [1] * 60})
    )
    written = asyncio.create_task(write_long())
    submits, probes = [], []
    while not (attack.done() and by_socket.done() and written.done()):
        body = {"variables": {"text": "A queue is a promise."}}
        seconds, answer = await timed(bob_rest.post("/api/llmchat/prompts/summarize/api", body))
        assert answer.status == 202
        submits.append(seconds)
        seconds, answer = await timed(bob_rest.get("/livez"))
        assert answer.status == 200
        probes.append(seconds)
    assert max(submits) < ANSWER_SECONDS
    assert max(probes) < ANSWER_SECONDS
    # It lasted while somebody else was served: with what stops them, some seconds.
    assert len(submits) > 5
    answers = {(answer.status, answer.body.get("code")) for answer in attack.result()}
    # On a busy machine the last of them may have waited for too long.
    answers.discard((503, "unavailable"))
    assert answers == {(422, "template_timeout"), (422, "invalid_variable"), (202, None)}
    assert (await by_socket)["error"]["code"] == "template_timeout"
    codes = {answer.body["code"] for answer in written.result()}
    assert "template_timeout" in codes
    assert codes <= {"template_timeout", "too_many_renderings", "unavailable"}


async def test_a_rendering_apart_is_repeated_as_any_other(rest: RestClient) -> None:
    answers = [
        await rest.post(
            "/api/llmchat/prompts/endless/api",
            {"variables": {"x": [1]}},
            headers={"Idempotency-Key": "rendered-apart"},
        )
        for _ in range(2)
    ]
    assert [answer.status for answer in answers] == [202, 202]
    assert len({answer.body["task_id"] for answer in answers}) == 1
