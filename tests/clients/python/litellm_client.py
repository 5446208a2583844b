"""litellm as a client: `openai/<model>` before aily's base URL."""

from __future__ import annotations

import json

import litellm
from common import EMBEDDING_MODEL, MODEL, City

litellm.num_retries = 0
_MODEL = f"openai/{MODEL}"
_HELLO = [{"role": "user", "content": "Hello"}]
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def plain() -> None:
    answer = litellm.completion(_MODEL, _HELLO)
    assert "Hello" in answer.choices[0].message.content
    assert answer.usage.total_tokens > 0


def stream() -> None:
    options = {"include_usage": True}
    chunks = list(litellm.completion(_MODEL, _HELLO, stream=True, stream_options=options))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Hello" in text


async def async_plain() -> None:
    answer = await litellm.acompletion(_MODEL, _HELLO)
    assert "Hello" in answer.choices[0].message.content


def tools() -> None:
    asked = [{"role": "user", "content": "How is the weather? [sim:tool]"}]
    answer = litellm.completion(_MODEL, asked, tools=[_TOOL])
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather"
    json.loads(call.function.arguments)


def structured() -> None:
    messages = [{"role": "user", "content": "Name a city"}]
    answer = litellm.completion(_MODEL, messages, response_format=City)
    City.model_validate_json(answer.choices[0].message.content)


def responses() -> None:
    answer = litellm.responses("Hello", _MODEL)
    assert answer.status == "completed"


def embeddings() -> None:
    made = litellm.embedding(f"openai/{EMBEDDING_MODEL}", ["Hello", "World"])
    assert len(made.data) == 2


def errors() -> None:
    try:
        litellm.completion("openai/nobody", _HELLO)
    except litellm.NotFoundError as error:
        assert error.status_code == 404
    else:
        raise AssertionError("an unknown model was answered")
