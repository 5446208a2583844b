"""The time limits of one provider call, as deadlines that keep-alives cannot move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Self, TypeVar

from chat.llm.errors import (
    BetweenTokensTimeoutError,
    FirstTokenTimeoutError,
    ProviderTimeoutError,
    TotalTimeoutError,
)
from chat.llm.types import TimeLimits

# After the finish reason only the usage and the end mark are missing: not worth a long wait.
AFTER_FINISH_SECONDS = 5.0

T = TypeVar("T")


class Deadlines:
    """Starts counting when it is made. Times are those of the running loop's clock.

    One timer serves a whole call: a deadline that moves away is noticed only when the timer fires,
    which then sets itself anew. A timer for each read would cost more than reading.
    """

    def __init__(self, limits: TimeLimits) -> None:
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self.between_tokens_seconds = limits.between_tokens_seconds
        self._limits = limits
        self._total_at = now + limits.total_seconds
        self._payload_at = now + limits.first_token_seconds
        self._seconds = limits.first_token_seconds
        self._error: type[ProviderTimeoutError] = FirstTokenTimeoutError
        self._timer: asyncio.TimerHandle | None = None
        self._reader: asyncio.Task[object] | None = None  # the task inside of `limit`
        self._expired = False  # the timer has cancelled the reader

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def payload_came(self, *, last: bool) -> None:
        """Start the wait for the next payload; `last`: only what follows an answer is missing."""
        seconds = self._limits.between_tokens_seconds
        self._seconds = min(seconds, AFTER_FINISH_SECONDS) if last else seconds
        self._payload_at = self._loop.time() + self._seconds
        self._error = BetweenTokensTimeoutError
        if self._reader is not None:
            self._watch()

    async def limit(self, awaitable: Awaitable[T]) -> T:
        """The awaitable's result. Raises the error of the deadline that passes first."""
        reader = asyncio.current_task()
        if reader is None:
            raise RuntimeError("a read is limited inside of a task only")
        cancelling = reader.cancelling()
        self._reader = reader
        self._watch()
        try:
            return await awaitable
        except asyncio.CancelledError:
            # Cancelled from outside as well: then that is what the caller has to learn.
            if self._expired and reader.cancelling() == cancelling + 1:
                raise self._passed() from None
            raise
        finally:
            self._reader = None
            if self._expired:
                self._expired = False
                reader.uncancel()

    def _watch(self) -> None:
        """See to it that the timer fires no later than the next deadline."""
        at = min(self._payload_at, self._total_at)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._reader is None:  # nothing is read now: the next `limit` sets the timer
            return
        if self._loop.time() < min(self._payload_at, self._total_at):
            self._watch()
        else:
            self._expired = True
            self._reader.cancel()

    def _passed(self) -> ProviderTimeoutError:
        if self._total_at <= self._payload_at:
            return TotalTimeoutError(
                f"the answer was not complete in {self._limits.total_seconds:g} s"
            )
        what = "first" if self._error is FirstTokenTimeoutError else "next"
        return self._error(f"the {what} token did not come within {self._seconds:g} s")
