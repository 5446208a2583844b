"""`manage.py purge_tasks`: what is old and ended goes, and nothing else."""

from __future__ import annotations

import secrets
from datetime import timedelta
from io import StringIO
from uuid import UUID

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from chat import actors, retention
from chat.management.commands.crontab import SCHEDULE
from chat.models import Conversation, LLMModel, Message, Provider, Status, Task
from chat.models.ids import first_id, uuid7


@pytest.fixture
def model(transactional_db: None) -> LLMModel:
    provider = Provider.objects.create(name="p", base_url="http://127.0.0.1:9")
    return LLMModel.objects.create(provider=provider, name="m")


def make_task(owner: User, model: LLMModel, status: Status, days_ago: float | None) -> Task:
    ended = None if days_ago is None else timezone.now() - timedelta(days=days_ago)
    # Made a moment before; of others in this millisecond it differs in what no clock gives.
    made = uuid7() if ended is None else UUID(int=first_id(ended).int - secrets.randbits(64) - 1)
    return Task.objects.create(
        id=made, owner=owner, model=model, messages=[], status=status, finished_at=ended
    )


def purge(*args: str) -> str:
    output = StringIO()
    call_command("purge_tasks", *args, stdout=output, stderr=StringIO())
    return output.getvalue()


def test_only_what_ended_before_is_deleted(alice: User, model: LLMModel) -> None:
    for status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED):
        make_task(alice, model, status, 31)
    kept = [
        make_task(alice, model, Status.SUCCEEDED, 29),
        make_task(alice, model, Status.QUEUED, None),
        make_task(alice, model, Status.RUNNING, None),
    ]

    assert purge("--older-than", "30d") == "deleted 4 tasks\n"

    assert set(Task.objects.all()) == set(kept)


def test_a_dry_run_counts_and_deletes_nothing(alice: User, model: LLMModel) -> None:
    make_task(alice, model, Status.SUCCEEDED, 2)

    assert purge("--older-than", "12h", "--dry-run").startswith("1 tasks ended before ")

    assert Task.objects.count() == 1


def test_a_conversation_keeps_the_messages_of_purged_tasks(alice: User, model: LLMModel) -> None:
    task = make_task(alice, model, Status.SUCCEEDED, 8)
    conversation = Conversation.objects.create(owner=alice)
    message = Message.objects.create(
        conversation=conversation, role="assistant", content="Yes.", task=task
    )

    purge("--older-than", "1w")

    message.refresh_from_db()
    assert (message.content, message.task_id) == ("Yes.", None)


def test_many_go_in_batches(alice: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    for _ in range(7):
        make_task(alice, model, Status.SUCCEEDED, 8)

    assert list(retention.purge(timezone.now())) == [3, 3, 1]


@pytest.mark.parametrize("text", ["30", "d", "1y", "1.5d", ""])
def test_a_duration_that_is_none_is_refused(text: str, transactional_db: None) -> None:
    with pytest.raises(CommandError, match="is no duration"):
        purge("--older-than", text)


# --- On a schedule --------------------------------------------------------------------------------
def test_the_schedule_deletes_nothing_without_the_setting(alice: User, model: LLMModel) -> None:
    make_task(alice, model, Status.SUCCEEDED, 1000)
    actors.purge_tasks()
    assert Task.objects.count() == 1


def test_the_schedule_deletes_what_is_older_than_the_setting(
    alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.TASK_RETENTION_DAYS = 1.5
    make_task(alice, model, Status.SUCCEEDED, 2)
    kept = make_task(alice, model, Status.SUCCEEDED, 1)
    assert actors.purge_tasks in [actor for actor, _ in SCHEDULE]
    actors.purge_tasks()
    assert list(Task.objects.all()) == [kept]


def test_one_run_of_the_schedule_has_an_end_and_the_next_goes_on(
    alice: User, model: LLMModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.TASK_RETENTION_DAYS = 1
    monkeypatch.setattr(retention, "SCHEDULED_SECONDS", 0)
    monkeypatch.setattr(retention, "BATCH", 1)
    for _ in range(2):
        make_task(alice, model, Status.SUCCEEDED, 2)
    assert [retention.purge_scheduled() for _ in range(3)] == [1, 1, 0]
