"""What can go wrong in a provider call, and which of it another attempt may cure.

    ProviderError                    provider_error                   retry  500, 502, 504, ...
    ├── BadRequestError              provider_bad_request                    400, 422, most 3xx/4xx
    ├── AuthError                    provider_auth                           401, 403
    ├── BalanceError                 provider_balance                        402
    ├── ModelNotFoundError           provider_model_not_found                404
    ├── RateLimitError               provider_rate_limited            retry  429
    ├── OverloadedError              provider_overloaded              retry  503, gave up half-way
    ├── ForbiddenAddressError            provider_forbidden_address              not to be called
    ├── UnreachableError             provider_unreachable             retry  no connection
    ├── ProviderTimeoutError
    │   ├── ConnectTimeoutError        provider_timeout_connect         retry
    │   ├── FirstTokenTimeoutError     provider_timeout_first_token     retry
    │   ├── BetweenTokensTimeoutError  provider_timeout_between_tokens  retry
    │   └── TotalTimeoutError          provider_timeout_total
    ├── TruncatedError               provider_truncated               retry  ended without an end
    ├── InvalidResponseError         provider_invalid_response        retry  no JSON, or too large
    └── EmptyAnswerError             provider_empty                   retry  no text, no tool call

The codes are an interface: they end up in a task's `error.code`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from chat.llm.retry_after import parse_retry_after
from chat.llm.types import storable

MAX_MESSAGE_CHARS = 500
#: A value that is shorter, as of a header `x-title: aily`, is no secret, but may be a word.
MIN_SECRET_CHARS = 8


class ProviderError(Exception):
    """A call that gave no whole answer.

    `status` is the provider's HTTP status, None when it gave none. `retry_after_seconds` is
    the least time it asked callers to stay away. `is_outage` is true of errors that say more about
    the provider's state than about this one call.
    """

    code: ClassVar[str] = "provider_error"
    retryable: ClassVar[bool] = True
    is_outage: ClassVar[bool] = True

    def __init__(
        self, message: str, *, status: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        self.message = storable(message)[:MAX_MESSAGE_CHARS]
        self.status = status
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def hide(self, secrets: Iterable[str]) -> None:
        """Take secrets out of the words, should the provider have repeated them."""
        for secret in secrets:
            if len(secret) >= MIN_SECRET_CHARS:
                self.message = _without_start(self.message.replace(secret, "***"), secret)
        self.args = (self.message,)


def _without_start(message: str, secret: str) -> str:
    """A message that may have been cut in the middle of a secret."""
    for length in range(len(secret) - 1, MIN_SECRET_CHARS - 1, -1):
        if message.endswith(secret[:length]):
            return message[:-length] + "***"
    return message


class BadRequestError(ProviderError):
    code = "provider_bad_request"
    retryable = False
    is_outage = False


class AuthError(ProviderError):
    code = "provider_auth"
    retryable = False
    is_outage = False


class BalanceError(ProviderError):
    code = "provider_balance"
    retryable = False
    is_outage = False


class ModelNotFoundError(ProviderError):
    code = "provider_model_not_found"
    retryable = False
    is_outage = False


class RateLimitError(ProviderError):
    code = "provider_rate_limited"


class OverloadedError(ProviderError):
    code = "provider_overloaded"


class ForbiddenAddressError(ProviderError):
    """Nothing was sent: the host is, or has become, one of a network that calls may not enter."""

    code = "provider_forbidden_address"
    retryable = False
    is_outage = False

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host} has an address that this provider may not be at; "
            "a superuser, or PROVIDER_ALLOW_PRIVATE, may allow it"
        )


class UnreachableError(ProviderError):
    code = "provider_unreachable"


class ProviderTimeoutError(ProviderError):
    """A deadline of `TimeLimits` passed; only its subclasses are raised."""


class ConnectTimeoutError(ProviderTimeoutError):
    code = "provider_timeout_connect"


class FirstTokenTimeoutError(ProviderTimeoutError):
    code = "provider_timeout_first_token"


class BetweenTokensTimeoutError(ProviderTimeoutError):
    code = "provider_timeout_between_tokens"
    is_outage = False


class TotalTimeoutError(ProviderTimeoutError):
    code = "provider_timeout_total"
    # Another attempt would most likely be as long and cost as much again.
    retryable = False
    is_outage = False


class TruncatedError(ProviderError):
    code = "provider_truncated"
    is_outage = False


class InvalidResponseError(ProviderError):
    code = "provider_invalid_response"
    is_outage = False


class EmptyAnswerError(ProviderError):
    code = "provider_empty"
    is_outage = False


_BY_STATUS: dict[int, type[ProviderError]] = {
    401: AuthError,
    402: BalanceError,
    403: AuthError,
    404: ModelNotFoundError,
    408: ProviderError,
    409: ProviderError,
    425: ProviderError,
    429: RateLimitError,
    503: OverloadedError,
}

# Words of OpenAI-compatible servers, looked up in an error's `code`, then in its `type`.
_BY_NAME: dict[str, type[ProviderError]] = {
    "authentication_error": AuthError,
    "invalid_api_key": AuthError,
    "permission_error": AuthError,
    "insufficient_balance": BalanceError,
    "insufficient_quota": BalanceError,
    "model_not_found": ModelNotFoundError,
    "rate_limit_error": RateLimitError,
    "rate_limit_exceeded": RateLimitError,
    "too_many_requests": RateLimitError,
    "overloaded": OverloadedError,
    "overloaded_error": OverloadedError,
    "service_unavailable": OverloadedError,
    "context_length_exceeded": BadRequestError,
    "invalid_request_error": BadRequestError,
}

# DeepSeek puts these under the code invalid_request_error, so the words have to decide.
_BY_PHRASE: tuple[tuple[str, type[ProviderError]], ...] = (
    ("insufficient balance", BalanceError),
    ("model not exist", ModelNotFoundError),
)


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, secret: str | None
) -> ProviderError:
    """The error that a response with a status other than 2xx stands for.

    `body` may be cut short. `secret` (the API key) is taken out of the provider's words.
    """
    detail = _error_detail(body)
    message = _message(detail) or body.decode("utf-8", "replace").strip()
    kind = _by_words(detail, message) if status in (400, 429) else None
    if kind is None or (status == 429 and kind is not BalanceError):
        kind = _by_status(status)
    return kind(
        _redact(message, secret) or f"HTTP status {status} without a message",
        status=status,
        retry_after_seconds=parse_retry_after(headers.get("retry-after", "")),
    )


def error_from_event(detail: Any, secret: str | None) -> ProviderError:
    """The error that the value of `error` in an otherwise good response stands for."""
    message = _message(detail)
    status = _status_of(detail)
    kind = _by_status(status) if status else _by_words(detail, message) or ProviderError
    return kind(_redact(message, secret) or "the provider broke off", status=status)


def _by_status(status: int) -> type[ProviderError]:
    return _BY_STATUS.get(status) or (ProviderError if status >= 500 else BadRequestError)


def _by_words(detail: Any, message: str) -> type[ProviderError] | None:
    lowered = message.lower()
    for phrase, kind in _BY_PHRASE:
        if phrase in lowered:
            return kind
    names = (detail.get("code"), detail.get("type")) if isinstance(detail, dict) else ()
    return next((_BY_NAME[n] for n in names if isinstance(n, str) and n in _BY_NAME), None)


def _status_of(detail: Any) -> int | None:
    code = detail.get("code") if isinstance(detail, dict) else None
    if isinstance(code, str) and code.isascii() and code.isdigit():
        code = int(code[:4])
    return code if isinstance(code, int) and 400 <= code < 600 else None


def _error_detail(body: bytes) -> Any:
    try:
        parsed = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return parsed.get("error", parsed) if isinstance(parsed, dict) else parsed


def _message(detail: Any) -> str:
    if isinstance(detail, dict):
        detail = detail.get("message") or detail.get("detail") or detail.get("type")
    return detail if isinstance(detail, str) else ""


def _redact(message: str, secret: str | None) -> str:
    return message.replace(secret, "***") if secret else message
