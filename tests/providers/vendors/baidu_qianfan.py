"""Baidu's Qianfan: `error_code` of its first API, names of its second."""

from __future__ import annotations

from tests.providers.playing import STOP, Answered, Case, Failed, Response, stream, text, whole


def _failed(name: str, response: Response, code: str, words: str, *, retryable: bool) -> Failed:
    return Failed(name=name, response=response, code=code, words=words, retryable=retryable)


CASES: list[Case] = [
    Answered(
        name="a flag beside the choices",
        response=stream({**text("你好"), "flag": 0, "ban_round": 0}, {**STOP, "flag": 0}),
        text="你好",
    ),
    _failed(
        "a limit of requests a second, with status 200",
        whole({"error_code": 18, "error_msg": "Open api qps request limit reached"}),
        "provider_rate_limited",
        "qps request limit",
        retryable=True,
    ),
    _failed(
        "a quota that is used up",
        whole({"error_code": 17, "error_msg": "Open api daily request limit reached"}),
        "provider_balance",
        "daily request limit",
        retryable=False,
    ),
    _failed(
        "a token that is wrong, in the stream",
        stream({"error_code": 110, "error_msg": "Access token invalid or no longer valid"}),
        "provider_auth",
        "Access token invalid",
        retryable=False,
    ),
    _failed(
        "an error after some text",
        stream(text("你"), {"error_code": 336100, "error_msg": "try again"}, done=False),
        "provider_error",
        "try again",
        retryable=True,
    ),
    _failed(
        "the second API's limit",
        whole(
            {
                "error": {
                    "code": "rpm_rate_limit_exceeded",
                    "message": "Rate limit reached for RPM",
                    "type": "rate_limit_exceeded",
                },
                "id": "as-1",
            },
            "429 Too Many Requests",
        ),
        "provider_rate_limited",
        "RPM",
        retryable=True,
    ),
]
