"""Conversations over REST: a user sees only their own."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from chat.models import Conversation, LLMModel, Message, Provider, Status, Task
from tests.conftest import ClientOf

JSON = "application/json"


@pytest.fixture
def hers(alice: User) -> Conversation:
    conversation = Conversation.objects.create(owner=alice, title="Hers")
    Message.objects.create(conversation=conversation, role="user", content="question")
    Message.objects.create(conversation=conversation, role="assistant", content="answer")
    return conversation


def test_a_conversation_is_begun_read_renamed_and_deleted(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    made = client.post("/api/conversations", {}, content_type=JSON)
    assert made.status_code == 201
    path = f"/api/conversations/{made.json()['id']}"
    assert client.get(path).json() == made.json()
    renamed = client.patch(path, {"title": "Plans"}, content_type=JSON)
    assert renamed.json()["title"] == "Plans"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.delete(path).status_code == 404


def test_messages_come_in_their_order_and_in_pages(
    alice: User, hers: Conversation, client_of: ClientOf
) -> None:
    client = client_of(alice)
    page = client.get(f"/api/conversations/{hers.pk}/messages").json()
    assert page["count"] == 2
    assert [(m["role"], m["content"]) for m in page["items"]] == [
        ("user", "question"),
        ("assistant", "answer"),
    ]
    second = client.get(f"/api/conversations/{hers.pk}/messages?limit=1&offset=1").json()
    assert second["items"] == page["items"][1:]
    newest = client.get(f"/api/conversations/{hers.pk}/messages?ordering=-created_at").json()
    assert newest["items"] == page["items"][::-1]


def test_a_message_is_read_by_its_id_in_its_own_conversation_only(
    alice: User, bob: User, hers: Conversation, client_of: ClientOf
) -> None:
    client = client_of(alice)
    first = client.get(f"/api/conversations/{hers.pk}/messages?limit=1").json()["items"][0]
    path = f"/api/conversations/{hers.pk}/messages/{first['id']}"
    assert client.get(path).json() == first
    other = Conversation.objects.create(owner=alice)
    assert client.get(path.replace(str(hers.pk), str(other.pk))).status_code == 404
    assert client_of(bob).get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("get", "", None),
        ("patch", "", {"title": "Mine now"}),
        ("delete", "", None),
        ("get", "/messages", None),
    ],
)
def test_others_and_nobody_find_nothing(
    bob: User, hers: Conversation, client_of: ClientOf, method: str, path: str, body: Any
) -> None:
    before = Conversation.objects.values().get()
    for client, status in ((Client(), 401), (client_of(bob), 404)):
        send = getattr(client, method)
        refused = send(f"/api/conversations/{hers.pk}{path}", body, content_type=JSON)
        assert refused.status_code == status
        assert "Hers" not in refused.content.decode()
    assert Conversation.objects.values().get() == before
    assert Message.objects.count() == 2


def test_a_list_shows_ones_own_only(bob: User, hers: Conversation, client_of: ClientOf) -> None:
    assert client_of(bob).get("/api/conversations").json() == {"items": [], "count": 0}
    assert Client().get("/api/conversations").status_code == 401
    assert Client().post("/api/conversations", {}, content_type=JSON).status_code == 401
    assert Conversation.objects.count() == 1


def test_even_staff_reads_no_conversation_of_others_here(
    staff: User, hers: Conversation, client_of: ClientOf
) -> None:
    assert client_of(staff).get(f"/api/conversations/{hers.pk}/messages").status_code == 404


def test_a_list_is_searched_ordered_and_costs_two_queries(
    alice: User,
    hers: Conversation,
    client_of: ClientOf,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(10):
        Conversation.objects.create(owner=alice, title=f"Talk {number}")
    client = client_of(alice)
    with django_assert_num_queries(2):
        page = client.get("/api/conversations?limit=3").json()
    assert page["count"] == 11
    assert [item["title"] for item in page["items"]] == ["Talk 9", "Talk 8", "Talk 7"]
    oldest = client.get("/api/conversations?ordering=created_at&limit=1").json()["items"]
    assert oldest[0]["title"] == "Hers"
    found = client.get("/api/conversations?search=talk 5").json()
    assert [item["title"] for item in found["items"]] == ["Talk 5"]
    wrong = client.get("/api/conversations?ordering=owner__password")
    assert wrong.json()["errors"][0]["field"] == "query.ordering"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "x" * 201}, "title"),
        ({"title": 1}, "title"),
        ({"owner": 1}, "owner"),
    ],
)
def test_a_wrong_field_is_named_and_stores_nothing(
    alice: User, client_of: ClientOf, body: dict[str, Any], field: str
) -> None:
    refused = client_of(alice).post("/api/conversations", body, content_type=JSON)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == field
    assert not Conversation.objects.exists()


def test_a_conversation_that_is_answering_is_not_deleted(
    alice: User, hers: Conversation, client_of: ClientOf
) -> None:
    provider = Provider.objects.create(name="acme", base_url="https://api.acme.example")
    model = LLMModel.objects.create(name="acme-1", provider=provider)
    task = Task.objects.create(owner=alice, model=model, conversation=hers, messages=[])
    client = client_of(alice)
    refused = client.delete(f"/api/conversations/{hers.pk}")
    assert (refused.status_code, refused.json()["code"]) == (409, "conversation_busy")
    assert Conversation.objects.filter(pk=hers.pk).exists()
    Task.objects.filter(pk=task.pk).update(status=Status.CANCELLED)
    assert client.delete(f"/api/conversations/{hers.pk}").status_code == 204
    assert not Message.objects.exists()


def test_an_id_that_is_none_is_not_found(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    for wrong in (uuid4(), "x", "1", "%00"):
        assert client.get(f"/api/conversations/{wrong}").status_code == 404
