"""Answers that a scene keeps are given to equal requests at once, as tasks like any other."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from pytest_django import Settings

from accounts.models import User
from aily.cache.store import client
from aily.database.threads import in_database
from chat import answer_cache, settlement
from chat.eventlog import get_hub
from chat.exceptions import ConversationBusy
from chat.llm.simulator.server import Simulator
from chat.models import Conversation, LedgerEntry, LLMModel, Message, Status, Task
from chat.runner.runtime import Runtime
from chat.services.follow import follow
from chat.services.submit import Accepted, submit
from tests.chat.accounting.conftest import budget_of
from tests.chat.conftest import frames_of, row, until
from tests.chat.shared_scene import answer_to, publish, resumed, submission

TTL_SECONDS = 60


@pytest.fixture(autouse=True)
def kept(model: LLMModel, loop_services: None) -> None:
    publish(single_flight=False, cache_ttl_seconds=TTL_SECONDS)


async def ask(owner: User, text: str, **fields: Any) -> Accepted:
    return await submit(submission(owner, text, **fields))


async def answered(worker: Runtime, owner: User, text: str, **fields: Any) -> Task:
    """The task, once its worker has done with it."""
    accepted = await ask(owner, text, **fields)
    await frames_of(accepted.task_id, owner)
    await until(lambda: not worker.calls.by_task)
    return await row(accepted.task_id)


async def test_a_kept_answer_is_a_task_that_has_ended_when_it_is_accepted(
    worker: Runtime, simulator: Simulator, alice: User, bob: User
) -> None:
    await in_database(budget_of, bob, limit_calls=0)
    first = await answered(worker, alice, "Keep me", max_tokens=1000)
    async with get_hub().user_feed(bob.pk, skip=lambda _: False) as feed:
        accepted = await ask(bob, "Keep me", max_tokens=1000)
        news = await feed.next(10)
    assert (accepted.status, accepted.is_new) == ("succeeded", True)
    frames = await frames_of(accepted.task_id, bob)
    assert (frames.types, frames.last_id) == (["task.completed"], "0-1")
    assert frames.end is not None
    assert frames.end["served_from"] == "cache"
    assert frames.end["result"]["text"] == answer_to("Keep me")
    assert frames.end["usage"] == first.usage
    assert news is not None
    assert msgspec.json.decode(news[2]) == frames.end
    assert await resumed(accepted.task_id, bob, "0-1") == []
    without_text = [frame async for frame in follow(accepted.task_id, bob.pk, text=False)]
    assert [frame.type for frame in without_text] == ["task.completed"]
    # Free, even where a budget allows nothing.
    assert simulator.stats.requests == 1
    await in_database(settlement.settle_ended_tasks)
    entry = await in_database(LedgerEntry.objects.get, task_id=accepted.task_id)
    assert (entry.kind, entry.prompt_tokens, entry.completion_tokens) == ("release", 0, 0)


async def test_an_answer_is_kept_for_its_time_and_its_version_only(
    worker: Runtime, simulator: Simulator, alice: User
) -> None:
    first = await answered(worker, alice, "For a while")
    key = answer_cache.key_of(first.flight_key, first.model_id)
    kept_seconds: Any = client().ttl(key)
    assert 0 < kept_seconds <= TTL_SECONDS
    assert (await ask(alice, "For a while")).status == "succeeded"
    client().expire(key, 0)
    assert (await ask(alice, "For a while")).status == "queued"
    await until(lambda: simulator.stats.completed == 2 and not worker.calls.by_task)
    assert (await ask(alice, "For a while")).status == "succeeded"
    await in_database(publish, single_flight=False, cache_ttl_seconds=TTL_SECONDS)
    assert (await ask(alice, "For a while")).status == "queued"


async def test_only_whole_answers_are_kept(worker: Runtime, alice: User) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    cut = await answered(worker, alice, "Cut [sim:finish=length]")
    calling = await answered(worker, alice, "Call [sim:tool]", tools=tools)
    failed = await answered(worker, alice, "Fail [sim:status=401]")
    assert [task.status for task in (cut, calling, failed)] == ["succeeded", "succeeded", "failed"]
    requests = [(task.flight_key, task.model_id) for task in (cut, calling, failed)]
    assert answer_cache.get(requests) == {}


async def test_while_the_cache_is_away_everything_is_asked(
    worker: Runtime, simulator: Simulator, alice: User, settings: Settings
) -> None:
    away = {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:9/2"}
    settings.CACHES = {"default": away}
    for _ in range(2):
        task = await answered(worker, alice, "Without")
        assert (task.status, task.served_from) == (Status.SUCCEEDED, "provider")
    assert simulator.stats.requests == 2


async def test_in_a_conversation_a_kept_answer_is_said_and_never_in_between(
    worker: Runtime, alice: User, bob: User
) -> None:
    await answered(worker, alice, "Talk to me")
    chat = await in_database(Conversation.objects.create, owner=bob)
    conversation = {"conversation_id": str(chat.pk)}
    assert (await ask(bob, "Talk to me", **conversation)).status == "succeeded"
    said = Message.objects.filter(conversation=chat).values_list("role", "content")
    expected = [("user", "Talk to me"), ("assistant", answer_to("Talk to me"))]
    assert await in_database(list, said) == expected
    # The same history and question again, but another answer is on its way.
    await in_database(Message.objects.all().delete)
    await in_database(
        Task.objects.create,
        owner=bob,
        model_id=(await in_database(LLMModel.objects.get)).pk,
        conversation=chat,
        messages=[],
        leader=await in_database(Task.objects.first),
    )
    with pytest.raises(ConversationBusy):
        await ask(bob, "Talk to me", **conversation)
    assert await in_database(Message.objects.count) == 0
