"""Amounts of money are texts of digits: in an answer, when it is repeated, and when it is read."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from django.test import Client

from accounts.models import User
from chat.models import Budget, BudgetPeriod
from tests.conftest import ClientOf

BUDGET = {"name": "Daily", "user": "alice", "period": "day", "limit_money": "2.50"}


def test_a_small_amount_has_no_exponent(client: Client, alice: User) -> None:
    budget = Budget.objects.create(name="Daily", user=alice, period="day", limit_money="2.50")
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    spent = Decimal("0.0000003")
    BudgetPeriod.objects.create(budget=budget, starts_at=today, spent_money=spent)
    [listed] = client.get("/api/budgets").json()["items"]
    assert listed["money"] == {
        "limit": "2.5",
        "reserved": "0",
        "spent": "0.0000003",
        "left": "2.4999997",
    }


def test_an_amount_reads_as_it_did_when_it_was_made(
    alice: User, staff: User, client_of: ClientOf
) -> None:
    client = client_of(staff)
    made, repeated = (
        client.post(
            "/api/budgets/items",
            BUDGET,
            content_type="application/json",
            headers={"Idempotency-Key": "once"},
        ).json()
        for _ in range(2)
    )
    shown = client.get(f"/api/budgets/items/{made['id']}")
    assert made == repeated == shown.json()
    assert made["limit_money"] == "2.5"
    path, etag = f"/api/budgets/items/{made['id']}", shown.headers["ETag"]
    assert client.delete(path, headers={"If-Match": etag}).status_code == 204
