"""DashScope (Qwen): codes in camel case, the native form of errors, an event with its status."""

from __future__ import annotations

from chat.llm.types import ToolCall
from tests.providers.playing import (
    Answered,
    Case,
    Failed,
    chunk,
    stream,
    text,
    tool,
    tools,
    whole,
)


def _error(code: str, message: str) -> dict[str, object]:
    return {"error": {"code": code, "message": message, "param": None, "type": code}}


CASES: list[Case] = [
    Answered(
        name="a call whose later fragments have an empty id and name",
        response=stream(
            tools({**tool(0, "call_1", "f", ""), "type": "function"}),
            tools(tool(0, "", "", '{"a":')),
            tools(tool(0, "", "", "1}")),
            chunk({"content": ""}, "tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("call_1", "f", '{"a":1}'),),
    ),
    Answered(
        name='a finish reason of "null" is none',
        response=stream(
            chunk({"content": "a"}, "null"), chunk({"content": "b"}, "null"), chunk(finish="stop")
        ),
        text="ab",
    ),
    Failed(
        name="text that is cut after a finish reason of null",
        response=stream(chunk({"content": "a"}, "null"), done=False),
        code="provider_truncated",
        words="ended before",
        retryable=True,
    ),
    Failed(
        name="content that it refuses",
        response=whole(
            _error("data_inspection_failed", "Input data may contain inappropriate content."),
            "400 x",
        ),
        code="provider_bad_request",
        words="inappropriate content",
        retryable=False,
    ),
    Failed(
        name="content that it refuses after some text",
        response=stream(
            text("Once"),
            _error("DataInspectionFailed", "Output data may contain inappropriate content."),
        ),
        code="provider_bad_request",
        words="Output data",
        retryable=False,
    ),
    Failed(
        name="an account in arrears",
        response=whole(
            _error(
                "Arrearage", "Access denied, please make sure your account is in good standing."
            ),
            "400 Bad Request",
        ),
        code="provider_balance",
        words="good standing",
        retryable=False,
    ),
    Failed(
        name="a limit, as its own API says it",
        response=stream(
            b"id:1\nevent:error\n:HTTP_STATUS/429\n"
            b'data:{"code":"Throttling.RateQuota","message":"Requests rate limit exceeded",'
            b'"request_id":"r"}\n\n',
            done=False,
        ),
        code="provider_rate_limited",
        words="rate limit exceeded",
        retryable=True,
    ),
    Failed(
        name="code and message, with status 200",
        response=whole(
            {"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "r"}
        ),
        code="provider_auth",
        words="Invalid API-key",
        retryable=False,
    ),
]
