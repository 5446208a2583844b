"""Streams and waits of a key that is revoked."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.client import RestClient
from tests.e2e.sessions import make_keys
from tests.waiting import eventually

#: The second that access may last after it was taken away, and what a busy machine may add to it.
SECONDS = 15.0


async def check_that_streams_and_waits_end(base_url: str, rest: RestClient) -> None:
    """`rest` is Alice by another key, before whatever server."""
    [key] = await asyncio.to_thread(make_keys, rest.base_url, {"name": "short-lived"})
    body = {"messages": [{"role": "user", "content": "I outlive my readers [sim:latency=60]"}]}
    async with (
        RestClient(base_url, key["secret"]) as doomed,
        doomed.stream("/api/llmchat/request/stream", "POST", json=body) as stream,
    ):
        events = stream.events()
        while (await anext(events)).event != "task.started":
            pass
        waiting = asyncio.create_task(doomed.post("/api/llmchat/request?sync=true", body))
        await eventually(lambda: _are_active(rest, 2), "two active tasks")
        began = time.monotonic()
        await rest.call("DELETE", f"/api/keys/{key['id']}")
        assert [event async for event in events if event.event != "task.queued"] == []
        answer = await waiting
    assert time.monotonic() - began < SECONDS
    assert (answer.status, answer.body["code"]) == (401, "unauthenticated")
    for task in await active(rest):
        await rest.post(f"/api/llmchat/tasks/{task['task_id']}/cancel")


async def _are_active(rest: RestClient, tasks: int) -> bool:
    return len(await active(rest)) >= tasks


async def active(rest: RestClient) -> list[Any]:
    items: list[Any] = (await rest.get("/api/llmchat/tasks?active=true")).body["items"]
    return items
