"""Azure OpenAI: a first chunk of filter results, and a filter that refuses or stops."""

from __future__ import annotations

from tests.providers.playing import STOP, Answered, Case, Failed, chunk, failed, stream, text, whole

_SAFE = {"hate": {"filtered": False, "severity": "safe"}}
_FIRST = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [],
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
}
_FILTERED = {
    "error": {
        "message": "The response was filtered due to the prompt triggering Azure OpenAI's "
        "content management policy.",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {"code": "ResponsibleAIPolicyViolation"},
    }
}

CASES: list[Case] = [
    Answered(
        name="filter results before, beside and after the text",
        response=stream(
            _FIRST,
            {**text("Hello"), "system_fingerprint": None},
            STOP,
            {
                **_FIRST,
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "content_filter_results": _SAFE,
                        "content_filter_offsets": {"check_offset": 4},
                    }
                ],
            },
        ),
        text="Hello",
    ),
    Answered(
        name="the filter stops the answer",
        response=stream(_FIRST, text("Take a"), chunk(finish="content_filter")),
        text="Take a",
        finish_reason="content_filter",
    ),
    Failed(
        name="the filter refuses the prompt",
        response=whole(_FILTERED, "400 Bad Request"),
        code="provider_bad_request",
        words="content management policy",
        retryable=False,
    ),
    Failed(
        name="the filter refuses in the stream",
        response=stream(_FIRST, _FILTERED),
        code="provider_bad_request",
        words="content management policy",
        retryable=False,
    ),
    Failed(
        name="an unknown deployment",
        response=whole(
            {
                "error": {
                    "code": "DeploymentNotFound",
                    "message": "The API deployment for this resource does not exist.",
                }
            },
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="deployment",
        retryable=False,
    ),
    Failed(
        name="a path that is not there",
        response=whole({"error": {"code": "404", "message": "Resource not found"}}, "404 x"),
        code="provider_bad_request",
        words="Resource not found",
        retryable=False,
    ),
    Failed(
        name="a limit, in seconds",
        response=whole(
            {"error": {"code": "429", "message": "Requests have exceeded call rate limit."}},
            "429 Too Many Requests",
            retry_after="7",
            x_ratelimit_reset_requests="10",
        ),
        code="provider_rate_limited",
        words="rate limit",
        retryable=True,
        retry_after_seconds=7.0,
    ),
    failed(
        "a limit in the stream, with the words of its gateway",
        stream(
            {"statusCode": 429, "message": "Rate limit is exceeded. Try again in 5 seconds."},
            done=False,
        ),
        "provider_rate_limited",
        "Rate limit",
        retryable=True,
        after=5.0,
    ),
    failed(
        "away, in the stream, by the number of its gateway",
        stream({"statusCode": 503, "message": "upstream went"}, done=False),
        "provider_overloaded",
        "upstream went",
        retryable=True,
    ),
    Answered(
        name="a filter that failed, and offsets after the end",
        response=stream(
            _FIRST,
            {
                "choices": [
                    {
                        "index": 0,
                        "delta": {"content": "Hi"},
                        "content_filter_result": {"error": {"code": "content_filter_error"}},
                    }
                ]
            },
            STOP,
            {"choices": [{"index": 0, "delta": {}, "content_filter_offsets": {"check": 1}}]},
        ),
        text="Hi",
    ),
]
