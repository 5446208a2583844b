"""Limits: what is refused says which limit it was, and when to come back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.contrib.auth.models import Group
from pytest_django import Settings

from accounts.access.limits import count_request, limits_of
from accounts.models import APIKey, RoleLimits, User
from aily.database.threads import in_database
from aily.problems import LimitReached, RateLimited
from aily.redis import keys, rates
from aily.redis.clients import sync_redis
from aily.redis.errors import RedisUnavailable
from chat import scheduler
from chat.exceptions import QueueFull, TooManyInFlight
from chat.models import LLMModel, Task
from chat.scheduler.keys import pool_keys
from chat.services import limits
from chat.services.cancel import cancel
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission, submit, submit_many

BODY = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture(autouse=True)
def _fresh_counts(monkeypatch: pytest.MonkeyPatch, loop_services: None) -> None:
    monkeypatch.setattr(limits, "_depths", limits.Depths())


def submission(user: User, key: str | None = None) -> Submission:
    return Submission(user.pk, CompositeRequest.model_validate(BODY), idempotency_key=key)


async def submit_batch(user: User, count: int) -> Sequence[object]:
    return await in_database(submit_many, [submission(user) for _ in range(count)])


def refusals(outcomes: Sequence[object]) -> list[LimitReached]:
    return [outcome for outcome in outcomes if isinstance(outcome, LimitReached)]


# --- Depths -------------------------------------------------------------------------------------
async def test_a_batch_fills_the_room_there_is_and_no_more(
    alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.MAX_QUEUED_PER_USER = 25
    await submit_batch(alice, 20)
    outcomes = await submit_batch(alice, 200)
    refused = refusals(outcomes)
    assert len(refused) == 195
    assert refused == outcomes[5:]
    assert await in_database(Task.objects.count) == 25
    first, last = refused[0], refused[-1]
    assert isinstance(first, QueueFull)
    assert first.details() == {"limit": {"name": "max_tasks_queued", "value": 25}}
    assert 1 <= (first.retry_after_seconds or 0) <= (last.retry_after_seconds or 0) <= 600


async def test_many_batches_at_once_do_not_go_over_within_a_process(
    alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.MAX_TASKS_IN_FLIGHT = 30
    requests = (submit(submission(alice)) for _ in range(700))
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    refused = refusals(outcomes)
    assert len(refused) == 670
    assert {type(refusal) for refusal in refused} == {TooManyInFlight}
    assert await in_database(Task.objects.count) == 30


async def test_a_task_that_ended_makes_room(
    alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.MAX_TASKS_IN_FLIGHT = 1
    accepted = await submit(submission(alice))
    with pytest.raises(TooManyInFlight):
        await submit(submission(alice))
    await cancel(alice.pk, UUID(accepted.task_id))
    await submit(submission(alice))


def test_counts_that_are_soon_too_old_are_taken_again_with_those_that_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counted: list[set[int]] = []
    now = 100.0

    def count(owners: set[int]) -> dict[int, limits.CountRow]:
        counted.append(set(owners))
        return {}

    monkeypatch.setattr(limits, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(limits, "_count_rows", count)
    depths = limits.Depths()

    def admit(owner: int) -> None:
        bounds = [limits.Bound(owner, in_flight=True, limit=1_000)]
        assert depths.admit([bounds]) == [None]
        depths.clear_pending([bounds])

    admit(1)
    now += 0.3 * limits.TRUST_SECONDS
    admit(2)
    now += 0.2 * limits.TRUST_SECONDS
    admit(3)
    now += 0.55 * limits.TRUST_SECONDS
    admit(1)
    now += 0.1 * limits.TRUST_SECONDS
    admit(2)
    assert counted == [{1}, {2}, {3}, {1, 2, 3}]


async def test_one_users_limit_does_not_hold_for_another(
    alice: User, bob: User, model: LLMModel, settings: Settings
) -> None:
    settings.MAX_QUEUED_PER_USER = 3
    batch = [submission(user) for user in (alice, bob) * 5]
    outcomes = await in_database(submit_many, batch)
    assert len(refusals(outcomes)) == 4
    rows = await in_database(lambda: list(Task.objects.values_list("owner_id", flat=True)))
    assert (rows.count(alice.pk), rows.count(bob.pk)) == (3, 3)


async def test_the_queue_of_all_users_is_bounded_too(
    alice: User, bob: User, model: LLMModel, settings: Settings
) -> None:
    settings.MAX_QUEUED = 4
    await submit_batch(alice, 3)
    outcomes = await submit_batch(bob, 3)
    assert [refusal.limit_name for refusal in refusals(outcomes)] == ["max_queued"] * 2


async def test_repeating_a_request_finds_its_task_however_full_the_queue_is(
    alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.MAX_QUEUED_PER_USER = 1
    first = await submit(submission(alice, "key"))
    again = await submit(submission(alice, "key"))
    assert (again.task_id, again.is_new) == (first.task_id, False)
    with pytest.raises(QueueFull):
        await submit(submission(alice, "another"))


async def test_who_is_refused_comes_back_when_calls_have_drained(
    alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.MAX_QUEUED_PER_USER = 1
    # Ten calls of twenty seconds at once: one ends every two seconds.
    sync_redis().hset(pool_keys(model.pool).stats, mapping={"seconds": 20, "in_use": 10, "cap": 10})
    outcomes = await submit_batch(alice, 4)
    assert [refusal.retry_after_seconds for refusal in refusals(outcomes)] == [2, 4, 6]
    sync_redis().delete(pool_keys(model.pool).stats)


async def test_the_bounds_hold_while_redis_is_away(
    alice: User, model: LLMModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: object) -> object:
        raise RedisUnavailable[0]("away")

    monkeypatch.setattr(scheduler, "drain_seconds", away)
    monkeypatch.setattr(scheduler, "enqueue", away)
    settings.MAX_QUEUED_PER_USER = 2
    outcomes = await submit_batch(alice, 5)
    assert len(refusals(outcomes)) == 3
    assert await in_database(Task.objects.count) == 2


async def test_far_from_a_limit_submits_do_not_count_rows_each_time(
    alice: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[set[int]] = []
    count_rows = limits._count_rows

    def noted(owners: set[int]) -> dict[int, limits.CountRow]:
        counted.append(owners)
        return count_rows(owners)

    monkeypatch.setattr(limits, "_count_rows", noted)
    monkeypatch.setattr(limits, "TRUST_SECONDS", 60)
    for _ in range(5):
        await submit_batch(alice, 10)
    assert counted == [{alice.pk, limits.ALL_OWNERS}]


# --- Whose limits -------------------------------------------------------------------------------
def test_a_users_own_limit_goes_before_a_roles_and_a_roles_before_the_default(
    alice: User, bob: User, staff: User, settings: Settings
) -> None:
    settings.MAX_TASKS_IN_FLIGHT = 10
    for name, most in (("small", 20), ("large", 30)):
        role = Group.objects.create(name=name)
        RoleLimits.objects.create(role=role, max_tasks_in_flight=most)
        bob.groups.add(role)
        staff.groups.add(role)
    User.objects.filter(pk=staff.pk).update(max_tasks_in_flight=5)
    found = limits_of([alice.pk, bob.pk, staff.pk])
    assert found[alice.pk].max_tasks_in_flight == 10
    assert found[bob.pk].max_tasks_in_flight == 30
    assert found[staff.pk].max_tasks_in_flight == 5


async def test_zero_in_the_settings_is_no_limit(
    alice: User, model: LLMModel, settings: Settings
) -> None:
    settings.MAX_TASKS_IN_FLIGHT = settings.MAX_QUEUED_PER_USER = settings.MAX_QUEUED = 0
    settings.RATE_LIMIT_PER_MINUTE = 0
    assert not refusals(await submit_batch(alice, 50))
    assert await count_request(alice.pk, None) is None


# --- Rates --------------------------------------------------------------------------------------
async def test_requests_over_the_rate_are_refused_and_told_when_to_come_back(
    alice: User, settings: Settings
) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 10
    await in_database(limits_of, [alice.pk])
    requests = (count_request(alice.pk, None) for _ in range(25))
    outcomes = await asyncio.gather(*requests, return_exceptions=True)
    refused = refusals(outcomes)
    assert len(refused) == 15
    assert {type(refusal) for refusal in refused} == {RateLimited}
    waits = [refusal.retry_after_seconds or 0 for refusal in refused]
    assert waits == sorted(waits)
    assert 1 <= waits[0] <= waits[-1] <= 600
    assert refused[0].details() == {"limit": {"name": "requests_per_minute", "value": 10}}


async def test_requests_count_for_less_and_less_in_the_minute_after_theirs(
    alice: User, settings: Settings
) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 10

    async def count_after(seconds: float) -> int:
        """Of 20 requests, those that get through when the last minute began so long ago."""
        key = keys.rate(f"user:{alice.pk}")
        start = int(sync_redis().hget(key, "start") or 0)  # type: ignore[arg-type]
        sync_redis().hset(key, "start", str(start - int(seconds * 1000)))
        requests = (count_request(alice.pk, None) for _ in range(20))
        outcomes = await asyncio.gather(*requests, return_exceptions=True)
        return len(outcomes) - len(refusals(outcomes))

    await asyncio.gather(*(count_request(alice.pk, None) for _ in range(10)))
    assert await count_after(30) == 0
    # Together 95 s: of the ten, 25 / 60 still count.
    assert await count_after(65) == 6
    assert await count_after(120) == 10


async def test_a_keys_own_limit_holds_for_that_key_alone(alice: User) -> None:
    limited = APIKey(pk=2_000_000_000 + alice.pk, owner=alice, requests_per_minute=2)
    for _ in range(2):
        await count_request(alice.pk, limited)
    with pytest.raises(RateLimited):
        await count_request(alice.pk, limited)
    await count_request(alice.pk, None)


async def test_while_redis_is_away_no_request_is_refused_for_its_rate(
    alice: User, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.RATE_LIMIT_PER_MINUTE = 1

    async def away(*args: object) -> None:
        raise RedisUnavailable[0]("away")

    monkeypatch.setattr(rates._count, "acall", away)
    for _ in range(5):
        await count_request(alice.pk, None)
