"""Query parameters that an operation does not know are refused, on every operation."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from chat.models import Conversation
from tests.chat.api.operations import operations
from tests.conftest import ClientOf

_SOME_ID = "0198c0de-7a11-7000-8000-0123456789ab"


def _path(template: str, operation: dict[str, Any]) -> str:
    for parameter in operation["parameters"]:
        if parameter.get("in") == "path":
            schema = parameter["schema"]
            value = {"integer": "1", "string": "some"}[schema["type"]]
            value = _SOME_ID if schema.get("format") == "uuid" else value
            template = template.replace(f"{{{parameter['name']}}}", value)
    return template


@pytest.fixture
def root(staff: User, client_of: ClientOf) -> Client:
    User.objects.filter(pk=staff.pk).update(is_superuser=True)
    return client_of(staff)


def _errors(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 422, response.content
    errors: list[dict[str, str]] = response.json()["errors"]
    return errors


def test_every_operation_refuses_a_parameter_that_it_does_not_know(root: Client) -> None:
    assert len(operations()) > 60
    for (method, template), operation in operations().items():
        path = _path(template, operation)
        response = root.generic(
            method, f"{path}?limt=5&Sync=true", "{}", content_type="application/json"
        )
        fields = [error["field"] for error in _errors(response)]
        assert {"query.limt", "query.Sync"} <= set(fields), (method, template)


def test_a_refused_parameter_changes_nothing(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    [error] = _errors(
        client.post("/api/conversations?title=x", {}, content_type="application/json")
    )
    assert error["field"] == "query.title"
    assert not Conversation.objects.exists()


def test_all_wrong_fields_are_named_together(alice: User, client_of: ClientOf) -> None:
    response = client_of(alice).get("/api/llmchat/tasks?limit=x&staus=queued")
    assert {error["field"] for error in _errors(response)} == {"query.limit", "query.staus"}


def test_a_parameter_given_twice_is_refused(alice: User, client_of: ClientOf) -> None:
    response = client_of(alice).get("/api/keys?limit=1&limit=2")
    assert response.status_code == 400
    assert response.json()["errors"][0]["field"] == "query.limit"


def test_without_credentials_the_answer_is_401_first(db: None) -> None:
    assert Client().get("/api/keys?nonsense=1").status_code == 401


def test_many_unknown_parameters_are_answered_shortly(alice: User, client_of: ClientOf) -> None:
    query = "&".join(f"{'x' * 50}{number}=1" for number in range(900))
    response = client_of(alice).get(f"/api/keys?{query}")
    assert len(_errors(response)) == 100
    assert len(response.content) < 30_000
