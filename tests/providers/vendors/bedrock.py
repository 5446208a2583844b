"""Gateways before Amazon's Bedrock: its exceptions as a text."""

from __future__ import annotations

from tests.providers.playing import Case, failed, stream, whole

CASES: list[Case] = [
    failed(
        "a limit",
        whole(
            {"message": "Too many tokens, please wait before trying again."},
            "429 x",
            x_amzn_errortype="ThrottlingException",
        ),
        "provider_rate_limited",
        "Too many tokens",
        retryable=True,
    ),
    failed(
        "a permission that is missing",
        whole(
            {
                "Message": "User: arn:aws:iam::1:user/x is not authorized to perform: "
                "bedrock:InvokeModel"
            },
            "403 x",
        ),
        "provider_auth",
        "not authorized",
    ),
    failed(
        "an unknown model",
        whole(
            {
                "detail": "An error occurred (ValidationException) when calling the ConverseStream "
                "operation: The provided model identifier is invalid."
            },
            "400 x",
        ),
        "provider_model_not_found",
        "model identifier is invalid",
    ),
    failed(
        "a limit, in the stream",
        stream(
            {
                "detail": "An error occurred (ThrottlingException) when calling the ConverseStream "
                "operation (reached max retries: 4): Too many requests, please wait before "
                "trying again."
            }
        ),
        "provider_rate_limited",
        "Too many requests",
        retryable=True,
    ),
]
