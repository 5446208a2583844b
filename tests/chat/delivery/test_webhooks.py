"""Webhooks end to end: from a task's end to a real receiver, through every failure."""

from __future__ import annotations

import json
import logging
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings
from standardwebhooks import Webhook, WebhookVerificationError

from accounts.models import User
from aily.database.threads import in_database
from chat import retention, settlement
from chat.delivery import claims, outcomes
from chat.delivery import deliverer as deliverer_module
from chat.delivery.deliverer import Deliverer
from chat.delivery.outcomes import Outcome
from chat.models import Delivery, LLMModel, Status, Task, WebhookEndpoint
from chat.services.webhooks import redeliver, rotate_secret
from tests.chat.conftest import until
from tests.chat.delivery.conftest import (
    deliver,
    end_leases,
    end_task,
    make_due,
    make_endpoint,
    the_delivery,
)
from tests.receiver import Receiver
from tests.waiting import eventually


async def test_the_end_of_a_task_arrives_signed(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    _, secret = await in_database(make_endpoint, alice, f"{receiver.url}/hook?x=1")
    task = await in_database(
        end_task, alice, model, text="Grüße", finish_reason="stop", metadata={"ref": 7}
    )

    await deliver(deliverer)

    [(headers, body)] = receiver.requests
    said = Webhook(secret).verify(body, headers)
    assert said["type"] == "task.completed"
    assert said["data"] == {
        "task_id": str(task.pk),
        "kind": "chat",
        "status": "succeeded",
        "metadata": {"ref": 7},
        "scene": None,
        "model": model.name,
        "usage": None,
        "error": None,
        "served_from": "provider",
        "result": {"text": "Grüße", "finish_reason": "stop"},
        "is_truncated": False,
    }
    delivery = await the_delivery()
    assert headers["webhook-id"] == str(delivery.pk)
    assert (delivery.state, delivery.attempts, delivery.response_status) == ("delivered", 1, 204)
    assert (delivery.locked_until, delivery.next_attempt_at) == (None, None)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)


async def test_an_endpoint_hears_of_its_events_and_its_owner_only(
    alice: User, bob: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    await in_database(make_endpoint, alice, receiver.url, events=["task.failed", "task.expired"])
    for status in (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.EXPIRED):
        await in_database(end_task, alice, model, status)
        await in_database(end_task, bob, model, status)

    await deliver(deliverer)

    types = sorted(json.loads(body)["type"] for _, body in receiver.requests)
    assert types == ["task.expired", "task.failed"]


def test_a_task_settled_twice_is_told_once(alice: User, model: LLMModel) -> None:
    make_endpoint(alice, "https://hooks.example/")
    task = end_task(alice, model)
    Task.objects.filter(pk=task.pk).update(needs_settling=True)
    assert settlement.settle_ended_tasks() == (1, 1)
    assert Delivery.objects.count() == 1


async def test_a_failure_is_tried_again_under_the_same_id(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    await in_database(make_endpoint, alice, receiver.url)
    await in_database(end_task, alice, model)
    receiver.answers = [(500, {})]
    before = timezone.now()

    await deliver(deliverer)
    failed = await the_delivery()
    assert (failed.state, failed.attempts, failed.response_status) == ("pending", 1, 500)
    assert failed.error == "The endpoint answered 500."
    assert failed.next_attempt_at is not None
    assert timedelta(seconds=5) <= failed.next_attempt_at - before < timedelta(seconds=40)
    assert failed.endpoint is not None
    assert failed.endpoint.failing_since is not None
    await deliver(deliverer)
    assert len(receiver.requests) == 1

    await in_database(make_due)
    await deliver(deliverer)
    arrived = await the_delivery()
    assert (arrived.state, arrived.attempts, arrived.error) == ("delivered", 2, "")
    assert arrived.endpoint is not None
    assert arrived.endpoint.failing_since is None
    assert receiver.ids == [str(arrived.pk)] * 2
    assert receiver.requests[0][1] == receiver.requests[1][1]


async def test_after_the_last_attempt_it_failed_and_can_be_sent_by_hand(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    await in_database(make_endpoint, alice, receiver.url)
    await in_database(end_task, alice, model)
    receiver.answers = [(503, {})] * outcomes.MAX_ATTEMPTS

    for _ in range(outcomes.MAX_ATTEMPTS + 1):
        await in_database(make_due)
        await deliver(deliverer)

    failed = await the_delivery()
    assert (failed.state, failed.attempts) == ("failed", outcomes.MAX_ATTEMPTS)
    assert len(receiver.requests) == outcomes.MAX_ATTEMPTS
    await in_database(redeliver, failed)
    await deliver(deliverer)
    again = await the_delivery()
    assert (again.state, again.attempts) == ("delivered", 1)
    assert set(receiver.ids) == {str(again.pk)}


async def test_retry_after_is_honoured(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    await in_database(make_endpoint, alice, receiver.url)
    await in_database(end_task, alice, model)
    receiver.answers = [(429, {"Retry-After": "3000"})]
    before = timezone.now()

    await deliver(deliverer)

    delivery = await the_delivery()
    assert delivery.next_attempt_at is not None
    assert delivery.next_attempt_at - before >= timedelta(seconds=3000)


@pytest.mark.parametrize("attempts", range(1, outcomes.MAX_ATTEMPTS))
def test_waits_grow_and_are_spread(attempts: int) -> None:
    waits = [outcomes.wait_seconds(attempts, None) for _ in range(50)]
    shortest = outcomes.RETRY_SECONDS[attempts - 1]
    assert shortest <= min(waits) < max(waits) <= shortest * (1 + outcomes.JITTER)


async def test_while_rotating_both_secrets_sign_and_later_only_the_new_one(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    endpoint, old = await in_database(make_endpoint, alice, receiver.url)
    _, new = await in_database(rotate_secret, endpoint.pk)
    await in_database(end_task, alice, model)
    await deliver(deliverer)
    [(headers, body)] = receiver.requests
    Webhook(old).verify(body, headers)
    Webhook(new).verify(body, headers)

    past = timezone.now() - timedelta(seconds=1)
    await in_database(WebhookEndpoint.objects.update, previous_secret_expires_at=past)
    await in_database(end_task, alice, model)
    await deliver(deliverer)
    headers, body = receiver.requests[-1]
    Webhook(new).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(body, headers)


async def test_410_disables_the_endpoint_and_ends_what_waits_for_it(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    await in_database(make_endpoint, alice, receiver.url)
    await in_database(end_task, alice, model)
    receiver.answers = [(500, {}), (410, {})]
    await deliver(deliverer)
    await in_database(end_task, alice, model)
    await deliver(deliverer)

    endpoint = await in_database(WebhookEndpoint.objects.get)
    assert (endpoint.is_active, endpoint.disabled_reason) == (False, "It answered 410 Gone.")
    assert endpoint.disabled_at is not None
    await in_database(make_due)
    await deliver(deliverer)
    states = await in_database(lambda: list(Delivery.objects.values_list("state", flat=True)))
    assert states == ["failed", "failed"]
    await in_database(end_task, alice, model)
    assert len(receiver.requests) == await in_database(Delivery.objects.count) == 2


async def test_days_of_failure_disable_an_endpoint(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    since = timezone.now() - outcomes.DISABLE_AFTER - timedelta(minutes=1)
    await in_database(make_endpoint, alice, receiver.url, failing_since=since)
    await in_database(end_task, alice, model)
    receiver.answers = [(500, {})]
    await deliver(deliverer)
    endpoint = await in_database(WebhookEndpoint.objects.get)
    assert (endpoint.is_active, "5 days" in endpoint.disabled_reason) == (False, True)


async def test_a_worker_killed_between_claim_and_answer_is_made_up_for(
    alice: User,
    model: LLMModel,
    receiver: Receiver,
    deliverer: Deliverer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await in_database(make_endpoint, alice, f"{receiver.url}/held")
    await in_database(end_task, alice, model)
    monkeypatch.setattr(deliverer_module, "STOP_SECONDS", 0)
    killed = Deliverer()
    killed.wake()
    await until(lambda: receiver.held == 1)
    await killed.stop()
    receiver.released.set()

    await deliver(deliverer)
    assert len(receiver.requests) == 1
    await in_database(end_leases)
    await deliver(deliverer)

    delivery = await the_delivery()
    assert (delivery.state, delivery.attempts) == ("delivered", 2)
    assert receiver.ids == [str(delivery.pk)] * 2


def test_an_outcome_that_comes_after_the_lease_changes_nothing(
    alice: User, model: LLMModel
) -> None:
    make_endpoint(alice, "https://hooks.example/")
    end_task(alice, model)
    [late] = claims.claim(10)
    assert claims.claim(10) == []
    end_leases()
    [second] = claims.claim(10)
    assert second.pk == late.pk

    assert outcomes.store_outcomes([Outcome(late, is_delivered=False, is_final=True)]) == [False]
    assert Delivery.objects.get().state == Delivery.State.PENDING
    assert outcomes.store_outcomes([Outcome(second, is_delivered=True)]) == [True]
    assert outcomes.store_outcomes([Outcome(second, is_delivered=False, is_final=True)]) == [False]
    assert Delivery.objects.get().state == Delivery.State.DELIVERED


async def test_a_slow_endpoint_holds_up_no_other(
    alice: User, bob: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    await in_database(make_endpoint, alice, f"{receiver.url}/held")
    for _ in range(claims.MAX_PER_ENDPOINT + 3):
        await in_database(end_task, alice, model)
    await in_database(make_endpoint, bob, f"{receiver.url}/quick")
    await in_database(end_task, bob, model)

    deliverer.wake()
    await until(lambda: len(receiver.requests) == claims.MAX_PER_ENDPOINT + 1)
    delivered = Delivery.objects.filter(state=Delivery.State.DELIVERED)
    await eventually(lambda: in_database(delivered.exists))
    assert (await in_database(delivered.get)).owner_id == bob.pk
    assert receiver.held == claims.MAX_PER_ENDPOINT
    assert await in_database(claims.claim, 100) == []

    receiver.released.set()
    await deliver(deliverer)
    assert await in_database(delivered.count) == claims.MAX_PER_ENDPOINT + 4


def test_an_endpoint_that_fails_is_asked_one_at_a_time(alice: User, model: LLMModel) -> None:
    make_endpoint(alice, "https://hooks.example/", failing_since=timezone.now())
    for _ in range(3):
        end_task(alice, model)
    assert len(claims.claim(100)) == 1
    assert claims.claim(100) == []
    end_leases()
    assert len(claims.claim(100)) == 1


async def test_a_dead_endpoint_is_retried_with_the_reason_on_record(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    await in_database(make_endpoint, alice, "http://127.0.0.1:9/")
    await in_database(end_task, alice, model)
    await deliver(deliverer)
    delivery = await the_delivery()
    assert (delivery.state, delivery.response_status) == ("pending", None)
    assert delivery.error


async def test_a_redirect_is_not_followed(
    alice: User, model: LLMModel, receiver: Receiver, deliverer: Deliverer
) -> None:
    await in_database(make_endpoint, alice, f"{receiver.url}/first")
    await in_database(end_task, alice, model)
    receiver.answers = [(307, {"Location": f"{receiver.url}/inside"})]
    await deliver(deliverer)
    assert len(receiver.requests) == 1
    delivery = await the_delivery()
    assert (delivery.state, delivery.response_status) == ("pending", 307)


async def test_no_secret_is_logged_or_stored_readable(
    alice: User,
    model: LLMModel,
    receiver: Receiver,
    deliverer: Deliverer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    endpoint, secret = await in_database(make_endpoint, alice, receiver.url)
    await in_database(end_task, alice, model)
    receiver.answers = [(500, {})]
    with caplog.at_level(logging.DEBUG):
        await deliver(deliverer)
    assert len(receiver.requests) == 1
    stored = await in_database(WebhookEndpoint.objects.values().get, pk=endpoint.pk)
    bare = secret.removeprefix("whsec_")
    assert bare not in caplog.text
    assert bare not in repr(stored)
    assert bare not in repr(await in_database(Delivery.objects.values().get))


async def test_a_secret_of_another_secret_key_fails_the_delivery_clearly(
    alice: User,
    model: LLMModel,
    receiver: Receiver,
    deliverer: Deliverer,
    settings: Settings,
) -> None:
    _, secret = await in_database(make_endpoint, alice, receiver.url)
    old_key = settings.SECRET_KEY
    settings.SECRET_KEY = "another-key-of-fifty-characters-or-more-0123456789"
    await in_database(end_task, alice, model)
    await deliver(deliverer)
    delivery = await the_delivery()
    assert (delivery.state, "rotate it" in delivery.error) == ("failed", True)
    assert receiver.requests == []

    settings.SECRET_KEY_FALLBACKS = [old_key]
    await in_database(redeliver, delivery)
    await deliver(deliverer)
    [(headers, body)] = receiver.requests
    Webhook(secret).verify(body, headers)


def test_deliveries_go_with_their_purged_tasks(alice: User, model: LLMModel) -> None:
    make_endpoint(alice, "https://hooks.example/")
    end_task(alice, model)
    list(retention.purge(timezone.now()))
    assert not Delivery.objects.exists()
