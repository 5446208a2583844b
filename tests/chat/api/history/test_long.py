"""A conversation that has grown too long is sent without its beginning."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat.models import Conversation, LLMModel, Message, Task
from chat.models.conversations import (
    touch,
)
from chat.services import history
from tests.chat.api.conftest import Api
from tests.chat.api.history.conftest import (
    ASKED,
    REQUEST,
    WEATHER,
    Ask,
    called,
    results_of,
)


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
    ids = [message["id"] for message in listed["items"]]
    assert ids.index(task["history_from"]) == ids.index(
        next(message["id"] for message in listed["items"] if message["content"] == first["content"])
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
    assert [len(message["content"]) for message in sent[-1]] == [2_000]
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
    assert sum(len(message.content) for message in read.messages) <= history.max_bytes()
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
