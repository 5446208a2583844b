"""Chats that keep their history, one answer at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from accounts.models import User
from aily.database.threads import in_database
from chat.exceptions import ConversationBusy
from chat.llm.simulator.server import Simulator
from chat.models import Conversation, LLMModel, Message, Status, Task
from chat.runner.runtime import Runtime
from chat.services.cancel import cancel
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission, submit
from tests.chat.conftest import frames_of, row, until
from tests.client import TaskFrames

Ask = Callable[..., Awaitable[str]]
STALLS = "Stop me [sim:stall=middle,tokens=30]"


@pytest.fixture
def conversation(alice: User, model: LLMModel) -> Conversation:
    return Conversation.objects.create(owner=alice)


@pytest.fixture
def ask(conversation: Conversation, loop_services: None) -> Ask:
    async def ask_next(prompt: str, idempotency_key: str | None = None) -> str:
        request = CompositeRequest.model_validate(
            {
                "messages": [{"role": "user", "content": prompt}],
                "conversation_id": str(conversation.pk),
            }
        )
        submission = Submission(conversation.owner_id, request, idempotency_key=idempotency_key)
        return (await submit(submission)).task_id

    return ask_next


@pytest.fixture
def sent(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages of each request that came to the provider."""
    bodies: list[Any] = []
    answer = simulator._answer

    async def noted(request: Any, body: Any) -> Any:
        bodies.append(body["messages"])
        return await answer(request, body)

    monkeypatch.setattr(simulator, "_answer", noted)
    return bodies


async def history(conversation: Conversation) -> list[tuple[str, str]]:
    messages = Message.objects.filter(conversation=conversation).values_list("role", "content")
    return await in_database(lambda: list(messages))


async def test_history_goes_upstream_and_question_and_answer_are_kept(
    worker: Runtime, ask: Ask, conversation: Conversation, alice: User, sent: list[Any]
) -> None:
    prompts = ("First", "Second", "Third")
    texts = [(await frames_of(await ask(prompt), alice)).text for prompt in prompts]
    turns = [
        ("user", "First"),
        ("assistant", texts[0]),
        ("user", "Second"),
        ("assistant", texts[1]),
        ("user", "Third"),
        ("assistant", texts[2]),
    ]
    assert await history(conversation) == turns
    for number in range(3):
        expected = [{"role": role, "content": content} for role, content in turns[: 2 * number + 1]]
        assert sent[number] == expected
    await in_database(conversation.refresh_from_db)
    assert conversation.title == "First"


async def test_while_it_answers_a_conversation_is_busy(
    worker: Runtime, ask: Ask, conversation: Conversation, alice: User, simulator: Simulator
) -> None:
    task_id = await ask(STALLS)
    await until(lambda: simulator.stats.in_flight)
    with pytest.raises(ConversationBusy) as busy:
        await ask("Impatient")
    assert (busy.value.status, busy.value.code) == (409, "conversation_busy")
    assert await history(conversation) == [("user", STALLS)]
    assert await in_database(Task.objects.count) == 1
    await cancel(alice.pk, (await row(task_id)).pk)
    await frames_of(await ask("Now"), alice)


async def test_of_many_questions_at_once_one_is_taken(ask: Ask, conversation: Conversation) -> None:
    outcomes = await asyncio.gather(*(ask(f"Me {n}") for n in range(20)), return_exceptions=True)
    assert sum(isinstance(outcome, str) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ConversationBusy) for outcome in outcomes) == 19
    assert len(await history(conversation)) == 1


async def test_repeating_a_question_with_its_key_is_no_second_question(
    ask: Ask, conversation: Conversation
) -> None:
    task_id = await ask("Once", "key")
    assert await asyncio.gather(*(ask("Once", "key") for _ in range(5))) == [task_id] * 5
    assert await history(conversation) == [("user", "Once")]


async def test_a_cancelled_answer_is_kept_as_far_as_it_came_and_counts_as_history(
    worker: Runtime, ask: Ask, conversation: Conversation, alice: User, sent: list[Any]
) -> None:
    task_id = await ask(STALLS)
    frames = TaskFrames()
    reading = asyncio.create_task(frames_of(task_id, alice, frames))
    await until(lambda: frames.text)
    await cancel(alice.pk, (await row(task_id)).pk)
    await reading
    assert frames.types[-1] == "task.cancelled"
    partial = [("user", STALLS), ("assistant", frames.text)]
    assert await history(conversation) == partial
    await frames_of(await ask("Go on"), alice)
    assert [message["content"] for message in sent[1]] == [STALLS, frames.text, "Go on"]


async def test_a_failed_answer_is_no_history_and_the_conversation_goes_on(
    worker: Runtime, ask: Ask, conversation: Conversation, alice: User
) -> None:
    task_id = await ask("Fail [sim:status=402]")
    await frames_of(task_id, alice)
    assert (await row(task_id)).status == Status.FAILED
    assert await history(conversation) == [("user", "Fail [sim:status=402]")]
    assert (await frames_of(await ask("Again"), alice)).types[-1] == "task.completed"


async def test_a_blank_question_is_no_hole_in_the_history(
    worker: Runtime, ask: Ask, alice: User, sent: list[Any]
) -> None:
    """Strict providers take neither two answers in a row nor a message without text."""
    for prompt in ("First", " ", "Last"):
        await frames_of(await ask(prompt), alice)
    roles = [message["role"] for message in sent[2]]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert all(message["content"].strip() for message in sent[2])
