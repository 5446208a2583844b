"""Fireworks: errors with an object of their own, and with a code in capitals."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import (
    Answered,
    Case,
    Failed,
    chunk,
    counts,
    error,
    failed,
    stream,
    text,
    whole,
)

CASES: list[Case] = [
    Answered(
        name="usage beside the finish reason",
        response=stream(text("Hi"), chunk(finish="length", usage=counts(3, 1))),
        text="Hi",
        finish_reason="length",
        usage=Usage(3, 1, 4),
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {
                "error": {
                    "object": "error",
                    "type": "invalid_request_error",
                    "code": "NOT_FOUND",
                    "message": "Model not found, inaccessible, and/or not deployed",
                }
            },
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="Model not found",
        retryable=False,
    ),
    Failed(
        name="an account without means",
        response=whole(
            {"error": {"object": "error", "code": "PRECONDITION_FAILED", "message": "Suspended"}},
            "412 Precondition Failed",
        ),
        code="provider_bad_request",
        words="Suspended",
        retryable=False,
    ),
    failed(
        "an account that is suspended",
        whole(
            error(
                "Account x is suspended, possibly due to reaching the monthly spending limit or "
                "failure to pay past invoices.",
                code="PRECONDITION_FAILED",
            ),
            "412 x",
        ),
        "provider_balance",
        "suspended",
    ),
]
