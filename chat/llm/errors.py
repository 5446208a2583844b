"""Errors of a provider call, and which of them are worth another attempt.

    ProviderError                    provider_error                   retry  500, 502, 504, ...
    ├── BadRequestError              provider_bad_request                    400, 422, most 4xx
    ├── WrongAddressError            provider_bad_request                    3xx, 404 of a path
    │   └── ForeignFormError           provider_bad_request                    another API's answer
    ├── AuthError                    provider_auth                           401, 403
    ├── BalanceError                 provider_balance                        402, a used up quota
    ├── ModelNotFoundError           provider_model_not_found                404 of a model
    ├── RateLimitError               provider_rate_limited            retry  429
    ├── OverloadedError              provider_overloaded              retry  503, 529, gave up
    ├── ForbiddenAddressError            provider_forbidden_address              not to be called
    ├── UnreachableError             provider_unreachable             retry  no connection
    │   ├── TLSError                   provider_unreachable                    no secure one
    │   └── StaleConnectionError       provider_unreachable             retry  a kept one was closed
    ├── ProviderTimeoutError
    │   ├── ConnectTimeoutError        provider_timeout_connect         retry
    │   ├── FirstTokenTimeoutError     provider_timeout_first_token     retry
    │   ├── BetweenTokensTimeoutError  provider_timeout_between_tokens  retry
    │   └── TotalTimeoutError          provider_timeout_total
    ├── TruncatedError               provider_truncated               retry  ended without an end
    ├── InvalidResponseError         provider_invalid_response        retry  no JSON, no HTTP
    │   └── AnswerTooLargeError        provider_invalid_response               above AnswerLimits
    │       └── ResultTooLargeError      result_too_large                        too many vectors
    └── EmptyAnswerError             provider_empty                   retry  no text, no tool call
        └── OtherContentError          provider_empty                          sound or images alone

The codes are public: they are a task's `error.code`. `chat.llm.vendor_errors` maps vendors' errors
to these classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from chat.llm.types import storable

MAX_MESSAGE_CHARS = 500
#: Shorter values, such as that of a header `x-title: aily`, are no secrets but may be common words.
MIN_SECRET_CHARS = 8


class ProviderError(Exception):
    """A call that gave no whole answer.

    `status` is the provider's HTTP status, None when it gave none. `retry_after_seconds` is
    the wait that it asked for. `is_outage`: the error says more about the provider's state
    than about this one call.
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
        """Remove secrets from the message: a provider may have repeated them."""
        for secret in secrets:
            if len(secret) >= MIN_SECRET_CHARS:
                self.message = _without_start(self.message.replace(secret, "***"), secret)
        self.args = (self.message,)


def _without_start(message: str, secret: str) -> str:
    """Remove the beginning of a secret at the end of a message that was cut."""
    for length in range(len(secret) - 1, MIN_SECRET_CHARS - 1, -1):
        if message.endswith(secret[:length]):
            return message[:-length] + "***"
    return message


def redact(message: str, secret: str | None) -> str:
    """A message without the key that its provider may have repeated in it, or the beginning of the
    key where the message was cut."""
    return _without_start(message.replace(secret, "***"), secret) if secret else message


class BadRequestError(ProviderError):
    code = "provider_bad_request"
    retryable = False
    is_outage = False


class WrongAddressError(ProviderError):
    """The provider's base URL leads elsewhere. Unlike with a bad request, another provider may
    well take the request."""

    code = BadRequestError.code
    retryable = False
    is_outage = False


class ForeignFormError(WrongAddressError):
    """The base URL leads to another API of the vendor's."""

    def __init__(self, form: str, quoted: str) -> None:
        super().__init__(
            f"the response has the form of {form}, not of OpenAI's chat completions: "
            f"give the base URL of the compatible API ({quoted})"
        )


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


class TLSError(UnreachableError):
    """No secure connection: another attempt would meet the same certificate."""

    retryable = False


class StaleConnectionError(UnreachableError):
    """A connection kept from an earlier call was closed before any byte of the response: its
    server had given it up. The call is made again over a new one."""


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


class AnswerTooLargeError(InvalidResponseError):
    """Another attempt would most likely be as large, and cost as much again."""

    retryable = False


class ResultTooLargeError(AnswerTooLargeError):
    """More vectors, or longer ones, than are stored: the request is to ask for fewer."""

    code = "result_too_large"


class EmptyAnswerError(ProviderError):
    code = "provider_empty"
    is_outage = False


class OtherContentError(EmptyAnswerError):
    """The answer has only content that is not kept. Another attempt would most likely be alike."""

    retryable = False
