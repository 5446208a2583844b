"""GitHub Models: limits by its own header, and of one request's size."""

from __future__ import annotations

from tests.providers.playing import Case, error, failed, whole

CASES: list[Case] = [
    failed(
        "a limit",
        whole(
            error(
                "Rate limit of 10 per 60s exceeded for UserByModelByMinute. Please wait 42 "
                "seconds before retrying.",
                code="RateLimitReached",
                details="x",
            ),
            "429 x",
            retry_after="42",
        ),
        "provider_rate_limited",
        "42 seconds",
        retryable=True,
        after=42.0,
    ),
    failed(
        "too large a request",
        whole(
            error(
                "Request body too large for gpt-4o-mini model. Max size: 8000 tokens.",
                code="tokens_limit_reached",
                details="x",
            ),
            "413 x",
        ),
        "provider_bad_request",
        "too large",
    ),
    failed(
        "a limit by its own header",
        whole(error("x"), "429 x", x_ratelimit_timeremaining="6"),
        "provider_rate_limited",
        "x",
        retryable=True,
        after=6.0,
    ),
]
