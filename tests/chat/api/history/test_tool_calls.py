"""Tool calls in conversations: each is sent with its results, in the provider's form."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import Conversation, LLMModel, Message, Status, Task, flights
from chat.models.conversations import (
    touch,
)
from chat.runner.runtime import Runtime
from chat.services import history
from tests.chat.api.conftest import Api
from tests.chat.api.history.conftest import (
    ASKED,
    REQUEST,
    WEATHER,
    Ask,
    called,
    results_of,
    stored,
    texts,
)
from tests.subtests import subtested


async def test_tool_calls_are_kept_with_their_results_and_sent_back_in_the_providers_form(
    api: Api, ask: Ask, conversation: Conversation, sent: list[Any]
) -> None:
    task = await called(ask)
    (call,) = task["result"]["tool_calls"]
    answer = await ask(results_of(task))
    asked, calling, result = sent[-1]
    assert (asked["role"], result) == ("user", results_of(task)[0])
    assert calling == {
        "role": "assistant",
        "content": None,
        # DeepSeek refuses a thinking model's calls that come back without it.
        "reasoning_content": task["result"]["reasoning"],
        "tool_calls": [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": "weather", "arguments": call["arguments"]},
            }
        ],
    }
    await ask("Thanks")
    assert sent[-1][:3] == [asked, calling, result]
    assert texts(sent[-1])[3:] == [answer["result"]["text"], "Thanks"]
    listed = (await api.get(f"/api/conversations/{conversation.pk}/messages")).json()["items"]
    assert [message["role"] for message in listed] == [
        "user", "assistant", "tool", "assistant", "user", "assistant",
    ]  # fmt: skip
    assert listed[1]["tool_calls"] == calling["tool_calls"]
    assert (listed[2]["tool_call_id"], listed[2]["content"]) == (call["id"], "Sunny")
    assert [message["tool_calls"] for message in listed if message["role"] != "assistant"] == [
        None
    ] * 3


async def test_calls_that_a_client_sends_back_with_their_results_are_there_once(
    ask: Ask, sent: list[Any]
) -> None:
    task = await called(ask)
    flat = {"role": "assistant", "tool_calls": task["result"]["tool_calls"]}
    await ask([{"role": "system", "content": "Be brief."}, flat, *results_of(task)])
    assert [message["role"] for message in sent[-1]] == ["system", "user", "assistant", "tool"]


async def test_results_whose_task_failed_can_be_sent_again(
    ask: Ask, sent: list[Any], simulator: Simulator
) -> None:
    task = await called(ask, "How is it? [sim:tool,status=402,times=0]")
    await in_database(LLMModel.objects.update, upstream_name="no such model [sim]")
    fields = {"deadline_seconds": 0.001}
    assert (await ask(results_of(task, "Rain"), **fields))["status"] == "expired"
    await ask(results_of(task, "Sunny"))
    assert [message["role"] for message in sent[-1]] == ["user", "assistant", "tool"]
    assert sent[-1][-1]["content"] == "Sunny"


async def test_who_goes_on_without_the_results_is_sent_no_call(ask: Ask, sent: list[Any]) -> None:
    first = await ask("Hello")
    await called(ask)
    await ask("Never mind")
    assert texts(sent[-1]) == ["Hello", first["result"]["text"], "Never mind"]


async def test_results_that_are_there_are_kept_where_the_last_ones_are_not(
    ask: Ask, sent: list[Any]
) -> None:
    task = await called(ask)
    task = await ask(results_of(task), tools=[WEATHER])
    assert task["result"]["finish_reason"] == "tool_calls"
    await ask("Never mind")
    assert [message["role"] for message in sent[-1]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert sent[-1][3]["content"] == history.INTERRUPTED


CALL = {"id": "call_1", "name": "weather", "arguments": '{"place": "Rome"}'}
NESTED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"}


@pytest.mark.parametrize(
    ("given", "arguments"),
    [
        (CALL, '{"place": "Rome"}'),
        (NESTED, "{}"),
        ({**CALL, **NESTED}, "{}"),
        ({**CALL, "arguments": {"place": "Rom"}}, '{"place": "Rom"}'),
        ({"id": "call_1", "name": "weather"}, "{}"),
        ({**NESTED, "index": 0}, "{}"),
    ],
)
async def test_both_forms_of_a_call_are_taken_and_the_providers_is_sent(
    api: Api, worker: Runtime, sent: list[Any], given: Any, arguments: str
) -> None:
    calling = {"role": "assistant", "content": "", "tool_calls": [given]}
    body = {"messages": [ASKED, calling, RESULT], "thinking": {"type": "disabled"}}
    await api.post(f"{REQUEST}?sync=true", body)
    expected = {**NESTED, "function": {"name": "weather", "arguments": arguments}}
    assert sent[-1][1]["tool_calls"] == [expected]


async def test_what_a_provider_has_added_to_a_call_goes_back_to_it(
    api: Api, worker: Runtime, sent: list[Any]
) -> None:
    signed = {**NESTED, "extra_content": {"google": {"thought_signature": "x"}}}
    calling = {"role": "assistant", "tool_calls": [signed]}
    body = {"messages": [ASKED, calling, RESULT], "thinking": {"type": "disabled"}}
    await api.post(f"{REQUEST}?sync=true", body)
    assert sent[-1][1]["tool_calls"] == [signed]


CALLING = {"role": "assistant", "tool_calls": [NESTED]}
OTHER = {**NESTED, "id": "call_2"}


@subtested(
    ("messages", "field"),
    [
        ([ASKED, RESULT], "messages.1.tool_call_id"),
        ([ASKED, CALLING], "messages.1.tool_calls"),
        ([ASKED, CALLING, ASKED], "messages.1.tool_calls"),
        ([ASKED, CALLING, RESULT, RESULT], "messages.3.tool_call_id"),
        (
            [ASKED, {**CALLING, "tool_calls": [NESTED, OTHER]}, RESULT, ASKED],
            "messages.1.tool_calls",
        ),
        ([ASKED, CALLING, {**RESULT, "tool_call_id": "call_9"}], "messages.2.tool_call_id"),
        ([ASKED, {**CALLING, "tool_calls": [{"id": "x"}]}, RESULT], "messages.1.tool_calls.0"),
        (
            [ASKED, {**CALLING, "tool_calls": [NESTED, {"name": "f"}]}, RESULT],
            "messages.1.tool_calls.1",
        ),
    ],
)
async def test_a_call_without_result_and_a_result_without_call_are_refused(
    api: Api, model: LLMModel, messages: Any, field: str
) -> None:
    refused = await api.post(REQUEST, {"messages": messages})
    assert refused.status_code in (400, 422)
    assert refused.json()["errors"][0]["field"].removeprefix("body.").startswith(field)
    assert await in_database(Task.objects.count) == 0


async def test_results_for_a_part_of_the_calls_are_refused(
    api: Api, ask: Ask, conversation: Conversation
) -> None:
    task = await called(ask)
    answers = Message.objects.filter(task=task["task_id"], role="assistant")
    await in_database(answers.update, tool_calls=[NESTED, OTHER])
    refused = await ask([RESULT])
    assert (refused["code"], refused["errors"][0]["field"]) == ("invalid_request", "messages")
    assert "call_2" in refused["detail"]
    refused = await ask([{**RESULT, "tool_call_id": "call_9"}])
    assert refused["errors"][0]["field"] == "messages.0.tool_call_id"


async def test_the_call_of_a_task_that_shares_anothers_answer_is_kept_as_well(
    ask: Ask, conversation: Conversation, alice: User, model: LLMModel, sent: list[Any]
) -> None:
    """Stored by the leader's end, from the leader's row."""

    def share() -> None:
        leader = Task.objects.create(
            owner=alice, model=model, messages=[], status=Status.SUCCEEDED, text="",
            tool_calls=[CALL], reasoning="Hm.", flight_key="k",
        )  # fmt: skip
        follower = Task.objects.create(
            owner=alice, model=model, messages=[], conversation=conversation, leader=leader,
            served_from="flight",
        )  # fmt: skip
        conversation.messages.create(role="user", content="How is it?", task=follower)
        touch([conversation.pk])
        assert len(flights.end_stranded()) == 1

    await in_database(share)
    await ask([RESULT])
    assert [message["role"] for message in sent[-1]] == ["user", "assistant", "tool"]
    assert sent[-1][1]["reasoning_content"] == "Hm."


async def test_a_question_of_parts_is_sent_again_as_such(
    ask: Ask, conversation: Conversation, sent: list[Any]
) -> None:
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]
    await ask([{"role": "user", "content": parts}])
    await ask("Are you sure?")
    assert sent[-1][0]["content"] == parts
    assert (await stored(conversation))[0] == ("user", "What is this?\n[image]")
