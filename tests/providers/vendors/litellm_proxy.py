"""LiteLLM's proxy: errors of others in words of its own, statuses as text, thinking blocks."""

from __future__ import annotations

from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    error,
    failed,
    stream,
    text,
    whole,
)


def _error(message: str, code: str, kind: str = "None") -> dict[str, object]:
    return {"error": {"message": message, "type": kind, "param": "None", "code": code}}


CASES: list[Case] = [
    Answered(
        name="thinking blocks beside their text",
        response=stream(
            chunk(
                {
                    "reasoning_content": "Hm.",
                    "thinking_blocks": [{"type": "thinking", "thinking": "Hm.", "signature": "x"}],
                }
            ),
            text("4"),
            STOP,
        ),
        text="4",
        reasoning="Hm.",
    ),
    Answered(
        name="thinking blocks alone",
        response=stream(
            chunk({"thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]}), text("4"), STOP
        ),
        text="4",
        reasoning="Hm.",
    ),
    Failed(
        name="a model that is not configured",
        response=whole(
            _error("/chat/completions: Invalid model name passed in model=x", "400"),
            "400 Bad Request",
        ),
        code="provider_model_not_found",
        words="Invalid model name",
        retryable=False,
    ),
    Failed(
        name="a content policy, as an error of the server",
        response=whole(
            _error(
                "litellm.ContentPolicyViolationError: filtered", "500", "content_policy_violation"
            ),
            "500 Internal Server Error",
        ),
        code="provider_bad_request",
        words="ContentPolicyViolationError",
        retryable=False,
    ),
    Failed(
        name="a limit in the stream, its status as text",
        response=stream(text("Once"), _error("litellm.RateLimitError: slow down", "429")),
        code="provider_rate_limited",
        words="slow down",
        retryable=True,
    ),
    Failed(
        name="a budget that is used up",
        response=stream(
            _error("Budget has been exceeded! Current cost: 5.0", "400", "budget_exceeded")
        ),
        code="provider_balance",
        words="Budget has been exceeded",
        retryable=False,
    ),
    failed(
        "no deployment, and when there is one in words",
        whole(
            error(
                "No deployments available for selected model, Try again in 5 seconds. Passed "
                "model=x. pre-call-checks=False, cooldown_list=[]",
                type="None",
                param="None",
                code="429",
            ),
            "429 x",
        ),
        "provider_rate_limited",
        "Try again",
        retryable=True,
        after=5.0,
    ),
]
