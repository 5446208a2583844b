"""Novita: `reason` in capitals."""

from __future__ import annotations

from tests.providers.playing import Case, failed, whole

CASES: list[Case] = [
    failed(
        "an empty account",
        whole(
            {
                "code": 403,
                "reason": "NOT_ENOUGH_BALANCE",
                "message": "not enough balance",
                "metadata": {},
            },
            "403 x",
        ),
        "provider_balance",
        "balance",
    ),
    failed(
        "an unknown model",
        whole(
            {
                "code": 404,
                "reason": "MODEL_NOT_FOUND",
                "message": "model not found",
                "metadata": {"reason": "model: x not found"},
            },
            "404 x",
        ),
        "provider_model_not_found",
        "model not found",
    ),
]
