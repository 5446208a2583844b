"""Deliveries and endpoints in the admin: all is shown but secrets, and staff may act."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from chat import actors
from chat.models import Delivery, LLMModel, WebhookEndpoint
from tests.chat.delivery.conftest import end_task, make_endpoint


@pytest.fixture(autouse=True)
def _no_worker_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors.deliver, "send", lambda: None)


@pytest.fixture
def admin(staff: User) -> Client:
    client = Client()
    client.force_login(staff)
    return client


def act(admin: Client, page: str, action: str, pk: object) -> None:
    form = {"action": action, "_selected_action": [str(pk)]}
    response = admin.post(f"/admin/chat/{page}/", form)
    assert response.status_code == 302


def test_pages_open_and_show_no_secret(admin: Client, alice: User, model: LLMModel) -> None:
    endpoint, secret = make_endpoint(alice, "https://hooks.example/")
    end_task(alice, model)
    pages = [
        "webhookendpoint/",
        f"webhookendpoint/{endpoint.pk}/change/",
        "delivery/",
        f"delivery/{Delivery.objects.get().pk}/change/",
        "notificationpreferences/",
    ]
    for page in pages:
        response = admin.get(f"/admin/chat/{page}")
        assert response.status_code == 200, page
        text = response.content.decode()
        assert "hooks.example" in text or "webhookendpoint" not in page
        assert secret.removeprefix("whsec_") not in text
        assert endpoint.secret not in text


def test_staff_disables_endpoints_and_sends_deliveries_again(
    admin: Client, alice: User, model: LLMModel
) -> None:
    endpoint, _ = make_endpoint(alice, "https://hooks.example/")
    end_task(alice, model)
    Delivery.objects.update(state="failed", attempts=10)
    delivery = Delivery.objects.get()

    act(admin, "delivery", "send_again", delivery.pk)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("pending", 0)

    act(admin, "webhookendpoint", "disable", endpoint.pk)
    disabled = WebhookEndpoint.objects.get()
    assert (disabled.is_active, disabled.disabled_reason) == (False, "By the staff.")


def test_who_may_only_look_may_not_act(admin: Client, staff: User, alice: User) -> None:
    endpoint, _ = make_endpoint(alice, "https://hooks.example/")
    staff.user_permissions.set(staff.user_permissions.filter(codename__in=["view_webhookendpoint"]))
    form = {"action": "disable", "_selected_action": [str(endpoint.pk)]}
    admin.post("/admin/chat/webhookendpoint/", form)
    assert WebhookEndpoint.objects.get().is_active


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("No response came within 15 s.", "在 15 秒内没有收到响应。"),
        ("The name a.example cannot be resolved.", "无法解析主机名 a.example。"),
        ("The endpoint answered 500.", "端点返回了 500。"),
        ("as an earlier version wrote it", "未能送达。"),
    ],
)
def test_what_a_delivery_has_failed_of_is_in_the_language_of_the_page(
    admin: Client, alice: User, model: LLMModel, stored: str, shown: str
) -> None:
    make_endpoint(alice, "https://hooks.example/")
    end_task(alice, model)
    Delivery.objects.update(error=stored)
    pages = [
        admin.get("/admin/chat/delivery/", headers={"Accept-Language": language}).content.decode()
        for language in ("en", "zh-hans")
    ]
    assert stored in pages[0]
    assert shown in pages[1]
