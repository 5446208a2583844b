"""One call under way: takes the response as it comes, and wakes the caller once, at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from chat.llm.answer import Answer
from chat.llm.bodies import Body, Events, Json, Refusal, Unpack, unpacker
from chat.llm.deadlines import Deadlines
from chat.llm.errors import InvalidResponseError, ProviderError
from chat.llm.holds import Hold, Holds
from chat.llm.http1 import Connection
from chat.llm.types import Delta, Patience

#: The end of a response follows the end of the answer at once; awaiting it saves the connection
#: for the next call, waiting for it long would hold up this one.
DRAIN_SECONDS = 0.25


class Exchange:
    """The Receiver of one call. `await ended` returns once the answer can be judged, or raises.

    `on_delta` is given what comes, as it comes. After each, more may come for as long as `patience`
    says before it is looked at.
    """

    def __init__(
        self,
        answer: Answer,
        deadlines: Deadlines,
        on_delta: Callable[[Delta], None],
        patience: Patience,
        holds: Holds,
    ) -> None:
        self._answer = answer
        self._deadlines = deadlines
        self._on_delta = on_delta
        self._patience = patience
        self._holds = holds
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._connection: Connection | None = None
        self._body: Body | None = None
        self._unpack: Unpack | None = None
        #: While pieces are held.
        self._hold: Hold | None = None
        #: Ends the wait for the response's end. Pieces mean nothing any more.
        self._drain: asyncio.TimerHandle | None = None

    def begin(self, connection: Connection, request: bytes) -> None:
        self._connection = connection
        self._patience.release = self._release
        self._deadlines.watch(self._break_off)
        connection.send(request, self)

    def close(self) -> None:
        """To be called in the end, whatever it was. Hangs up unless the response has ended."""
        self._deadlines.stop()
        # So that whoever breaks off has all that came.
        self._release()
        self._patience.release = None
        if self._drain is not None:
            self._drain.cancel()
        if self._connection is not None:
            self._connection.abort()
        if self.ended.done() and not self.ended.cancelled():
            # A caller that is cancelled just then does not read it, which is no news for the log.
            self.ended.exception()

    # --- What the connection calls --------------------------------------------------------------
    def head(self, status: int, headers: dict[str, str]) -> None:
        try:
            self._choose_body(status, headers)
        except Exception as error:  # noqa: BLE001 - the caller is to have it
            self._wake(error)

    def body(self, piece: bytes) -> None:
        if self._drain is None:
            self._try(self._feed, piece)

    def end(self) -> None:
        self._connection = None
        self._stop_holding()
        self._try(self._end_body)
        self._wake()

    def lost(self, error: ProviderError) -> None:
        self._connection = None
        self._stop_holding()
        self._break_off(error)

    # --- What comes -----------------------------------------------------------------------------
    def _try(self, step: Callable[..., None], *what: bytes) -> None:
        try:
            step(*what)
        except Exception as error:  # noqa: BLE001 - the caller is to have it
            self._wake(error)
        finally:
            if delta := self._answer.take_delta():
                self._on_delta(delta)

    def _choose_body(self, status: int, headers: dict[str, str]) -> None:
        answer = self._answer
        answer.name_request(headers.get("x-request-id") or headers.get("x-deepseek-request-id"))
        self._unpack = unpacker(headers.get("content-encoding", "").strip().lower())
        kind = headers.get("content-type", "").lower()
        if not 200 <= status < 300:
            self._body = Refusal(status, headers, answer.secret)
        elif "json" in kind:
            self._body = Json(answer, lambda: self._deadlines.payload_came(last=False))
        elif "html" in kind:
            raise InvalidResponseError(f"the response is no stream of events but {kind[:100]}")
        else:
            self._body = Events(answer, self._payload_came)

    def _feed(self, piece: bytes) -> None:
        is_judged = self.ended.done() and not self.ended.cancelled()
        if self._body is None or is_judged:
            return
        if self._unpack is None:
            self._body.feed(piece)
            return
        for part in self._unpack(piece):
            self._body.feed(part)

    def _payload_came(self) -> None:
        """A stream's read had something to say."""
        answer, deadlines = self._answer, self._deadlines
        if answer.done:
            deadlines.stop()
            if self._connection is not None and not self._connection.is_complete:
                self._drain = self._loop.call_later(DRAIN_SECONDS, self._wake)
            return
        is_last = answer.finish_reason is not None
        deadlines.payload_came(last=is_last)
        if not is_last and (seconds := self._patience.seconds()) and self._connection is not None:
            # Less than the next payload may take: what comes now is read in time.
            seconds = min(seconds, deadlines.between_tokens_seconds / 2)
            self._connection.hold()
            self._stop_holding()
            self._hold = self._holds.begin(seconds, self._release)

    def _stop_holding(self) -> None:
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None

    def _release(self) -> None:
        """Look at what was held."""
        self._stop_holding()
        if self._connection is not None:
            self._connection.release()

    # --- How it ends ----------------------------------------------------------------------------
    def _end_body(self) -> None:
        if self._body is not None and not self._answer.done and not self.ended.done():
            self._body.end()

    def _break_off(self, error: ProviderError) -> None:
        """A deadline has passed, or the connection is lost."""
        self._release()
        self._wake(error if self._body is None else self._body.cut(error))

    def _wake(self, error: Exception | None = None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
