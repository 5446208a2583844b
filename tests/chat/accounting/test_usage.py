"""Usage and the state of budgets, over REST and in the admin."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.test import Client

from accounts.models import APIKey, User
from chat import settlement
from chat.models import LedgerEntry, LLMModel
from chat.services.submit import Accepted
from tests.chat.accounting.conftest import SubmitMany, budget_of, end, usage
from tests.conftest import ClientOf
from tests.subtests import subtested


@pytest.fixture
def used(alice: User, submit_many: SubmitMany) -> list[str]:
    """Two tasks of Alice: 1000 + 100 tokens, and one that never ran."""
    ids = [outcome.task_id for outcome in submit_many(2) if isinstance(outcome, Accepted)]
    end(ids[0], usage=usage(1000, 100))
    end(ids[1], "expired", attempt=0)
    settlement.settle_ended_tasks()
    return ids


# --- Usage --------------------------------------------------------------------------------------
@pytest.mark.parametrize("group_by", ["day", "model", "scene"])
def test_usage_is_summed_by_day_model_or_scene(
    alice: User, client_of: ClientOf, used: list[str], group_by: str
) -> None:
    response = client_of(alice).get(f"/api/usage?group_by={group_by}")
    assert response.status_code == 200, response.content
    [item] = response.json()["items"]
    # In case midnight came in between.
    entry = LedgerEntry.objects.earliest("at")
    key = {"day": f"{entry.at:%Y-%m-%d}", "model": "deepseek-flash", "scene": None}[group_by]
    assert item["key"] == key
    assert (item["tasks"], item["prompt_tokens"], item["completion_tokens"]) == (2, 1000, 100)
    assert Decimal(item["money"]) == Decimal("0.0012")
    [total] = response.json()["totals"]
    assert {**total, "key": key} == item


def test_usage_is_of_the_days_asked_for(alice: User, client_of: ClientOf, used: list[str]) -> None:
    client = client_of(alice)
    day = LedgerEntry.objects.earliest("at").at.date()
    before = day - timedelta(days=1)
    for days, count in ((f"from={day}&to={day}", 1), (f"from={before}&to={before}", 0)):
        body = client.get(f"/api/usage?{days}").json()
        assert len(body["items"]) == count
        assert (body["from"], body["to"]) == tuple(day[-10:] for day in days.split("&"))


@subtested(
    ("query", "status", "field"),
    [
        ("from=2026-02-30", 422, "query.from"),
        ("from=2026-02-02&to=2026-02-01", 400, "query.from"),
        ("from=2020-01-01&to=2026-01-01", 400, "query.from"),
        ("to=0001-01-02", 400, "query.to"),
        ("to=9999-12-31", 400, "query.from"),
        ("group_by=week", 422, "query.group_by"),
    ],
)
def test_what_is_no_span_of_days_is_refused_by_its_name(
    alice: User, client_of: ClientOf, query: str, status: int, field: str
) -> None:
    response = client_of(alice).get(f"/api/usage?{query}")
    assert response.status_code == status
    assert response.json()["errors"][0]["field"] == field


def test_only_staff_sees_the_usage_of_others(
    alice: User, bob: User, staff: User, client_of: ClientOf, used: list[str]
) -> None:
    assert client_of(bob).get("/api/usage").json()["items"] == []
    assert client_of(bob).get("/api/usage?user=alice").status_code == 403
    assert client_of(bob).get("/api/usage?user=nobody").status_code == 403
    assert client_of(alice).get("/api/usage?user=alice").status_code == 200
    [item] = client_of(staff).get("/api/usage?user=alice").json()["items"]
    assert item["tasks"] == 2
    assert client_of(staff).get("/api/usage?user=nobody").status_code == 400


# --- Budgets ------------------------------------------------------------------------------------
def test_budgets_show_what_is_left_to_those_they_are_for(
    alice: User, bob: User, client_of: ClientOf, submit_many: SubmitMany
) -> None:
    key, _ = APIKey.create(alice, "program")
    budget_of(alice, limit_money=Decimal("1.5"), limit_calls=10, period="month")
    budget_of(None, api_key=key, limit_tokens=100, period="total")
    budget_of(bob, limit_calls=1)
    budget_of(alice, limit_calls=1, is_active=False)
    submit_many(2)
    [own, program] = client_of(alice).get("/api/budgets").json()["items"]
    assert own["calls"] == {"limit": "10", "reserved": "2", "spent": "0", "left": "8"}
    assert Decimal(own["money"]["left"]) == Decimal("1.5") - Decimal(own["money"]["reserved"])
    assert own["tokens"]["limit"] is None
    assert own["ends_at"] is not None
    assert (program["api_key"], program["ends_at"]) == (key.prefix, None)
    assert program["tokens"]["left"] == "100"


# --- Admin --------------------------------------------------------------------------------------
@pytest.fixture
def admin(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="uprooted-3"))
    return client


def test_the_ledger_in_the_admin_sums_up_and_changes_nothing(
    admin: Client, used: list[str]
) -> None:
    entry = LedgerEntry.objects.earliest("at")
    base = "/admin/chat/ledgerentry/"
    for query in ("", f"?at__year={entry.at.year}&entries=usage", "?entries=budgets&q=ali"):
        assert admin.get(f"{base}{query}").status_code == 200
    response = admin.get(f"{base}?at__year={entry.at.year}")
    assert response.context_data is not None
    [(_, [by_model]), (_, [by_user])] = response.context_data["totals"]
    assert (by_model["key"], by_user["key"]) == ("deepseek-flash", "alice")
    assert by_model["tasks"] == by_user["tasks"] == 2
    assert b"0.0012" in response.content
    assert admin.get(f"{base}{entry.pk}/change/").status_code == 200
    assert admin.post(f"{base}{entry.pk}/delete/", {"post": "yes"}).status_code == 403


def test_the_ledger_outlives_what_it_names(
    alice: User, admin: Client, client_of: ClientOf, used: list[str]
) -> None:
    alice.delete()
    assert LedgerEntry.objects.count() == 2
    page = admin.get("/admin/chat/ledgerentry/")
    assert page.status_code == 200
    assert used[0] in page.content.decode()


def test_budgets_are_made_in_the_admin_and_keep_whose_they_are(
    alice: User, bob: User, admin: Client, submit_many: SubmitMany
) -> None:
    periods = {f"periods-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    form = {"name": "May", "period": "month", "currency": "USD", "is_active": "on", **periods}
    refused = admin.post("/admin/chat/budget/add/", {**form, "user": alice.pk})
    assert b"Set at least one limit" in refused.content
    refused = admin.post("/admin/chat/budget/add/", {**form, "limit_calls": "5"})
    assert b"Choose a user or an API key" in refused.content
    made = admin.post("/admin/chat/budget/add/", {**form, "user": alice.pk, "limit_calls": "5"})
    assert made.status_code == 302
    submit_many(2)
    page = admin.get("/admin/chat/budget/")
    assert "0 (2) calls" in page.content.decode()
    budget = alice.budgets.get()
    changed = {**form, "user": bob.pk, "limit_calls": "7", "periods-INITIAL_FORMS": "1"}
    edited = admin.post(f"/admin/chat/budget/{budget.pk}/change/", changed)
    assert edited.status_code == 302
    budget.refresh_from_db()
    assert (budget.user, budget.limit_calls) == (alice, 7)


def test_a_price_with_its_hours_is_made_in_the_admin(admin: Client, model: LLMModel) -> None:
    form = {
        "model": model.pk, "input_price": "0.3", "cached_input_price": "0.006",
        "output_price": "1.2", "currency": "USD", "weekdays": "0,1,2,3,4", "starts_at": "01:00",
    }  # fmt: skip
    path = "/admin/chat/modelprice/add/"
    assert b"This window is empty" in admin.post(path, {**form, "ends_at": "01:00"}).content
    assert b"Item 5" in admin.post(path, {**form, "weekdays": "0,1,2,3,7"}).content
    assert admin.post(path, {**form, "ends_at": "04:00"}).status_code == 302
    assert model.prices.get().weekdays == [0, 1, 2, 3, 4]
    assert admin.get("/admin/chat/modelprice/").status_code == 200
