"""TLS is verified against the URL's name, though the connection is made to a checked address."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from chat.delivery.http import RequestFailedError, WebhookClient
from chat.llm.transport.connections import tls_context
from tests.certificates import write_certificate
from tests.receiver import Receiver, running_receiver


@pytest.fixture
async def receiver(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Receiver]:
    """Serves every name with the certificate of hooks.example, which clients trust."""
    settings.WEBHOOK_ALLOW_PRIVATE = True
    pem = tmp_path / "hooks.pem"
    write_certificate(pem, "hooks.example")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    tls_context.cache_clear()

    def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async with running_receiver(tls) as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield receiver
    tls_context.cache_clear()


async def test_the_name_of_the_url_is_what_the_certificate_must_have(receiver: Receiver) -> None:
    client = WebhookClient(1)
    right = receiver.url.replace("127.0.0.1", "hooks.example")
    assert (await client.post(right, b"{}", {})).status == 204
    for wrong in (receiver.url, receiver.url.replace("127.0.0.1", "other.example")):
        with pytest.raises(RequestFailedError, match="certificate"):
            await client.post(wrong, b"{}", {})
    assert len(receiver.requests) == 1
    await client.aclose()
