"""How large a request's body may be is decided by its head."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError
from pytest_django import Settings

from aily.problems import TooLarge, Unauthenticated, Unavailable
from aily.web import body_limits
from aily.web.body_limits import (
    ANONYMOUS_BYTES,
    BodyLimits,
    LimitedBodies,
    larger_bodies,
    larger_bodies_between,
    problem_response,
)

KNOWN = [(b"authorization", b"Bearer good")]
UNKNOWN = [(b"authorization", b"Bearer bad")]
MAX_BYTES = 200_000


async def identify(scope: dict[str, Any]) -> object | None:
    return "alice" if scope["headers"] == KNOWN else None


@pytest.fixture
def limits(settings: Settings) -> BodyLimits:
    settings.REQUEST_MAX_BYTES = MAX_BYTES
    return BodyLimits(identify)


@pytest.mark.parametrize(("size", "allowed"), [(1, 1), (ANONYMOUS_BYTES, ANONYMOUS_BYTES)])
async def test_a_small_body_is_taken_from_everybody(
    limits: BodyLimits, size: int, allowed: int
) -> None:
    assert await limits.max_bytes("/login", [], size) == allowed


@pytest.mark.parametrize("size", [None, ANONYMOUS_BYTES + 1, MAX_BYTES])
async def test_a_large_one_from_those_that_are_known(limits: BodyLimits, size: int | None) -> None:
    assert await limits.max_bytes("/api/scenes", KNOWN, size) == MAX_BYTES
    with pytest.raises(Unauthenticated):
        await limits.max_bytes("/api/scenes", UNKNOWN, size)


async def test_a_form_without_credentials_may_be_as_large_as_a_login(limits: BodyLimits) -> None:
    assert await limits.max_bytes("/login", UNKNOWN, None) == ANONYMOUS_BYTES
    with pytest.raises(TooLarge):
        await limits.max_bytes("/login", UNKNOWN, ANONYMOUS_BYTES + 1)


async def test_a_body_too_large_for_all_needs_no_authentication(limits: BodyLimits) -> None:
    with pytest.raises(TooLarge):
        await limits.max_bytes("/api/scenes", KNOWN, MAX_BYTES + 1)


async def test_while_the_database_is_away_a_large_body_is_refused_as_such(
    settings: Settings,
) -> None:
    async def away(scope: dict[str, Any]) -> object | None:
        raise OperationalError("away")

    with pytest.raises(Unavailable):
        await BodyLimits(away).max_bytes("/api/scenes", KNOWN, None)


async def test_a_path_may_take_larger_bodies(
    limits: BodyLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    for larger in (2 * MAX_BYTES, MAX_BYTES // 2):
        monkeypatch.setitem(larger_bodies, "/v1/large", partial(int, larger))
        allowed = max(larger, MAX_BYTES)
        assert await limits.max_bytes("/v1/large", KNOWN, allowed) == allowed
        for path in ("/v1/large", "/v1/other"):
            with pytest.raises(TooLarge):
                await limits.max_bytes(path, KNOWN, allowed + 1)
        with pytest.raises(Unauthenticated):
            await limits.max_bytes("/v1/large", UNKNOWN, allowed)


async def test_paths_with_an_id_may_take_larger_bodies(
    limits: BodyLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = 2 * MAX_BYTES
    monkeypatch.setitem(larger_bodies_between, ("/api/things/", "/files"), partial(int, larger))
    for path in ("/api/things/7/files", "/api/things/7/files?name=a/b", "/api/things/files"):
        assert await limits.max_bytes(path, KNOWN, larger) == larger
        with pytest.raises(TooLarge):
            await limits.max_bytes(path, KNOWN, larger + 1)
    for path in ("/api/things/7/other?x=/files", "/api/other/files"):
        with pytest.raises(TooLarge):
            await limits.max_bytes(path, KNOWN, larger)


async def answer(
    limits: BodyLimits,
    headers: Sequence[tuple[bytes, bytes]],
    pieces: Sequence[bytes],
    *,
    stops: bool = False,
) -> tuple[list[dict[str, Any]], list[bytes]]:
    """What is sent for a request with this body, and what the application read of it. `stops`: the
    client sends no more, though there is more."""
    sent: list[dict[str, Any]] = []
    read: list[bytes] = []
    messages = [
        {"type": "http.request", "body": piece, "more_body": stops or piece is not pieces[-1]}
        for piece in pieces
    ]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["more_body"]:
            read.append(message["body"])
        read.append(message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        if not messages:
            await asyncio.get_running_loop().create_future()
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"type": "http", "path": "/api/scenes", "headers": headers}
    await LimitedBodies(app, limits)(scope, receive, send)
    return sent, read


async def test_chunks_are_counted_as_they_come(limits: BodyLimits) -> None:
    chunked = [*KNOWN, (b"transfer-encoding", b"chunked")]

    async def known(scope: dict[str, Any]) -> object | None:
        return "alice"

    sent, read = await answer(BodyLimits(known), chunked, [b"x" * MAX_BYTES, b"y"])
    assert sent[0]["status"] == 413
    assert read == [b"x" * MAX_BYTES]
    assert json.loads(sent[1]["body"])["code"] == TooLarge.code
    sent, read = await answer(BodyLimits(known), chunked, [b"x" * MAX_BYTES])
    assert (sent[0]["status"], len(read[0])) == (200, MAX_BYTES)


async def test_a_body_that_does_not_go_on_is_given_up(
    limits: BodyLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body_limits, "SILENT_SECONDS", 0.05)
    headers = [*KNOWN, (b"content-length", b"9")]
    sent, read = await answer(limits, headers, [b"hello"], stops=True)
    assert (sent[0]["status"], read) == (408, [b"hello"])
    assert (b"connection", b"close") in sent[0]["headers"]


async def test_of_a_caller_without_credentials_nothing_is_read(limits: BodyLimits) -> None:
    sent, read = await answer(limits, [(b"content-length", b"5")], [b"hello"])
    assert (sent[0]["status"], read) == (200, [b""])


def test_a_refusal_is_a_problem_that_closes_the_connection() -> None:
    problem = Unauthenticated("Give an API key.")
    status, headers, body = problem_response(problem, "/api/scenes")
    named = dict(headers)
    assert status == 401
    assert named[b"www-authenticate"] == b"Bearer"
    assert named[b"connection"] == b"close"
    assert int(named[b"content-length"]) == len(body)
    assert json.loads(body)["instance"] == "/api/scenes"
