"""Zhipu (GLM): four-digit codes, and finish reasons for what went wrong."""

from __future__ import annotations

from tests.providers.playing import Answered, Case, Failed, chunk, stream, text, whole


def _error(code: str, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message}}


CASES: list[Case] = [
    Answered(
        name="a filter that stops the answer",
        response=stream(text("从前"), chunk(finish="sensitive")),
        text="从前",
        finish_reason="content_filter",
    ),
    Failed(
        name="a network error is a failure",
        response=stream(text("从前"), chunk(finish="network_error")),
        code="provider_error",
        words="network_error",
        retryable=True,
    ),
    Failed(
        name="an account in arrears",
        response=whole(_error("1113", "您的账户已欠费，请充值后重试"), "429 Too Many Requests"),
        code="provider_balance",
        words="欠费",
        retryable=False,
    ),
    Failed(
        name="too many at once",
        response=whole(_error("1302", "您当前使用该API的并发数过高"), "429 Too Many Requests"),
        code="provider_rate_limited",
        words="并发",
        retryable=True,
    ),
    Failed(
        name="an unknown model",
        response=whole(_error("1211", "模型不存在，请检查模型代码。"), "400 Bad Request"),
        code="provider_model_not_found",
        words="模型不存在",
        retryable=False,
    ),
    Failed(
        name="content that it refuses, in the stream",
        response=stream(
            {
                **_error("1301", "系统检测到输入或生成内容可能包含不安全或敏感内容"),
                "contentFilter": [{"role": "user", "level": 1}],
            }
        ),
        code="provider_bad_request",
        words="敏感",
        retryable=False,
    ),
    Failed(
        name="an error beside nothing, with status 200",
        response=whole({"code": 1234, "msg": "网络错误", "success": False}),
        code="provider_error",
        words="网络错误",
        retryable=True,
    ),
]
