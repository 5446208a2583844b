"""IBM's watsonx: a list of errors, and the status within the body."""

from __future__ import annotations

from tests.providers.playing import Case, failed, stream, whole

CASES: list[Case] = [
    failed(
        "a quota that is used up",
        whole(
            {
                "errors": [
                    {
                        "code": "token_quota_reached",
                        "message": "This request exceeds the token quota",
                        "more_info": "x",
                    }
                ],
                "trace": "t",
                "status_code": 403,
            },
            "403 x",
        ),
        "provider_balance",
        "token quota",
    ),
    failed(
        "an unknown model, in the stream",
        stream(
            {
                "errors": [
                    {
                        "code": "model_not_supported",
                        "message": "Model 'x' is not supported for this environment.",
                    }
                ],
                "trace": "t",
                "status_code": 404,
            }
        ),
        "provider_model_not_found",
        "not supported",
    ),
]
