"""langchain-openai: over chat completions, and over responses where asked."""

from __future__ import annotations

from typing import Any

from common import EMBEDDING_MODEL, MODEL, City, get_weather
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

weather = tool(get_weather)


def _model(**options: Any) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, max_retries=0, **options)


def plain() -> None:
    message = _model().invoke("Hello")
    assert "Hello" in message.text
    assert message.usage_metadata["total_tokens"] > 0
    assert message.response_metadata["finish_reason"] == "stop"


def stream() -> None:
    chunks = list(_model(stream_usage=True).stream("Hello"))
    assert "Hello" in "".join(chunk.text for chunk in chunks)
    assert sum((chunk.usage_metadata or {}).get("total_tokens", 0) for chunk in chunks) > 0


async def async_stream() -> None:
    chunks = [chunk async for chunk in _model().astream("Hello")]
    assert "Hello" in "".join(chunk.text for chunk in chunks)


def tools() -> None:
    model = _model().bind_tools([weather])
    asked = HumanMessage("How is the weather? [sim:tool]")
    message = model.invoke([asked])
    (call,) = message.tool_calls
    assert call["name"] == "get_weather"
    result = ToolMessage("sunny", tool_call_id=call["id"])
    thanks = HumanMessage("Thanks")
    assert model.invoke([asked, message, result, thanks]).text


def structured() -> None:
    for method in ("json_schema", "function_calling"):
        prompt = "Name a city [sim:tool]" if method == "function_calling" else "Name a city"
        found = _model().with_structured_output(City, method=method).invoke(prompt)
        assert isinstance(found, City)


def responses() -> None:
    message = _model(use_responses_api=True).invoke("Hello")
    assert "Hello" in message.text


def responses_stream() -> None:
    chunks = list(_model(use_responses_api=True).stream("Hello"))
    assert "Hello" in "".join(chunk.text for chunk in chunks)


def embeddings() -> None:
    made = OpenAIEmbeddings(model=EMBEDDING_MODEL, check_embedding_ctx_length=False, max_retries=0)
    assert len(made.embed_documents(["Hello", "World"])) == 2
