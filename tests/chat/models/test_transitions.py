"""A change of status changes nothing if another process has changed the task before."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from msgspec.structs import replace
from pytest_django import Settings

from accounts.models import User
from chat.models import LLMModel, Status, Task, Worker, transitions
from chat.models.transitions import AttemptResult, CancelledCall
from chat.models.transitions.earlier_attempts import MAX_EARLIER_ATTEMPTS
from chat.runner import lease, recovery
from tests.chat.routes import own_route
from tests.chat.witness import make_witness

TERMINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED)


@pytest.fixture
def make_task(alice: User, model: LLMModel) -> Any:
    def make(**fields: Any) -> Task:
        return Task.objects.create(owner=alice, model=model, messages=[], **fields)

    return make


@pytest.fixture
def task(make_task: Any) -> Task:
    task: Task = make_task()
    return task


@pytest.fixture
def worker(model: LLMModel) -> UUID:
    return lease.register()


@pytest.fixture
def zombie(model: LLMModel) -> UUID:
    worker_id = lease.register()
    lease.give_up(worker_id)
    return worker_id


def start(worker: UUID, task: Task) -> bool:
    return bool(transitions.start(worker, own_route(task.model_id), [str(task.pk)]))


def result_of(task: Task, status: Status = Status.SUCCEEDED, attempt: int = 1) -> AttemptResult:
    return AttemptResult(id=task.pk, attempt=attempt, status=status, last_event=3, text="Done")


def status_of(task: Task) -> str:
    task.refresh_from_db()
    return task.status


def test_a_task_is_started_once(task: Task, worker: UUID) -> None:
    other = lease.register()
    assert start(worker, task)
    assert not start(other, task)
    assert not start(worker, task)
    task.refresh_from_db()
    assert (task.status, task.attempt, task.worker_id) == (Status.RUNNING, 1, worker)


def test_a_worker_that_was_declared_dead_starts_nothing(task: Task, zombie: UUID) -> None:
    assert not start(zombie, task)
    assert status_of(task) == Status.QUEUED


@pytest.mark.parametrize("status", TERMINAL)
def test_what_has_ended_never_changes(make_task: Any, worker: UUID, status: Status) -> None:
    task = make_task(status=status, attempt=1, worker_id=worker, deadline_at=timezone.now())
    before = Task.objects.filter(pk=task.pk).values().get()
    assert not start(worker, task)
    assert not transitions.end(worker, [result_of(task)])
    assert not transitions.cancel_queued([task.pk])
    assert not transitions.cancel_running([task.pk])
    assert not transitions.expire()
    lease.give_up(worker)
    assert not transitions.recover(5)
    assert Task.objects.filter(pk=task.pk).values().get() == before


def test_the_end_of_a_zombie_is_refused(task: Task, worker: UUID) -> None:
    start(worker, task)
    lease.give_up(worker)
    assert [task.id for task in transitions.recover(5)] == [task.pk]
    assert transitions.end(worker, [result_of(task)]) == set()
    assert status_of(task) == Status.QUEUED
    other = lease.register()
    start(other, task)
    # Same attempt number or not, it is not its task any more.
    assert transitions.end(worker, [result_of(task), result_of(task, attempt=2)]) == set()
    assert transitions.end(other, [result_of(task, attempt=1)]) == set()
    assert transitions.end(other, [result_of(task, attempt=2)]) == {task.pk}
    assert status_of(task) == Status.SUCCEEDED


def test_the_end_of_a_cancelled_task_is_refused_and_its_partial_text_kept_once(
    task: Task, worker: UUID
) -> None:
    start(worker, task)
    assert transitions.cancel_running([task.pk]) == [CancelledCall(task.pk, worker)]
    assert transitions.end(worker, [result_of(task)]) == set()
    assert not transitions.keep_partial(lease.register(), result_of(task))
    assert transitions.keep_partial(worker, result_of(task))
    assert not transitions.keep_partial(worker, result_of(task))
    task.refresh_from_db()
    assert (task.status, task.text, task.last_event) == (Status.CANCELLED, "Done", 3)


def test_of_a_batch_of_ends_each_is_judged_alone(make_task: Any, worker: UUID) -> None:
    tasks = [make_task() for _ in range(4)]
    for task in tasks[:3]:
        start(worker, task)
    transitions.cancel_running([tasks[1].pk])
    changed = transitions.end(worker, [result_of(task) for task in tasks])
    assert changed == {tasks[0].pk, tasks[2].pk}
    assert [status_of(task) for task in tasks] == ["succeeded", "cancelled", "succeeded", "queued"]


def test_a_task_whose_deadline_has_passed_is_not_started_but_expires(
    make_task: Any, worker: UUID
) -> None:
    late = make_task(deadline_at=timezone.now() - timedelta(seconds=1))
    in_time = make_task(deadline_at=timezone.now() + timedelta(hours=1))
    assert not start(worker, late)
    assert [task.event_id for task in transitions.expire([str(late.pk)])] == ["0-1"]
    assert not transitions.expire()
    assert (status_of(late), status_of(in_time)) == (Status.EXPIRED, Status.QUEUED)


def test_a_retry_forgets_the_text_and_error_of_the_attempt_before(task: Task, worker: UUID) -> None:
    start(worker, task)
    again = AttemptResult(
        id=task.pk,
        attempt=1,
        status=Status.QUEUED,
        last_event=2,
        text="Half",
        error={"code": "provider_error", "message": "?"},
        failures=1,
    )
    assert transitions.end(worker, [again]) == {task.pk}
    task.refresh_from_db()
    assert (task.status, task.text, task.failures) == (Status.QUEUED, "Half", 1)
    assert start(worker, task)
    task.refresh_from_db()
    assert (task.attempt, task.text, task.error, task.failures) == (2, "", None, 1)


def test_a_lease_is_renewed_until_it_was_taken_away_and_never_again(worker: UUID) -> None:
    assert lease.renew(worker)
    past = timezone.now() - timedelta(seconds=1)
    Worker.objects.filter(pk=worker).update(lease_until=past)
    assert lease.renew(worker), "late, but no other worker has declared it dead"
    Worker.objects.filter(pk=worker).update(lease_until=past)
    make_witness()
    assert recovery.declare_dead() == 1
    assert recovery.declare_dead() == 0
    assert not lease.renew(worker)


def test_after_an_outage_nobody_is_declared_dead_before_the_living_have_renewed(
    worker: UUID,
) -> None:
    """All leases ran out while PostgreSQL was away; another worker is the first to come back."""
    past = timezone.now() - timedelta(seconds=1)
    other = lease.register()
    Worker.objects.update(lease_until=past, steady_since=past - timedelta(hours=1))
    assert lease.renew(other)
    assert recovery.declare_dead() == 0
    assert lease.renew(worker)
    # Had it not renewed, it would be declared dead as soon as the other has proved steady.
    Worker.objects.filter(pk=worker).update(lease_until=past)
    settled = timezone.now() - timedelta(seconds=lease.STEADY_SECONDS + 1)
    Worker.objects.filter(pk=other).update(steady_since=settled)
    assert recovery.declare_dead() == 1
    assert not lease.renew(worker)


def test_who_was_late_itself_declares_nobody_dead(worker: UUID, settings: Settings) -> None:
    """PostgreSQL was away for most of a lease: one expired, the other had been renewed later."""
    now, lease_seconds = timezone.now(), settings.WORKER_LEASE_SECONDS
    other = lease.register()
    Worker.objects.update(
        lease_until=now - timedelta(seconds=1), steady_since=now - timedelta(hours=1)
    )
    left = timedelta(seconds=lease_seconds / 5)
    Worker.objects.filter(pk=other).update(lease_until=now + left)
    assert recovery.declare_dead() == 0
    assert lease.renew(other)
    assert recovery.declare_dead() == 0
    assert lease.renew(worker)


def test_tasks_that_crash_too_often_fail_and_others_are_queued_again(
    make_task: Any, worker: UUID
) -> None:
    poison, unlucky = make_task(crashes=2), make_task(crashes=1)
    start(worker, poison)
    start(worker, unlucky)
    assert transitions.recover(2) == []
    lease.give_up(worker)
    recovered = {task.id: task.status for task in transitions.recover(2)}
    assert recovered == {poison.pk: "failed", unlucky.pk: "queued"}
    assert (status_of(poison), status_of(unlucky)) == (Status.FAILED, Status.QUEUED)
    assert poison.error == transitions.WORKER_LOST


# --- Earlier attempts ---------------------------------------------------------------------------
def _send_back(task: Task, worker: UUID, **fields: Any) -> None:
    """Start the task, and end the attempt with another to come."""
    start(worker, task)
    attempt = Task.objects.values_list("attempt", flat=True).get(pk=task.pk)
    result = replace(result_of(task, attempt=attempt), status=Status.QUEUED, **fields)
    assert transitions.end(worker, [result]) == {task.pk}


def _earlier_attempts(task: Task) -> list[dict[str, Any]]:
    task.refresh_from_db()
    earlier_attempts: list[dict[str, Any]] = task.earlier_attempts or []
    return earlier_attempts


def test_the_times_of_earlier_attempts_are_kept(task: Task, worker: UUID) -> None:
    first_token_at = timezone.now()
    error = {"code": "provider_overloaded", "message": "Busy."}
    _send_back(task, worker, error=error, first_token_at=first_token_at)
    _send_back(task, worker)
    start(worker, task)
    lease.give_up(worker)
    transitions.recover(5)
    other = lease.register()
    start(other, task)
    assert transitions.end(other, [result_of(task, attempt=4)]) == {task.pk}
    earlier_attempts = _earlier_attempts(task)
    assert [(earlier["attempt"], earlier["outcome"]) for earlier in earlier_attempts] == [
        (1, "provider_overloaded"),
        (2, "handed_back"),
        (3, "worker_lost"),
    ]
    assert {earlier["model"] for earlier in earlier_attempts} == {task.model.name}
    times = [
        datetime.fromisoformat(earlier[name])
        for earlier in earlier_attempts
        for name in ("started_at", "ended_at")
    ]
    assert times == sorted(times)
    assert times[0] >= task.created_at
    assert times[-1] <= (task.started_at or times[0])
    first_texts = [earlier["first_token_at"] for earlier in earlier_attempts]
    assert datetime.fromisoformat(first_texts[0]) == first_token_at
    assert first_texts[1:] == [None, None]


def test_a_task_with_one_attempt_has_none_before_it(task: Task, worker: UUID) -> None:
    start(worker, task)
    transitions.end(worker, [result_of(task)])
    task.refresh_from_db()
    assert task.earlier_attempts is None


def test_of_very_many_attempts_the_last_ones_are_kept(task: Task, worker: UUID) -> None:
    for _ in range(MAX_EARLIER_ATTEMPTS + 3):
        _send_back(task, worker)
    numbers = [earlier["attempt"] for earlier in _earlier_attempts(task)]
    assert numbers == list(range(4, MAX_EARLIER_ATTEMPTS + 4))
