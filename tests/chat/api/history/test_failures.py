"""What is sent of a conversation in which tasks failed or were stopped."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from aily.database.threads import in_database
from chat.llm.simulator.server import Simulator
from chat.models import Conversation, Message
from chat.models.conversations import (
    AssistantTurn,
    store_assistant_turns,
)
from tests.chat.api.conftest import API, Api
from tests.chat.api.history.conftest import (
    REQUEST,
    Ask,
    stored,
    texts,
)
from tests.chat.conftest import until


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
