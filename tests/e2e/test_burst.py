"""Many tasks at once: the calls run side by side, and every answer arrives whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from chat.llm.simulator.answers import simulated_answer
from tests.client import ChatSocket, RestClient, TaskFrames

TASKS = 200
#: 60 tokens of text and 15 of reasoning at 50 a second, two seconds after the start.
SECONDS = "[sim:latency=2,tokens=60,tps=50]"
#: Past the last submit: the answers' own 3.5 s, and room for a machine that is busy elsewhere.
LATEST_SECONDS = 40.0


def answer_to(prompt: str) -> tuple[str, str]:
    """The text and the reasoning that the simulator owes."""
    body = {"model": "deepseek-flash", "messages": [{"role": "user", "content": prompt}]}
    answer = simulated_answer(body)
    return answer.text, answer.reasoning


async def check_all(
    rest: RestClient, prompts: Sequence[str], task_ids: Sequence[str], streams: Sequence[TaskFrames]
) -> None:
    assert len(set(task_ids)) == TASKS
    tasks = await asyncio.gather(*map(rest.task, task_ids))
    for prompt, task, stream in zip(prompts, tasks, streams, strict=True):
        stream.check_ids()
        assert stream.end is not None
        assert stream.end["type"] == "task.completed"
        result = task["result"]
        assert (task["status"], task["attempt"]) == ("succeeded", 1)
        # Only the event of a task with a JSON Schema has an output.
        assert stream.end["result"] | {"output": None, "logprobs": None} == result
        assert (stream.text, stream.reasoning) == (result["text"], result["reasoning"])
        assert (result["text"], result["reasoning"]) == answer_to(prompt)


async def test_200_tasks_over_one_socket_run_at_once_and_stream_what_is_stored(
    socket: ChatSocket, rest: RestClient, simulator: RestClient
) -> None:
    prompts = [f"WebSocket question {number} {SECONDS}" for number in range(TASKS)]
    task_ids = await asyncio.gather(*map(socket.submit, prompts))
    submitted = time.monotonic()
    streams = await asyncio.gather(*map(socket.ended, task_ids))
    took_seconds = time.monotonic() - submitted
    await check_all(rest, prompts, task_ids, streams)
    stats = (await simulator.get("/stats")).body
    assert stats["requests"] == TASKS
    # Submits of a busy machine spread out, but none waits for another's call to end.
    assert stats["max_in_flight"] > TASKS / 2
    assert took_seconds < LATEST_SECONDS


@pytest.mark.slow
async def test_200_tasks_over_rest_run_at_once_and_stream_what_is_stored(
    rest: RestClient, simulator: RestClient
) -> None:
    prompts = [f"REST question {number} {SECONDS}" for number in range(TASKS)]
    task_ids = await asyncio.gather(*map(rest.submit, prompts))
    submitted = time.monotonic()
    streams = await asyncio.gather(*map(rest.follow, task_ids))
    took_seconds = time.monotonic() - submitted
    await check_all(rest, prompts, task_ids, streams)
    stats = (await simulator.get("/stats")).body
    assert stats["requests"] == TASKS
    assert stats["max_in_flight"] > TASKS / 2
    assert took_seconds < LATEST_SECONDS
