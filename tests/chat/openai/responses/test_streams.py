"""Events of responses: their order and numbers, alike for every reader and for ever."""

from __future__ import annotations

import asyncio
import json
from typing import cast

import pytest

from aily.database.threads import in_database
from aily.redis.clients import sync_redis
from chat.eventlog.keys import log_key
from chat.models import StoredResponse, Task
from chat.models.task_states import REFUSAL
from chat.openai.responses.objects import task_id_of
from chat.services.follow import follower
from tests.chat.openai.responses.client import (
    TERMINAL_TYPES,
    Event,
    ResponsesClient,
    deltas_of,
    forget_log,
    numbers,
    text_of,
    types_of,
)
from tests.waiting import eventually

STORY = "Tell me a story [sim:tokens=40,tps=400]"
#: A model that answers without reasoning.
PLAIN = {"model": "plain"}
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def forget_transcript(response_id: str) -> None:
    """As when the worker could not store how the text was cut."""
    found = StoredResponse.objects.filter(pk=task_id_of(response_id))
    assert await in_database(lambda: found.update(transcript=[])) == 1


# --- Order --------------------------------------------------------------------------------------
async def test_the_events_of_a_text_come_in_order(responses: ResponsesClient) -> None:
    events = await responses.stream(STORY, **PLAIN)
    assert types_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert numbers(events) == list(range(len(events)))
    response = events[-1]["response"]
    assert events[0]["response"]["status"] == "in_progress"
    assert text_of(response) == deltas_of(events) == events[-4]["text"] != ""
    assert response["usage"]["output_tokens"] > 0
    assert await responses.get(response["id"]) == response


async def test_reasoning_and_calls_are_items_of_their_own(responses: ResponsesClient) -> None:
    events = await responses.stream("Call it [sim:tool]", tools=[WEATHER])
    assert types_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_text.delta",
        "reasoning_text.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    reasoning, call = events[-1]["response"]["output"]
    assert [event["item"] for event in events if event["type"] == "response.output_item.done"] == [
        reasoning,
        call,
    ]
    assert (reasoning["type"], call["type"], call["name"]) == (
        "reasoning",
        "function_call",
        "weather",
    )
    assert events[-3]["arguments"] == call["arguments"]


async def test_a_background_stream_begins_in_the_queue(responses: ResponsesClient) -> None:
    events = await responses.stream(STORY, background=True, **PLAIN)
    assert types_of(events)[:3] == ["created", "queued", "in_progress"]
    assert [event["response"]["status"] for event in events[:3]] == [
        "queued",
        "queued",
        "in_progress",
    ]
    assert numbers(events) == list(range(len(events)))


async def test_an_answer_that_is_cut_off_is_incomplete(responses: ResponsesClient) -> None:
    events = await responses.stream(STORY, max_output_tokens=5, **PLAIN)
    last = events[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert last["response"]["output"][0]["status"] == "incomplete"
    assert await responses.get(last["response"]["id"]) == last["response"]


async def test_a_failure_is_the_last_event(responses: ResponsesClient) -> None:
    events = await responses.stream("Fail [sim:status=400]")
    assert types_of(events) == ["created", "in_progress", "failed"]
    response = events[-1]["response"]
    assert response["status"] == "failed"
    assert response["error"]["code"] == "invalid_prompt"
    assert await responses.get(response["id"]) == response


# --- Numbers ------------------------------------------------------------------------------------
async def test_every_number_can_be_resumed_from(responses: ResponsesClient) -> None:
    events = await responses.stream(STORY)
    response_id = events[0]["response"]["id"]
    assert await responses.events(response_id) == events
    for number in numbers(events):
        assert await responses.events(response_id, number) == events[number + 1 :]
    assert await responses.events(response_id, 1_000_000) == []


async def test_the_numbers_stay_when_the_log_is_gone(responses: ResponsesClient) -> None:
    events = await responses.stream(STORY)
    response_id = events[0]["response"]["id"]
    forget_log(response_id)
    assert await responses.events(response_id) == events
    for number in numbers(events):
        assert await responses.events(response_id, number) == events[number + 1 :]


async def test_a_failed_attempt_leaves_an_incomplete_item(responses: ResponsesClient) -> None:
    prompt = "Fail once [sim:disconnect,times=1,tokens=30,tps=300]"
    events = await responses.stream(prompt, **PLAIN)
    assert numbers(events) == list(range(len(events)))
    response = events[-1]["response"]
    first, second = response["output"]
    assert [first["status"], second["status"]] == ["incomplete", "completed"]
    assert first["id"] != second["id"]
    assert first["content"][0]["text"] != ""
    assert text_of(response) == deltas_of(events)
    await _stays_the_same(responses, events)
    forget_log(response["id"])
    await _stays_the_same(responses, events)


async def _stays_the_same(responses: ResponsesClient, events: list[Event]) -> None:
    response = events[-1]["response"]
    assert await responses.get(response["id"]) == response
    for number in numbers(events):
        assert await responses.events(response["id"], number) == events[number + 1 :]


async def test_without_a_stream_only_the_final_answer_counts(responses: ResponsesClient) -> None:
    """Nobody was sent the text of the attempt that failed."""
    response = await responses.create("Fail once [sim:disconnect,times=1,tokens=30]", **PLAIN)
    [message] = response["output"]
    assert message["status"] == "completed"
    events = await responses.events(response["id"])
    assert numbers(events) == list(range(len(events)))
    assert deltas_of(events) == text_of(response)
    assert events[-1]["response"] == await responses.get(response["id"]) == response


async def test_what_was_lost_comes_in_whole_items(
    responses: ResponsesClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody knows any more how the text was cut, none of it comes twice."""
    monkeypatch.setattr(follower, "CLOSE_SECONDS", 0.05)
    events = await responses.stream(STORY, **PLAIN)
    response_id, last = events[0]["response"]["id"], numbers(events)[-1]
    forget_log(response_id)
    await forget_transcript(response_id)
    begun = await responses.events(response_id, 1)
    assert deltas_of(begun) == deltas_of(events)
    assert numbers(begun)[0] > last
    for number in (2, last - 1, last):
        rest = await responses.events(response_id, number)
        assert types_of(rest) == ["output_item.done", "completed"]
        assert rest[-1]["response"] == events[-1]["response"]
        assert number < numbers(rest)[0] < numbers(rest)[1]
    assert await responses.events(response_id, numbers(begun)[-1]) == []


async def test_redis_loses_the_log_of_a_running_response(responses: ResponsesClient) -> None:
    """Its reader is sent no text twice; and once it has ended, its numbers have no gap again."""
    prompt = "Tell me a story [sim:tokens=80,tps=80]"
    reading = asyncio.create_task(responses.stream(prompt, background=True, **PLAIN))

    async def streamed() -> str | None:
        found = await in_database(StoredResponse.objects.first)
        key = log_key(str(found.task_id)) if found is not None else ""
        events = cast("int", sync_redis().xlen(key))
        return str(found) if events > 3 else None

    response_id = await eventually(streamed) or ""
    forget_log(response_id)
    events = await reading
    assert numbers(events) == sorted(set(numbers(events)))
    response = events[-1]["response"]
    assert deltas_of(events) == text_of(response) == events[-4]["text"]
    assert await responses.get(response_id) == response
    whole = await responses.events(response_id)
    assert numbers(whole) == list(range(len(whole)))
    assert deltas_of(whole) == text_of(response)
    # The reader has numbers from after the loss: it is told the end, and no text.
    rest = await responses.events(response_id, numbers(events)[-1] - 1)
    assert types_of(rest) == ["output_item.done", "completed"]
    assert numbers(rest)[0] == numbers(events)[-1] > 1_000_000_000


async def test_a_client_of_numbers_after_a_loss_gets_the_end(responses: ResponsesClient) -> None:
    """It followed while Redis had lost the beginning; now the row has all of it."""
    events = await responses.stream(STORY, **PLAIN)
    rest = await responses.events(events[0]["response"]["id"], 1_000_000_003)
    assert types_of(rest) == ["output_item.done", "completed"]
    assert rest[-1]["type"] in TERMINAL_TYPES
    assert 1_000_000_003 < numbers(rest)[0] < numbers(rest)[1]


# --- Structured output --------------------------------------------------------------------------
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
JSON_FORMAT = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}}


async def test_only_what_fits_the_schema_is_streamed(responses: ResponsesClient) -> None:
    events = await responses.stream("As JSON [sim:schema=second]", text=JSON_FORMAT, **PLAIN)
    response = events[-1]["response"]
    assert response["status"] == "completed"
    assert set(json.loads(text_of(response))) == {"answer"}
    assert text_of(response) == deltas_of(events)
    [_item] = response["output"]
    forget_log(response["id"])
    await _stays_the_same(responses, events)


async def test_what_never_fits_is_not_streamed(responses: ResponsesClient) -> None:
    events = await responses.stream("As JSON [sim:schema=never]", text=JSON_FORMAT, **PLAIN)
    assert types_of(events) == ["created", "in_progress", "failed"]
    response = events[-1]["response"]
    assert "JSON Schema" in response["error"]["message"]
    forget_log(response["id"])
    await _stays_the_same(responses, events)


async def test_a_refusal_is_no_text(responses: ResponsesClient) -> None:
    begun = await responses.stream("As JSON", text=JSON_FORMAT, **PLAIN)
    response_id = begun[0]["response"]["id"]

    def refuse() -> None:
        """As when the provider's answer was a refusal, which is held back to the end."""
        Task.objects.update(text="I cannot say.", finish_reason=REFUSAL)
        StoredResponse.objects.update(transcript=[[1, [], "", ""]])

    await in_database(refuse)
    events = await responses.events(response_id)
    assert types_of(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    [message] = events[-1]["response"]["output"]
    assert message["content"] == [{"type": "refusal", "refusal": "I cannot say."}]
    await _stays_the_same(responses, events)
