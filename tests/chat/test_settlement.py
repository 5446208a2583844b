"""A task that cannot be settled keeps back no other, and is settled as far as possible."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError
from django.utils import timezone

from accounts.models import User
from chat import accounting, delivery, settlement
from chat.models import Delivery, LedgerEntry, LLMModel, Task, WebhookEndpoint
from chat.models.ended import EndedTask


@pytest.fixture
def ended(alice: User, model: LLMModel) -> list[Task]:
    """Seven ended tasks with a webhook each."""
    WebhookEndpoint.objects.create(owner=alice, url="https://hooks.example")
    now = timezone.now()
    tasks = [
        Task(
            owner=alice,
            model=model,
            messages=[],
            status="succeeded",
            usage={"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
            needs_settling=True,
            started_at=now,
            finished_at=now,
            last_event=2,
        )
        for _ in range(7)
    ]
    return Task.objects.bulk_create(tasks)


def entered() -> dict[UUID, int]:
    return dict(LedgerEntry.objects.values_list("task_id", "prompt_tokens"))


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": "many"},
        ["a", "list"],
        "words",
    ],
    ids=["a word", "a list", "words"],
)
def test_invalid_usage_is_left_out_for_that_task_alone(ended: list[Task], usage: Any) -> None:
    odd = ended[2]
    Task.objects.filter(pk=odd.pk).update(usage=usage)
    assert settlement.settle_ended_tasks() == (7, 7)
    assert not Task.objects.filter(needs_settling=True).exists()
    found = entered()
    assert {found[task.pk] for task in ended if task != odd} == {10}
    assert found[odd.pk] == 0
    assert Delivery.objects.count() == 7


def test_a_task_without_possible_deliveries_is_in_the_ledger(
    ended: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = delivery.create_deliveries

    def broken(tasks: list[EndedTask]) -> int:
        if any(task.id == ended[2].pk for task in tasks):
            raise AttributeError("broken")
        return store(tasks)

    monkeypatch.setattr(delivery, "create_deliveries", broken)
    assert settlement.settle_ended_tasks() == (7, 6)
    assert len(entered()) == 7


def test_a_task_that_cannot_be_settled_at_all_is_logged(
    ended: list[Task], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _break_accounting(monkeypatch, {ended[2].pk})
    assert settlement.settle_ended_tasks() == (7, 6)
    assert len(entered()) == 6
    assert f"task {ended[2].pk}: it cannot be settled, and is in no ledger" in caplog.text


def test_if_many_cannot_be_settled_they_wait_until_the_fault_is_mended(
    ended: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "MAX_REDUCED", 2)
    with monkeypatch.context() as broken:
        _break_accounting(broken, {task.pk for task in ended[:3]})
        assert settlement.settle_ended_tasks() == (4, 4)
    assert Task.objects.filter(needs_settling=True).count() == 3
    assert settlement.settle_ended_tasks() == (3, 3)
    assert len(entered()) == 7


def test_while_the_database_is_away_all_wait(
    ended: list[Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object) -> None:
        raise OperationalError("the database is away")

    with monkeypatch.context() as outage:
        outage.setattr(accounting, "close_ledger", away)
        with pytest.raises(OperationalError):
            settlement.settle_ended_tasks()
    assert settlement.settle_ended_tasks() == (7, 7)


def _break_accounting(monkeypatch: pytest.MonkeyPatch, of: set[UUID]) -> None:
    settle = accounting.close_ledger

    def broken(tasks: list[EndedTask]) -> Any:
        if of & {task.id for task in tasks}:
            raise AttributeError("broken")
        return settle(tasks)

    monkeypatch.setattr(accounting, "close_ledger", broken)
