"""An open socket, and a submit that is stored but not yet accepted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.routing import routes as application
from chat.consumers import commands
from tests.communicators import WebsocketCommunicator


@pytest.fixture
async def socket(alice: User, loop_services: None) -> AsyncIterator[Any]:
    _, secret = await in_database(APIKey.create, alice, "test")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    accepted, _ = await socket.connect()
    assert accepted
    assert (await socket.receive_json_from())["type"] == "hello"
    yield socket
    await socket.disconnect()


@pytest.fixture
def slow_submit(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Submits of sockets are stored, but not accepted before this is set."""
    may_accept = asyncio.Event()
    submit = vars(commands)["submit"]

    async def submit_slowly(submission: Any) -> Any:
        accepted = await submit(submission)
        await may_accept.wait()
        return accepted

    monkeypatch.setattr(commands, "submit", submit_slowly)
    return may_accept
