"""Users of OpenAI's API, through the ASGI application as a web process routes it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from accounts.models import APIKey, User
from aily.routing import routes
from chat.models import LLMModel

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
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
def alice_v1(v1: V1, alice: User, model: LLMModel) -> httpx.AsyncClient:
    return v1(APIKey.create(alice, "test")[1])
