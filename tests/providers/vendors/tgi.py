"""Text generation inference: `error_type` beside a text, a call that is no list."""

from __future__ import annotations

from chat.llm.types import ToolCall
from tests.providers.playing import MADE_UP, Answered, Case, chunk, failed, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="a call that is no list, with an id that is empty",
        response=stream(
            chunk(
                {
                    "role": "assistant",
                    "tool_calls": {
                        "index": 0,
                        "id": "",
                        "type": "function",
                        "function": {"name": "f", "arguments": ""},
                    },
                }
            ),
            chunk(
                {
                    "tool_calls": {
                        "index": 0,
                        "id": "",
                        "type": "function",
                        "function": {"name": None, "arguments": '{"a"'},
                    }
                }
            ),
            chunk(
                {
                    "tool_calls": {
                        "index": 0,
                        "id": "",
                        "type": "function",
                        "function": {"name": None, "arguments": ":1}"},
                    }
                }
            ),
            chunk(finish="eos_token"),
        ),
        finish_reason="eos_token",
        tool_calls=(ToolCall(MADE_UP, "f", '{"a":1}'),),
    ),
    failed(
        "too long a prompt, in the stream, with its status",
        stream(
            {
                "error": {
                    "message": "Input validation error: `inputs` tokens + `max_new_tokens` "
                    "must be <= "
                    "4096. Given: 5000 `inputs` tokens and 100 `max_new_tokens`",
                    "http_status_code": 422,
                }
            },
            done=False,
        ),
        "provider_bad_request",
        "Input validation",
    ),
    failed(
        "a fault of the request, in the stream",
        stream(
            b'data:{"error":"Input validation error: `temperature` must be strictly '
            b'positive","error_type":"validation"}\n\n',
            done=False,
        ),
        "provider_bad_request",
        "temperature",
    ),
    failed(
        "a failure after some text",
        stream(
            text("a"),
            b'data:{"error":"Request failed during generation: Server error: CUDA out of '
            b'memory","error_type":"generation"}\n\n',
            done=False,
        ),
        "provider_error",
        "CUDA",
        retryable=True,
    ),
    failed(
        "overloaded",
        whole(
            {"error": "Model is overloaded", "error_type": "overloaded"}, "429 Too Many Requests"
        ),
        "provider_rate_limited",
        "overloaded",
        retryable=True,
    ),
]
