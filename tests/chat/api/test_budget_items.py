"""Budgets over REST, as staff keep them."""

from __future__ import annotations

from typing import Any

from accounts.models import APIKey, User
from chat.models import Budget
from tests.conftest import ClientOf
from tests.subtests import subtested

PATH = "/api/budgets/items"
JSON = "application/json"


def test_staff_gives_changes_and_takes_a_budget(
    staff: User, alice: User, client_of: ClientOf
) -> None:
    client = client_of(staff)
    body = {"name": "monthly", "user": "alice", "limit_money": "2.50"}
    made = client.post(PATH, body, content_type=JSON)
    assert made.status_code == 201, made.content
    one = f"{PATH}/{made.json()['id']}"
    assert client.get(one).json()["user"] == "alice"
    client.patch(one, {"limit_calls": 3}, content_type=JSON)
    budget = Budget.objects.get()
    assert (budget.limit_calls, str(budget.limit_money)) == (3, "2.500000")
    assert client.get(f"{PATH}?user=alice").json()["count"] == 1
    assert client.delete(one).status_code == 204
    assert not Budget.objects.exists()


@subtested(
    ("change", "field"),
    [
        ({"user": "nobody"}, "user"),
        ({"api_key": 0}, "api_key"),
        ({"limit_calls": -1}, "limit_calls"),
        ({"limit_calls": None}, "body"),
        ({"user": None}, "body"),
    ],
)
def test_what_is_no_budget_is_refused(
    staff: User, alice: User, client_of: ClientOf, change: dict[str, Any], field: str
) -> None:
    body = {"name": "b", "user": "alice", "limit_calls": 1, **change}
    answer = client_of(staff).post(PATH, body, content_type=JSON)
    assert answer.status_code in {400, 422}
    assert answer.json()["errors"][0]["field"] == field
    assert not Budget.objects.exists()


def test_others_neither_see_nor_give_budgets(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    key = APIKey.objects.get().pk
    assert client.get(PATH).status_code == 403
    body = {"name": "b", "api_key": key, "limit_calls": 1}
    assert client.post(PATH, body, content_type=JSON).status_code == 403
    assert not Budget.objects.exists()
