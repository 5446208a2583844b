"""Wherever a response is cut, and however: the part that came is never taken for the whole."""

from __future__ import annotations

import pytest

from chat.llm.client import ProviderClient
from chat.llm.errors import ProviderError
from chat.llm.types import ChatRequest, Delta, TimeLimits, Upstream
from tests.providers.playing import (
    STOP,
    Response,
    chunk,
    cut,
    encoded,
    stream,
    text,
    tool,
    tools,
    vendor,
    whole,
    with_length,
)

LIMITS = TimeLimits(first_token_seconds=10, between_tokens_seconds=10, total_seconds=20)
#: Bytes between two cuts: a prime, so that they fall on all parts of events.
STEP = 7
RESPONSES = {
    "a reason of its own": stream(text("Hel"), text("lo"), STOP),
    "no end mark": stream(text("Hel"), text("lo"), STOP, done=False),
    "a reason with each text": stream(text("Hel", "stop"), text("lo", "stop")),
    "calls of tools": stream(
        tools(tool(0, "c", "f", '{"a":')),
        tools(tool(0, arguments="1}")),
        tools(tool(1, "d", "g", "{}"), finish="tool_calls"),
    ),
    "text before a call": stream(
        text("Hello"), tools(tool(0, "c", "f", "{}")), chunk(finish="tool_calls")
    ),
    "lines of JSON": Response(
        body=b"".join(
            encoded(event) + b"\n" for event in (text("Hel"), text("lo", "stop"), "[DONE]")
        )
    ),
    "one JSON value": whole({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}),
}


@pytest.mark.parametrize("name", RESPONSES)
@pytest.mark.parametrize("framing", ["close", "length", "chunked"])
async def test_a_cut_answer_is_no_answer(name: str, framing: str) -> None:
    response = RESPONSES[name]
    async with ProviderClient() as client, vendor([with_length(response)]) as url:
        full = await _ask(client, url)
    assert full is not None
    sent = [cut(response, at, framing) for at in range(0, len(response.body), STEP)]
    async with ProviderClient() as client, vendor(sent) as url:
        answers = [await _ask(client, url) for _ in sent]
    assert set(answers) <= {None, full}
    assert answers[0] is None


async def _ask(client: ProviderClient, url: str) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    """The text and the calls; None for an error."""
    deltas: list[Delta] = []
    request = ChatRequest("m", [{"role": "user", "content": "hi"}])
    try:
        completion = await client.ask(
            Upstream(base_url=url, api_key=None, provider="vendor"),
            request,
            LIMITS,
            deltas.append,
        )
    except ProviderError:
        return None
    calls = tuple((call.name, call.arguments) for call in completion.tool_calls)
    return "".join(delta.text for delta in deltas), calls
