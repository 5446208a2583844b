"""Credentials of a WebSocket handshake, and where it may come from."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import APIKey, User
from accounts.websocket import OriginRequiredForCookies, identify_websocket
from tests.communicators import WebsocketCommunicator

PATH = "/ws/llmchat/"
HOST = (b"host", b"testserver")


async def greet(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Accepts whoever gets here and says who it is."""
    identity = await identify_websocket(scope)
    await send({"type": "websocket.accept", "subprotocol": None})
    await send({"type": "websocket.send", "text": str(identity and identity.user.username)})


async def knock(
    headers: list[tuple[bytes, bytes]], subprotocols: list[str] | None = None
) -> str | None:
    """Who the handshake identified; None when it was turned away."""
    socket = WebsocketCommunicator(
        OriginRequiredForCookies(greet), PATH, [HOST, *headers], subprotocols
    )
    accepted, _ = await socket.connect()
    return await socket.receive_from() if accepted else None


@pytest.fixture
def secret(alice: User) -> str:
    return APIKey.create(alice, "test")[1]


@pytest.fixture
def cookie(alice: User) -> tuple[bytes, bytes]:
    client = Client()
    client.force_login(alice)
    return b"cookie", f"a=b; sessionid={client.session.session_key}".encode()


async def test_a_key_in_the_header_needs_no_origin(secret: str) -> None:
    assert await knock([(b"authorization", f"Bearer {secret}".encode())]) == "alice"
    assert await knock([(b"authorization", f"bearer {secret}".encode())]) == "alice"


async def test_a_key_as_subprotocol_needs_no_origin(secret: str) -> None:
    evil = (b"origin", b"https://evil.example")
    assert await knock([evil], ["aily.v1", f"aily.bearer.{secret}"]) == "alice"


@pytest.mark.parametrize("subprotocols", [["aily.v1"], ["aily.bearer.aily_wrong", "aily.v1"]])
async def test_a_wrong_key_is_not_made_good_by_a_session(
    cookie: tuple[bytes, bytes], subprotocols: list[str]
) -> None:
    origin = (b"origin", b"http://testserver")
    expected = "None" if len(subprotocols) > 1 else "alice"
    assert await knock([origin, cookie], subprotocols) == expected
    wrong = (b"authorization", b"Bearer aily_wrong")
    assert await knock([origin, cookie, wrong], subprotocols) == "None"


async def test_a_key_in_the_query_string_is_ignored(secret: str) -> None:
    socket = WebsocketCommunicator(
        OriginRequiredForCookies(greet),
        f"{PATH}?token={secret}&key={secret}&authorization=Bearer%20{secret}",
        [HOST, (b"origin", b"http://testserver")],
    )
    await socket.connect()
    assert await socket.receive_from() == "None"


@pytest.mark.parametrize("origin", ["http://testserver", "https://testserver"])
async def test_a_session_works_from_a_page_of_this_site(
    cookie: tuple[bytes, bytes], origin: str
) -> None:
    assert await knock([cookie, (b"origin", origin.encode())]) == "alice"


@pytest.mark.parametrize(
    "origin",
    [
        None,
        b"",
        b"null",
        b"https://evil.example",
        b"http://testserver.evil.example",
        b"http://testserver:3000",
        b"http://testserver:port",
        b"file://",
        b"\xff",
    ],
)
async def test_a_session_does_not_work_from_elsewhere(
    cookie: tuple[bytes, bytes], origin: bytes | None
) -> None:
    headers = [cookie] if origin is None else [cookie, (b"origin", origin)]
    assert await knock(headers) is None


async def test_allowing_every_host_allows_no_other_origin(
    cookie: tuple[bytes, bytes], settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert await knock([cookie, (b"origin", b"https://evil.example")]) is None
    assert await knock([cookie]) is None
    assert await knock([cookie, (b"origin", b"http://testserver")]) == "alice"


async def test_a_host_that_is_not_allowed_vouches_for_no_origin(
    cookie: tuple[bytes, bytes], settings: Settings
) -> None:
    settings.ALLOWED_HOSTS = ["aily.example"]
    assert await knock([cookie, (b"origin", b"http://testserver")]) is None


async def test_a_trusted_origin_works(cookie: tuple[bytes, bytes], settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.aily.example", "https://other.example:8443"]
    assert await knock([cookie, (b"origin", b"https://chat.aily.example")]) == "alice"
    assert await knock([cookie, (b"origin", b"https://other.example:8443")]) == "alice"
    assert await knock([cookie, (b"origin", b"https://other.example")]) is None


async def test_with_https_a_plain_page_is_turned_away(
    cookie: tuple[bytes, bytes], settings: Settings
) -> None:
    settings.HTTPS = True
    assert await knock([cookie, (b"origin", b"http://testserver")]) is None
    assert await knock([cookie, (b"origin", b"https://testserver")]) == "alice"


async def test_without_credentials_nobody_is_identified(transactional_db: None) -> None:
    assert await knock([(b"origin", b"http://testserver")]) == "None"
    assert await knock([(b"origin", b"http://testserver"), (b"cookie", b"sessionid=x")]) == "None"
