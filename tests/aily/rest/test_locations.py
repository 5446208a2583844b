"""An error names its field as the sender has written it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from aily.rest.locations import unions_of
from aily.urls import api
from tests.aily.problem_answers import assert_problem
from tests.subtests import subtested

pytestmark = pytest.mark.django_db

HOOK = {"url": "https://example.com/"}
#: Takes any JSON, and so has no errors.
JSON_VALUE = "_get_type_name"


@subtested(
    ("path", "field"),
    [
        ("/api/tables/1/rows?ids=1&ids=x", "query.ids.1"),
        ("/api/tables/1/rows?limit=0", "query.limit"),
        ("/api/webhooks/1/deliveries?event=x", "query.event"),
        ("/api/llmchat/tasks?metadata=x", "query.metadata"),
        ("/api/llmchat/tasks?statu=queued", "query.statu"),
    ],
)
def test_a_parameter_is_named_without_the_argument_that_holds_it(
    client: Client, path: str, field: str
) -> None:
    problem = assert_problem(client.get(path), 422, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == [field]


@subtested(
    ("path", "body", "field"),
    [
        ("/api/webhooks", {**HOOK, "only_metadata": {"customer": [1]}}, "only_metadata.customer"),
        ("/api/webhooks", {**HOOK, "only_metadata": {"customer": None}}, "only_metadata.customer"),
        ("/api/webhooks", {**HOOK, "events": ["x"]}, "events.0"),
        (
            "/api/tables/1/rows:batch",
            {"operations": [{"op": "create", "id": 7}]},
            "operations.0.id",
        ),
        ("/api/tables/1/rows:batch", {"operations": [{"op": "update"}]}, "operations.0.id"),
        ("/api/tables/1/rows:batch", {"operations": [{"op": "upset"}]}, "operations.0.op"),
        ("/api/tables/1/rows:batch", {"operations": [{"values": {}}]}, "operations.0.op"),
        ("/api/tables/1/rows:batch", {"operations": [7]}, "operations.0"),
    ],
)
def test_a_field_is_named_without_the_type_that_its_value_was_checked_against(
    client: Client, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(path, body, content_type="application/json")
    problem = assert_problem(answer, 422, "invalid_request")
    assert problem["errors"][0]["field"] == field


def test_labels_are_texts_numbers_or_booleans(client: Client, settings: Settings) -> None:
    settings.WEBHOOK_ALLOW_PRIVATE = True
    labels = {"text": "acme", "yes": True, "count": 3, "share": 0.5}
    body = {"url": "https://127.0.0.1/", "only_metadata": labels}
    answer = client.post("/api/webhooks", body, content_type="application/json")
    assert answer.json()["only_metadata"] == labels


def test_the_types_of_unions_have_names_that_are_left_out() -> None:
    """A tag in brackets, or the value of a field that says what an object is."""
    leaking = [(model.__name__, name) for model in _models() for name in _leaking_names(model)]
    assert leaking == []


def _models() -> Iterator[Any]:
    for _, router in api._routers:
        for view in router.path_operations.values():
            for operation in view.operations:
                yield from operation.models


def _leaking_names(model: Any) -> Iterator[str]:
    for union in unions_of(model.__pydantic_core_schema__):
        discriminator = union.get("discriminator")
        if isinstance(discriminator, str) or getattr(discriminator, "__name__", "") == JSON_VALUE:
            continue
        choices = union["choices"]
        names = list(choices) if discriminator else [_name(choice) for choice in choices]
        # A secret may be given as one already, in Python.
        if "is-instance" not in names:
            yield from (name for name in names if not name.startswith("("))


def _name(choice: Any) -> str:
    """What pydantic calls a type of a union: its label, or its own name."""
    schema, label = choice if isinstance(choice, tuple) else (choice, None)
    return str(label or schema["type"])
