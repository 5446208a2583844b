"""Users of OpenAI's API, through the ASGI application as a web process routes it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
import uvicorn
from auditlog.context import disable_auditlog

from accounts.models import APIKey, User
from aily.routing import routes
from chat.models import LLMModel
from chat.openai.waiters import get_keeper

#: Makes a client that presents this secret, or none.
V1 = Callable[[str | None], httpx.AsyncClient]


@pytest.fixture
async def v1(loop_services: None) -> AsyncIterator[V1]:
    """Makes clients of `/v1`. Their answers come whole: streams are for real servers."""
    clients: list[httpx.AsyncClient] = []

    def make(secret: str | None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(routes),
            base_url="http://localhost/v1",
            headers=headers,
            timeout=30,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def alice_v1(v1: V1, alice: User, model: LLMModel) -> httpx.AsyncClient:
    with disable_auditlog():
        return v1(APIKey.create(alice, "test")[1])


@pytest.fixture
async def server(loop_services: None, model: LLMModel) -> AsyncIterator[str]:
    """The application behind a real server on this loop, for streams and lost connections."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        routes, lifespan="off", log_config=None, loop="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server._serve([listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    server.should_exit = True
    await serving
    await get_keeper().aclose()


@pytest.fixture
def alice_secret(alice: User) -> str:
    with disable_auditlog():
        return APIKey.create(alice, "test")[1]


@pytest.fixture
async def client(server: str, alice_secret: str) -> AsyncIterator[httpx.AsyncClient]:
    """Alice, over real connections."""
    headers = {"Authorization": f"Bearer {alice_secret}"}
    async with httpx.AsyncClient(base_url=server, headers=headers, timeout=20) as client:
        yield client
