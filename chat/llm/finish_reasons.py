"""The words that vendors have for why an answer ended, in lower case."""

from __future__ import annotations

from chat.llm.errors import OverloadedError, ProviderError

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
#: These mean one of OpenAI's.
SAME_AS: dict[str, str] = {
    **dict.fromkeys(
        (
            *("sensitive", "safety", "recitation", "blocklist", "prohibited_content", "spii"),
            *("content_filtered", "content-filter", "content_policy_violation", "error_toxic"),
            *("image_safety", "image_prohibited_content", "model_armor", "guardrail_intervened"),
        ),
        "content_filter",
    ),
    **dict.fromkeys(("function_call", "tool_use", "tool_call"), "tool_calls"),
    **dict.fromkeys(
        ("max_new_tokens", "max_length", "token_limit", "error_limit", "incomplete"), "length"
    ),
}
#: These mean: not finished.
NO_REASON = frozenset({"", "null", "none", "finish_reason_unspecified", "not_finished"})
#: These only say that the answer ended; some gateways send one more at the end.
PLAIN = frozenset(
    {
        *("stop", "eos", "eos_token", "end_turn", "stop_sequence", "complete", "completed"),
        *("end", "finished"),
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
