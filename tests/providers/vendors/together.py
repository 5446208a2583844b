"""Together: finish reason `eos`, text of the older completions, an error as a text."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import Answered, Case, Failed, chunk, counts, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="its own finish reason, and usage on the last chunk",
        response=stream(
            {**text("Hi"), "choices": [{**text("Hi")["choices"][0], "text": "Hi", "seed": None}]},
            chunk({"content": ""}, "eos", usage=counts(3, 1)),
        ),
        text="Hi",
        finish_reason="eos",
        usage=Usage(3, 1, 4),
    ),
    Answered(
        name="text of the older completions",
        response=stream(
            {"id": "1", "choices": [{"index": 0, "text": "He"}]},
            {"id": "1", "choices": [{"index": 0, "text": "y", "finish_reason": "stop"}]},
        ),
        text="Hey",
    ),
    Failed(
        name="a model that cannot be had",
        response=whole(
            {
                "id": "n",
                "error": {
                    "message": "Unable to access model x.",
                    "type": "invalid_request_error",
                    "param": "model",
                    "code": "model_not_available",
                },
            },
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="Unable to access model",
        retryable=False,
    ),
    Failed(
        name="an error that is a text",
        response=stream(text("Once"), {"error": "Input validation error"}),
        code="provider_error",
        words="Input validation error",
        retryable=True,
    ),
]
