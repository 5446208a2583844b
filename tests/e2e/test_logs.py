"""What a whole installation writes into its logs, at its most talkative."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from tests.client import ChatSocket, RestClient
from tests.e2e.conftest import Keys
from tests.stack import Stack
from tests.waiting import until


def lines_about(stack: Stack, task_id: str) -> list[dict[str, Any]]:
    """JSON lines of the web and worker processes that name the task."""
    logs = [stack.data_dir / "log" / f"{name}.log" for name in ("web-0", "web-1", "worker-0")]
    lines = [line for log in logs for line in log.read_text().splitlines()]
    return [json.loads(line) for line in lines if task_id in line]


async def test_ids_are_in_the_logs_and_contents_are_not(
    stack: Stack, keys: Keys, rest: RestClient, socket: ChatSocket
) -> None:
    secret = f"prompt-{uuid4().hex}"
    # The simulator repeats what it was asked, so that the answer has the secret as well.
    headers = {"X-Request-ID": f"req-{uuid4().hex}"}
    messages = [{"role": "user", "content": f"Repeat {secret} [sim:latency=0,tps=0]"}]
    answer = await rest.post("/api/llmchat/request", {"messages": messages}, headers=headers)
    assert answer.headers["X-Request-ID"] == headers["X-Request-ID"]
    task_id = answer.body["task_id"]
    await rest.follow(task_id)
    failing = await rest.submit(f"{secret} [sim:error=400]")
    await rest.follow(failing)
    await socket.ended(await socket.submit(f"{secret} [sim:latency=0,cut=middle,times=1]"))
    bad = {"messages": [{"role": "nobody", "content": secret}]}
    assert (await rest.post("/api/llmchat/request", bad)).status == 422
    await socket.ask(type="task.submit", messages=secret)

    def outcomes_of(task_id: str) -> list[str]:
        messages = [line["message"] for line in lines_about(stack, task_id)]
        return [message for message in messages if "ended" in message]

    await until(lambda: outcomes_of(task_id), "the first task's end in a log")
    own = lines_about(stack, task_id)
    [accepted] = [line for line in own if line["message"] == "accepted"]
    assert accepted["request_id"] == headers["X-Request-ID"]
    ended = [line["message"] for line in own if line["process"] == "worker"]
    assert ended == ["attempt 1 starts", "attempt 1 ended: answered"]
    assert all(line["worker"] for line in own if line["process"] == "worker")
    ended = await until(lambda: outcomes_of(failing), "the second task's end in a log")
    assert ended == ["attempt 1 ended: provider_bad_request"]

    logs = {file.name: file.read_text() for file in (stack.data_dir / "log").iterdir()}
    words = (secret, keys.alice, keys.bob)
    assert [name for name, text in logs.items() if any(word in text for word in words)] == []
