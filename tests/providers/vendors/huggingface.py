"""Hugging Face: errors as a text, or a list of texts."""

from __future__ import annotations

from tests.providers.playing import Case, failed, whole

CASES: list[Case] = [
    failed(
        "credits that are used up",
        whole(
            {
                "error": "You have exceeded your monthly included credits for Inference Providers. "
                "Subscribe to PRO to get 20x more monthly included credits."
            },
            "402 x",
        ),
        "provider_balance",
        "monthly",
    ),
    failed(
        "a model that is being loaded",
        whole({"error": "Model x is currently loading", "estimated_time": 20.0}, "503 x"),
        "provider_overloaded",
        "loading",
        retryable=True,
    ),
    failed(
        "a list of texts",
        whole({"error": ["Error in `parameters`: field required"]}, "400 x"),
        "provider_bad_request",
        "field required",
    ),
    failed(
        "a model that is being loaded, and for how long",
        whole({"error": "Model x is currently loading", "estimated_time": 20.0}, "503 x"),
        "provider_overloaded",
        "loading",
        retryable=True,
    ),
]
