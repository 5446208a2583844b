"""OpenAI itself: usage in a chunk of its own, refusals, the older function calls."""

from __future__ import annotations

from chat.llm.types import ToolCall, Usage
from tests.providers.playing import (
    MADE_UP,
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    counts,
    error,
    failed,
    stream,
    text,
    tool,
    tools,
    whole,
)

CASES: list[Case] = [
    Answered(
        name="usage in a chunk without choices",
        response=stream(
            chunk({"role": "assistant", "content": "", "refusal": None}, usage=None),
            text("Hello", usage=None, obfuscation="x1"),
            text(" world", usage=None, service_tier="default"),
            chunk(finish="stop", usage=None),
            {**chunk(), "choices": [], "usage": counts(9, 2)},
        ),
        text="Hello world",
        usage=Usage(9, 2, 11),
    ),
    Answered(
        name="a refusal is an answer",
        response=stream(
            chunk({"role": "assistant", "content": None, "refusal": ""}),
            chunk({"refusal": "I'm sorry, "}),
            chunk({"refusal": "I can't."}),
            STOP,
        ),
        text="I'm sorry, I can't.",
    ),
    Answered(
        name="a whole refusal",
        response=whole(
            {
                "id": "chatcmpl-2",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": None, "refusal": "No."},
                        "finish_reason": "stop",
                    }
                ],
                "usage": counts(9, 2),
            }
        ),
        text="No.",
        usage=Usage(9, 2, 11),
    ),
    Answered(
        name="an older function call, in a stream",
        response=stream(
            chunk({"role": "assistant", "function_call": {"name": "f", "arguments": ""}}),
            chunk({"function_call": {"arguments": '{"a"'}}),
            chunk({"function_call": {"arguments": ":1}"}}),
            chunk(finish="function_call"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall(MADE_UP, "f", '{"a":1}'),),
    ),
    Answered(
        name="an older function call, whole",
        response=whole(
            {
                "choices": [
                    {
                        "message": {
                            "content": None,
                            "function_call": {"name": "f", "arguments": "{}"},
                        },
                        "finish_reason": "function_call",
                    }
                ]
            }
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall(MADE_UP, "f", "{}"),),
    ),
    Answered(
        name="parallel calls, interleaved",
        response=stream(
            tools(tool(0, "call_a", "f", "")),
            tools(tool(1, "call_b", "g", "")),
            tools(tool(1, arguments='{"b":'), tool(0, arguments='{"a":')),
            tools(tool(0, arguments="1}")),
            tools(tool(1, arguments="2}")),
            chunk(finish="tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("call_a", "f", '{"a":1}'), ToolCall("call_b", "g", '{"b":2}')),
    ),
    Failed(
        name="a quota that is used up",
        response=whole(
            {
                "error": {
                    "message": "You exceeded your current quota, please check your plan.",
                    "type": "insufficient_quota",
                    "param": None,
                    "code": "insufficient_quota",
                }
            },
            "429 Too Many Requests",
        ),
        code="provider_balance",
        words="exceeded your current quota",
        retryable=False,
    ),
    Failed(
        name="a limit of requests, with when it is reset",
        response=whole(
            {
                "error": {
                    "message": "Rate limit reached for gpt in organization o on requests per min. "
                    "Add a payment method at https://platform.openai.com/account/billing.",
                    "type": "requests",
                    "code": "rate_limit_exceeded",
                }
            },
            "429 Too Many Requests",
            x_ratelimit_remaining_requests="0",
            x_ratelimit_reset_requests="1m2s",
            x_ratelimit_remaining_tokens="900",
            x_ratelimit_reset_tokens="6m0s",
        ),
        code="provider_rate_limited",
        words="Rate limit reached",
        retryable=True,
        retry_after_seconds=62.0,
    ),
    Failed(
        name="milliseconds come before seconds",
        response=whole(
            {"error": {"message": "slow down", "type": "requests"}},
            "429 Too Many Requests",
            retry_after_ms="1500",
            retry_after="2",
        ),
        code="provider_rate_limited",
        words="slow down",
        retryable=True,
        retry_after_seconds=1.5,
    ),
    Failed(
        name="a model that is not there",
        response=whole(
            {
                "error": {
                    "message": "The model `gpt-9.5` does not exist or you do not have access.",
                    "type": "invalid_request_error",
                    "code": "model_not_found",
                }
            },
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="gpt-9.5",
        retryable=False,
    ),
    Failed(
        name="a path that is not there",
        response=whole(
            {
                "error": {
                    "message": "Invalid URL (POST /chat/completions)",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
            },
            "404 Not Found",
        ),
        code="provider_bad_request",
        words="Invalid URL",
        retryable=False,
    ),
    Failed(
        name="too long a conversation, told in the stream",
        response=stream(
            {
                "error": {
                    "message": "Your input exceeds the context window of this model.",
                    "type": "invalid_request_error",
                    "code": "context_length_exceeded",
                }
            }
        ),
        code="provider_bad_request",
        words="context window",
        retryable=False,
    ),
    Failed(
        name="an error after some text",
        response=stream(
            text("Once"),
            {"error": {"message": "The server had an error.", "type": "server_error"}},
        ),
        code="provider_error",
        words="The server had an error.",
        retryable=True,
    ),
    Failed(
        name="a key that it repeats",
        response=whole(
            {
                "error": {
                    "message": "Incorrect API key provided: sk-0123456789abcdef.",
                    "type": "invalid_request_error",
                    "code": "invalid_api_key",
                }
            },
            "401 Unauthorized",
        ),
        code="provider_auth",
        words="provided: ***",
        retryable=False,
    ),
    failed(
        "a request above the limit of a minute",
        whole(
            error(
                "Request too large for gpt-4o in organization org-x on tokens per min (TPM): "
                "Limit 30000, Requested 44203. The input or output tokens must be reduced in "
                "order to run successfully. Visit "
                "https://platform.openai.com/account/rate-limits to learn more.",
                type="tokens",
                param=None,
                code="rate_limit_exceeded",
            ),
            "429 Too Many Requests",
        ),
        "provider_bad_request",
        "must be reduced",
    ),
    failed(
        "a model that is gone",
        whole(
            error(
                "The model `gpt-4-32k` has been deprecated, learn more here: "
                "https://platform.openai.com/docs/deprecations",
                type="invalid_request_error",
                param=None,
                code="model_not_found",
            ),
            "404 Not Found",
        ),
        "provider_model_not_found",
        "deprecated",
    ),
    failed(
        "overloaded, in the stream",
        stream(
            error(
                "The server is currently overloaded with other requests. Sorry about that! "
                "You can retry your request, or contact us.",
                type="server_error",
                param=None,
                code=None,
            )
        ),
        "provider_overloaded",
        "overloaded",
        retryable=True,
    ),
    failed(
        "a parameter that a model does not take",
        whole(
            error(
                "Unsupported parameter: 'max_tokens' is not supported with this model.",
                code="unsupported_parameter",
            ),
            "400 x",
        ),
        "provider_bad_request",
        "max_tokens",
    ),
    failed(
        "a parameter of a model, by other words",
        whole(error("The model's parameter temperature is not supported."), "400 x"),
        "provider_bad_request",
        "temperature",
    ),
    failed(
        "a limit of spending",
        whole(error("Billing hard limit has been reached", code="billing_hard_limit"), "400 x"),
        "provider_balance",
        "Billing",
    ),
]
