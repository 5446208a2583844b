"""The official client of the Model Context Protocol against real web processes, two of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.client import RestClient
from tests.clients.conftest import Installation
from tests.waiting import eventually

REVISIONS = pytest.mark.parametrize(
    "mode", ["2026-07-28", "legacy", pytest.param("auto", marks=pytest.mark.slow)]
)
SLOW = {"text": "[sim:latency=30]"}


@asynccontextmanager
async def connected(installation: Installation, mode: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {installation.alice}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        url = f"{installation.stack.base_url}/mcp"
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            yield client


async def newest_task(rest: RestClient) -> dict[str, Any]:
    page = (await rest.get("/api/llmchat/tasks?limit=1")).body
    task: dict[str, Any] = page["items"][0]
    return task


@REVISIONS
async def test_listing_and_calling(installation: Installation, mode: str) -> None:
    messages: list[str | None] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        messages.append(message)

    async with connected(installation, mode) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "summarize" in names
        # Several connections, and so both processes.
        results = await asyncio.gather(
            *(
                client.call_tool("summarize", {"text": f"Text {n}"}, progress_callback=note)
                for n in range(6)
            )
        )
    assert not any(result.is_error for result in results)
    assert messages.count("Running.") == 6


@REVISIONS
async def test_a_call_that_is_given_up_is_cancelled(
    installation: Installation, rest: RestClient, mode: str
) -> None:
    """By its connection since 2026-07-28, before that by a request that any process may get."""
    async with connected(installation, mode) as client:
        calling = asyncio.ensure_future(client.call_tool("summarize", SLOW))

        async def running() -> Any:
            task = await newest_task(rest)
            return task if task["status"] == "running" else None

        task = await eventually(running)
        calling.cancel()

        async def cancelled() -> bool:
            shown = (await rest.get(f"/api/llmchat/tasks/{task['task_id']}")).body
            return bool(shown["status"] == "cancelled")

        await eventually(cancelled)
