"""Lets few requests of one caller be worked on at once, so that a burst of them harms nobody else.

Django runs each synchronous view on a thread of its own, which takes a database connection and the
interpreter's lock; other applications take one of few database threads. Hundreds of one caller at
once would use these up, and all others' requests would wait behind them. Here they wait in line, by
caller, for a turn that ends with the head of the response: streams have sent theirs.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)

from aily.concurrency.loops import per_loop
from aily.problems import LimitReached
from aily.web.body_limits import refuse

#: Requests of one caller that a process works on at once: a part of its pool of database
#: connections, of which other callers need some.
MAX_AT_ONCE = 3
#: Where requests may wait for something else than this process, as for the end of a task, a turn
#: ends after so long at the latest.
TURN_SECONDS = 2.0
#: Requests of one caller that may wait for their turn.
MAX_WAITING = 1000
#: Parsed, a larger body takes several times its size of memory: a caller's are read in turn.
LARGE_BODY_BYTES = 65_536
#: Such bodies of one caller that are in memory at once.
MAX_BODIES_AT_ONCE = 8
#: Key of the scope of a request: its turn.
_TURN = "aily.turn"
#: The name under which a request's caller is counted, by its headers; None: it is not counted.
Identify = Callable[[Iterable[tuple[bytes, bytes]]], Awaitable[str | None]]


@dataclass(slots=True)
class _Line:
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Lines:
    """The requests of one event loop, by caller."""

    def __init__(self, max_at_once: int = MAX_AT_ONCE) -> None:
        self._max_at_once = max_at_once
        self._lines: dict[str, _Line] = {}

    async def enter(self, caller: str) -> None:
        """Return once it is this request's turn. Raises LimitReached where too many wait."""
        line = self._lines.setdefault(caller, _Line())
        if line.running < self._max_at_once:
            line.running += 1
            return
        if len(line.waiting) >= MAX_WAITING:
            raise LimitReached(
                f"{MAX_WAITING} of your requests wait already for being worked on.",
                limit_name="max_requests_waiting",
                limit=MAX_WAITING,
                retry_after_seconds=1,
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(caller)
            raise

    def leave(self, caller: str) -> None:
        """Pass a turn on to the caller's next request, if one waits."""
        line = self._lines[caller]
        while line.waiting:
            turn = line.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        line.running -= 1
        if not line.running:
            del self._lines[caller]


class Turn:
    """One request's turn. `end` may be called more than once."""

    __slots__ = ("_caller", "_has_ended", "_lines", "_timer")

    def __init__(self, lines: Lines, caller: str, *, is_short: bool) -> None:
        self._lines = lines
        self._caller = caller
        self._has_ended = False
        self._timer: asyncio.TimerHandle | None = None
        if is_short:
            self._timer = asyncio.get_running_loop().call_later(TURN_SECONDS, self.end)

    def end(self) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        if self._timer is not None:
            self._timer.cancel()
        self._lines.leave(self._caller)


@per_loop
def lines() -> Lines:
    """The running loop's requests."""
    return Lines()


@per_loop
def _lines_of_bodies() -> Lines:
    """The running loop's requests with large bodies."""
    return Lines(MAX_BODIES_AT_ONCE)


class RequestTurns:
    """ASGI wrapper of an application, for HTTP.

    `may_wait`: requests may wait for something else than this process, which ends their turn. All
    others keep it while they work, however long: a slow query holds a connection. `lines`: those
    that its requests wait in.
    """

    def __init__(
        self,
        app: ASGI3Application,
        identify: Identify,
        *,
        may_wait: bool = False,
        lines: Callable[[], Lines] = lines,
    ) -> None:
        self._app = app
        self._identify = identify
        self._may_wait = may_wait
        self._lines = lines

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        scope = cast("HTTPScope", scope)
        caller = await self._identify(scope["headers"])
        if caller is None:
            await self._app(scope, receive, send)
            return
        line = self._lines()
        try:
            await line.enter(caller)
        except LimitReached as problem:
            await refuse(problem, scope, send)
            return
        turn = Turn(line, caller, is_short=self._may_wait)
        cast("dict[str, object]", scope)[_TURN] = turn

        async def send_and_end(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start":
                turn.end()
            await send(message)

        try:
            await self._app(scope, receive, send_and_end)
        finally:
            turn.end()


class LargeBodyTurns:
    """`RequestTurns` for requests with large bodies alone, which are not read before their turn.

    The turn ends with the head of the response, or once `end_body_turn` is called.
    """

    def __init__(self, app: ASGI3Application, identify: Identify) -> None:
        self._app = app
        self._in_turn = RequestTurns(app, identify, lines=_lines_of_bodies)

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        is_large = has_large_body(cast("HTTPScope", scope)["headers"])
        await (self._in_turn if is_large else self._app)(scope, receive, send)


def has_large_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """By its declared length, or as it has none."""
    for name, value in headers:
        if name == b"content-length":
            return not value.isdigit() or int(value) > LARGE_BODY_BYTES
        if name == b"transfer-encoding":
            return True
    return False


def end_body_turn(scope: Mapping[str, object]) -> None:
    """Let the caller's next large body be read: what this request asks for is stored, and its body
    forgotten, though its response may be long in coming."""
    turn = scope.get(_TURN)
    if isinstance(turn, Turn):
        turn.end()
