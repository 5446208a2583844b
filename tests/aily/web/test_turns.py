"""Of one caller's requests few are worked on at once, and another's do not wait behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from aily.web import turns
from aily.web.turns import MAX_AT_ONCE, RequestTurns, lines
from tests.waiting import eventually

HEAD = {"type": "http.response.start", "status": 200, "headers": []}


class Work:
    """An application whose requests end when a test says so."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.may_end = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.begun.append(scope["path"])
        if scope["path"] == "/stream":
            await send(HEAD)
        await self.may_end.wait()
        await send(HEAD)


async def identify(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    return dict(headers)[b"caller"].decode() or None


class Site:
    def __init__(self, *, may_wait: bool = False) -> None:
        self.work = Work()
        self.sent: list[dict[str, Any]] = []
        self._app = RequestTurns(self.work, identify, may_wait=may_wait)

    def ask(self, caller: str, path: str = "/list") -> asyncio.Task[None]:
        scope: Any = {"type": "http", "path": path, "headers": [(b"caller", caller.encode())]}

        async def send(message: Any) -> None:
            self.sent.append(message)

        return asyncio.ensure_future(self._app(scope, asyncio.Event().wait, send))  # type: ignore[arg-type]


async def settled() -> None:
    """What can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def site() -> Site:
    return Site()


async def test_few_at_once_and_others_do_not_wait(site: Site) -> None:
    asked = [site.ask("alice") for _ in range(MAX_AT_ONCE + 3)]
    await settled()
    assert len(site.work.begun) == MAX_AT_ONCE
    asked += [site.ask("bob"), site.ask("")]
    await settled()
    assert len(site.work.begun) == MAX_AT_ONCE + 2
    site.work.may_end.set()
    await asyncio.gather(*asked)
    assert len(site.sent) == len(asked)
    assert not lines()._lines


async def test_a_turn_ends_with_the_head_of_the_response(site: Site) -> None:
    asked = [site.ask("alice", "/stream") for _ in range(3 * MAX_AT_ONCE)]
    await settled()
    assert len(site.work.begun) == len(asked)
    site.work.may_end.set()
    await asyncio.gather(*asked)


async def test_what_waits_for_something_else_gives_its_turn_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.01)
    site = Site(may_wait=True)
    asked = [site.ask("alice") for _ in range(MAX_AT_ONCE + 1)]

    async def all_have_begun() -> bool:
        return len(site.work.begun) == len(asked)

    await eventually(all_have_begun)
    site.work.may_end.set()
    await asyncio.gather(*asked)
    assert not lines()._lines


async def test_a_waiting_request_whose_client_goes_leaves_the_line(site: Site) -> None:
    asked = [site.ask("alice") for _ in range(MAX_AT_ONCE + 2)]
    await settled()
    asked[-2].cancel()
    await settled()
    site.work.may_end.set()
    ended = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(end, asyncio.CancelledError) for end in ended].count(True) == 1
    assert len(site.work.begun) == MAX_AT_ONCE + 1
    assert not lines()._lines


async def test_a_line_has_an_end(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MAX_WAITING", 1)
    asked = [site.ask("alice") for _ in range(MAX_AT_ONCE + 2)]
    await asked[-1]
    assert site.sent[0]["status"] == 429
    site.work.may_end.set()
    await asyncio.gather(*asked)


# --- Large bodies -------------------------------------------------------------------------------
LARGE = str(turns.LARGE_BODY_BYTES + 1).encode()


@pytest.mark.parametrize(
    ("header", "is_large"),
    [
        ((b"content-length", b"9"), False),
        ((b"content-length", str(turns.LARGE_BODY_BYTES).encode()), False),
        ((b"content-length", LARGE), True),
        ((b"content-length", b"many"), True),
        ((b"transfer-encoding", b"chunked"), True),
        ((b"accept", b"*/*"), False),
    ],
)
def test_which_bodies_are_large(header: tuple[bytes, bytes], is_large: bool) -> None:
    assert turns.has_large_body([header]) == is_large


async def test_large_bodies_are_read_in_turn_until_they_are_accepted() -> None:
    begun: list[dict[str, Any]] = []
    may_end = asyncio.Event()

    async def work(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope)
        await may_end.wait()

    app = turns.LargeBodyTurns(work, identify)

    def ask(size: bytes) -> asyncio.Task[None]:
        headers = [(b"caller", b"alice"), (b"content-length", size)]
        scope: Any = {"type": "http", "path": "/", "headers": headers}
        return asyncio.ensure_future(app(scope, None, None))  # type: ignore[arg-type]

    asked = [ask(LARGE) for _ in range(turns.MAX_BODIES_AT_ONCE + 2)] + [ask(b"5")]
    await settled()
    assert len(begun) == turns.MAX_BODIES_AT_ONCE + 1
    for scope in begun:
        turns.end_body_turn(scope)
        turns.end_body_turn(scope)
    await settled()
    assert len(begun) == turns.MAX_BODIES_AT_ONCE + 3
    may_end.set()
    await asyncio.gather(*asked)
