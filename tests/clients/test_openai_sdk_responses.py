"""Responses by OpenAI's own Python SDK against a running aily, over HTTP and WebSocket."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel
from websockets.exceptions import InvalidStatus

from tests.client import RestClient
from tests.clients.conftest import Installation
from tests.clients.openai_schemas import check
from tests.waiting import eventually, wait_until

MODEL = "deepseek-flash"
STORY = "Tell me a story [sim:tokens=60,tps=300]"
SLOW = "Tell me a long story [sim:tokens=4000,tps=40]"
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def numbers(events: list[Any]) -> list[int]:
    return [event.sequence_number for event in events]


def deltas(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def in_background(sdk: OpenAI, prompt: str) -> str:
    """Create a background response and give its id."""
    return str(sdk.responses.create(model=MODEL, input=prompt, background=True).id)


def ended(sdk: OpenAI, response_id: str) -> Response:
    def found() -> Response | None:
        response = sdk.responses.retrieve(response_id)
        return None if response.status in ("queued", "in_progress") else response

    return wait_until(found) or pytest.fail("never ended")


# --- Create, stream, parse ----------------------------------------------------------------------
def test_a_response_fits_openais_schema(sdk: OpenAI) -> None:
    raw = sdk.responses.with_raw_response.create(
        model=MODEL,
        input="Good morning!",
        instructions="Be brief.",
        metadata={"order": "4711"},
        temperature=0.3,
    )
    check("Response", raw.http_response.json())
    response = raw.parse()
    assert response.output_text
    assert response.status == "completed"
    assert abs(response.created_at - time.time()) < 60
    assert response.usage is not None
    assert response.usage.total_tokens > 0
    assert response._request_id == raw.headers["x-request-id"]
    assert sdk.responses.retrieve(response.id) == response


async def test_a_response_is_a_task_like_any_other(sdk: OpenAI, rest: RestClient) -> None:
    raw = sdk.responses.with_raw_response.create(
        model=MODEL, input="Keep me", metadata={"order": "4713"}, service_tier="flex"
    )
    task = await rest.task(raw.headers["aily-task-id"])
    response = raw.parse()
    assert task["result"]["text"] == response.output_text
    assert (task["metadata"], task["lane"]) == ({"order": "4713"}, "batch")
    assert response.service_tier == "flex"


async def test_the_asynchronous_client_streams(async_sdk: AsyncOpenAI) -> None:
    events = []
    stream = await async_sdk.responses.create(model=MODEL, input=STORY, stream=True)
    async for event in stream:
        check("ResponseStreamEvent", event.to_dict())
        events.append(event)
    assert numbers(events) == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == deltas(events)
    assert await async_sdk.responses.retrieve(last.response.id) == last.response


def test_the_helper_gives_snapshots_and_the_final_response(sdk: OpenAI) -> None:
    with sdk.responses.stream(model=MODEL, input=STORY) as stream:
        snapshots = [
            event.snapshot for event in stream if event.type == "response.output_text.delta"
        ]
        final = stream.get_final_response()
    assert final.output_text == snapshots[-1] != ""
    assert len(snapshots) > 1


def test_log_probabilities_are_those_of_the_text(sdk: OpenAI) -> None:
    asked: Any = {"model": MODEL, "input": STORY, "include": ["message.output_text.logprobs"]}
    events = list(sdk.responses.create(**asked, top_logprobs=2, stream=True))
    for event in events:
        check("ResponseStreamEvent", event.to_dict())
    [done] = [event for event in events if event.type == "response.output_text.done"]
    assert "".join(token.token for token in done.logprobs) == done.text == deltas(events)
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.top_logprobs == 2
    part: Any = next(item for item in last.response.output if item.type == "message").content[0]
    assert [token.token for token in part.logprobs] == [token.token for token in done.logprobs]
    assert {len(token.top_logprobs) for token in part.logprobs} == {2}
    assert sdk.responses.retrieve(last.response.id) == last.response
    replayed = list(sdk.responses.retrieve(last.response.id, stream=True, starting_after=0))
    assert replayed == events[1:]


class Step(BaseModel):
    explanation: str


class Solution(BaseModel):
    steps: list[Step]
    answer: str


def test_a_pydantic_model_is_parsed(sdk: OpenAI) -> None:
    """By a provider that knows no schema, and at first answers what does not fit."""
    prompt = "As JSON [sim:schema=second]"
    response = sdk.responses.parse(model=MODEL, input=prompt, text_format=Solution)
    assert isinstance(response.output_parsed, Solution)
    with sdk.responses.stream(model=MODEL, input=prompt, text_format=Solution) as stream:
        assert isinstance(stream.get_final_response().output_parsed, Solution)
    with pytest.raises(openai.APIStatusError, match=r"fits? the JSON Schema"):
        sdk.responses.parse(model=MODEL, input="As JSON [sim:schema=never]", text_format=Solution)


def test_tools_go_round(sdk: OpenAI) -> None:
    first = sdk.responses.create(model=MODEL, input="The weather? [sim:tool]", tools=[WEATHER])
    [call] = [item for item in first.output if item.type == "function_call"]
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}
    second = sdk.responses.create(
        model=MODEL, input=[result], previous_response_id=first.id, tools=[WEATHER]
    )
    assert second.status == "completed"
    assert second.previous_response_id == first.id
    with sdk.responses.stream(
        model=MODEL, input="The weather? [sim:tool]", tools=[WEATHER]
    ) as stream:
        kinds = [event.type for event in stream]
    assert "response.function_call_arguments.delta" in kinds
    with pytest.raises(openai.BadRequestError, match="No tool output found"):
        sdk.responses.create(model=MODEL, input="And?", previous_response_id=first.id)


# --- Background ---------------------------------------------------------------------------------
def test_a_background_response_is_polled(sdk: OpenAI) -> None:
    response_id = in_background(sdk, STORY)
    response = ended(sdk, response_id)
    assert response.status == "completed"
    assert response.output_text
    events = list(sdk.responses.retrieve(response_id, stream=True))
    assert deltas(events) == response.output_text


def test_a_background_stream_is_resumed(sdk: OpenAI) -> None:
    with sdk.responses.create(model=MODEL, input=SLOW, background=True, stream=True) as stream:
        seen: list[Any] = []
        for event in stream:
            seen.append(event)
            if event.sequence_number == 10:
                break
    response_id = seen[0].response.id
    with sdk.responses.retrieve(response_id, stream=True, starting_after=10) as rest:
        more = [next(rest) for _ in range(5)]
    assert numbers(more) == [11, 12, 13, 14, 15]
    cancelled = sdk.responses.cancel(response_id)
    assert cancelled.status == "cancelled"
    whole = list(sdk.responses.retrieve(response_id, stream=True))
    assert whole[: len(seen) + 5] == seen + more
    assert whole[-1].type == "response.incomplete"
    assert deltas(whole) == cancelled.output_text
    assert sdk.responses.cancel(response_id) == cancelled


def test_the_helper_resumes(sdk: OpenAI) -> None:
    """It never sends the number: it reads all from the start, and leaves out what was seen."""
    response_id = in_background(sdk, STORY)
    ended(sdk, response_id)
    for after in (None, 0, 5):
        options: Any = {} if after is None else {"starting_after": after}
        with sdk.responses.stream(response_id=response_id, **options) as stream:
            events = list(stream)
            final = stream.get_final_response()
        assert numbers(events) == list(
            range(0 if after is None else after + 1, events[-1].sequence_number + 1)
        )
        assert final.output_text == ended(sdk, response_id).output_text


async def test_a_dropped_stream_ends_its_generation(sdk: OpenAI, rest: RestClient) -> None:
    with sdk.responses.create(model=MODEL, input=SLOW, stream=True) as stream:
        first: ResponseStreamEvent = next(iter(stream))
    assert first.type == "response.created"
    response_id = first.response.id
    await eventually(lambda: _is_cancelled(sdk, response_id))


async def _is_cancelled(sdk: OpenAI, response_id: str) -> bool:
    response = await asyncio.to_thread(sdk.responses.retrieve, response_id)
    return bool(response.status == "cancelled")


# --- Stored -------------------------------------------------------------------------------------
def test_input_items_are_listed_in_pages(sdk: OpenAI) -> None:
    items: Any = [{"role": "user", "content": f"Number {number}"} for number in range(5)]
    response = sdk.responses.create(model=MODEL, input=items)
    listed: list[Any] = list(sdk.responses.input_items.list(response.id, limit=2, order="asc"))
    assert [item.content[0].text for item in listed] == [f"Number {n}" for n in range(5)]
    assert sdk.responses.input_items.list(response.id).data[0].id == listed[-1].id


def test_a_deleted_response_is_gone(sdk: OpenAI) -> None:
    response = sdk.responses.create(model=MODEL, input="Forget me")
    sdk.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(response.id)


def test_another_users_response_is_not_found(sdk: OpenAI, installation: Installation) -> None:
    response = sdk.responses.create(model=MODEL, input="Mine")
    with OpenAI(base_url=installation.base_url, api_key=installation.bob) as bob:
        for call in (bob.responses.retrieve, bob.responses.delete, bob.responses.cancel):
            with pytest.raises(openai.NotFoundError):
                call(response.id)


def test_tokens_are_counted(sdk: OpenAI) -> None:
    assert sdk.responses.input_tokens.count(model=MODEL, input="Hello").input_tokens > 0


# --- WebSocket ----------------------------------------------------------------------------------
#: Of websockets, in the way in which the SDK opens a connection.
_deprecated = pytest.mark.filterwarnings("ignore:connect\\(\\) must be:DeprecationWarning")


def events_until_end(connection: Any) -> Iterator[Any]:
    """The events of one response on a connection."""
    while True:
        event = connection.recv()
        yield event
        if event.type in ("response.completed", "response.failed", "response.incomplete", "error"):
            return


@_deprecated
def test_a_connection_makes_one_response_after_the_other(sdk: OpenAI) -> None:
    with sdk.responses.connect() as connection:
        connection.response.create(model=MODEL, input=STORY)
        first = list(events_until_end(connection))
        assert numbers(first) == list(range(len(first)))
        assert deltas(first) == first[-1].response.output_text
        assert sdk.responses.retrieve(first[-1].response.id).output_text == deltas(first)
        connection.response.create(
            model=MODEL, input="Go on", previous_response_id=first[-1].response.id
        )
        second = list(events_until_end(connection))
        assert second[-1].response.previous_response_id == first[-1].response.id


@_deprecated
def test_what_is_not_stored_goes_on_within_its_connection(sdk: OpenAI) -> None:
    with sdk.responses.connect() as connection:
        connection.response.create(model=MODEL, input="My name is Ada", store=False)
        first = list(events_until_end(connection))[-1].response
        connection.response.create(
            model=MODEL, input="Go on", store=False, previous_response_id=first.id
        )
        assert list(events_until_end(connection))[-1].type == "response.completed"
    with sdk.responses.connect() as connection:
        connection.response.create(
            model=MODEL, input="Go on", store=False, previous_response_id=first.id
        )
        [error] = events_until_end(connection)
        assert (error.status, error.error.code) == (400, "previous_response_not_found")


async def test_lanes_run_side_by_side(async_sdk: AsyncOpenAI) -> None:
    async with async_sdk.responses.connect() as connection:
        await connection.send(_create(SLOW, "slow"))
        await connection.send(_create(STORY, "quick"))
        await connection.send(_create("Then this", "quick"))
        seen: list[Any] = []
        while sum(event.type == "response.completed" for event in seen) < 2:
            seen.append(await connection.recv())
        assert {event.stream_id for event in seen} == {"slow", "quick"}
        quick = [event for event in seen if event.stream_id == "quick"]
        assert [event.type for event in quick].index("response.completed") < len(quick) - 1
        created = [event.response.id for event in quick if event.type == "response.created"]
        ends = [event.response.id for event in quick if event.type == "response.completed"]
        assert created == ends


def _create(prompt: str, lane: str) -> Any:
    return {"type": "response.create", "model": MODEL, "input": prompt, "stream_id": lane}


@_deprecated
def test_a_connection_survives_errors(sdk: OpenAI) -> None:
    with sdk.responses.connect() as connection:
        for frame, param in (
            ({"type": "response.create", "model": "nobody", "input": "x"}, "model"),
            ({"type": "response.create", "model": MODEL}, "input"),
            (
                {"type": "response.create", "model": MODEL, "input": "x", "background": True},
                "background",
            ),
            ({"type": "something"}, "type"),
        ):
            connection.send_raw(json.dumps(frame))
            error = connection.recv()
            assert error.type == "error"
            assert error.error.param == param
        connection.response.steer(input="Left", previous_response_id="resp_1")
        failed = connection.recv()
        assert failed.type == "response.steer.failed"
        assert failed.error.code == "steering_not_supported"
        connection.response.create(model=MODEL, input="Hello")
        assert list(events_until_end(connection))[-1].type == "response.completed"


@_deprecated
def test_a_connection_needs_a_key(installation: Installation) -> None:
    stranger = OpenAI(base_url=installation.base_url, api_key="nonsense")
    with stranger, pytest.raises(InvalidStatus, match="401"), stranger.responses.connect():
        pass
