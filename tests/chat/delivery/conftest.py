"""A receiver, endpoints that point to it, and tasks that have ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat import settlement
from chat.delivery import signing
from chat.delivery.deliverer import Deliverer
from chat.models import Delivery, LLMModel, Status, Task, WebhookEndpoint
from tests.chat.conftest import until
from tests.receiver import Receiver, running_receiver


@pytest.fixture
async def receiver(settings: Settings) -> AsyncIterator[Receiver]:
    settings.WEBHOOK_ALLOW_PRIVATE = True
    settings.WEBHOOK_REQUIRE_HTTPS = False
    async with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def deliverer(transactional_db: None) -> AsyncIterator[Deliverer]:
    deliverer = Deliverer()
    yield deliverer
    await deliverer.stop()
    await sync_to_async(connections.close_all)()


def make_endpoint(owner: User, url: str, **fields: Any) -> tuple[WebhookEndpoint, str]:
    secret = signing.new_secret()
    endpoint = WebhookEndpoint.objects.create(
        owner=owner, url=url, secret=signing.encrypt(secret), **fields
    )
    return endpoint, secret


def end_task(
    owner: User, model: LLMModel, status: Status = Status.SUCCEEDED, **fields: Any
) -> Task:
    """A task that has ended and been settled."""
    task = Task.objects.create(
        owner=owner,
        model=model,
        messages=[],
        status=status,
        finished_at=timezone.now(),
        last_event=1,
        needs_settling=True,
        **fields,
    )
    settlement.settle_ended_tasks()
    return task


async def deliver(deliverer: Deliverer) -> None:
    """Send all that is due, and wait until nothing is under way."""
    deliverer.wake()
    await until(lambda: not deliverer._claiming and not deliverer._sending)


def make_due() -> None:
    """As if the time of every waiting delivery had come."""
    Delivery.objects.filter(state=Delivery.State.PENDING).update(next_attempt_at=timezone.now())


def end_leases() -> None:
    """As if no worker had noted an outcome in time."""
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.filter(locked_until__isnull=False).update(locked_until=past)


async def the_delivery() -> Delivery:
    return await in_database(Delivery.objects.select_related("endpoint").get)
