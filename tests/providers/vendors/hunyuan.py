"""Tencent's Hunyuan: errors within `Response`, or as `ErrorMsg`."""

from __future__ import annotations

from tests.providers.playing import Case, error, failed, stream, whole

CASES: list[Case] = [
    failed(
        "a failure in the stream",
        stream(
            {
                "Note": "以上内容为AI生成",
                "ErrorMsg": {"Msg": "引擎网关请求错误", "Code": 2001},
                "Choices": [],
            },
            done=False,
        ),
        "provider_error",
        "引擎网关",
        retryable=True,
    ),
    failed(
        "a package that is used up",
        whole(
            {
                "Response": {
                    "Error": {
                        "Code": "ResourceInsufficient.ChargeResourceExhausted",
                        "Message": "资源包余量已用尽",
                    },
                    "RequestId": "r",
                }
            }
        ),
        "provider_balance",
        "资源包",
    ),
    failed(
        "a package that is used up, in the stream",
        stream(
            {
                "Response": {
                    "Error": {
                        "Code": "FailedOperation.ResourcePackExhausted",
                        "Message": "resource pack exhausted",
                    },
                    "RequestId": "r",
                }
            },
            done=False,
        ),
        "provider_balance",
        "exhausted",
    ),
    failed(
        "content that it refuses",
        whole(
            {
                "Response": {
                    "Error": {
                        "Code": "OperationDenied.TextIllegalDetected",
                        "Message": "文本包含违法违规内容，审核不通过。",
                    },
                    "RequestId": "r",
                }
            }
        ),
        "provider_bad_request",
        "违规",
    ),
    failed(
        "not enough quota",
        whole(error("not enough quota", type="runtime_error", code="20031"), "400 x"),
        "provider_balance",
        "not enough quota",
    ),
    failed(
        "a limit of requests",
        whole(
            {
                "Response": {
                    "Error": {"Code": "RequestLimitExceeded", "Message": "请求频率超限"},
                    "RequestId": "r",
                }
            }
        ),
        "provider_rate_limited",
        "频率",
        retryable=True,
    ),
    failed(
        "a key that is not there",
        whole(
            {
                "Response": {
                    "Error": {
                        "Code": "AuthFailure.SecretIdNotFound",
                        "Message": "The SecretId is not found",
                    },
                    "RequestId": "r",
                }
            }
        ),
        "provider_auth",
        "SecretId",
    ),
]
