"""LM Studio: errors beside their message, and status 200 for a path that is not there."""

from __future__ import annotations

from tests.providers.playing import Case, error, failed, stream, text, whole

CASES: list[Case] = [
    failed(
        "an error after some text",
        stream(
            text("a"),
            b'event: error\ndata: {"error":{"message":"Compute error."},"message":"Compute '
            b'error."}\n\n',
            done=False,
        ),
        "provider_error",
        "Compute error",
        retryable=True,
    ),
    failed(
        "too long a prompt, in the stream",
        stream(
            b'event: error\ndata: {"error":{"message":"The number of tokens to keep from the '
            b"initial prompt is greater than the context length. Try to load the model with a "
            b'larger context length, or provide a shorter input"}}\n\n',
            done=False,
        ),
        "provider_bad_request",
        "context length",
    ),
    failed(
        "a path that is not there, with status 200",
        whole({"error": "Unexpected endpoint or method. (POST /chat/completions)"}),
        "provider_bad_request",
        "Unexpected endpoint",
    ),
    failed(
        "no model",
        whole(
            error(
                "No models loaded. Please load a model in the developer page or use the 'lms "
                "load' command.",
                type="invalid_request_error",
                param="model",
                code="model_not_found",
            ),
            "404 Not Found",
        ),
        "provider_model_not_found",
        "No models loaded",
    ),
]
