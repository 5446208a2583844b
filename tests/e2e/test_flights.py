"""A front page that makes everybody ask the same at once: one call, and an answer for each."""

from __future__ import annotations

import asyncio

from chat.llm.simulator.answers import simulated_answer
from tests.client import ChatSocket, RestClient, TaskFrames
from tests.waiting import eventually

#: Over WebSocket, and as many again over each of two ways of REST.
EACH = 100
#: 60 tokens at 40 a second, 1.5 s after the start: time to accept them all.
THREE_SECONDS = "[sim:latency=1.5,tokens=60,tps=40]"


def answer_to(text: str) -> str:
    messages = [{"role": "user", "content": text}]
    return simulated_answer({"model": "deepseek-flash", "messages": messages}).text


async def totals(rest: RestClient) -> dict[str, int]:
    """What a user has used of the scene by now, as far as it is settled."""
    answer = await rest.get("/api/usage?group_by=scene")
    items = [item for item in answer.body["items"] if item["key"] == "shared"]
    names = ("tasks", "prompt_tokens", "completion_tokens")
    return {name: sum(item[name] for item in items) for name in names}


async def settled(rest: RestClient, tasks: int) -> dict[str, int]:

    async def reached() -> dict[str, int] | None:
        now = await totals(rest)
        return now if now["tasks"] >= tasks else None

    now = await eventually(reached, f"{tasks} tasks", 30)
    assert now is not None
    return now


async def over_socket(socket: ChatSocket, text: str) -> TaskFrames:
    task_id = await socket.submit(scene="shared", variables={"text": text})
    return await socket.ended(task_id)


async def over_stream(rest: RestClient, text: str) -> TaskFrames:
    body = {"variables": {"text": text}}
    return await rest.collect("/api/llmchat/prompts/shared/stream", method="POST", json=body)


async def waiting(rest: RestClient, text: str) -> str:
    body = {"variables": {"text": text}}
    answer = await rest.post("/api/llmchat/prompts/shared/api?sync=true", body)
    assert (answer.status, answer.body["status"]) == (200, "succeeded")
    return str(answer.body["result"]["text"])


async def test_300_equal_requests_make_one_call_and_later_ones_none(
    rest: RestClient, bob_rest: RestClient, socket: ChatSocket, simulator: RestClient
) -> None:
    before, bobs_before = await totals(rest), await totals(bob_rest)
    text = f"What is new today? {THREE_SECONDS}"
    streams, texts = await asyncio.gather(
        asyncio.gather(
            *(over_socket(socket, text) for _ in range(EACH)),
            *(over_stream(bob_rest, text) for _ in range(EACH)),
        ),
        asyncio.gather(*(waiting(rest, text) for _ in range(EACH))),
    )
    expected = answer_to(text)
    assert set(texts) == {expected}
    sources: list[str] = []
    for stream in streams:
        stream.check_ids()
        assert stream.end is not None
        # The client would not take a frame after the end.
        assert (stream.end["type"], stream.end["result"]["text"]) == ("task.completed", expected)
        sources.append(stream.end["served_from"])
        if sources[-1] != "cache":
            assert stream.text == expected
            assert stream.types.count("task.delta") > 1
    # One, as long as all are accepted before its end, as tests/chat/test_flights.py sees to.
    # Of those that a busy machine accepts later, one may come in the moment before the answer is
    # kept, and make a call of its own.
    calls = (await simulator.get("/stats")).body["requests"]
    assert sources.count("provider") <= calls <= 2
    assert "flight" in sources
    # The next one is answered at once, as a task like any other.
    again = await over_socket(socket, text)
    assert again.end is not None
    assert (again.types, again.end["served_from"]) == (["task.completed"], "cache")
    task = await rest.task(again.end["task_id"])
    assert (task["served_from"], task["status"], task["attempt"]) == ("cache", "succeeded", 0)
    assert (await simulator.get("/stats")).body["requests"] == calls
    # A call is paid for once.
    after = await settled(rest, before["tasks"] + 2 * EACH + 1)
    bobs_after = await settled(bob_rest, bobs_before["tasks"] + EACH)
    usage = task["usage"]
    for name in ("prompt_tokens", "completion_tokens"):
        used = after[name] - before[name] + bobs_after[name] - bobs_before[name]
        assert used == calls * usage[name] > 0


async def test_another_user_does_not_get_at_a_task_that_shares_an_answer(
    rest: RestClient, bob_rest: RestClient, socket: ChatSocket
) -> None:
    variables = {"text": "Mine, all mine [sim:latency=1,tokens=8,tps=0]"}
    first = await socket.submit(scene="shared", variables=variables)
    task_id = await socket.submit(scene="shared", variables=variables)
    path = f"/api/llmchat/tasks/{task_id}"
    assert (await rest.task(task_id))["served_from"] == "flight"
    for answer in (
        await bob_rest.get(path),
        await bob_rest.get(f"{path}/events"),
        await bob_rest.post(f"{path}/cancel"),
    ):
        assert answer.status == 404
    for shared_id in (first, task_id):
        assert (await socket.ended(shared_id)).types[-1] == "task.completed"
