"""Sockets that are refused or closed."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from accounts import socket_consumer as connection_module
from accounts.models import APIKey, User
from accounts.socket_consumer import CLOSE_TOO_MANY
from accounts.websocket import identify_websocket
from aily import cache
from aily.cache import keys
from aily.database.threads import in_database
from aily.routing import routes as application
from aily.web.access_revocation import CLOSE_UNAUTHENTICATED
from tests.chat.consumers.sockets import (
    ping,
)
from tests.communicators import WebsocketCommunicator


async def test_a_key_revoked_while_a_socket_is_opened_closes_it(
    alice: User, loop_services: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = await in_database(APIKey.create, alice, "test")
    identify = identify_websocket

    def revoke_elsewhere() -> None:
        """As another process does: this one keeps its copy, and the news comes too late."""
        APIKey.objects.filter(pk=key.pk).update(revoked_at=timezone.now())
        cache.unlink([keys.API_KEYS.key(key.digest)])

    async def identify_and_revoke(scope: Any, *, check: bool = False) -> Any:
        identity = await identify(scope, check=check)
        # After it was looked up, and before the socket is registered for revocations.
        await in_database(revoke_elsewhere)
        return identity

    monkeypatch.setattr(connection_module, "identify_websocket", identify_and_revoke)
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    socket = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    assert (await socket.connect())[0]
    assert (await socket.receive_output())["code"] == CLOSE_UNAUTHENTICATED
    await socket.disconnect()


async def test_one_socket_too_many_is_closed(socket: Any, alice: User, settings: Any) -> None:
    settings.MAX_CONNECTIONS_PER_USER = 1
    _, secret = await in_database(APIKey.create, alice, "other")
    headers = [(b"authorization", f"Bearer {secret}".encode())]
    other = WebsocketCommunicator(application, "/ws/llmchat/", headers)
    assert (await other.connect())[0]
    assert (await other.receive_output())["code"] == CLOSE_TOO_MANY
    await other.disconnect()
    await ping(socket)


async def test_a_frame_over_the_limit_closes_the_socket(socket: Any, settings: Any) -> None:
    settings.WEBSOCKET_FRAME_MAX_BYTES = 1_000
    await socket.send_json_to({"type": "ping", "ref": "x" * 1_000})
    assert await socket.receive_output() == {
        "type": "websocket.close",
        "code": connection_module.CLOSE_TOO_LARGE,
    }
