"""Cloudflare: a list of errors with numbers, with any status."""

from __future__ import annotations

from tests.providers.playing import Case, failed, stream, whole

CASES: list[Case] = [
    failed(
        "a failure with status 200",
        whole(
            {
                "result": None,
                "success": False,
                "errors": [{"code": 7009, "message": "Upstream service unavailable"}],
                "messages": [],
            }
        ),
        "provider_error",
        "Upstream service unavailable",
        retryable=True,
    ),
    failed(
        "no capacity, in the stream",
        stream(
            {
                "result": {},
                "success": False,
                "errors": [
                    {
                        "code": 3040,
                        "message": "AiError: AiError: Capacity temporarily exceeded, "
                        "please try again. "
                        "(1)",
                    }
                ],
                "messages": [],
            }
        ),
        "provider_overloaded",
        "Capacity",
        retryable=True,
    ),
    failed(
        "an allowance that is used up",
        whole(
            {
                "errors": [
                    {
                        "message": "AiError: you have used up your daily free allocation of 10,000 "
                        "neurons, please upgrade to Cloudflare's Workers Paid plan if you "
                        "would like to continue usage.",
                        "code": 4006,
                    }
                ],
                "success": False,
                "result": {},
                "messages": [],
            },
            "429 x",
        ),
        "provider_balance",
        "neurons",
    ),
    failed(
        "a key that is wrong, with status 200",
        whole(
            {
                "success": False,
                "errors": [{"code": 10000, "message": "Authentication error"}],
                "messages": [],
                "result": None,
            },
            "200 OK",
        ),
        "provider_auth",
        "Authentication",
    ),
    failed(
        "a list under `error`",
        whole(
            {
                "success": False,
                "result": [],
                "messages": [],
                "error": [{"code": 2009, "message": "Unauthorized"}],
            },
            "401 x",
        ),
        "provider_auth",
        "Unauthorized",
    ),
    failed(
        "an unknown model",
        whole(
            {
                "errors": [{"message": "AiError: No such model @cf/x or task", "code": 5007}],
                "success": False,
                "result": {},
                "messages": [],
            },
            "400 x",
        ),
        "provider_model_not_found",
        "No such model",
    ),
]
