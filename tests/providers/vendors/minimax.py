"""MiniMax: `base_resp` on every response, good or bad; the whole message again at the end."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import Answered, Case, Failed, Response, chunk, stream, text, whole

_GOOD = {"status_code": 0, "status_msg": ""}


def _bad(code: int, message: str) -> dict[str, object]:
    return {
        "id": "05",
        "choices": None,
        "created": 1,
        "model": "",
        "object": "",
        "usage": {"total_tokens": 0, "total_characters": 0},
        "input_sensitive": False,
        "output_sensitive": False,
        "base_resp": {"status_code": code, "status_msg": message},
    }


def _failed(
    name: str, response: Response, code: str, words: str, *, retryable: bool = False
) -> Failed:
    return Failed(name=name, response=response, code=code, words=words, retryable=retryable)


CASES: list[Case] = [
    Answered(
        name="the whole message again at the end, and total tokens only",
        response=stream(
            {**text("Hel"), "base_resp": _GOOD},
            text("lo"),
            {
                "id": "05",
                "choices": [
                    {
                        "finish_reason": "stop",
                        "index": 0,
                        "message": {"content": "Hello", "role": "assistant"},
                    }
                ],
                "usage": {"total_tokens": 41},
                "base_resp": _GOOD,
            },
        ),
        text="Hello",
        usage=Usage(total_tokens=41),
    ),
    Answered(
        name="a whole answer",
        response=whole(
            {
                "id": "05",
                "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}],
                "base_resp": _GOOD,
            }
        ),
        text="Hi",
    ),
    _failed(
        "an empty account, with status 200",
        whole(_bad(1008, "insufficient balance")),
        "provider_balance",
        "insufficient balance",
    ),
    _failed(
        "a limit, in the stream",
        stream(_bad(1002, "rate limit"), done=False),
        "provider_rate_limited",
        "rate limit",
        retryable=True,
    ),
    _failed(
        "content that it refuses after some text",
        stream(text("Once"), _bad(1027, "output new_sensitive"), done=False),
        "provider_bad_request",
        "new_sensitive",
    ),
    _failed(
        "a key that is wrong",
        whole(_bad(1004, "login fail: Please carry the API secret key")),
        "provider_auth",
        "login fail",
    ),
    _failed(
        "an error of its own",
        stream(text("Once"), {**chunk(finish="stop"), "base_resp": {"status_code": 1033}}),
        "provider_error",
        "1033",
        retryable=True,
    ),
]
