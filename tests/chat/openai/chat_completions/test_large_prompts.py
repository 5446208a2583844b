"""Pictures and long texts: how large they may be, and that a waiting request keeps none of them."""

from __future__ import annotations

import asyncio
import gc

import httpx
import pytest
from pytest_django import Settings

from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import Task
from chat.services.messages import length_of
from chat.services.submission import CompositeRequest
from tests.chat.conftest import StartWorker, until

PATH = "/chat/completions"
MIB = 1_048_576


def with_picture(size: int, text: str = "What is this?") -> dict[str, object]:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}
    parts = [{"type": "text", "text": text}, picture]
    return {"model": "deepseek-flash", "messages": [{"role": "user", "content": parts}]}


async def test_a_picture_of_three_megabytes_is_sent_on(
    client: httpx.AsyncClient, start_worker: StartWorker
) -> None:
    await start_worker()
    answer = await client.post(PATH, json=with_picture(3 * MIB))
    assert answer.status_code == 200, answer.text
    task = await in_database(Task.objects.get)
    assert task.prompt_bytes > 3 * MIB
    assert len(task.messages[0]["content"][1]["image_url"]["url"]) > 3 * MIB


@pytest.mark.parametrize(
    ("size", "status", "code"),
    [(11_000, 400, "context_length_exceeded"), (40_000, 413, "too_large")],
)
async def test_a_prompt_that_is_too_long_is_refused_and_nothing_is_stored(
    client: httpx.AsyncClient, settings: Settings, size: int, status: int, code: str
) -> None:
    settings.PROMPT_MAX_BYTES, settings.REQUEST_MAX_BYTES = 10_000, 15_000
    answer = await client.post(PATH, json=with_picture(size))
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert not await in_database(Task.objects.exists)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/api/llmchat/request"])
async def test_a_waiting_request_keeps_nothing_of_its_prompt(
    client: httpx.AsyncClient, start_worker: StartWorker, simulator: Simulator, path: str
) -> None:
    await start_worker()
    text = "[sim:latency=5] " + "x" * 300_000
    body: dict[str, object] = {"model": "deepseek-flash"}
    if path == "/v1/responses":
        body["input"] = text
    else:
        body["messages"] = [{"role": "user", "content": text}]
    url = httpx.URL(str(client.base_url).removesuffix("/v1/") + path)
    asked = asyncio.ensure_future(client.post(url, json=body, params={"sync": "true"}))
    await until(lambda: simulator.stats.in_flight == 1)
    gc.collect()
    # Not isinstance, which would wake lazy objects.
    requests = [found for found in gc.get_objects() if type(found) is CompositeRequest]
    assert not [found for found in requests if length_of(found.messages or []) > 100_000]
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
