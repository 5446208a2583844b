"""Providers and models over REST, for staff."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from chat.models import LLMModel, Provider, Task
from tests.conftest import ClientOf
from tests.subtests import subtested

JSON = "application/json"


@pytest.fixture
def model(transactional_db: None) -> LLMModel:
    provider = Provider.objects.create(name="acme", base_url="https://api.acme.example")
    return LLMModel.objects.create(name="acme-1", provider=provider, is_default=True)


def test_staff_adds_changes_and_deletes(staff: User, client_of: ClientOf) -> None:
    client = client_of(staff)
    provider = {
        "name": "deepseek",
        "base_url": "https://api.deepseek.com",
        "api_key_env": "DEEPSEEK_API_KEY",
    }
    made = client.post("/api/providers", provider, content_type=JSON)
    assert made.status_code == 201
    assert made.json().items() >= {**provider, "is_enabled": True, "is_simulated": False}.items()
    assert client.get("/api/providers/deepseek").json() == made.json()

    body = {"name": "org/model-1", "provider": "deepseek", "input_price": "0.15", "params": {}}
    model = client.post("/api/models", body, content_type=JSON)
    assert model.status_code == 201
    assert (model.json()["provider"], model.json()["input_price"]) == ("deepseek", "0.15")
    assert client.get("/api/models/org/model-1").json()["name"] == "org/model-1"
    changed = client.patch("/api/models/org/model-1", {"max_concurrency": 7}, content_type=JSON)
    assert (changed.json()["max_concurrency"], changed.json()["currency"]) == (7, "USD")

    off = client.patch("/api/providers/deepseek", {"is_enabled": False}, content_type=JSON)
    assert off.json()["is_enabled"] is False
    assert client.delete("/api/models/org/model-1").status_code == 204
    assert client.delete("/api/providers/deepseek").status_code == 204
    assert client.get("/api/providers").json() == {"items": [], "count": 0}


def test_a_new_default_takes_the_place_of_the_old_one(
    staff: User, model: LLMModel, client_of: ClientOf
) -> None:
    body = {"name": "acme-2", "provider": "acme", "is_default": True}
    made = client_of(staff).post("/api/models", body, content_type=JSON)
    assert made.status_code == 201
    assert list(LLMModel.objects.filter(is_default=True).values_list("name", flat=True)) == [
        "acme-2"
    ]


def test_what_is_in_use_cannot_be_deleted(
    staff: User, alice: User, model: LLMModel, client_of: ClientOf
) -> None:
    Task.objects.create(owner=alice, model=model, messages=[])
    client = client_of(staff)
    for path in ("/api/models/acme-1", "/api/providers/acme"):
        refused = client.delete(path)
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert LLMModel.objects.filter(pk=model.pk).exists()


@subtested(
    ("path", "body", "status", "field"),
    [
        ("providers", {"name": "x"}, 422, "base_url"),
        ("providers", {"name": "x", "base_url": "javascript:x"}, 422, "base_url"),
        ("providers", {"name": "a b", "base_url": "http://x.example"}, 422, "name"),
        (
            "providers",
            {"name": "x", "base_url": "http://x.example", "api_key_env": "sk-123"},
            422,
            "api_key_env",
        ),
        (
            "providers",
            {"name": "x", "base_url": "http://x.example", "api_key": "sk-123"},
            422,
            "api_key",
        ),
        ("models", {"name": "x", "provider": "nobody"}, 400, "provider"),
        ("models", {"name": "x", "provider": "acme", "max_concurrency": 0}, 422,
         "max_concurrency"),
        ("models", {"name": "x", "provider": "acme", "max_concurrency": 10**30}, 422,
         "max_concurrency"),
        ("models", {"name": "x", "provider": "acme", "default_max_tokens": 0}, 422,
         "default_max_tokens"),
        ("models", {"name": "x", "provider": "acme", "input_price": "1e99"}, 422,
         "input_price"),
        ("models", {"name": "x", "provider": "acme", "params": []}, 422, "params"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_and_stores_nothing(
    staff: User,
    model: LLMModel,
    client_of: ClientOf,
    path: str,
    body: dict[str, Any],
    status: int,
    field: str,
) -> None:
    refused = client_of(staff).post(f"/api/{path}", body, content_type=JSON)
    assert refused.status_code == status
    assert refused.json()["errors"][0]["field"] == field
    assert (Provider.objects.count(), LLMModel.objects.count()) == (1, 1)


def test_a_name_is_taken_once(staff: User, model: LLMModel, client_of: ClientOf) -> None:
    client = client_of(staff)
    again = {"name": "acme", "base_url": "https://x.example"}
    assert client.post("/api/providers", again, content_type=JSON).status_code == 409
    again = {"name": "acme-1", "provider": "acme"}
    assert client.post("/api/models", again, content_type=JSON).status_code == 409


CALLS = [
    ("get", "providers", None),
    ("post", "providers", {"name": "x", "base_url": "https://x.example"}),
    ("get", "providers/acme", None),
    ("patch", "providers/acme", {"is_enabled": False}),
    ("delete", "providers/acme", None),
    ("get", "models", None),
    ("post", "models", {"name": "x", "provider": "acme"}),
    ("get", "models/acme-1", None),
    ("patch", "models/acme-1", {"is_enabled": False}),
    ("delete", "models/acme-1", None),
]


@subtested(("method", "path", "body"), CALLS)
def test_others_are_refused(
    alice: User, model: LLMModel, client_of: ClientOf, method: str, path: str, body: Any
) -> None:
    before = list(Provider.objects.values()), list(LLMModel.objects.values())
    for client, status in ((Client(), 401), (client_of(alice), 403)):
        refused = getattr(client, method)(f"/api/{path}", body, content_type=JSON)
        assert refused.status_code == status
    assert (list(Provider.objects.values()), list(LLMModel.objects.values())) == before


def test_a_page_of_models_is_filtered_and_costs_a_constant_number_of_queries(
    staff: User,
    model: LLMModel,
    client_of: ClientOf,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = client_of(staff)
    other = Provider.objects.create(name="other", base_url="https://other.example")
    for number in range(10):
        LLMModel.objects.create(name=f"o{number}", provider=other, is_enabled=number % 2 == 0)
    client.get("/api/models")
    # The count and the page; who asks, and what they may do, is cached.
    with django_assert_num_queries(2):
        assert client.get("/api/models").json()["count"] == 11
    assert client.get("/api/models?provider=other").json()["count"] == 10
    assert client.get("/api/models?provider=other&is_enabled=false").json()["count"] == 5


def test_a_model_of_embeddings_is_no_default_and_none_of_a_scene(
    staff: User, model: LLMModel, client_of: ClientOf
) -> None:
    client = client_of(staff)
    body = {"name": "vectors", "provider": "acme", "capability": "embeddings"}
    made = client.post("/api/models", body, content_type=JSON)
    assert (made.status_code, made.json()["capability"]) == (201, "embeddings")
    assert client.get("/api/models/acme-1").json()["capability"] == "chat"
    refused = client.patch("/api/models/vectors", {"is_default": True}, content_type=JSON)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "is_default")
    refused = client.patch("/api/models/vectors", {"capability": "images"}, content_type=JSON)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "capability")
    assert (
        client.post("/api/scenes", {"slug": "s", "title": "S"}, content_type=JSON).status_code
        == 201
    )
    for field, value in (("model", "vectors"), ("fallback_models", ["acme-1", "vectors"])):
        version = {"user_template": "x", field: value}
        refused = client.post("/api/scenes/s/versions", version, content_type=JSON)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == field
    assert LLMModel.objects.get(is_default=True) == model
