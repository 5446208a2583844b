"""llama.cpp's server: timings beside the usage, its own error types, `error:` lines of old."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import Answered, Case, Failed, chunk, counts, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="timings, and usage in a chunk of its own",
        response=stream(
            chunk({"role": "assistant", "content": None}),
            text("Hi"),
            chunk(finish="stop"),
            {
                **chunk(),
                "choices": [],
                "usage": counts(3, 1),
                "timings": {"prompt_n": 3, "predicted_per_second": 51.7},
            },
        ),
        text="Hi",
        usage=Usage(3, 1, 4),
    ),
    Failed(
        name="a context that is too small",
        response=whole(
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 9000,
                    "n_ctx": 4096,
                }
            },
            "400 Bad Request",
        ),
        code="provider_bad_request",
        words="context size",
        retryable=False,
    ),
    Failed(
        name="a model that is being loaded",
        response=whole(
            {
                "error": {
                    "code": 503,
                    "message": "Loading model",
                    "type": "unavailable_error",
                }
            },
            "503 Service Unavailable",
        ),
        code="provider_overloaded",
        words="Loading model",
        retryable=True,
    ),
    Failed(
        name="a line of an error instead of an event",
        response=stream(
            text("Once"),
            b'error: {"code":500,"message":"slot failed","type":"server_error"}\n\n',
            done=False,
        ),
        code="provider_error",
        words="slot failed",
        retryable=True,
    ),
    Failed(
        name="a path that is not there",
        response=whole(
            {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}},
            "404 Not Found",
        ),
        code="provider_bad_request",
        words="File Not Found",
        retryable=False,
    ),
]
