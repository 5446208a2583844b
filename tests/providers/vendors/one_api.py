"""one-api: an empty error beside each answer."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import STOP, Answered, Case, counts, error, failed, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="in a stream",
        response=stream(
            {**text("Hi"), "error": {"message": "", "type": "", "param": "", "code": None}},
            {**STOP, "error": {"message": "", "type": "", "param": "", "code": None}},
        ),
        text="Hi",
    ),
    Answered(
        name="in a whole answer",
        response=whole(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hi"},
                        "finish_reason": "stop",
                    }
                ],
                "usage": counts(1, 1),
                "error": {"message": "", "type": "", "param": "", "code": None},
            }
        ),
        text="Hi",
        usage=Usage(1, 1, 2),
    ),
    failed(
        "a user without quota",
        whole(
            error("预扣费额度失败, 用户剩余额度: ＄0.001", code="insufficient_user_quota"), "403 x"
        ),
        "provider_balance",
        "额度",
    ),
    failed(
        "a user without quota, by the words alone",
        whole(error("用户额度不足", type="one_api_error"), "403 x"),
        "provider_balance",
        "额度",
    ),
    failed(
        "a key whose quota is used up",
        whole(error("该令牌额度已用尽", type="one_api_error"), "401 x"),
        "provider_balance",
        "额度",
    ),
    failed(
        "a key that has expired",
        whole(error("该令牌已过期", type="new_api_error"), "401 x"),
        "provider_auth",
        "过期",
    ),
    failed(
        "a group without a channel",
        whole(error("当前分组 default 下对于模型 x 无可用渠道", code="model_not_found"), "503 x"),
        "provider_model_not_found",
        "无可用渠道",
    ),
    failed(
        "channels that are saturated, in the stream",
        stream(error("当前分组上游负载已饱和，请稍后再试", type="upstream_error")),
        "provider_overloaded",
        "饱和",
        retryable=True,
    ),
]
