"""Calls of the simulated provider over real HTTP: answers, faults, time limits, hanging up."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from chat.llm.client import ProviderClient
from chat.llm.errors import ProviderError, RateLimitError
from chat.llm.simulator.answers import simulated_answer
from chat.llm.simulator.server import Simulator
from chat.llm.types import Delta, TimeLimits, ToolCall
from tests.chat.llm.calls import chat, collect, upstream
from tests.chat.llm.conftest import StartSimulator
from tests.clocks import LoopClock
from tests.waiting import until

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


async def _error(client: ProviderClient, simulator: Simulator, prompt: str) -> ProviderError:
    """Short limits only where they are to pass."""
    stall_seconds = 0.4 if "stall" in prompt else 60
    limits = TimeLimits(
        first_token_seconds=stall_seconds, between_tokens_seconds=stall_seconds, total_seconds=60
    )
    with pytest.raises(ProviderError) as raised:
        await collect(client, upstream(simulator.url), chat(prompt), limits)
    return raised.value


@pytest.mark.parametrize(
    ("prompt", "params"),
    [
        ("What is a queue?", {}),
        ("Say it at once", {"thinking": {"type": "disabled"}}),
        ("[sim:tokens=700] at length 漢字 🚀", {}),
        ("as json please", {"response_format": {"type": "json_object"}}),
        ("cut me short", {"max_tokens": 50}),
        ("no room to speak", {"max_tokens": 5}),
    ],
)
async def test_the_answer_arrives_byte_for_byte(
    client: ProviderClient, simulator: Simulator, prompt: str, params: dict[str, Any]
) -> None:
    request = chat(prompt, **params)
    expected = simulated_answer(request.body("simulator"))
    got = await collect(client, upstream(simulator.url), request)
    assert got.text.encode() == expected.text.encode()
    assert got.reasoning.encode() == expected.reasoning.encode()
    assert got.completion.finish_reason == expected.finish_reason
    usage = got.completion.usage
    assert usage.reasoning_tokens == len(expected.reasoning_tokens)
    assert usage.completion_tokens == len(expected.reasoning_tokens) + len(expected.tokens)
    assert usage.prompt_tokens == expected.prompt_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert got.completion.model == "deepseek-flash"
    assert got.completion.upstream_id
    assert got.completion.request_id


async def test_a_paced_answer_comes_in_many_pieces_and_whole(
    client: ProviderClient, start_simulator: StartSimulator
) -> None:
    simulator = await start_simulator(tokens_per_second=300, write_seconds=0.02)
    request = chat("slowly [sim:tokens=100]")
    got = await collect(client, upstream(simulator.url), request)
    assert got.text == simulated_answer(request.body("simulator")).text
    assert got.deltas >= 5


@pytest.mark.parametrize(
    ("directive", "code", "retryable", "status"),
    [
        ("status=400", "provider_bad_request", False, 400),
        ("status=422", "provider_bad_request", False, 422),
        ("status=401", "provider_auth", False, 401),
        ("status=403", "provider_auth", False, 403),
        ("status=402", "provider_balance", False, 402),
        ("status=404", "provider_model_not_found", False, 404),
        ("status=429", "provider_rate_limited", True, 429),
        ("status=500", "provider_error", True, 500),
        ("status=502", "provider_error", True, 502),
        ("status=504", "provider_error", True, 504),
        ("status=503", "provider_overloaded", True, 503),
        ("stall=first", "provider_timeout_first_token", True, None),
        ("stall=first,silent", "provider_timeout_first_token", True, None),
        ("stall=middle", "provider_timeout_between_tokens", True, None),
        ("stall=middle,silent", "provider_timeout_between_tokens", True, None),
        ("truncate", "provider_truncated", True, None),
        ("disconnect", "provider_truncated", True, None),
        ("broken_json", "provider_invalid_response", True, None),
        ("error=first", "provider_error", True, None),
        ("error=middle", "provider_error", True, None),
        ("empty", "provider_empty", True, None),
        ("finish=insufficient_system_resource", "provider_overloaded", True, None),
    ],
)
async def test_each_fault_is_the_documented_error_and_passes_with_it(
    client: ProviderClient,
    start_simulator: StartSimulator,
    directive: str,
    code: str,
    retryable: bool,
    status: int | None,
) -> None:
    simulator = await start_simulator(keep_alive_seconds=0.05)
    prompt = f"hello [sim:{directive},times=1]"
    error = await _error(client, simulator, prompt)
    assert (error.code, error.retryable, error.status) == (code, retryable, status)
    assert error.message
    request = chat(prompt)
    again = await collect(client, upstream(simulator.url), request)
    assert again.text == simulated_answer(request.body("simulator")).text
    await until(lambda: simulator.stats.in_flight == 0)


async def test_the_text_before_a_fault_is_given_first(
    client: ProviderClient, simulator: Simulator
) -> None:
    request = chat("hello [sim:truncate]", thinking={"type": "disabled"})
    got: list[Delta] = []
    with pytest.raises(ProviderError):
        await client.ask(upstream(simulator.url), request, TimeLimits(), got.append)
    text = "".join(delta.text for delta in got)
    assert text
    assert simulated_answer(request.body("simulator")).text.startswith(text)


async def test_retry_after_is_read_in_seconds(client: ProviderClient, simulator: Simulator) -> None:
    error = await _error(client, simulator, "[sim:status=429,retry_after=7.5]")
    assert error.retry_after_seconds == 7.5
    assert (await _error(client, simulator, "[sim:status=503]")).retry_after_seconds is None


@pytest.mark.parametrize("where", ["first", "middle"])
async def test_keep_alives_do_not_put_off_a_deadline(
    client: ProviderClient, start_simulator: StartSimulator, where: str
) -> None:
    simulator = await start_simulator(keep_alive_seconds=0.02)
    started = time.monotonic()
    error = await _error(client, simulator, f"[sim:stall={where}]")
    assert error.retryable
    assert time.monotonic() - started < 15


async def test_the_total_limit_holds_while_tokens_keep_coming(
    client: ProviderClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = LoopClock(monkeypatch)
    request = chat("[sim:latency=0,tokens=5000,tps=50] go on")
    limits = TimeLimits(total_seconds=80)
    call = asyncio.create_task(collect(client, upstream(simulator.url), request, limits))
    await until(lambda: simulator.stats.in_flight == 1)
    # In steps, of which none is as long as another limit.
    for _ in range(5):
        clock.advance(19)
        await asyncio.sleep(0.02)
    with pytest.raises(ProviderError) as raised:
        await call
    assert raised.value.code == "provider_timeout_total"
    assert not raised.value.retryable
    await until(lambda: simulator.stats.client_disconnects == 1)


@pytest.mark.parametrize(
    "directive", ["stall=first", "stall=first,silent", "latency=60", "status=500,latency=60"]
)
async def test_cancelling_before_the_first_token_hangs_up(
    client: ProviderClient, simulator: Simulator, directive: str
) -> None:
    call = asyncio.create_task(collect(client, upstream(simulator.url), chat(f"[sim:{directive}]")))
    await until(lambda: simulator.stats.in_flight == 1)
    call.cancel()
    assert await until(lambda: simulator.stats.client_disconnects == 1)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert simulator.stats.in_flight == 0


async def test_cancelling_in_mid_stream_hangs_up(
    client: ProviderClient, simulator: Simulator
) -> None:
    started = asyncio.Event()

    request = chat("[sim:tps=50,tokens=5000]")
    asking = client.ask(upstream(simulator.url), request, TimeLimits(), lambda _: started.set())
    call = asyncio.create_task(asking)
    await asyncio.wait_for(started.wait(), 20)
    call.cancel()
    assert await until(lambda: simulator.stats.client_disconnects == 1)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert simulator.stats.in_flight == 0


async def test_three_hundred_calls_run_at_once(
    client: ProviderClient, start_simulator: StartSimulator
) -> None:
    simulator = await start_simulator(latency_seconds=(0, 0))
    requests = [chat(f"[sim:latency=1] call {number}") for number in range(300)]
    got = await asyncio.gather(
        *(collect(client, upstream(simulator.url), request) for request in requests)
    )
    assert simulator.stats.max_in_flight == 300
    assert [call.text for call in got] == [
        simulated_answer(request.body("simulator")).text for request in requests
    ]


async def test_calls_over_the_cap_get_429_until_an_answer_is_complete(
    client: ProviderClient, start_simulator: StartSimulator
) -> None:
    simulator = await start_simulator(concurrency=2)
    to = upstream(simulator.url)
    calls = [asyncio.create_task(collect(client, to, chat("[sim:latency=60]"))) for _ in range(2)]
    await until(lambda: simulator.stats.in_flight == 2)
    with pytest.raises(RateLimitError) as raised:
        await collect(client, to, chat("one more"))
    assert raised.value.retry_after_seconds == 1
    calls[0].cancel()
    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    await until(lambda: simulator.stats.in_flight == 1)
    for number in range(20):  # each takes the place that the one before has just given back
        await collect(client, to, chat(f"now {number}"))
    calls[1].cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert simulator.stats.rejected_429 == 1
    assert simulator.stats.max_in_flight == 2


@pytest.mark.parametrize("where", ["finish", "after", "none"])
async def test_usage_is_found_wherever_it_comes(
    client: ProviderClient, simulator: Simulator, where: str
) -> None:
    got = await collect(client, upstream(simulator.url), chat(f"[sim:usage={where}]"))
    assert (got.completion.usage.completion_tokens > 0) == (where != "none")
    assert got.completion.finish_reason == "stop"


async def test_a_tool_call_is_put_together(client: ProviderClient, simulator: Simulator) -> None:
    request = chat("weather? [sim:tool]", tools=[WEATHER])
    got = await collect(client, upstream(simulator.url), request)
    assert got.text == ""
    assert got.completion.finish_reason == "tool_calls"
    (expected,) = simulated_answer(request.body("simulator")).tool_calls
    assert got.completion.tool_calls == (
        ToolCall(expected.id, "get_weather", '{"city": "simulated city"}'),
    )


async def test_a_nul_character_is_made_storable(
    client: ProviderClient, simulator: Simulator
) -> None:
    request = chat("[sim:nul]")
    expected = simulated_answer(request.body("simulator")).text
    assert "\x00" in expected
    got = await collect(client, upstream(simulator.url), request)
    assert got.text == expected.replace("\x00", "\ufffd")


async def test_the_key_is_sent_and_never_shown(
    client: ProviderClient, start_simulator: StartSimulator
) -> None:
    simulator = await start_simulator(api_key="sk-right")
    assert (await collect(client, upstream(simulator.url, "sk-right"), chat("hi"))).text
    for key in (None, "sk-wrong", "sk-ungültig\n"):
        to = upstream(simulator.url, key)
        with pytest.raises(ProviderError) as raised:
            await collect(client, to, chat("hi"))
        assert raised.value.code == "provider_auth"
        assert "sk-" not in f"{raised.value} {raised.value!r} {to!r}"


async def test_a_request_that_cannot_be_written_as_json_is_refused(
    client: ProviderClient, simulator: Simulator
) -> None:
    error = await _error(client, simulator, "half an emoji \ud83d")
    assert error.code == "provider_bad_request"
    assert simulator.stats.requests == 0


def test_parameters_cannot_turn_streaming_off_or_change_the_caller() -> None:
    request = chat("hi", stream=False, user_id="someone", model="other", temperature=0, top_p=None)
    body = request.body("openai")
    assert body == {
        "model": "deepseek-flash",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }
