"""NVIDIA's NIM: problem details, and answers that come later."""

from __future__ import annotations

from tests.providers.playing import Case, Response, failed, whole

CASES: list[Case] = [
    failed(
        "problem details",
        whole(
            {
                "type": "urn:kserve:problem-details:bad-request",
                "title": "Bad Request",
                "status": 400,
                "detail": "Inference error: prompt is empty",
                "instance": "/v1",
                "requestId": "r",
            },
            "400 x",
        ),
        "provider_bad_request",
        "prompt is empty",
    ),
    failed(
        "an answer that comes later",
        Response(
            body=b"",
            status="202 Accepted",
            headers={"nvcf-status": "pending-evaluation", "nvcf-reqid": "1"},
        ),
        "provider_truncated",
        "",
        retryable=True,
    ),
]
