"""One HTTP exchange: reads the response as it comes, and wakes the caller once, at the end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator

from chat.llm.bodies import Body, Decompress, ErrorBody, UnknownBody, decompressor
from chat.llm.charsets import converter
from chat.llm.errors import InvalidResponseError, ProviderError
from chat.llm.steps import STEP_BYTES, StepQueue
from chat.llm.stream_state import StreamState
from chat.llm.transport.deadlines import Deadlines
from chat.llm.transport.delay_queue import DelayedCall, DelayQueue
from chat.llm.transport.http1 import Connection
from chat.llm.types import Delta, ReadDelay

#: How long to wait for the end of the response after the end of the answer. It usually follows at
#: once, and then the connection can be kept for the next call.
DRAIN_SECONDS = 0.25
#: How long unparsed bytes are parsed when a call is interrupted, so that a cancelled answer keeps
#: what came of it. Bounded, because of floods.
LAST_READ_SECONDS = 0.02


class Exchange:
    """The Receiver of one call on one connection.

    `on_delta` gets each piece of text as it comes. After a piece, parsing may pause for the
    seconds of `read_delay`. A large read is parsed in steps; the connection is not read meanwhile,
    and later bytes wait.
    """

    def __init__(
        self,
        state: StreamState,
        deadlines: Deadlines,
        on_delta: Callable[[Delta], None],
        read_delay: ReadDelay,
        delay_queue: DelayQueue,
        steps: StepQueue,
    ) -> None:
        self._state = state
        self._deadlines = deadlines
        self._on_delta = on_delta
        self._read_delay = read_delay
        self._delay_queue = delay_queue
        self._steps = steps
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._connection: Connection | None = None
        self._body: Body | None = None
        self._decompress: Decompress | None = None
        #: Ends the pause of parsing.
        self._delayed: DelayedCall | None = None
        #: Ends the wait for the response's end. Of the body only token counts are read then.
        self._drain: asyncio.TimerHandle | None = None
        #: Parts that are not parsed yet, and what to do after them.
        self._waiting: deque[Iterator[bytes]] = deque()
        self._is_stepping = False
        self._after: Callable[[], None] | None = None

    async def run(self, connection: Connection, request: bytes) -> None:
        """Send the request and return when the answer has ended. Raises ProviderError."""
        try:
            self._begin(connection, request)
            await self._ended
        finally:
            self._close()

    def _begin(self, connection: Connection, request: bytes) -> None:
        self._connection = connection
        self._read_delay.release = self._release
        self._deadlines.watch(self._interrupt)
        connection.send(request, self)

    def _close(self) -> None:
        """Close the connection unless the response has ended."""
        self._deadlines.stop()
        # The caller gets all that came, also when it is cancelled.
        self._read_waiting()
        self._emit_delta(is_last=True)
        self._read_delay.release = None
        self._waiting.clear()
        # The body refers back to this exchange: break the cycle, so that memory is freed at once.
        self._body = self._decompress = None
        if self._drain is not None:
            self._drain.cancel()
        if self._connection is not None:
            self._connection.abort()
        if self._ended.done() and not self._ended.cancelled():
            # A caller that is cancelled just now does not read it: avoid "never retrieved".
            self._ended.exception()

    # --- What the connection calls --------------------------------------------------------------
    def head(self, status: int, headers: dict[str, str]) -> None:
        try:
            self._choose_body(status, headers)
        except Exception as error:  # noqa: BLE001 - raised to the caller
            self._finish_wait(error)

    def body(self, piece: bytes) -> None:
        if self._drain is not None:
            self._feed_late(piece)
            return
        if not self._waiting and self._decompress is None:
            try:
                piece = self._feed(piece)
            except Exception as error:  # noqa: BLE001 - raised to the caller
                self._finish_wait(error)
                piece = b""
            if not piece:  # the common case
                self._emit_delta()
                return
        self._feed_in_steps(piece)

    def end(self, *, is_framed: bool) -> None:
        self._connection = None
        self._stop_holding()
        self._state.is_framed = is_framed
        self._after_waiting(self._end)

    def lost(self, error: ProviderError) -> None:
        self._connection = None
        self._stop_holding()
        self._after_waiting(lambda: self._interrupt(error))

    # --- Reading -----------------------------------------------------------------------------
    def _try(self, step: Callable[..., None], *what: bytes) -> None:
        try:
            step(*what)
        except Exception as error:  # noqa: BLE001 - raised to the caller
            self._finish_wait(error)
        self._emit_delta()

    def _emit_delta(self, *, is_last: bool = False) -> None:
        try:
            if delta := self._state.take_delta(is_last=is_last):
                self._on_delta(delta)
        except Exception as error:  # noqa: BLE001 - raised to the caller
            self._finish_wait(error)
        if self._state.is_cut:
            self._finish_wait()

    def _choose_body(self, status: int, headers: dict[str, str]) -> None:
        state = self._state
        state.name_request(headers.get("x-request-id") or headers.get("x-deepseek-request-id"))
        encoding = headers.get("content-encoding", "").strip().lower()
        if not 200 <= status < 300:
            self._body = ErrorBody(status, headers, state.secret)
            self._decompress = self._decompressor_of_error(encoding)
            return
        kind = headers.get("content-type", "").lower()
        self._decompress = converter(kind, decompressor(encoding))
        self._body = UnknownBody(state, kind, self._payload_came, self._read_as)

    def _decompressor_of_error(self, encoding: str) -> Decompress | None:
        """A decompressor that never fails: the status matters more than the body."""
        try:
            unpack = decompressor(encoding)
        except InvalidResponseError:
            return lambda _: iter(())
        if unpack is None:
            return None

        def parts(piece: bytes) -> Iterator[bytes]:
            nonlocal unpack
            try:
                yield from unpack(piece) if unpack else (piece,)
            except InvalidResponseError:
                # The Content-Encoding is wrong: read it as it is.
                unpack = None
                yield piece

        return parts

    def _read_as(self, body: Body) -> None:
        self._body = body

    def _feed(self, piece: bytes) -> bytes:
        """Parse a piece. Returns what has to be parsed in steps."""
        is_judged = self._ended.done() and not self._ended.cancelled()
        if self._body is not None and not is_judged and not self._state.done:
            return self._body.feed(piece)
        return b""

    def _feed_late(self, piece: bytes) -> None:
        """Parse what comes after the end mark, where some servers count the tokens. What is not
        parsed at once is left out; what is wrong or too large ends the wait."""
        if self._body is None or self._decompress is not None or self._ended.done():
            return
        try:
            self._body.feed(piece)
        except ProviderError:
            self._finish_wait()

    def _payload_came(self) -> None:
        """A read contained payload: move the deadlines, and maybe pause parsing."""
        state, deadlines = self._state, self._deadlines
        if state.done:
            deadlines.stop()
            is_open = self._connection is not None and not self._connection.is_complete
            if is_open and self._drain is None:
                self._drain = self._loop.call_later(DRAIN_SECONDS, self._finish_wait)
            return
        is_last = state.finish_reason is not None and state.is_finished
        deadlines.payload_came(last=is_last)
        if self._waiting or is_last or self._connection is None:
            return
        if seconds := self._read_delay.seconds():
            # Shorter than the deadline of the next payload, so that it is read in time.
            seconds = min(seconds, deadlines.between_tokens_seconds / 2)
            self._connection.hold()
            self._stop_holding()
            self._delayed = self._delay_queue.call_later(seconds, self._release)

    def _stop_holding(self) -> None:
        if self._delayed is not None:
            self._delayed.cancel()
            self._delayed = None

    def _release(self) -> None:
        """Parse what was held."""
        self._stop_holding()
        if self._connection is not None:
            self._connection.release()

    # --- In steps -------------------------------------------------------------------------------
    def _feed_in_steps(self, piece: bytes) -> None:
        """Parse a piece in steps, after those before it."""
        self._waiting.append(self._decompress(piece) if self._decompress else _slices(piece))
        if self._connection is not None:
            self._connection.pause()
        if not self._is_stepping:
            self._is_stepping = True
            self._steps.add(self._step)

    def _step(self) -> bool:
        """Parse the next waiting part. Returns whether there are more."""
        self._try(self._feed_next)
        if self._waiting and not (self._ended.done() or self._state.done):
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
            if rest := self._feed(part):  # together with earlier bytes it was larger than a step
                self._waiting.appendleft(_slices(rest))
            return

    def _after_waiting(self, do: Callable[[], None]) -> None:
        if self._waiting:
            self._after = do
        else:
            do()

    def _read_waiting(self) -> None:
        """Parse what waits, for at most LAST_READ_SECONDS; nothing of a flood."""
        connection = self._connection
        if self._waiting or (connection is not None and connection.has_unparsed):
            return
        until = self._loop.time() + LAST_READ_SECONDS
        self._release()
        if connection is not None:
            connection.parse_until(until)
        while self._waiting and not self._state.done and self._loop.time() < until:
            self._try(self._feed_next)

    # --- The end ----------------------------------------------------------------------------
    def _end(self) -> None:
        self._try(self._end_body)
        self._finish_wait()

    def _end_body(self) -> None:
        if self._body is not None and not self._state.done and not self._ended.done():
            self._body.end()

    def _interrupt(self, error: ProviderError) -> None:
        """End the wait with `error`: a deadline passed or the connection was lost."""
        self._read_waiting()
        has_unparsed = self._connection is not None and self._connection.has_unparsed
        is_all_parsed = not self._waiting and not has_unparsed
        self._finish_wait(
            self._body.cut(error) if self._body is not None and is_all_parsed else error
        )

    def _finish_wait(self, error: Exception | None = None) -> None:
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            # Its traceback would keep this exchange and its data alive.
            self._ended.set_exception(error.with_traceback(None))


def _slices(piece: bytes) -> Iterator[bytes]:
    """Split a piece into parts that each are parsed in one step."""
    for start in range(0, len(piece), STEP_BYTES):
        yield piece[start : start + STEP_BYTES]
