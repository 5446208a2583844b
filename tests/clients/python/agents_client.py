"""openai-agents: over responses, which is its default, and over chat completions."""

from __future__ import annotations

from agents import (
    Agent,
    MaxTurnsExceeded,
    OpenAIChatCompletionsModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from common import MODEL, City, get_weather
from openai import AsyncOpenAI

set_tracing_disabled(True)
weather = function_tool(get_weather)


def _chat() -> OpenAIChatCompletionsModel:
    return OpenAIChatCompletionsModel(MODEL, AsyncOpenAI(max_retries=0))


async def plain() -> None:
    result = await Runner.run(Agent("Helper", model=MODEL), "Hello")
    assert "Hello" in result.final_output


async def stream() -> None:
    result = Runner.run_streamed(Agent("Helper", model=MODEL), "Hello")
    kinds = [event.type async for event in result.stream_events()]
    assert "raw_response_event" in kinds
    assert "Hello" in result.final_output


async def structured() -> None:
    agent = Agent("Helper", model=MODEL, output_type=City)
    result = await Runner.run(agent, "Name a city")
    assert isinstance(result.final_output, City)


async def tools() -> None:
    """The simulator calls the tool at each turn: the second turn has the result of the first."""
    agent = Agent("Helper", model=MODEL, tools=[weather])
    try:
        await Runner.run(agent, "How is the weather? [sim:tool]", max_turns=2)
    except MaxTurnsExceeded as error:
        assert len(error.run_data.raw_responses) == 2
    else:
        raise AssertionError("the tool was not called")


async def turns() -> None:
    agent = Agent("Helper", model=MODEL)
    first = await Runner.run(agent, "Hello")
    again = await Runner.run(agent, "Again", previous_response_id=first.last_response_id)
    assert "Again" in again.final_output


async def chat() -> None:
    result = await Runner.run(Agent("Helper", model=_chat()), "Hello")
    assert "Hello" in result.final_output


async def chat_stream() -> None:
    result = Runner.run_streamed(Agent("Helper", model=_chat()), "Hello")
    assert [event async for event in result.stream_events()]
    assert "Hello" in result.final_output


async def chat_tools() -> None:
    agent = Agent("Helper", model=_chat(), tools=[weather])
    try:
        await Runner.run(agent, "How is the weather? [sim:tool]", max_turns=2)
    except MaxTurnsExceeded as error:
        assert len(error.run_data.raw_responses) == 2
    else:
        raise AssertionError("the tool was not called")
