"""The time limits of one provider call, as deadlines that keep-alives cannot move."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from chat.llm.errors import (
    BetweenTokensTimeoutError,
    FirstTokenTimeoutError,
    ProviderTimeoutError,
    TotalTimeoutError,
)
from chat.llm.types import TimeLimits

# After the finish reason only the usage and the end mark are missing: not worth a long wait.
AFTER_FINISH_SECONDS = 5.0


class Deadlines:
    """Deadlines of one call, counted from construction, in the clock of the running loop.

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
        self._fires_at = 0.0
        self._on_timeout: Callable[[ProviderTimeoutError], None] | None = None

    @property
    def seconds_left(self) -> float:
        return min(self._payload_at, self._total_at) - self._loop.time()

    def watch(self, on_timeout: Callable[[ProviderTimeoutError], None]) -> None:
        """Call `on_timeout` once if a deadline passes before `stop`."""
        self._on_timeout = on_timeout
        # Early enough for the wait after the first payload, which then needs no new timer.
        self._set_timer(self._loop.time() + self.between_tokens_seconds)

    def stop(self) -> None:
        self._on_timeout = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def payload_came(self, *, last: bool) -> None:
        """Start the wait for the next payload. `last`: only the usage may follow."""
        seconds = self._limits.between_tokens_seconds
        self._seconds = min(seconds, AFTER_FINISH_SECONDS) if last else seconds
        self._payload_at = self._loop.time() + self._seconds
        self._error = BetweenTokensTimeoutError
        is_earlier = self._timer is None or self._fires_at > self._payload_at
        if is_earlier and self._on_timeout is not None:
            self._set_timer()

    def passed(self) -> ProviderTimeoutError:
        """Build the error of the earliest deadline."""
        if self._total_at <= self._payload_at:
            return TotalTimeoutError(
                f"the answer was not complete in {self._limits.total_seconds:g} s"
            )
        what = "first" if self._error is FirstTokenTimeoutError else "next"
        return self._error(f"the {what} token did not come within {self._seconds:g} s")

    def _set_timer(self, latest: float = math.inf) -> None:
        """Set the timer to the next deadline or `latest`, whichever is earlier."""
        at = min(self._payload_at, self._total_at, latest)
        if self._timer is not None:
            if self._fires_at <= at:
                return
            self._timer.cancel()
        self._timer, self._fires_at = self._loop.call_at(at, self._fire), at

    def _fire(self) -> None:
        self._timer = None
        if self._on_timeout is None:
            return
        if self.seconds_left > 0:
            self._set_timer()
            return
        on_timeout, self._on_timeout = self._on_timeout, None
        on_timeout(self.passed())
