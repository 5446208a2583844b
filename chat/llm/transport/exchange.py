"""One call under way: takes the response as it comes, and wakes the caller once, at the end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from chat.llm.answer import Answer
from chat.llm.bodies import Body, Refusal, Unpack, Unread, unpacker
from chat.llm.errors import InvalidResponseError, ProviderError
from chat.llm.transport.deadlines import Deadlines
from chat.llm.transport.holds import Hold, Holds
from chat.llm.transport.http1 import Connection
from chat.llm.turns import STEP_BYTES, Turns
from chat.llm.types import Delta, Patience

#: The end of a response follows the end of the answer at once; awaiting it saves the connection
#: for the next call, waiting for it long would hold up this one.
DRAIN_SECONDS = 0.25
#: How long what waits may be looked at when a call is broken off: a cancelled answer keeps what
#: came of it, a flood is not worth more.
LAST_LOOK_SECONDS = 0.02


class Exchange:
    """The Receiver of one call, for one connection.

    `on_delta` is given what comes, as it comes. After each, more may come for as long as `patience`
    says before it is looked at. A large read is looked at in steps: the connection is not read
    meanwhile, and whatever follows waits behind it.
    """

    def __init__(
        self,
        answer: Answer,
        deadlines: Deadlines,
        on_delta: Callable[[Delta], None],
        patience: Patience,
        holds: Holds,
        turns: Turns,
    ) -> None:
        self._answer = answer
        self._deadlines = deadlines
        self._on_delta = on_delta
        self._patience = patience
        self._holds = holds
        self._turns = turns
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._connection: Connection | None = None
        self._body: Body | None = None
        self._unpack: Unpack | None = None
        #: While pieces are held.
        self._hold: Hold | None = None
        #: Ends the wait for the response's end. Pieces mean nothing any more.
        self._drain: asyncio.TimerHandle | None = None
        #: What came and was not looked at yet, and what is to be done after it.
        self._waiting: deque[Iterator[bytes]] = deque()
        self._is_stepping = False
        self._after: Callable[[], None] | None = None

    async def run(self, connection: Connection, request: bytes) -> None:
        """Send the request, and return once the answer can be judged. Raises ProviderError."""
        try:
            self._begin(connection, request)
            await self._ended
        finally:
            self._close()

    def _begin(self, connection: Connection, request: bytes) -> None:
        self._connection = connection
        self._patience.release = self._release
        self._deadlines.watch(self._break_off)
        connection.send(request, self)

    def _close(self) -> None:
        """Hang up unless the response has ended."""
        self._deadlines.stop()
        # So that the caller has all that came, also when it is cancelled.
        self._look_at_all()
        self._hand_on(is_last=True)
        self._patience.release = None
        self._waiting.clear()
        # It knows this exchange as well: the collector would come too late for what it holds.
        self._body = self._unpack = None
        if self._drain is not None:
            self._drain.cancel()
        if self._connection is not None:
            self._connection.abort()
        if self._ended.done() and not self._ended.cancelled():
            # A caller that is cancelled just then does not read it, which is no news for the log.
            self._ended.exception()

    # --- What the connection calls --------------------------------------------------------------
    def head(self, status: int, headers: dict[str, str]) -> None:
        try:
            self._choose_body(status, headers)
        except Exception as error:  # noqa: BLE001 - the caller is to have it
            self._wake(error)

    def body(self, piece: bytes) -> None:
        if self._drain is not None:
            return
        if not self._waiting and self._unpack is None:
            try:
                piece = self._feed(piece)
            except Exception as error:  # noqa: BLE001 - the caller is to have it
                self._wake(error)
                piece = b""
            if not piece:  # as most are
                self._hand_on()
                return
        self._put_off(piece)

    def end(self, *, is_framed: bool) -> None:
        self._connection = None
        self._stop_holding()
        self._answer.is_framed = is_framed
        self._when_all_is_looked_at(self._end)

    def lost(self, error: ProviderError) -> None:
        self._connection = None
        self._stop_holding()
        self._when_all_is_looked_at(lambda: self._break_off(error))

    # --- What comes -----------------------------------------------------------------------------
    def _try(self, step: Callable[..., None], *what: bytes) -> None:
        try:
            step(*what)
        except Exception as error:  # noqa: BLE001 - the caller is to have it
            self._wake(error)
        self._hand_on()

    def _hand_on(self, *, is_last: bool = False) -> None:
        try:
            if delta := self._answer.take_delta(is_last=is_last):
                self._on_delta(delta)
        except Exception as error:  # noqa: BLE001 - the caller is to have it
            self._wake(error)
        if self._answer.is_cut:
            self._wake()

    def _choose_body(self, status: int, headers: dict[str, str]) -> None:
        answer = self._answer
        answer.name_request(headers.get("x-request-id") or headers.get("x-deepseek-request-id"))
        encoding = headers.get("content-encoding", "").strip().lower()
        if not 200 <= status < 300:
            self._body = Refusal(status, headers, answer.secret)
            self._unpack = self._unpacker_of_refusal(encoding)
            return
        self._unpack = unpacker(encoding)
        kind = headers.get("content-type", "").lower()
        self._body = Unread(answer, kind, self._payload_came, self._read_as)

    def _unpacker_of_refusal(self, encoding: str) -> Unpack | None:
        """The status says enough, whether its body can be read or not."""
        try:
            unpack = unpacker(encoding)
        except InvalidResponseError:
            return lambda _: iter(())
        if unpack is None:
            return None

        def parts(piece: bytes) -> Iterator[bytes]:
            nonlocal unpack
            try:
                yield from unpack(piece) if unpack else (piece,)
            except InvalidResponseError:
                # It is not what it is said to be.
                unpack = None
                yield piece

        return parts

    def _read_as(self, body: Body) -> None:
        self._body = body

    def _feed(self, piece: bytes) -> bytes:
        """Look at a piece. Returns what is to be looked at in steps."""
        is_judged = self._ended.done() and not self._ended.cancelled()
        if self._body is not None and not is_judged and not self._answer.done:
            return self._body.feed(piece)
        return b""

    def _payload_came(self) -> None:
        """A read had something to say."""
        answer, deadlines = self._answer, self._deadlines
        if answer.done:
            deadlines.stop()
            if self._connection is not None and not self._connection.is_complete:
                self._drain = self._loop.call_later(DRAIN_SECONDS, self._wake)
            return
        is_last = answer.is_finished
        deadlines.payload_came(last=is_last)
        if self._waiting or is_last or self._connection is None:
            return
        if seconds := self._patience.seconds():
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

    # --- In steps -------------------------------------------------------------------------------
    def _put_off(self, piece: bytes) -> None:
        """Look at a piece in steps, after those before it."""
        self._waiting.append(self._unpack(piece) if self._unpack else _slices(piece))
        if self._connection is not None:
            self._connection.pause()
        if not self._is_stepping:
            self._is_stepping = True
            self._turns.add(self._step)

    def _step(self) -> bool:
        """Look at the next part of what waits. Returns whether more does."""
        self._try(self._feed_next)
        if self._waiting and not (self._ended.done() or self._answer.done):
            return True
        self._is_stepping = False
        self._waiting.clear()
        if self._connection is not None:
            self._connection.resume()
        after, self._after = self._after, None
        if after is not None:
            after()
        return False

    def _feed_next(self) -> None:
        while self._waiting:
            try:
                part = next(self._waiting[0])
            except StopIteration:
                self._waiting.popleft()
                continue
            except ProviderError:
                self._waiting.clear()
                raise
            if rest := self._feed(part):  # with what waited for it, it was more than a step
                self._waiting.appendleft(_slices(rest))
            return

    def _when_all_is_looked_at(self, do: Callable[[], None]) -> None:
        if self._waiting:
            self._after = do
        else:
            do()

    def _look_at_all(self) -> None:
        """Now, and no longer than LAST_LOOK_SECONDS; of a flood, which waits already, nothing."""
        connection = self._connection
        if self._waiting or (connection is not None and connection.is_behind):
            return
        until = self._loop.time() + LAST_LOOK_SECONDS
        self._release()
        if connection is not None:
            connection.catch_up(until)
        while self._waiting and not self._answer.done and self._loop.time() < until:
            self._try(self._feed_next)

    # --- How it ends ----------------------------------------------------------------------------
    def _end(self) -> None:
        self._try(self._end_body)
        self._wake()

    def _end_body(self) -> None:
        if self._body is not None and not self._answer.done and not self._ended.done():
            self._body.end()

    def _break_off(self, error: ProviderError) -> None:
        """A deadline has passed, or the connection is lost."""
        self._look_at_all()
        is_behind = self._connection is not None and self._connection.is_behind
        is_looked_at = not self._waiting and not is_behind
        self._wake(self._body.cut(error) if self._body is not None and is_looked_at else error)

    def _wake(self, error: Exception | None = None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            # Its traceback would keep all of this, and what was read, for longer.
            self._ended.set_exception(error.with_traceback(None))


def _slices(piece: bytes) -> Iterator[bytes]:
    """A piece in parts that each are looked at in one step."""
    for start in range(0, len(piece), STEP_BYTES):
        yield piece[start : start + STEP_BYTES]
