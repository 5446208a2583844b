"""A client of `/v1/responses`, written from OpenAI's description of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from aily.redis.clients import sync_redis
from chat.eventlog.keys import log_key
from chat.openai.responses.objects import task_id_of
from tests.clients.openai_schemas import check
from tests.waiting import eventually

Event = dict[str, Any]
TERMINAL_TYPES = ("response.completed", "response.incomplete", "response.failed")


def events_in(body: str) -> list[Event]:
    """The events of a stream, each of which must be valid by OpenAI's schemas."""
    blocks = [block for block in body.split("\n\n") if block and not block.startswith(":")]
    assert blocks.pop() == "data: [DONE]"
    events = []
    for block in blocks:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        check("ResponseStreamEvent", event)
        events.append(event)
    return events


def numbers(events: list[Event]) -> list[int]:
    return [event["sequence_number"] for event in events]


def text_of(response: Any) -> str:
    """What the SDK calls `output_text`."""
    return "".join(
        part["text"]
        for item in response["output"]
        if item["type"] == "message"
        for part in item["content"]
    )


def deltas_of(events: list[Event]) -> str:
    return "".join(
        event["delta"] for event in events if event["type"] == "response.output_text.delta"
    )


def types_of(events: list[Event]) -> list[str]:
    """The types in order, those of deltas that follow each other once."""
    types: list[str] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        if not (types and kind == types[-1] and kind.endswith(".delta")):
            types.append(kind)
    return types


def forget_log(response_id: str) -> None:
    """As when the log has expired."""
    assert sync_redis().delete(log_key(str(task_id_of(response_id)))) == 1


class ResponsesClient:
    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.post("/responses", json=body, headers=given)

    async def create(self, prompt: Any, **fields: Any) -> Any:
        """Create a response that must succeed."""
        answer = await self.post({"model": "deepseek-flash", "input": prompt, **fields})
        assert answer.status_code == 200, answer.text
        check("Response", answer.json())
        return answer.json()

    async def stream(self, prompt: Any, **fields: Any) -> list[Event]:
        body = {"model": "deepseek-flash", "input": prompt, "stream": True, **fields}
        answer = await self.post(body)
        assert answer.status_code == 200, answer.text
        return events_in(answer.text)

    async def get(self, response_id: str) -> Any:
        answer = await self.http.get(f"/responses/{response_id}")
        assert answer.status_code == 200, answer.text
        check("Response", answer.json())
        return answer.json()

    async def events(self, response_id: str, after: int | None = None) -> list[Event]:
        """The events of a stored response after a number, to the end."""
        query: dict[str, Any] = {"stream": "true"}
        if after is not None:
            query["starting_after"] = after
        answer = await self.http.get(f"/responses/{response_id}", params=query)
        assert answer.status_code == 200, answer.text
        return events_in(answer.text)

    async def ended(self, response_id: str) -> Any:
        """The response once it has ended."""

        async def found() -> Any:
            response = await self.get(response_id)
            return response if response["status"] not in ("queued", "in_progress") else None

        async with asyncio.timeout(20):
            return await eventually(found)
