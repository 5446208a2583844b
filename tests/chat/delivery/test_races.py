"""Two workers at the same moment: the second is held at the first one's uncommitted work."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from django.db import connection, transaction
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from chat.delivery import claims, outbox
from chat.models import Delivery, LLMModel, NotificationPreferences, Status, Task
from chat.models.ended import EndedTask
from tests.chat.delivery.conftest import end_task, make_endpoint
from tests.locks import wait_for_a_lock
from tests.waiting import PATIENCE_SECONDS

T = TypeVar("T")


def both(first: Callable[[], T], second: Callable[[], T]) -> tuple[T, T]:
    """Run `second` while what `first` did is not committed yet, and commit once it has to wait."""
    is_done, may_commit = threading.Event(), threading.Event()

    def run_first() -> T:
        try:
            with transaction.atomic():
                result = first()
                is_done.set()
                assert may_commit.wait(PATIENCE_SECONDS)
            return result
        finally:
            is_done.set()
            connection.close()

    def run_second() -> T:
        try:
            with transaction.atomic():
                return second()
        finally:
            connection.close()

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(run_first)
        assert is_done.wait(PATIENCE_SECONDS)
        two = threads.submit(run_second)
        try:
            wait_for_a_lock(or_until=two.done)
        finally:
            may_commit.set()
        return one.result(PATIENCE_SECONDS), two.result(PATIENCE_SECONDS)


def test_two_claims_share_nothing_and_keep_to_the_bound(alice: User, model: LLMModel) -> None:
    make_endpoint(alice, "https://hooks.example/")
    for _ in range(claims.MAX_PER_ENDPOINT + 4):
        end_task(alice, model)

    first, second = both(lambda: claims.claim(1), lambda: claims.claim(100))

    ids = [delivery.pk for delivery in (*first, *second)]
    assert len(set(ids)) == len(ids) == claims.MAX_PER_ENDPOINT


def test_two_settlements_of_one_user_keep_to_the_hours_most_mails(
    alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.EMAIL_MAX_PER_HOUR = 1
    alice.email = "alice@wonderland.example"
    alice.save()
    NotificationPreferences.objects.create(user=alice, email_on_finished=True)
    rows = [
        Task.objects.create(
            owner=alice,
            model=model,
            messages=[],
            status=Status.SUCCEEDED,
            finished_at=timezone.now(),
        )
        for _ in range(2)
    ]
    tasks = msgspec.convert(rows, list[EndedTask], from_attributes=True)

    both(lambda: outbox.create_deliveries(tasks[:1]), lambda: outbox.create_deliveries(tasks[1:]))

    assert sorted(Delivery.objects.values_list("event", flat=True)) == [
        "task.completed",
        "tasks.summary",
    ]
