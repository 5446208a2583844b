"""Batches inside the test's own event loop: the feeder takes its turns when a test says so."""

from __future__ import annotations

import json
from typing import Any

import httpx

from aily.database.threads import in_database
from tests.chat.runs.conftest import turn
from tests.waiting import eventually

CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
Json = dict[str, Any]


def line(number: int | str, *, url: str = CHAT, **body: Any) -> str:
    """A line of a batch's file. Fields of `body` that are None are left out."""
    fields = {"model": "deepseek-flash", "messages": [{"role": "user", "content": f"Say {number}"}]}
    given = {name: value for name, value in {**fields, **body}.items() if value is not None}
    custom_id = number if isinstance(number, str) else f"line-{number}"
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": given})


async def upload(client: httpx.AsyncClient, content: str | bytes, purpose: str = "batch") -> Json:
    data = content.encode() if isinstance(content, str) else content
    files = {"file": ("lines.jsonl", data)}
    answer = await client.post("/files", data={"purpose": purpose}, files=files)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def make(client: httpx.AsyncClient, content: str | bytes, **fields: Any) -> Json:
    """A batch of a file with this content."""
    file = await upload(client, content)
    asked = {
        "input_file_id": file["id"],
        "endpoint": CHAT,
        "completion_window": "24h",
        **fields,
    }
    answer = await client.post("/batches", json=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def turns_until(client: httpx.AsyncClient, batch_id: str, *statuses: str) -> Json:
    """Take turns until the batch has one of these statuses."""

    async def look() -> Json | None:
        await in_database(turn)
        answer = await client.get(f"/batches/{batch_id}")
        batch: Json = answer.json()
        return batch if batch["status"] in statuses else None

    found = await eventually(look, f"{statuses}")
    assert found is not None
    return found


async def lines_of(client: httpx.AsyncClient, file_id: str | None) -> list[Json]:
    answer = await client.get(f"/files/{file_id}/content")
    assert answer.status_code == 200, answer.text
    assert int(answer.headers["content-length"]) == len(answer.content)
    return [json.loads(text) for text in answer.content.splitlines()]
