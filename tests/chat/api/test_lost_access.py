"""Access that is taken away, or ends, ends the streams and waits that it was used for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import APIKey, User
from aily import cache
from aily.cache import keys
from aily.database.threads import in_database
from aily.routing import routes as application
from aily.web.access_revocation import CLOSE_UNAUTHENTICATED
from chat.models import LLMModel, Task
from tests.chat.conftest import Submit
from tests.communicators import WebsocketCommunicator
from tests.waiting import eventually

#: The second that is promised, and what a busy machine may add to it.
SECONDS = 12.0
#: After which keys of these tests end by themselves: until then all must have begun.
LIFETIME = timedelta(seconds=3)


@pytest.fixture(autouse=True)
def _listens_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published before this process listens is found out much later."""
    monkeypatch.setattr("aily.web.access_revocation.LISTEN_SECONDS", 20)


@dataclass
class Visitor:
    """Alice by an API key, or by a session."""

    user: User
    key: APIKey | None = None
    secret: str = ""
    browser: Client = field(default_factory=Client)

    def __post_init__(self) -> None:
        self._client = AsyncClient()
        self._client.cookies = self.browser.cookies
        # Django's AsyncClient drops its default headers.
        self._headers = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}

    async def get(self, path: str) -> Any:
        return await self._client.get(path, headers=self._headers)

    async def post(self, path: str, body: Any) -> Any:
        return await self._client.post(
            path, body, content_type="application/json", headers=self._headers
        )

    @property
    def handshake(self) -> list[tuple[bytes, bytes]]:
        """Headers of a WebSocket's."""
        if self.secret:
            return [(b"authorization", f"Bearer {self.secret}".encode())]
        cookie = f"sessionid={self.browser.session.session_key}".encode()
        return [(b"cookie", cookie), (b"host", b"testserver"), (b"origin", b"http://testserver")]


def by_key(user: User) -> Visitor:
    return Visitor(user, *APIKey.create(user, "test"))


def by_short_lived_key(user: User) -> Visitor:
    return Visitor(user, *APIKey.create(user, "test", timezone.now() + LIFETIME))


def by_session(user: User) -> Visitor:
    visitor = Visitor(user)
    visitor.browser.force_login(user)
    return visitor


def shut_out(visitor: Visitor) -> None:
    visitor.user.is_active = False
    visitor.user.save()


def change_password(visitor: Visitor) -> None:
    visitor.user.set_password("another-one-8")
    visitor.user.save()


def end_key_now(visitor: Visitor) -> None:
    assert visitor.key is not None
    visitor.key.expires_at = timezone.now()
    visitor.key.save()


def revoke_unheard(visitor: Visitor) -> None:
    """As another process did a moment ago, whose word came before there was anybody to hear it."""
    assert visitor.key is not None
    APIKey.objects.filter(pk=visitor.key.pk).update(revoked_at=timezone.now())
    cache.unlink([keys.API_KEYS.key(visitor.key.digest)])


def log_out(visitor: Visitor) -> None:
    visitor.browser.post("/logout/")


#: How one comes, and how that is taken away; None: it ends by itself.
WAYS: dict[str, tuple[Callable[[User], Visitor], Callable[[Visitor], object] | None]] = {
    "key revoked": (by_key, lambda visitor: APIKey.objects.all().revoke()),
    "key deleted": (by_key, lambda visitor: APIKey.objects.all().delete()),
    "key's end brought forward": (by_key, end_key_now),
    "key ends": (by_short_lived_key, None),
    "user of a key shut out": (by_key, shut_out),
    "user of a key deleted": (by_key, lambda visitor: visitor.user.delete()),
    "session logged out": (by_session, log_out),
    "session ends": (by_session, None),
    "password changed": (by_session, change_password),
    "user of a session shut out": (by_session, shut_out),
    "user of a session deleted": (by_session, lambda visitor: visitor.user.delete()),
}


@pytest.fixture
async def visitor(
    request: pytest.FixtureRequest, alice: User, model: LLMModel, settings: Settings
) -> AsyncIterator[Visitor]:
    if request.param == "session ends":
        settings.SESSION_COOKIE_AGE = LIFETIME.total_seconds()
    come, _ = WAYS[request.param]
    yield await in_database(come, alice)
    await sync_to_async(connections.close_all)()


async def take_away(way: str, visitor: Visitor) -> None:
    _, take = WAYS[way]
    if take is not None:
        await in_database(take, visitor)


async def in_time(end: Awaitable[Any], way: str) -> Any:
    """What this comes to within the time, from when the access is over."""
    lasts = LIFETIME.total_seconds() if WAYS[way][1] is None else 0
    async with asyncio.timeout(SECONDS + lasts):
        return await end


async def rest_of(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces if b"task.queued" not in piece])


async def until_there_are(tasks: int) -> None:
    async def are_there() -> bool:
        return await in_database(Task.objects.count) >= tasks

    await eventually(are_there)


@pytest.mark.parametrize(
    ("visitor", "way"), [(way, way) for way in WAYS], ids=list(WAYS), indirect=["visitor"]
)
async def test_streams_waits_and_sockets_end(
    visitor: Visitor, way: str, submit_as_alice: Submit
) -> None:
    task_id = await submit_as_alice("I wait for a worker")
    socket = WebsocketCommunicator(application, "/ws/llmchat/", visitor.handshake)
    assert (await socket.connect())[0]
    assert (await socket.receive_json_from())["type"] == "hello"
    stream = await visitor.get(f"/api/llmchat/tasks/{task_id}/events")
    pieces = aiter(stream.streaming_content)
    assert (await anext(pieces)).startswith(b"event: task.queued")
    body = {"messages": [{"role": "user", "content": "So do I"}]}
    asking = asyncio.ensure_future(visitor.post("/api/llmchat/request?sync=true", body))
    await until_there_are(2)
    await take_away(way, visitor)

    rest, answer, closed = await in_time(
        asyncio.gather(rest_of(pieces), asking, socket.receive_output()), way
    )
    assert rest == b""
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert (closed["type"], closed["code"]) == ("websocket.close", CLOSE_UNAUTHENTICATED)
    await socket.disconnect()
    # What was accepted is the user's, and goes on.
    queued = await in_database(Task.objects.filter(status="queued").count)
    assert queued == (0 if "deleted" in way and "user" in way else 2)


@pytest.mark.parametrize("visitor", ["key revoked"], indirect=True)
async def test_a_stream_begun_with_a_key_that_was_just_revoked_ends(
    visitor: Visitor, submit_as_alice: Submit
) -> None:
    task_id = await submit_as_alice("I wait for a worker")
    # Now the process has copies of key and user.
    assert (await visitor.get("/api/me")).status_code == 200
    await in_database(revoke_unheard, visitor)
    stream = await visitor.get(f"/api/llmchat/tasks/{task_id}/events")
    assert stream.status_code == 200
    assert await in_time(rest_of(aiter(stream.streaming_content)), "key revoked") == b""


@pytest.mark.parametrize("visitor", ["key ends"], indirect=True)
async def test_a_key_whose_end_was_put_off_goes_on(
    visitor: Visitor, submit_as_alice: Submit
) -> None:
    task_id = await submit_as_alice("I wait for a worker")
    began = time.monotonic()
    stream = await visitor.get(f"/api/llmchat/tasks/{task_id}/events")
    pieces = aiter(stream.streaming_content)
    await anext(pieces)

    def put_off() -> None:
        assert visitor.key is not None
        visitor.key.expires_at = timezone.now() + 2 * LIFETIME
        visitor.key.save()

    await in_database(put_off)
    await rest_of(pieces)
    assert time.monotonic() - began > 1.5 * LIFETIME.total_seconds()


async def test_the_streams_of_another_key_go_on(alice: User, submit_as_alice: Submit) -> None:
    task_id = await submit_as_alice("I wait for a worker")
    path = f"/api/llmchat/tasks/{task_id}/events"
    ends = []
    visitors = [await in_database(by_key, alice) for _ in range(2)]
    for visitor in visitors:
        pieces = aiter((await visitor.get(path)).streaming_content)
        await anext(pieces)
        ends.append(asyncio.ensure_future(rest_of(pieces)))
    doomed, staying = ends
    key = visitors[0].key
    assert key is not None
    await in_database(APIKey.objects.filter(pk=key.pk).revoke)
    await in_time(doomed, "key revoked")
    assert not staying.done()
    await in_database(APIKey.objects.all().revoke)
    await in_time(staying, "key revoked")
    await sync_to_async(connections.close_all)()
