"""The console on the admin's index page: its figures, who sees them, and its buttons."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.contrib.auth.models import Permission
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aily.redis.clients import sync_redis
from chat import scheduler
from chat.models import Deployment, Lane, LedgerEntry, LLMModel, Provider, Status, Task, Worker
from chat.models.ids import uuid7
from chat.scheduler.keys import deployment_keys
from chat.services import console, pauses, spending

PATH = "/admin/console/"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> None:
    monkeypatch.setattr(console, "COPY_SECONDS", 0.0)
    cache.clear()


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def model() -> LLMModel:
    provider = Provider.objects.create(name="acme", base_url="https://api.acme.example")
    return LLMModel.objects.create(name="acme-1", provider=provider, max_concurrency=8)


def _task(owner: User, model: LLMModel, **fields: Any) -> Task:
    return Task.objects.create(owner=owner, model=model, messages=[], **fields)


def _entry(owner: User, days_ago: int, money: str, currency: str = "USD") -> None:
    LedgerEntry.objects.create(
        task_id=uuid7(), owner=owner, kind="settle", currency=currency, money=Decimal(money),
        at=timezone.now() - timedelta(days=days_ago),
    )  # fmt: skip


def _staff(*codenames: str) -> Client:
    user = User.objects.create_user(f"staff-{len(codenames)}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


# --- Figures ------------------------------------------------------------------------------------
def test_the_queue_is_shown_by_model_and_lane_with_slots_of_the_cap(
    admin: Client, alice: User, model: LLMModel
) -> None:
    for lane in (Lane.INTERACTIVE, Lane.BATCH, Lane.BATCH):
        _task(alice, model, lane=lane)
    Task.objects.update(created_at=timezone.now() - timedelta(seconds=90))
    sync_redis().hset(deployment_keys(model.own_key).in_use, mapping={"w1": 2, "w2": 1})
    Worker.objects.create(
        hostname="w1", pid=1, lease_until=timezone.now() + timedelta(minutes=1)
    )  # fmt: skip
    data = admin.get(PATH).json()
    [shown] = data["models"]
    assert (shown["queued"], shown["in_use"], shown["cap"]) == ([1, 0, 2], 3, 8)
    assert 89 < shown["oldest_seconds"] < 200
    assert (data["workers"], data["has_redis"]) == (1, True)


def test_more_tasks_than_are_counted_are_known_from_the_ready_set(
    admin: Client, alice: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "MAX_ROWS", 2)
    tasks = [_task(alice, model, lane=Lane.NORMAL) for _ in range(5)]
    entries = [scheduler.Entry(str(task.pk), task.lane, task.owner_id) for task in tasks]
    scheduler.enqueue(model.pool, entries)
    [shown] = admin.get(PATH).json()["models"]
    assert shown["queued"] == [0, 5, 0]


def test_failures_of_the_last_hour_are_counted_by_code(
    admin: Client, alice: User, model: LLMModel
) -> None:
    for code in ("timeout", "timeout", "refused"):
        _task(alice, model, status=Status.FAILED, error={"code": code, "message": ""})
    old = {"code": "old", "message": ""}
    _task(alice, model, status=Status.FAILED, error=old, id="01900000-0000-7000-8000-000000000000")
    assert admin.get(PATH).json()["failures"] == {"timeout": 2, "refused": 1}


def test_spending_is_shown_by_day_and_currency(admin: Client, alice: User) -> None:
    _entry(alice, 0, "1.5")
    _entry(alice, 0, "0.25")
    _entry(alice, 0, "7", "CNY")
    _entry(alice, 40, "99")
    for _ in range(31):
        shown = admin.get(PATH).json()["spending"]
        if shown["is_complete"]:
            break
    assert len(shown["days"]) == timezone.now().day
    today = shown["days"][-1]
    assert {name: Decimal(money) for name, money in today["money"].items()} == {
        "USD": Decimal("1.75"), "CNY": Decimal(7)
    }  # fmt: skip
    assert today["tasks"] == 3
    assert not [day for day in shown["days"][:-1] if day["money"]]


def test_few_days_are_summed_in_one_call(
    django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = timezone.now().replace(day=28)
    monkeypatch.setattr("chat.services.spending.timezone.now", lambda: late)
    with django_assert_num_queries(spending.MAX_SUMMED):
        first = spending.spending()
    assert (len(first.days), first.is_complete) == (spending.MAX_SUMMED, False)
    for _ in range(28 // spending.MAX_SUMMED):
        spending.spending()
    with django_assert_num_queries(0):
        whole = spending.spending()
    assert (len(whole.days), whole.is_complete) == (28, True)


def test_pauses_and_breakers_are_shown_and_lifted_from_the_page(
    admin: Client, model: LLMModel
) -> None:
    now: Any = sync_redis().time()
    seconds = now[0]
    sync_redis().hset(deployment_keys(model.own_key).limit, "paused_until", seconds + 60)
    breaker = deployment_keys(model.own_key).breaker
    sync_redis().hset(breaker, mapping={"open_until": seconds + 30, "opened": 2})
    data = admin.get(PATH).json()
    assert 50 < data["models"][0]["paused_seconds"] <= 60
    [provider] = data["providers"]
    assert (provider["breaker"], provider["opened"]) == ("open", 2)
    for path in (f"model/{model.pk}", f"provider/{model.provider_id}"):
        page = admin.post(f"{PATH}lift/{path}/", follow=True)
        assert page.redirect_chain == [("/admin/", 302)]
        assert "Called again" in str(next(iter(page.context["messages"])))
    data = admin.get(PATH).json()
    assert data["models"][0]["paused_seconds"] == 0
    assert data["providers"][0]["breaker"] == "closed"


def test_pauses_by_staff_are_shown_and_lifted_from_the_page(admin: Client, model: LLMModel) -> None:
    def held() -> tuple[str, bool]:
        data = admin.get(PATH).json()
        return data["models"][0]["held_by"], data["providers"][0]["is_held"]

    assert held() == ("", False)
    pauses.pause(model)
    assert held() == ("model", False)
    pauses.pause(model.provider)
    assert held() == ("provider", True)
    admin.post(f"{PATH}lift/provider/{model.provider_id}/")
    assert held() == ("model", False)
    admin.post(f"{PATH}lift/model/{model.pk}/")
    assert held() == ("", False)
    for language, words in (("en", "paused by staff"), ("zh-hans", "由管理员暂停")):
        page = admin.get("/admin/", headers={"Accept-Language": language}).content.decode()
        assert f'data-text-by-staff="{words}"' in page


def test_deployments_are_shown_paused_and_lifted_from_the_page(
    admin: Client, model: LLMModel
) -> None:
    assert admin.get(PATH).json()["deployments"] == [], "it has one, without limits"
    second = Provider.objects.create(name="second", base_url="https://x.example")
    more = Deployment.objects.create(
        model=model, name="more", provider=second, max_concurrency=4, tokens_per_minute=100
    )
    now: Any = sync_redis().time()
    keys = deployment_keys(more.key)
    sync_redis().hset(keys.in_use, mapping={"w1": 2, "w2": "2:1"})
    sync_redis().hset(keys.limit, mapping={"paused_until": now[0] + 60, "limit": 3})
    sync_redis().hset(keys.minute, mapping={"at": 4 * now[0], "requests": 5, "tokens": 70})
    data = admin.get(PATH).json()
    assert (data["models"][0]["cap"], data["models"][0]["in_use"]) == (12, 4)
    assert data["models"][0]["paused_seconds"] == 0, "the other is not"
    own, shown = data["deployments"]
    assert (own["id"], own["name"], own["weight"], own["in_use"]) == (0, "acme", 1, 0)
    assert (shown["in_use"], shown["limit"], shown["cap"]) == (4, 3, 4)
    assert (shown["tokens"], shown["tokens_per_minute"]) == (70, 100)
    assert 50 < shown["paused_seconds"] <= 60
    for action, pk, is_paused in (("pause", 0, True), ("lift", 0, False), ("lift", more.pk, False)):
        page = admin.post(f"{PATH}{action}/deployment/{model.pk}/{pk}/", follow=True)
        assert page.redirect_chain == [("/admin/", 302)]
        rows = {row["id"]: row for row in admin.get(PATH).json()["deployments"]}
        assert rows[pk]["is_paused"] is is_paused
        assert rows[pk]["weight"] == (0 if is_paused else 1)
    assert rows[more.pk]["paused_seconds"] == 0
    assert admin.post(f"{PATH}pause/deployment/{model.pk}/999/").status_code == 404
    assert admin.get(f"{PATH}pause/deployment/{model.pk}/0/").status_code == 405
    assert _staff("view_provider").post(f"{PATH}pause/deployment/{model.pk}/0/").status_code == 403


def test_the_queue_is_shown_while_redis_is_away(
    admin: Client, alice: User, model: LLMModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_args: object) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(console, "deployment_loads", away)
    _task(alice, model)
    data = admin.get(PATH).json()
    assert data["has_redis"] is False
    assert (data["models"][0]["queued"], data["models"][0]["in_use"]) == ([1, 0, 0], None)
    assert data["providers"][0]["breaker"] == "unknown"


# --- Costs --------------------------------------------------------------------------------------
def test_the_figures_cost_a_constant_number_of_queries_and_are_copied(
    admin: Client,
    alice: User,
    model: LLMModel,
    django_assert_max_num_queries: DjangoAssertNumQueries,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(10):
        other = LLMModel.objects.create(name=f"m{number}", provider=model.provider)
        _task(alice, other)
    admin.get(PATH)
    monkeypatch.setattr(console, "COPY_SECONDS", 60.0)
    monkeypatch.setattr(console, "_copy", None)
    # Session, user; models, providers, queued, failed, workers, runs; days not summed yet.
    with django_assert_max_num_queries(8 + spending.MAX_SUMMED):
        admin.get(PATH)
    for _ in range(11):
        admin.get(PATH)
    with django_assert_max_num_queries(2):
        admin.get(PATH)


# --- Permissions --------------------------------------------------------------------------------
def test_each_part_is_for_staff_that_may_see_it(model: LLMModel) -> None:
    tasks, money = {"models", "failures", "workers", "runs", "has_redis"}, {"spending"}
    assert set(_staff("view_task").get(PATH).json()) == tasks
    both = _staff("view_provider", "view_ledgerentry")
    assert set(both.get(PATH).json()) == {"providers", "deployments", "has_redis"} | money
    page = both.get("/admin/").content.decode()
    assert 'id="console-providers"' in page
    assert 'id="console-models"' not in page
    without = _staff()
    assert without.get(PATH).status_code == 403
    assert 'id="console"' not in without.get("/admin/").content.decode()


def test_only_staff_asks_and_lifts(model: LLMModel, alice: User) -> None:
    client = Client()
    assert client.get(PATH).status_code == 302
    client.force_login(alice)
    assert client.get(PATH).status_code == 302
    viewer = _staff("view_provider", "view_llmmodel", "view_task")
    for path in (f"model/{model.pk}", f"provider/{model.provider_id}"):
        assert viewer.get(f"{PATH}lift/{path}/").status_code == 405
        assert viewer.post(f"{PATH}lift/{path}/").status_code == 403
    assert _staff("change_llmmodel").post(f"{PATH}lift/model/999999/").status_code == 404
