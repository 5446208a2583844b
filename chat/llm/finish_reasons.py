"""The words that vendors have for why an answer ended, in lower case."""

from __future__ import annotations

import re
from functools import lru_cache

from chat.llm.errors import BalanceError, OverloadedError, ProviderError, RateLimitError

#: By these a provider says that it gave up.
BROKEN_OFF: dict[str, type[ProviderError]] = {
    "insufficient_system_resource": OverloadedError,
    **dict.fromkeys(
        (
            *("abort", "aborted", "cancelled", "canceled", "error", "network_error"),
            *("internal_error", "server_error", "engine_error", "upstream_error", "exception"),
            *("failed", "timeout", "request_timeout", "malformed_function_call"),
            *("unexpected_tool_call", "too_many_tool_calls", "time_limit", "user_cancel"),
        ),
        ProviderError,
    ),
}
#: Other reasons with one of these words mean the same.
_FAILURE = re.compile(
    r"error|fail|abort|cancel|interrupt|exception|time_?out|unavailable|overload|disconnect|crash"
    r"|malformed|(?<![a-z])rate_?limit|quota|balance|insufficient|internal"
)
_KINDS: tuple[tuple[re.Pattern[str], type[ProviderError]], ...] = (
    (re.compile(r"quota|balance"), BalanceError),
    (re.compile(r"(?<![a-z])rate_?limit"), RateLimitError),
    (re.compile(r"overload|unavailable|insufficient"), OverloadedError),
)
_PREFIX = "finish_reason_"
#: These mean one of OpenAI's.
SAME_AS: dict[str, str] = {
    **dict.fromkeys(
        (
            *("sensitive", "safety", "recitation", "blocklist", "prohibited_content", "spii"),
            *("content_filtered", "content-filter", "content_policy_violation", "error_toxic"),
            *("image_safety", "image_prohibited_content", "model_armor", "guardrail_intervened"),
            *("guardrail", "guardrails", "risk_control", "moderation", "flagged", "language"),
            "refusal",
        ),
        "content_filter",
    ),
    **dict.fromkeys(("function_call", "tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(
        (
            *("max_new_tokens", "max_length", "token_limit", "error_limit", "incomplete"),
            *("length_limit", "max_token", "max_completion_tokens", "output_limit", "truncated"),
            *("context_length_exceeded", "context_length", "repetition_truncation", "max_context"),
        ),
        "length",
    ),
}
#: These mean: not finished.
NO_REASON = frozenset({"", "null", "none", "unspecified", "not_finished"})
#: These only say that the answer ended; some gateways send one more at the end.
PLAIN = frozenset(
    {
        *("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed"),
        *("end", "finished", "normal", "done", "success"),
    }
)
#: These are valid without any text.
MAY_BE_EMPTY = frozenset(
    {
        *("length", "content_filter", "max_tokens", "max_output_tokens", "model_length"),
        "model_context_window_exceeded",
    }
)
#: These say more than a plain end.
TELLING = MAY_BE_EMPTY | {"tool_calls"}


def plain(reason: str) -> str:
    """The reason in lower case, without what Google's enumeration has before each."""
    return reason.strip().lower().removeprefix(_PREFIX)


@lru_cache(maxsize=64)
def failure(reason: str) -> type[ProviderError] | None:
    """The error that a reason means; None where the answer ended as it should."""
    known = plain(reason)
    if known in BROKEN_OFF:
        return BROKEN_OFF[known]
    if not _FAILURE.search(known):
        return None
    return next((kind for pattern, kind in _KINDS if pattern.search(known)), ProviderError)
