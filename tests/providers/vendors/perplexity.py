"""Perplexity: the message so far beside each delta, citations, pages as errors."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import Answered, Case, Failed, page, stream, whole


def _event(delta: str, so_far: str, finish: str | None = None) -> dict[str, object]:
    return {
        "id": "p-1",
        "model": "sonar",
        "object": "chat.completion.chunk",
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": {"x": 1}},
        "citations": ["https://example.org"],
        "choices": [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": delta},
                "message": {"role": "assistant", "content": so_far},
                "finish_reason": finish,
            }
        ],
    }


CASES: list[Case] = [
    Answered(
        name="the message so far counts once",
        response=stream(
            *(_event("Hel", "Hel"), _event("lo", "Hello"), _event("", "Hello", "stop")),
            done=False,
        ),
        text="Hello",
        usage=Usage(3, 2, 5),
    ),
    Failed(
        name="a key that is wrong, as a page",
        response=page(
            "<html>\r\n<head><title>401 Authorization Required</title></head>\r\n<body>\r\n"
            "<center><h1>401 Authorization Required</h1></center>\r\n<hr><center>openresty"
            "</center>\r\n<script>var a = '<b>';</script>\r\n</body>\r\n</html>",
            "401 Unauthorized",
        ),
        code="provider_auth",
        words="401 Authorization Required 401 Authorization Required openresty",
        retryable=False,
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {"error": {"message": "Invalid model 'x'.", "type": "invalid_model", "code": 400}},
            "400 Bad Request",
        ),
        code="provider_model_not_found",
        words="Invalid model",
        retryable=False,
    ),
]
