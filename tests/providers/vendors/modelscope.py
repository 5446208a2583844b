"""ModelScope: one object of errors under `errors`."""

from __future__ import annotations

from tests.providers.playing import Case, failed, whole


def _errors(message: str) -> dict[str, object]:
    return {"errors": {"message": message}, "request_id": "r"}


CASES: list[Case] = [
    failed(
        "a limit",
        whole(_errors("We have to rate limit you, try again"), "429 x"),
        "provider_rate_limited",
        "rate limit",
        retryable=True,
    ),
    failed(
        "a model without a provider, with status 200",
        whole(_errors("Model id: x, has no provider supported")),
        "provider_error",
        "no provider",
        retryable=True,
    ),
]
