"""Asking again takes the place of a question, whatever happens at the same moment."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from accounts.models import User
from aily.database.threads import in_database
from chat.models import Conversation, Status, Task
from chat.models.conversations import (
    AssistantTurn,
    HistoryChangedError,
    UserTurn,
    claim,
    store_assistant_turns,
)
from chat.services.retry import retry_many
from chat.services.submit import resolve, submit_many
from tests.chat.api.conftest import API, Api
from tests.chat.api.history.conftest import (
    ASKED,
    REQUEST,
    Ask,
    stored,
    texts,
)
from tests.chat.conftest import frames_of, row
from tests.locks import wait_for_a_lock


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
    look_up = resolve.look_up

    def be_too_late(submissions: Any) -> Any:
        lookups = look_up(submissions)
        monkeypatch.setattr(resolve, "look_up", look_up)
        if first == "retry":
            submit_many(submissions)
            Task.objects.active().update(status=Status.FAILED)
        else:
            part = AssistantTurn(conversation.pk, UUID(old["task_id"]), "As far as")
            store_assistant_turns([part], if_question_exists=True)
        return lookups

    monkeypatch.setattr(resolve, "look_up", be_too_late)
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
