"""Which endpoints are sent a task's end: by their filters, and by the task itself."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from accounts.models import User
from chat.models import Delivery, LLMModel, Scene, Status
from tests.chat.delivery.conftest import end_task, make_endpoint


def announced_events(task_id: UUID) -> set[str]:
    """Names of the endpoints with a delivery of the task."""
    deliveries = Delivery.objects.filter(task=task_id)
    return set(deliveries.values_list("endpoint__description", flat=True))


FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "failed": {"events": ["task.failed"]},
    "reply": {"only_scenes": ["reply", "not made yet"]},
    "model": {"only_models": ["deepseek-flash"]},
    "acme": {"only_metadata": {"customer": "acme"}},
    "one": {"only_metadata": {"count": 1}},
    "true": {"only_metadata": {"count": True}},
    "both": {"only_scenes": ["reply"], "only_metadata": {"customer": "acme", "count": 1}},
    "named": {"only_named": True, "events": ["task.failed"]},
}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"all"}),
        ({"status": Status.FAILED}, {"all", "failed"}),
        ({"scene": "reply"}, {"all", "reply"}),
        ({"scene": "other"}, {"all"}),
        ({"model": "deepseek-flash"}, {"all", "model"}),
        ({"metadata": {"customer": "acme"}}, {"all", "acme"}),
        ({"metadata": {"customer": "globex", "count": 1}}, {"all", "one"}),
        ({"metadata": {"count": True}}, {"all", "true"}),
        ({"metadata": {"customer": ["acme"], "count": "1"}}, {"all"}),
        (
            {"scene": "reply", "metadata": {"customer": "acme", "count": 1}},
            {"all", "reply", "acme", "one", "both"},
        ),
        ({"webhook": "named"}, {"all", "named"}),
        ({"webhook": "failed"}, {"all", "failed"}),
        ({"webhook": "all"}, {"all"}),
        ({"webhook": "disabled"}, {"all"}),
        ({"webhook": "bob's"}, {"all"}),
    ],
)
def test_an_end_goes_to_endpoints_whose_filters_fit_and_to_the_named_one(
    alice: User, bob: User, model: LLMModel, fields: dict[str, Any], expected: set[str]
) -> None:
    endpoints = {
        name: make_endpoint(alice, "https://x.example", description=name, **filters)[0]
        for name, filters in FILTERS.items()
    }
    off = {"description": "disabled", "is_active": False}
    endpoints["disabled"] = make_endpoint(alice, "https://x.example", **off)[0]
    endpoints["bob's"] = make_endpoint(bob, "https://x.example", description="bob's")[0]
    given = dict(fields)
    if "webhook" in given:
        given["webhook"] = endpoints[given["webhook"]]
    if "scene" in given:
        given["scene"] = Scene.objects.create(slug=given["scene"], title="S")
    if "model" not in given:
        other = LLMModel.objects.create(provider=model.provider, name="other")
    used = model if given.pop("model", None) else other
    task = end_task(alice, used, **given)
    assert announced_events(task.pk) == expected


def test_an_endpoint_that_was_deleted_meanwhile_is_no_hindrance(
    alice: User, model: LLMModel
) -> None:
    endpoint, _ = make_endpoint(alice, "https://x.example")
    endpoint_id = endpoint.pk
    endpoint.delete()
    task = end_task(alice, model, webhook_id=endpoint_id)
    task.refresh_from_db()
    assert (task.needs_settling, announced_events(task.pk)) == (False, set())
