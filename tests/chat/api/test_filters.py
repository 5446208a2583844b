"""Lists are narrowed by metadata, key, model and time; usage is summed by key and metadata."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import APIKey, User
from chat import settlement
from chat.accounting import reports
from chat.models import Conversation, Delivery, LedgerEntry, LLMModel, Scene, Task, WebhookEndpoint
from tests.conftest import ClientOf
from tests.subtests import subtested

TASKS = "/api/llmchat/tasks"


@pytest.fixture
def client(alice: User, client_of: ClientOf) -> Client:
    return client_of(alice)


def ended(owner: User, model: LLMModel, **fields: Any) -> Task:
    now = timezone.now()
    task: Task = Task.objects.create(
        **{
            "owner": owner,
            "model": model,
            "messages": [],
            "status": "succeeded",
            "started_at": now,
            "finished_at": now,
            "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
            "needs_settling": True,
            **fields,
        }
    )
    return task


def found(client: Client, query: str) -> set[str]:
    response = client.get(f"{TASKS}?{query}")
    assert response.status_code == 200, response.content
    body = response.json()
    assert body["count"] == len(body["items"])
    return {item["task_id"] for item in body["items"]}


# --- Tasks --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("metadata=order:4711", {"text", "both"}),
        ("metadata=order:4711&metadata=env:prod", {"both"}),
        ("metadata=paid:true", {"typed", "true as text"}),
        ("metadata=count:3", {"typed"}),
        ('metadata={"paid": true}', {"typed"}),
        ('metadata={"deep": {"a": [1]}}', {"deep"}),
        ('metadata={"a:b": "c:d"}', {"odd"}),
        ("metadata=url:https://x.example:8000/?a=b", {"odd"}),
        ("metadata=nothing:null", {"odd"}),
        ("metadata=order:47", set()),
        ("metadata=missing:", set()),
    ],
)
def test_tasks_are_found_by_their_metadata(
    client: Client, alice: User, bob: User, model: LLMModel, query: str, names: set[str]
) -> None:
    made = {
        "none": {},
        "text": {"order": "4711"},
        "both": {"order": "4711", "env": "prod"},
        "typed": {"paid": True, "count": 3},
        "true as text": {"paid": "true", "count": "three"},
        "deep": {"deep": {"a": [1, 2], "b": 1}},
        "odd": {"a:b": "c:d", "url": "https://x.example:8000/?a=b", "nothing": None},
    }
    tasks = {name: str(ended(alice, model, metadata=made[name]).pk) for name in made}
    for metadata in made.values():
        ended(bob, model, metadata=metadata)
    given = quote(query, safe="=&")
    assert found(client, given) == {tasks[name] for name in names}


@subtested(
    "condition",
    ["order", ":4711", "{", "{}", '{"a": NaN}', '{"a": "\\u0000"}', "[1]", "x:" + "y" * 1_000],
)
def test_what_is_no_condition_is_refused_by_its_name(client: Client, condition: str) -> None:
    for path in (TASKS, "/api/usage"):
        response = client.get(path, {"metadata": condition})
        assert response.status_code == 422, condition
        assert response.json()["errors"][0]["field"] == "query.metadata"


def test_conditions_have_a_bound(client: Client) -> None:
    response = client.get(TASKS, {"metadata": [f"a{number}:1" for number in range(9)]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "query.metadata"


def test_tasks_are_found_by_key_model_and_time(
    client: Client, alice: User, bob: User, model: LLMModel
) -> None:
    other = LLMModel.objects.create(provider=model.provider, name="other")
    key, bobs_key = APIKey.create(alice, "one")[0], APIKey.create(bob, "bob's")[0]
    now = timezone.now()
    old = ended(alice, other, finished_at=now - timedelta(days=2))
    Task.objects.filter(pk=old.pk).update(created_at=now - timedelta(days=3))
    new = ended(alice, model, api_key=key)
    hers = {str(old.pk), str(new.pk)}
    ended(bob, model, api_key=bobs_key)
    yesterday = quote((now - timedelta(days=1)).isoformat())
    for query, tasks in (
        ("", hers),
        ("model=other", {str(old.pk)}),
        ("model=nothing", set()),
        (f"api_key={key.pk}", {str(new.pk)}),
        (f"api_key={bobs_key.pk}", set()),
        (f"created_after={yesterday}", {str(new.pk)}),
        (f"created_before={yesterday}", {str(old.pk)}),
        (f"finished_after={yesterday}", {str(new.pk)}),
        (f"finished_before={yesterday}", {str(old.pk)}),
        (f"model=deepseek-flash&api_key={key.pk}&created_after={yesterday}", {str(new.pk)}),
    ):
        assert found(client, query) == tasks, query
    assert client.get(f"{TASKS}/{new.pk}").json()["api_key"] == key.pk
    assert client.get(f"{TASKS}/{old.pk}").json()["api_key"] is None


@pytest.mark.parametrize("given", ["-1", "x", str(2**63), "9" * 400])
def test_an_odd_key_id_is_refused_by_its_name(client: Client, given: str) -> None:
    for path in (TASKS, "/api/usage"):
        response = client.get(f"{path}?api_key={given}")
        assert response.status_code == 422
        assert response.json()["errors"][0]["field"] == "query.api_key"


# --- Other lists --------------------------------------------------------------------------------
def test_other_lists_are_narrowed_by_time(client: Client, alice: User, model: LLMModel) -> None:
    now = timezone.now()
    old, new = now - timedelta(days=3), now
    endpoint = WebhookEndpoint.objects.create(owner=alice, url="https://one.example")
    WebhookEndpoint.objects.create(owner=alice, url="https://two.example")
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(created_at=old)
    APIKey.create(alice, "new")
    APIKey.objects.filter(name="test").update(created_at=old)
    conversation = Conversation.objects.create(owner=alice, title="old")
    Conversation.objects.create(owner=alice, title="new")
    conversation.messages.create(role="user", content="x")
    question = conversation.messages.create(role="user", content="old")
    conversation.messages.filter(pk=question.pk).update(created_at=old)
    Conversation.objects.filter(pk=conversation.pk).update(created_at=old, updated_at=old)
    for event, created_at in (("task.failed", old), ("task.completed", new)):
        delivery = Delivery.objects.create(
            owner=alice, kind="webhook", endpoint=endpoint, event=event, state="delivered"
        )
        Delivery.objects.filter(pk=delivery.pk).update(created_at=created_at)
    day = quote((now - timedelta(days=1)).isoformat())
    for path in (
        "/api/keys",
        "/api/webhooks",
        "/api/conversations",
        f"/api/conversations/{conversation.pk}/messages",
        f"/api/webhooks/{endpoint.pk}/deliveries",
    ):
        assert client.get(path).json()["count"] == 2, path
        for query in (f"created_after={day}", f"created_before={day}"):
            assert client.get(f"{path}?{query}").json()["count"] == 1, (path, query)
    [one] = client.get(f"/api/conversations?updated_before={day}").json()["items"]
    assert one["title"] == "old"
    path = f"/api/webhooks/{endpoint.pk}/deliveries?event=task.failed"
    assert client.get(path).json()["count"] == 1


# --- Usage --------------------------------------------------------------------------------------
def usage(client: Client, query: str) -> dict[str | None, int]:
    """Tasks by key."""
    response = client.get(f"/api/usage?{query}")
    assert response.status_code == 200, response.content
    return {item["key"]: item["tasks"] for item in response.json()["items"]}


@pytest.fixture
def used(alice: User, model: LLMModel) -> tuple[APIKey, APIKey]:
    """Five tasks of two keys and a session, for two customers."""
    first, second = APIKey.create(alice, "one")[0], APIKey.create(alice, "two")[0]
    scene = Scene.objects.create(slug="reply", title="Reply")
    ended(alice, model, api_key=first, metadata={"customer": "acme", "seats": 3})
    ended(alice, model, api_key=first, metadata={"customer": "acme", "note": "x" * 400})
    ended(alice, model, api_key=second, metadata={"customer": "globex", "deep": {"a": 1}})
    ended(alice, model, api_key=second, scene=scene, metadata={"customer": 3})
    ended(alice, model)
    settlement.settle_ended_tasks()
    # What was used is known for longer than the tasks are kept.
    Task.objects.all().delete()
    return first, second


def test_usage_is_summed_by_api_key(client: Client, used: tuple[APIKey, APIKey]) -> None:
    first, second = (str(key.pk) for key in used)
    assert usage(client, "group_by=api_key") == {first: 2, second: 2, None: 1}
    assert usage(client, f"group_by=model&api_key={first}") == {"deepseek-flash": 2}


def test_usage_is_summed_by_a_value_of_the_metadata(
    client: Client, used: tuple[APIKey, APIKey]
) -> None:
    by_customer = "group_by=metadata&metadata_key=customer"
    assert usage(client, by_customer) == {"acme": 2, "globex": 1, "3": 1, None: 1}
    assert usage(client, f"{by_customer}&api_key={used[1].pk}") == {"globex": 1, "3": 1}
    assert usage(client, "group_by=model&metadata=customer:acme") == {"deepseek-flash": 2}
    assert usage(client, "group_by=scene&metadata=customer:3") == {"reply": 1}
    assert usage(client, "group_by=metadata&metadata_key=seats") == {"3": 1, None: 4}
    assert usage(client, "model=nothing") == usage(client, "scene=nothing") == {}


def test_the_ledger_keeps_short_values_alone(used: tuple[APIKey, APIKey]) -> None:
    kept = list(LedgerEntry.objects.order_by("id").values_list("metadata", flat=True))
    assert kept == [
        {"customer": "acme", "seats": 3},
        {"customer": "acme"},
        {"customer": "globex"},
        {"customer": 3},
        {},
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("group_by=metadata", "query.metadata_key"),
        ("metadata_key=customer", "query.metadata_key"),
        ("group_by=metadata&metadata_key=" + "x" * 101, "query.metadata_key"),
        ("group_by=metadata&metadata_key=%00", "query.metadata_key"),
    ],
)
def test_a_group_that_is_none_is_refused_by_its_name(
    client: Client, query: str, field: str
) -> None:
    response = client.get(f"/api/usage?{query}")
    assert response.status_code in (400, 422)
    assert response.json()["errors"][0]["field"] == field


def test_groups_have_a_bound(
    client: Client, used: tuple[APIKey, APIKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MAX_GROUPS", 3)
    response = client.get("/api/usage?group_by=metadata&metadata_key=customer")
    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "query.group_by"
