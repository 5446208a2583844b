"""How long a task waits after a failed provider call before its next attempt."""

from __future__ import annotations

from random import Random

from chat.llm.errors import ProviderError

#: The first wait, unless the caller sets another.
FIRST_SECONDS = 1.0
MAX_SECONDS = 60.0
#: No Retry-After is waited for longer, unless the caller sets another.
MAX_RETRY_AFTER_SECONDS = 300.0


def backoff_seconds(
    failures: int,
    error: ProviderError,
    rng: Random,
    first_seconds: float = FIRST_SECONDS,
    max_retry_after_seconds: float = MAX_RETRY_AFTER_SECONDS,
) -> float:
    """Seconds to wait after the `failures`-th failure in a row (from 1), which was `error`.

    Doubles from `first_seconds` to at most 60 s. Jitter spreads it over the upper half, so that
    calls that failed together are not retried together. Retry-After is a lower bound, to which
    jitter is added for the same reason; it is capped at `max_retry_after_seconds`.
    """
    exponent = min(max(failures, 1) - 1, 30)
    ceiling: float = min(MAX_SECONDS, first_seconds * 2**exponent)
    wait = ceiling * (0.5 + rng.random() / 2)
    asked = min(error.retry_after_seconds or 0.0, max_retry_after_seconds)
    # False if `asked` is NaN.
    if wait < asked:
        wait = asked + rng.random() * first_seconds / 2
    return wait
