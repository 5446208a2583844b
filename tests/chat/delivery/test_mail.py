"""E-mail: its recipients, its limit, and that none is lost while the mail server is away."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from aily.database.threads import in_database
from chat import delivery
from chat.delivery.deliverer import Deliverer
from chat.models import Delivery, LLMModel, NotificationPreferences, Scene, Status
from tests.chat.delivery.conftest import deliver, end_leases, end_task, make_due, the_delivery


@pytest.fixture
def mailed(alice: User) -> User:
    """Alice, with all kinds of mail turned on."""
    alice.email = "alice@wonderland.example"
    alice.save()
    NotificationPreferences.objects.create(
        user=alice, email_on_finished=True, email_on_failed=True, email_on_budget_near_end=True
    )
    return alice


async def test_finished_failed_and_expired_tasks_are_mailed(
    mailed: User, bob: User, model: LLMModel, deliverer: Deliverer
) -> None:
    scene = await in_database(Scene.objects.create, slug="summarize", title="Summarize")
    error = {"code": "provider_error", "message": "It <broke> & fell."}
    await in_database(end_task, mailed, model, scene=scene, text="The <answer>.")
    await in_database(end_task, mailed, model, Status.FAILED, error=error)
    await in_database(end_task, mailed, model, Status.EXPIRED)
    await in_database(end_task, mailed, model, Status.CANCELLED)
    await in_database(end_task, bob, model)

    await deliver(deliverer)

    mails = {message.subject: message for message in mail.outbox}
    assert set(mails) == {"Task finished: summarize", "Task failed", "Task expired"}
    assert all(message.to == ["alice@wonderland.example"] for message in mail.outbox)
    assert "The <answer>." in mails["Task finished: summarize"].body
    assert "It <broke> & fell." in mails["Task failed"].body


async def test_a_mail_is_in_the_language_of_its_reader(
    mailed: User, model: LLMModel, deliverer: Deliverer
) -> None:
    await in_database(User.objects.filter(pk=mailed.pk).update, language="zh-hans")
    scene = await in_database(Scene.objects.create, slug="summarize", title="Summarize")
    await in_database(end_task, mailed, model, scene=scene, text="Some text.")
    await deliver(deliverer)
    [message] = mail.outbox
    assert message.subject == "任务已完成：summarize"

    mail.outbox.clear()
    error = {"code": "provider_error", "message": "It broke."}
    await in_database(end_task, mailed, model, Status.FAILED, error=error)
    await deliver(deliverer)
    assert "错误：provider_error：提供商出错。原文：It broke." in mail.outbox[0].body
    assert "alice，您好：" in message.body
    assert "场景：summarize\n模型：" in message.body
    assert "您收到此邮件" in message.body


async def test_preferences_choose_the_events(
    mailed: User, model: LLMModel, deliverer: Deliverer
) -> None:
    await in_database(NotificationPreferences.objects.update, email_on_finished=False)
    await in_database(end_task, mailed, model)
    await in_database(end_task, mailed, model, Status.FAILED, error={"code": "x", "message": "y"})
    await deliver(deliverer)
    assert [message.subject for message in mail.outbox] == ["Task failed"]


async def test_a_mail_that_the_server_refused_is_sent_again_under_its_id(
    mailed: User, model: LLMModel, deliverer: Deliverer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_database(end_task, mailed, model)
    with monkeypatch.context() as broken:

        def refuse(*args: object) -> int:
            raise ConnectionRefusedError("no server")

        broken.setattr(EmailBackend, "send_messages", refuse)
        await deliver(deliverer)
    waiting = await the_delivery()
    assert (waiting.state, waiting.attempts) == ("pending", 1)
    assert "no server" in waiting.error
    assert mail.outbox == []

    await in_database(make_due)
    await deliver(deliverer)
    [sent] = mail.outbox
    assert (await the_delivery()).state == "delivered"
    assert sent.message()["Message-ID"] == f"<{waiting.pk}@localhost>"


async def test_a_mail_sent_twice_has_one_message_id(
    mailed: User, model: LLMModel, deliverer: Deliverer
) -> None:
    await in_database(end_task, mailed, model)
    await deliver(deliverer)
    # As if the worker had died after the server took the mail.
    await in_database(Delivery.objects.update, state="pending", locked_until=timezone.now())
    await in_database(end_leases)
    await in_database(make_due)
    await deliver(deliverer)
    first, second = (message.message()["Message-ID"] for message in mail.outbox)
    assert first == second


async def test_an_hour_has_its_most_mails_and_the_last_one_says_so(
    mailed: User, model: LLMModel, deliverer: Deliverer, settings: Settings
) -> None:
    settings.EMAIL_MAX_PER_HOUR = 2
    for _ in range(4):
        await in_database(end_task, mailed, model)
    await deliver(deliverer)
    assert sorted("within an hour" in message.body for message in mail.outbox) == [False, True]

    an_hour_ago = timezone.now() - timedelta(hours=1)
    await in_database(Delivery.objects.update, created_at=an_hour_ago)
    await in_database(end_task, mailed, model)
    await deliver(deliverer)
    assert len(mail.outbox) == 3


async def test_what_an_hour_has_no_mail_for_is_counted_in_one_summary(
    mailed: User, model: LLMModel, deliverer: Deliverer, settings: Settings
) -> None:
    settings.EMAIL_MAX_PER_HOUR = 1
    for status in (Status.SUCCEEDED, Status.SUCCEEDED, Status.FAILED, Status.SUCCEEDED):
        await in_database(end_task, mailed, model, status)
    await deliver(deliverer)
    assert len(mail.outbox) == 1
    await in_database(make_due)
    await deliver(deliverer)
    assert len(mail.outbox) == 2
    summary = mail.outbox[1]
    assert summary.subject == "More of your tasks have ended"
    assert "2 finished\n1 failed\n" in summary.body

    # What comes later begins another.
    await in_database(end_task, mailed, model)
    await in_database(make_due)
    await deliver(deliverer)
    assert "1 finished" in mail.outbox[2].body


async def test_a_budget_is_mailed_whatever_the_hour_had(
    mailed: User, model: LLMModel, deliverer: Deliverer, settings: Settings
) -> None:
    settings.EMAIL_MAX_PER_HOUR = 1
    await in_database(end_task, mailed, model)
    await in_database(
        delivery.budget_near_end, mailed.pk, key="b", budget="Team", spent="9 USD", limit="10 USD"
    )
    await deliver(deliverer)
    assert "Budget near its end: Team" in [message.subject for message in mail.outbox]


async def test_a_budget_is_mailed_once_a_period(
    mailed: User, bob: User, deliverer: Deliverer
) -> None:
    def near_end(owner_id: int, key: str) -> bool:
        return delivery.budget_near_end(
            owner_id, key=key, budget="Team", spent="8.10 USD", limit="10 USD"
        )

    assert await in_database(near_end, mailed.pk, "budget:1:2026-11")
    assert not await in_database(near_end, mailed.pk, "budget:1:2026-11")
    assert await in_database(near_end, mailed.pk, "budget:1:2026-12")
    assert not await in_database(near_end, bob.pk, "budget:1:2026-11")
    await deliver(deliverer)
    assert [message.subject for message in mail.outbox] == ["Budget near its end: Team"] * 2
    assert "8.10 USD of 10 USD" in mail.outbox[0].body
