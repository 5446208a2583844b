"""The time limits of one provider call, as deadlines that keep-alives cannot move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

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
    """Starts counting when it is made. Times are those of the running loop's clock."""

    def __init__(self, limits: TimeLimits) -> None:
        self._clock = asyncio.get_running_loop().time
        now = self._clock()
        self._limits = limits
        self._total_at = now + limits.total_seconds
        self._payload_at = now + limits.first_token_seconds
        self._seconds = limits.first_token_seconds
        self._error: type[ProviderTimeoutError] = FirstTokenTimeoutError

    def payload_came(self, *, last: bool) -> None:
        """Start the wait for the next payload; `last`: only what follows an answer is missing.

        To be called when the reading goes on, so that the time a slow caller takes between two
        reads is not held against the provider.
        """
        seconds = self._limits.between_tokens_seconds
        self._seconds = min(seconds, AFTER_FINISH_SECONDS) if last else seconds
        self._payload_at = self._clock() + self._seconds
        self._error = BetweenTokensTimeoutError

    async def limit(self, awaitable: Awaitable[T]) -> T:
        """The awaitable's result. Raises the error of the deadline that passes first.

        It guards one read, never a `yield`: a deadline held while the caller runs would cancel
        the caller in the middle of its own work.
        """
        deadline = asyncio.timeout_at(min(self._payload_at, self._total_at))
        try:
            async with deadline:
                return await awaitable
        except TimeoutError:
            if not deadline.expired():
                raise
            raise self._passed() from None

    def _passed(self) -> ProviderTimeoutError:
        if self._total_at <= self._payload_at:
            return TotalTimeoutError(
                f"the answer was not complete in {self._limits.total_seconds:g} s"
            )
        what = "first" if self._error is FirstTokenTimeoutError else "next"
        return self._error(f"the {what} token did not come within {self._seconds:g} s")
