"""Clients of `/mcp`: the official one, and plain requests, over real connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import httpx
import httpx2
import pytest
import uvicorn
from auditlog.context import disable_auditlog
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.types import ASGIApp

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes
from chat.models import LLMModel, Scene
from chat.openai.waiters import get_keeper
from chat.services import scenes

MODERN, LEGACY = "2026-07-28", "2025-11-25"
OUTPUT = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
#: Connects the official client: `connect(key, revision)`; keywords are options of the client's.
Connect = Callable[..., AbstractAsyncContextManager[Client]]


def publish(slug: str, *, is_restricted: bool = False, **fields: Any) -> Scene:
    written = {"user_template": "{{ text }}", **fields}
    with disable_auditlog():
        scene = Scene.objects.create(slug=slug, title=f"About {slug}", is_restricted=is_restricted)
        scenes.publish(scenes.create_version(scene, None, written))
    return scene


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve an application on this loop. Yields its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, lifespan="off", log_config=None, loop="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    running = asyncio.ensure_future(server._serve([listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    await running


@pytest.fixture
async def address(loop_services: None, model: LLMModel) -> AsyncIterator[str]:
    """Where aily listens."""
    async with serving(cast("ASGIApp", routes)) as address:
        yield address
    await get_keeper().aclose()


@pytest.fixture
async def key(alice: User) -> str:
    return (await in_database(APIKey.create, alice, "mcp"))[1]


@pytest.fixture
async def foreign_key(bob: User) -> str:
    return (await in_database(APIKey.create, bob, "mcp"))[1]


@pytest.fixture
async def scene(model: LLMModel) -> Scene:
    return await in_database(publish, "echo")


@pytest.fixture
def connect(address: str) -> Connect:
    @asynccontextmanager
    async def connected(key: str, revision: str, **options: Any) -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {key}"}
        mode = revision if revision == MODERN else "legacy"
        async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
            transport = streamable_http_client(f"{address}/mcp", http_client=http)
            async with Client(transport, mode=mode, **options) as client:
                yield client

    return connected


@pytest.fixture
async def http(address: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address, timeout=30) as client:
        yield client
