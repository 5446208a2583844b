"""OpenRouter: comments while it waits, reasoning twice, errors within a choice."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import STOP, Answered, Case, Failed, chunk, failed, stream, text, whole

_DETAILS = [{"type": "reasoning.text", "text": "Hm.", "format": "unknown", "index": 0}]

CASES: list[Case] = [
    Answered(
        name="comments, then reasoning in two places",
        response=stream(
            b": OPENROUTER PROCESSING\n\n",
            b": OPENROUTER PROCESSING\n\n",
            chunk({"content": "", "reasoning": "Hm.", "reasoning_details": _DETAILS}, provider="X"),
            text("4"),
            STOP,
            chunk(
                {"role": "assistant", "content": ""},
                usage={
                    "prompt_tokens": 7,
                    "completion_tokens": 3,
                    "total_tokens": 10,
                    "cost": 0.00014,
                    "is_byok": False,
                    "cost_details": {"upstream": None},
                },
            ),
        ),
        text="4",
        reasoning="Hm.",
        usage=Usage(7, 3, 10),
    ),
    Answered(
        name="reasoning in its details alone, some of it secret",
        response=stream(
            chunk({"content": "", "reasoning_details": _DETAILS}),
            chunk({"reasoning_details": [{"type": "reasoning.summary", "summary": " So."}]}),
            chunk({"reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAA"}]}),
            text("4"),
            STOP,
        ),
        text="4",
        reasoning="Hm. So.",
    ),
    Failed(
        name="an error after some text, within an event that has choices",
        response=stream(
            text("Once"),
            {
                **chunk({"content": ""}, "error"),
                "error": {"code": "server_error", "message": "Provider disconnected unexpectedly"},
            },
        ),
        code="provider_error",
        words="Provider disconnected unexpectedly",
        retryable=True,
    ),
    Failed(
        name="an error within a choice",
        response=stream(
            text("Once"),
            {
                "id": "gen-1",
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": ""},
                        "finish_reason": "error",
                        "error": {"code": 502, "message": "Upstream error from X"},
                    }
                ],
            },
        ),
        code="provider_error",
        words="Upstream error from X",
        retryable=True,
    ),
    Failed(
        name="an error beside the last text of a choice",
        response=stream(
            {
                "id": "gen-1",
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": "Once"},
                        "finish_reason": None,
                        "error": {"code": 502, "message": "Upstream broke off"},
                    }
                ],
            },
        ),
        code="provider_error",
        words="Upstream broke off",
        retryable=True,
    ),
    Failed(
        name="an error of the provider behind it, with status 200",
        response=whole(
            {
                "error": {
                    "message": "Provider returned error",
                    "code": 429,
                    "metadata": {"raw": "model is temporarily rate-limited", "provider_name": "X"},
                },
                "user_id": "u",
            }
        ),
        code="provider_rate_limited",
        words="temporarily rate-limited",
        retryable=True,
    ),
    Failed(
        name="credits that are used up",
        response=whole(
            {"error": {"code": 402, "message": "This request requires more credits."}},
            "402 Payment Required",
        ),
        code="provider_balance",
        words="more credits",
        retryable=False,
    ),
    Failed(
        name="an unknown model",
        response=whole({"error": {"code": 400, "message": "x is not a valid model ID"}}, "400 x"),
        code="provider_model_not_found",
        words="not a valid model",
        retryable=False,
    ),
    Failed(
        name="input that is flagged",
        response=whole(
            {
                "error": {
                    "code": 403,
                    "message": "openai/x requires moderation. Your input was flagged for hate.",
                    "metadata": {"reasons": ["hate"], "flagged_input": "..."},
                }
            },
            "403 Forbidden",
        ),
        code="provider_bad_request",
        words="was flagged",
        retryable=False,
    ),
    failed(
        "a limit a day, with the headers of the provider behind it",
        whole(
            {
                "error": {
                    "message": "Rate limit exceeded: free-models-per-day. Add 10 credits "
                    "to unlock 1000 "
                    "free model requests per day",
                    "code": 429,
                    "metadata": {
                        "headers": {
                            "X-RateLimit-Limit": "50",
                            "X-RateLimit-Remaining": "0",
                            "X-RateLimit-Reset": "1000000000000",
                        },
                        "provider_name": None,
                    },
                },
                "user_id": "u",
            },
            "429 x",
        ),
        "provider_rate_limited",
        "free-models-per-day",
        retryable=True,
        after=0.0,
    ),
]
