"""Answers in the form of another API: the error names it, and nothing is tried again."""

from __future__ import annotations

from typing import Any

from tests.providers.playing import Case, Failed, Response, encoded, failed, stream, whole

_USAGE = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
_TEXT = [{"type": "text", "text": "Hello"}]


def _lines(*events: dict[str, Any]) -> Response:
    body = b"".join(encoded(event) + b"\n" for event in events)
    return Response(body=body, headers={"content-type": "application/x-ndjson"})


def _named(*events: dict[str, Any]) -> Response:
    return stream(
        *(
            b"event: %s\ndata: %s\n\n" % (event["type"].encode(), encoded(event))
            for event in events
        ),
        done=False,
    )


def _foreign(name: str, response: Response, form: str) -> Failed:
    return failed(
        name, response, "provider_bad_request", f"has the form of {form}, not of OpenAI's"
    )


_GEMINI = {"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP"}]}
_DASHSCOPE = {"finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}

CASES: list[Case] = [
    _foreign("Gemini, whole", whole({**_GEMINI, "usageMetadata": {}}), "Gemini's generateContent"),
    _foreign("Gemini, a stream", stream(_GEMINI, done=False), "Gemini's generateContent"),
    _foreign(
        "Gemini, a list",
        whole(encoded(_GEMINI).join((b"[", b",\n{}]"))),
        "Gemini's generateContent",
    ),
    _foreign(
        "Anthropic, whole",
        whole(
            {
                "type": "message",
                "role": "assistant",
                "content": _TEXT,
                "stop_reason": "end_turn",
                "usage": _USAGE,
            }
        ),
        "Anthropic's Messages API",
    ),
    _foreign(
        "Anthropic, a stream",
        _named(
            {"type": "message_start", "message": {"content": [], "usage": _USAGE}},
            {"type": "ping"},
            {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "Hello"}},
            {"type": "message_stop"},
        ),
        "Anthropic's Messages API",
    ),
    _foreign(
        "Responses, whole",
        whole({"object": "response", "status": "completed", "output": [{"content": _TEXT}]}),
        "OpenAI's Responses API",
    ),
    _foreign(
        "Responses, a stream",
        _named(
            {"type": "response.created", "response": {"id": "r"}},
            {"type": "response.output_text.delta", "delta": "Hello"},
        ),
        "OpenAI's Responses API",
    ),
    _foreign(
        "Ollama, a chat",
        _lines(
            {"model": "m", "message": {"content": "Hel"}, "done": False},
            {"model": "m", "message": {"content": "lo"}, "done": False},
            {"model": "m", "message": {"content": ""}, "done": True, "eval_count": 2},
        ),
        "Ollama's own API",
    ),
    _foreign("Ollama, a text", whole({"response": "Hello", "done": True}), "Ollama's own API"),
    _foreign(
        "Cloudflare, whole",
        whole({"result": {"response": "Hello", "usage": _USAGE}, "success": True, "errors": []}),
        "Cloudflare's own API",
    ),
    _foreign(
        "Cloudflare, a stream",
        stream({"response": "Hel", "p": "abc"}, {"response": "lo"}, {"response": "", "usage": {}}),
        "Cloudflare's own API",
    ),
    _foreign(
        "DashScope, whole",
        whole({"output": {"choices": [_DASHSCOPE]}, "usage": _USAGE, "request_id": "r"}),
        "DashScope's own API",
    ),
    _foreign(
        "DashScope, a stream of texts",
        stream({"output": {"text": "Hello", "finish_reason": "null"}, "usage": _USAGE}, done=False),
        "DashScope's own API",
    ),
    _foreign(
        "Baidu",
        stream({"object": "chat.completion", "is_end": True, "result": "lo"}, done=False),
        "Baidu's own API",
    ),
    _foreign(
        "Cohere, a stream",
        _named(
            {"type": "message-start", "delta": {"message": {"role": "assistant"}}},
            {"type": "content-delta", "delta": {"message": {"content": {"text": "Hello"}}}},
        ),
        "Cohere's own API",
    ),
    _foreign(
        "Cohere, whole",
        whole({"finish_reason": "COMPLETE", "message": {"content": _TEXT}}),
        "Cohere's own API",
    ),
    _foreign(
        "Bedrock",
        whole({"output": {"message": {"content": [{"text": "Hello"}]}}, "stopReason": "end_turn"}),
        "Bedrock's Converse API",
    ),
    _foreign(
        "text-generation-inference",
        stream({"token": {"text": "Hel"}, "generated_text": None}, done=False),
        "text-generation-inference's own API",
    ),
    _foreign(
        "llama.cpp",
        stream({"content": "Hel", "stop": False}, {"content": "lo", "stop": True}, done=False),
        "llama.cpp's own API",
    ),
    _foreign(
        "Spark",
        whole(
            {"header": {"code": 0, "message": "Success"}, "payload": {"choices": {"text": _TEXT}}}
        ),
        "Spark's own API",
    ),
    *(
        failed(
            f"of nobody: {encoded(body).decode()}",
            response,
            "provider_invalid_response",
            "the response has no choices: " + encoded(body).decode(),
            retryable=True,
        )
        for body in ({"hello": "world"}, {"output": ["Hel", "lo"], "id": "p"})
        for response in (whole(body),)
    ),
    failed(
        "a stream of nobody",
        stream({"type": "ping"}, {"foo": 1}),
        "provider_invalid_response",
        'the response has no choices: {"foo": 1}',
        retryable=True,
    ),
]
