"""What providers are sent of a conversation: valid for strict ones, whatever happened in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from threading import Event
from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import transaction
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import Conversation, LLMModel, Message, Scene, Status, Task, flights
from chat.models.conversations import (
    AssistantTurn,
    HistoryChangedError,
    UserTurn,
    claim,
    store_assistant_turns,
    touch,
)
from chat.runner.runtime import Runtime
from chat.services import history
from chat.services import submit as submitting
from chat.services.retry import retry_many
from chat.services.scenes import create_version, publish
from tests.chat.api.conftest import API, Api
from tests.chat.conftest import frames_of, row, until
from tests.locks import wait_for_a_lock

REQUEST = f"{API}/request"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
#: Asks and waits for the end; gives the task as REST tells it.
Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def conversation(alice: User, model: LLMModel) -> Conversation:
    return Conversation.objects.create(owner=alice)


@pytest.fixture
def sent(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages of each request that came to the provider; each is held against strict rules."""
    requests: list[Any] = []
    answer = simulator._answer

    async def noted(request: Any, body: Any) -> Any:
        requests.append(body["messages"])
        return await answer(request, body)

    monkeypatch.setattr(simulator, "_answer", noted)
    return requests


@pytest.fixture
def ask(api: Api, conversation: Conversation, worker: Runtime, sent: list[Any]) -> Ask:
    async def ask_and_wait(content: Any, **fields: Any) -> Any:
        messages = content
        if isinstance(content, str):
            messages = [{"role": "user", "content": content}]
        body = {"messages": messages, "conversation_id": str(conversation.pk), **fields}
        before = len(sent)
        response = await api.post(f"{REQUEST}?sync=true", body)
        for messages in sent[before:]:
            assert_strict(messages)
        return response.json()

    return ask_and_wait


def assert_strict(messages: Sequence[Any]) -> None:
    """The rules of the strictest: instructions first, then the user, in turns, no turn empty, and
    each tool call followed by its results."""
    roles = [message["role"] for message in messages]
    instructions = sum(role == "system" for role in roles)
    assert roles[:instructions] == ["system"] * instructions
    assert instructions <= 1
    awaited: list[str] = []
    before = "assistant"
    for message in messages[instructions:]:
        role = message["role"]
        calls = message.get("tool_calls") or []
        assert message.get("content") or calls or role == "tool"
        for call in calls:
            assert call.keys() == {"id", "type", "function"}
            assert (call["type"], call["function"].keys()) == ("function", {"name", "arguments"})
            json.loads(call["function"]["arguments"])
        if role == "tool":
            awaited.remove(message["tool_call_id"])
        else:
            assert not awaited
            assert role == {"assistant": "user", "user": "assistant", "tool": "assistant"}[before]
        awaited += [call["id"] for call in calls]
        before = role
    assert not awaited
    assert before in ("user", "tool")


def texts(messages: Sequence[Any]) -> list[Any]:
    return [message["content"] for message in messages]


async def stored(conversation: Conversation) -> list[tuple[str, str]]:
    messages = Message.objects.filter(conversation=conversation).values_list("role", "content")
    return await in_database(lambda: list(messages))


# --- Failures and stops -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("unanswered", "status"),
    [
        ("Refuse [sim:status=402]", "failed"),
        ("Say nothing [sim:empty,finish=content_filter]", "succeeded"),
        ("Say blanks only", "succeeded"),
        ("Too late [sim:latency=30]", "expired"),
    ],
)
async def test_a_question_without_an_answer_is_shown_but_not_sent_again(
    ask: Ask, conversation: Conversation, sent: list[Any], unanswered: str, status: str
) -> None:
    first = await ask("Hello")
    fields = {"deadline_seconds": 0.2} if status == "expired" else {}
    lost = await ask(unanswered, **fields)
    assert lost["status"] == status
    if unanswered == "Say blanks only":
        answers = Message.objects.filter(task=lost["task_id"], role="assistant")
        await in_database(answers.update, content=" \n")
    last = await ask("And now?")
    assert texts(sent[-1]) == ["Hello", first["result"]["text"], "And now?"]
    assert [content for role, content in await stored(conversation) if role == "user"] == [
        "Hello",
        unanswered,
        "And now?",
    ]
    await ask("Go on")
    assert texts(sent[-1])[-3:] == ["And now?", last["result"]["text"], "Go on"]


async def test_questions_that_failed_one_after_the_other_leave_no_trace(
    ask: Ask, sent: list[Any]
) -> None:
    for number in range(3):
        await ask(f"Fail {number} [sim:status=402]")
    await ask("At last")
    assert texts(sent[-1]) == ["At last"]


async def test_a_stop_before_any_text_leaves_the_question_out(
    api: Api, ask: Ask, conversation: Conversation, simulator: Simulator, sent: list[Any]
) -> None:
    body = {
        "messages": [{"role": "user", "content": "Stop me [sim:stall=first]"}],
        "conversation_id": str(conversation.pk),
    }
    task_id = (await api.post(REQUEST, body)).json()["task_id"]
    await until(lambda: simulator.stats.in_flight)
    await api.post(f"{API}/tasks/{task_id}/cancel")
    await ask("Now this")
    assert texts(sent[-1]) == ["Now this"]


async def test_a_part_stored_behind_the_next_question_goes_with_its_own(
    ask: Ask, conversation: Conversation, sent: list[Any]
) -> None:
    """The worker of a stopped task may take its time to store how far the answer had come."""
    stopped = await ask("First [sim:status=402]")
    second = await ask("Second")
    part = AssistantTurn(conversation.pk, UUID(stopped["task_id"]), "As far as")
    await in_database(store_assistant_turns, [part], if_question_exists=True)
    await ask("Third")
    expected = ["First [sim:status=402]", "As far as", "Second", second["result"]["text"], "Third"]
    assert texts(sent[-1]) == expected


async def test_what_a_purge_has_left_of_a_conversation_is_sent_in_turns(
    ask: Ask, sent: list[Any]
) -> None:
    first = await ask("Hello")
    await ask("Fail [sim:status=402]")
    second = await ask("Again")
    await in_database(Message.objects.update, task=None)
    await ask("And now?")
    assert texts(sent[-1]) == [
        "Hello", first["result"]["text"], "Again", second["result"]["text"], "And now?",
    ]  # fmt: skip


async def test_an_answer_without_a_question_is_not_sent_first(
    ask: Ask, conversation: Conversation, sent: list[Any]
) -> None:
    def greet() -> None:
        conversation.messages.create(role="assistant", content="How can I help?")
        conversation.messages.create(role="system", content="Be brief.")

    await in_database(greet)
    await ask("Hello")
    assert texts(sent[-1]) == ["Hello"]


# --- Instructions, scenes -----------------------------------------------------------------------
async def test_instructions_go_before_the_history_as_one_message(
    ask: Ask, sent: list[Any], model: LLMModel
) -> None:
    def make_scene() -> None:
        scene = Scene.objects.create(slug="guide", title="Guide")
        fields = {"system_template": "Guide them.", "user_template": "To {{ where }}"}
        publish(create_version(scene, None, fields))

    await in_database(make_scene)
    first = await ask("Hello")
    await ask(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "By train."}],
        scene="guide",
        variables={"where": "Rome"},
    )
    assert texts(sent[-1]) == [
        "Guide them.\n\nBe brief.", "Hello", first["result"]["text"], "To Rome\n\nBy train.",
    ]  # fmt: skip


async def test_in_a_conversation_instructions_go_first_wherever_they_are_given(
    ask: Ask, sent: list[Any]
) -> None:
    first = await ask("Hello")
    own = [{"role": "user", "content": "Where to?"}, {"role": "system", "content": "In a word."}]
    await ask(own)
    assert texts(sent[-1]) == ["In a word.", "Hello", first["result"]["text"], "Where to?"]


async def test_messages_of_ones_own_are_sent_as_they_are(
    api: Api, worker: Runtime, sent: list[Any]
) -> None:
    """Nobody but the caller knows what a list without scene and conversation is meant to be."""
    own = [
        {"role": "user", "content": "One"},
        {"role": "user", "content": "Two"},
        {"role": "system", "content": "Answer both."},
    ]
    await api.post(f"{REQUEST}?sync=true", {"messages": own})
    assert sent == [own]


# --- Tool calls ---------------------------------------------------------------------------------
async def called(ask: Ask, question: str = "How is it? [sim:tool]") -> Any:
    task = await ask(question, tools=[WEATHER])
    assert task["result"]["finish_reason"] == "tool_calls"
    return task


def results_of(task: Any, content: str = "Sunny") -> list[Any]:
    calls = task["result"]["tool_calls"]
    return [{"role": "tool", "tool_call_id": call["id"], "content": content} for call in calls]


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
    assert [one["role"] for one in listed] == [
        "user", "assistant", "tool", "assistant", "user", "assistant",
    ]  # fmt: skip
    assert listed[1]["tool_calls"] == calling["tool_calls"]
    assert (listed[2]["tool_call_id"], listed[2]["content"]) == (call["id"], "Sunny")
    assert [one["tool_calls"] for one in listed if one["role"] != "assistant"] == [None] * 3


async def test_calls_that_a_client_sends_back_with_their_results_are_there_once(
    ask: Ask, sent: list[Any]
) -> None:
    task = await called(ask)
    flat = {"role": "assistant", "tool_calls": task["result"]["tool_calls"]}
    await ask([{"role": "system", "content": "Be brief."}, flat, *results_of(task)])
    assert [one["role"] for one in sent[-1]] == ["system", "user", "assistant", "tool"]


async def test_results_whose_task_failed_can_be_sent_again(
    ask: Ask, sent: list[Any], simulator: Simulator
) -> None:
    task = await called(ask, "How is it? [sim:tool,status=402,times=0]")
    await in_database(LLMModel.objects.update, upstream_name="no such model [sim]")
    fields = {"deadline_seconds": 0.001}
    assert (await ask(results_of(task, "Rain"), **fields))["status"] == "expired"
    await ask(results_of(task, "Sunny"))
    assert [one["role"] for one in sent[-1]] == ["user", "assistant", "tool"]
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
    assert [one["role"] for one in sent[-1]] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[-1][3]["content"] == history.INTERRUPTED


CALL = {"id": "call_1", "name": "weather", "arguments": '{"place": "Rome"}'}
NESTED = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
ASKED = {"role": "user", "content": "How is it?"}
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


@pytest.mark.parametrize(
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
    assert [one["role"] for one in sent[-1]] == ["user", "assistant", "tool"]
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


# --- Asked again --------------------------------------------------------------------------------
@pytest.mark.parametrize("lost", ["Fail [sim:status=402]", "Late [sim:latency=30]"])
async def test_asking_again_takes_the_place_of_the_question(
    api: Api, ask: Ask, conversation: Conversation, sent: list[Any], lost: str
) -> None:
    first = await ask("Hello")
    old = await ask(lost, deadline_seconds=0.3)
    new = await ask("Better", replaces=old["task_id"])
    assert new["status"] == "succeeded"
    assert texts(sent[-1]) == ["Hello", first["result"]["text"], "Better"]
    assert [content for role, content in await stored(conversation) if role == "user"] == [
        "Hello",
        "Better",
    ]
    kept = (await api.get(f"{API}/tasks/{old['task_id']}")).json()
    assert (kept["status"], kept["conversation_id"]) == (old["status"], str(conversation.pk))


async def test_a_stopped_answer_goes_with_its_question(
    ask: Ask, conversation: Conversation, sent: list[Any]
) -> None:
    old = await ask("Stop me [sim:status=402]")
    part = AssistantTurn(conversation.pk, UUID(old["task_id"]), "As far as")
    await in_database(store_assistant_turns, [part], if_question_exists=True)
    new = await ask("Again", replaces=old["task_id"])
    assert texts(sent[-1]) == ["Again"]
    assert await stored(conversation) == [("user", "Again"), ("assistant", new["result"]["text"])]
    # Its worker comes too late: nothing of it is wanted any more.
    await in_database(store_assistant_turns, [part], if_question_exists=True)
    assert len(await stored(conversation)) == 2


async def test_of_two_tabs_that_ask_again_one_wins(
    api: Api, ask: Ask, conversation: Conversation
) -> None:
    old = await ask("Fail [sim:status=402]")
    body = {
        "messages": [{"role": "user", "content": "Again"}],
        "conversation_id": str(conversation.pk),
        "replaces": old["task_id"],
    }
    both = await asyncio.gather(*(api.post(f"{REQUEST}?sync=true", body) for _ in range(2)))
    assert sorted(answer.status_code for answer in both) == [200, 409]
    late = await api.post(REQUEST, body)
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert late.json()["errors"][0]["field"] == "replaces"
    assert [role for role, _ in await stored(conversation)] == ["user", "assistant"]
    assert await in_database(Task.objects.count) == 2


@pytest.mark.parametrize("first", ["answer", "retry"])
async def test_what_another_process_has_stored_since_the_history_was_read_is_not_passed_over(
    api: Api,
    ask: Ask,
    conversation: Conversation,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    """Between the look and the insert, and committed: no constraint is in the way any more."""
    old = await ask("Fail [sim:status=402]")
    body = {
        "messages": [{"role": "user", "content": "Again"}],
        "conversation_id": str(conversation.pk),
        "replaces": old["task_id"],
    }
    look_up = submitting._look_up

    def be_too_late(submissions: Any) -> Any:
        lookups = look_up(submissions)
        monkeypatch.setattr(submitting, "_look_up", look_up)
        if first == "retry":
            submitting.submit_many(submissions)
            Task.objects.active().update(status=Status.FAILED)
        else:
            part = AssistantTurn(conversation.pk, UUID(old["task_id"]), "As far as")
            store_assistant_turns([part], if_question_exists=True)
        return lookups

    monkeypatch.setattr(submitting, "_look_up", be_too_late)
    refused = await api.post(REQUEST, body)
    assert (refused.status_code, refused.json()["code"]) == (409, "conversation_busy")
    questions = [content for role, content in await stored(conversation) if role == "user"]
    assert questions == (["Again"] if first == "retry" else ["Fail [sim:status=402]"])


async def test_of_two_transactions_that_change_a_conversation_the_second_waits_and_is_refused(
    conversation: Conversation, loop_services: None
) -> None:
    """As two processes do that have read the same history."""
    turn = UserTurn(conversation.pk, conversation.updated_at)
    claimed = Event()

    def claim_first() -> None:
        with transaction.atomic():
            claim([turn])
            claimed.set()
            wait_for_a_lock()

    def claim_second() -> str:
        assert claimed.wait(10)
        try:
            with transaction.atomic():
                claim([turn])
        except HistoryChangedError:
            return "refused"
        return "claimed"

    _, outcome = await asyncio.gather(in_database(claim_first), in_database(claim_second))
    assert outcome == "refused"


async def test_what_is_replaced_must_be_of_the_conversation(
    api: Api, ask: Ask, bob_api: Api, conversation: Conversation, alice: User
) -> None:
    old = await ask("Hello")
    other = await in_database(Conversation.objects.create, owner=alice)
    body = {"messages": [ASKED], "replaces": old["task_id"]}
    refused = await api.post(REQUEST, {**body, "conversation_id": str(other.pk)})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    refused = await bob_api.post(REQUEST, {**body, "conversation_id": str(conversation.pk)})
    assert refused.status_code == 404
    refused = await api.post(REQUEST, body)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert len(await stored(conversation)) == 2
    assert await in_database(Task.objects.count) == 1


async def test_staff_asks_again_in_the_place_of_the_question(
    ask: Ask, conversation: Conversation, alice: User, sent: list[Any]
) -> None:
    first = await ask("Hello")
    old = await ask("Fail [sim:status=402,times=1]")
    later = await ask("Later")
    both = [UUID(old["task_id"]), UUID(later["task_id"])]
    # What was answered is asked again outside, and changes nothing of what was said.
    assert await in_database(retry_many, both) == 2
    assert await in_database(retry_many, both[:1]) == 0
    retried = Task.objects.filter(metadata__retry_of=old["task_id"])
    new = await in_database(retried.get)
    assert (await frames_of(str(new.pk), alice)).types[-1] == "task.completed"
    assert [content for role, content in await stored(conversation) if role == "user"] == [
        "Hello",
        "Fail [sim:status=402,times=1]",
        "Later",
    ]
    await ask("And now?")
    assert texts(sent[-1]) == [
        "Hello", first["result"]["text"],
        "Fail [sim:status=402,times=1]", (await row(str(new.pk))).text,
        "Later", later["result"]["text"], "And now?",
    ]  # fmt: skip


# --- Long conversations -------------------------------------------------------------------------
def fill(conversation: Conversation, turns: int, size: int) -> None:
    """Turns of `size` bytes each."""
    for number in range(turns):
        question = f"Question {number} ".ljust(size // 2, "q")
        conversation.messages.create(role="user", content=question)
        answer = f"Answer {number} ".ljust(size // 2, "a")
        conversation.messages.create(role="assistant", content=answer)
    touch([conversation.pk])


async def test_a_conversation_that_has_grown_too_long_goes_on_without_its_beginning(
    api: Api, ask: Ask, conversation: Conversation, sent: list[Any], settings: Settings
) -> None:
    settings.CONVERSATION_MAX_TOKENS = 2_000
    await in_database(fill, conversation, 20, 1_000)
    own = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "And now?"}]
    task = await ask(own)
    assert task["status"] == "succeeded"
    system, first, *rest = sent[-1]
    assert (system["content"], first["role"]) == ("Be brief.", "user")
    assert rest[-1]["content"] == "And now?"
    assert rest[-2]["content"].startswith("Answer 19")
    size = len(msgspec.json.encode(sent[-1]))
    assert 2_500 < size <= 2_000 * history.BYTES_PER_TOKEN
    listed = (await api.get(f"/api/conversations/{conversation.pk}/messages?limit=100")).json()
    ids = [one["id"] for one in listed["items"]]
    assert ids.index(task["history_from"]) == ids.index(
        next(one["id"] for one in listed["items"] if one["content"] == first["content"])
    )
    # For some turns it begins at the same place: providers' caches know it.
    again = await ask(own)
    assert (again["history_from"], sent[-1][1]) == (task["history_from"], first)
    for _ in range(6):
        task = await ask([own[0], {"role": "user", "content": "More".ljust(900, "m")}])
        assert task["status"] == "succeeded"
        assert len(msgspec.json.encode(sent[-1])) <= 2_000 * history.BYTES_PER_TOKEN
    assert task["history_from"] > again["history_from"]


async def test_a_submit_is_told_where_its_history_begins(
    api: Api, model: LLMModel, conversation: Conversation, settings: Settings
) -> None:
    body = {"messages": [ASKED], "conversation_id": str(conversation.pk)}
    assert (await api.post(REQUEST, body)).json()["history_from"] is None
    await in_database(Task.objects.all().delete)
    await in_database(fill, conversation, 4, 1_000)
    settings.CONVERSATION_MAX_TOKENS = 700
    accepted = (await api.post(REQUEST, body)).json()
    first = await in_database(Message.objects.get, pk=accepted["history_from"])
    assert first.content.startswith("Question 3")


async def test_a_question_that_leaves_no_room_is_asked_without_history(
    api: Api, ask: Ask, conversation: Conversation, sent: list[Any], settings: Settings
) -> None:
    settings.CONVERSATION_MAX_TOKENS, settings.PROMPT_MAX_BYTES = 500, 3_000
    await ask("Hello")
    task = await ask("x" * 2_000)
    assert [len(one["content"]) for one in sent[-1]] == [2_000]
    question = await in_database(Message.objects.get, task=task["task_id"], role="user")
    assert task["history_from"] == str(question.pk)
    refused = await ask("x" * 4_000)
    assert (refused["status"], refused["code"]) == (413, "too_large")
    assert (await ask("Short again"))["status"] == "succeeded"


async def test_where_tools_are_called_without_end_the_question_stays(
    ask: Ask, conversation: Conversation, sent: list[Any], settings: Settings
) -> None:
    settings.CONVERSATION_MAX_TOKENS = 1_500
    task = await called(ask, "Go on and on [sim:tool]")
    for number in range(12):
        task = await ask(results_of(task, f"{number} ".ljust(500, "r")), tools=[WEATHER])
        assert task["result"]["finish_reason"] == "tool_calls"
        assert sent[-1][0]["content"] == "Go on and on [sim:tool]"
        assert len(msgspec.json.encode(sent[-1])) <= 1_500 * history.BYTES_PER_TOKEN
    assert task["history_from"] is not None


async def test_of_ten_thousand_messages_those_are_read_that_may_be_sent(
    api: Api, model: LLMModel, conversation: Conversation, queries: list[str]
) -> None:
    def fill_up() -> None:
        Message.objects.bulk_create(
            Message(conversation=conversation, role=role, content=f"{number} {'x' * 400}")
            for number in range(5_000)
            for role in ("user", "assistant")
        )

    await in_database(fill_up)
    body = {"messages": [ASKED], "conversation_id": str(conversation.pk)}
    queries.clear()
    accepted = await api.post(REQUEST, body)
    assert accepted.status_code == 202
    assert accepted.json()["history_from"] is not None
    assert sum("FROM chat_message" in sql for sql in queries) == 1
    wanted = {(conversation.owner_id, conversation.pk)}
    (read,) = (await in_database(history.read, wanted)).values()
    assert 100 < len(read.messages) <= history.MAX_MESSAGES
    assert sum(len(one.content) for one in read.messages) <= history.most_bytes()
    assert read.messages[-1].content.startswith("? How is it?"[2:])


async def test_a_history_that_cannot_be_read_harms_no_other_request(
    api: Api, model: LLMModel, conversation: Conversation
) -> None:
    def spoil() -> None:
        calls = ["no object"]
        conversation.messages.create(role="user", content="How is it?")
        conversation.messages.create(role="assistant", content="", tool_calls=calls)

    await in_database(spoil)
    bodies = [{"messages": [ASKED], "conversation_id": str(conversation.pk)}, {"messages": [ASKED]}]
    api._client.raise_request_exception = False
    answers = await asyncio.gather(*(api.post(REQUEST, body) for body in bodies))
    assert [answer.status_code for answer in answers] == [500, 202]


async def test_nobody_reads_anothers_history(
    conversation: Conversation, bob: User, loop_services: None
) -> None:
    await in_database(fill, conversation, 1, 100)
    assert await in_database(history.read, {(bob.pk, conversation.pk)}) == {}
