"""pydantic-ai: over chat completions and over responses."""

from __future__ import annotations

from common import MODEL, City, get_weather
from pydantic_ai import Agent, NativeOutput, UsageLimitExceeded, UsageLimits
from pydantic_ai.models import Model
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel


async def _plain(model: Model) -> None:
    result = await Agent(model).run("Hello")
    assert "Hello" in result.output
    assert result.usage.total_tokens > 0


async def _stream(model: Model) -> None:
    async with Agent(model).run_stream("Hello") as result:
        pieces = [piece async for piece in result.stream_text(delta=True)]
    assert "Hello" in "".join(pieces)


async def _structured(model: Model) -> None:
    result = await Agent(model, output_type=NativeOutput(City)).run("Name a city")
    assert isinstance(result.output, City)


async def _tools(model: Model) -> None:
    agent = Agent(model, tools=[get_weather])
    try:
        await agent.run("How is the weather? [sim:tool]", usage_limits=UsageLimits(request_limit=2))
    except UsageLimitExceeded as error:
        assert "request_limit of 2" in str(error)
    else:
        raise AssertionError("the tool was not called")


async def chat() -> None:
    await _plain(OpenAIChatModel(MODEL))


async def chat_stream() -> None:
    await _stream(OpenAIChatModel(MODEL))


async def chat_structured() -> None:
    await _structured(OpenAIChatModel(MODEL))


async def chat_tools() -> None:
    await _tools(OpenAIChatModel(MODEL))


async def responses() -> None:
    await _plain(OpenAIResponsesModel(MODEL))


async def responses_stream() -> None:
    await _stream(OpenAIResponsesModel(MODEL))


async def responses_structured() -> None:
    await _structured(OpenAIResponsesModel(MODEL))


async def responses_tools() -> None:
    await _tools(OpenAIResponsesModel(MODEL))
