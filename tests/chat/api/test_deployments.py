"""Several deployments of a model: made, changed, paused and shown by staff."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.test import Client

from accounts.models import User
from chat.models import Deployment, LLMModel, Provider, Task
from chat.models.llm_models import MAX_DEPLOYMENTS
from chat.services import pauses
from tests.conftest import ClientOf
from tests.subtests import subtested

PATH = "/api/deployments"
PAUSES = "/api/llmchat/pauses"


@pytest.fixture
def staff(transactional_db: None) -> User:
    user = User.objects.create_user("ann", is_staff=True)
    names = ["view_llmmodel", "change_llmmodel", "view_provider", "change_provider"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    return user


@pytest.fixture
def client(staff: User, client_of: ClientOf) -> Client:
    return client_of(staff)


@pytest.fixture
def second(model: LLMModel) -> Provider:
    return Provider.objects.create(name="second", base_url="http://127.0.0.1:9")


def add(client: Client, **fields: Any) -> Any:
    body = {"model": "deepseek-flash", "name": "more", "provider": "second", **fields}
    return client.post(PATH, body, content_type="application/json")


def test_a_deployment_is_made_changed_and_deleted(client: Client, second: Provider) -> None:
    made = add(client, max_concurrency=20, requests_per_minute=60, weight=3)
    assert made.status_code == 201, made.content
    shown = made.json()
    assert (shown["model"], shown["provider"], shown["weight"]) == ("deepseek-flash", "second", 3)
    path = f"{PATH}/{shown['id']}"
    changed = client.patch(
        path, {"weight": 0, "tokens_per_minute": 900}, content_type="application/json"
    )
    assert (changed.json()["weight"], changed.json()["tokens_per_minute"]) == (0, 900)
    assert changed.json()["requests_per_minute"] == 60
    assert client.get(f"{PATH}?model=deepseek-flash").json()["count"] == 1
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


@subtested(
    ("fields", "field"),
    [
        ({"model": "none"}, "model"),
        ({"provider": "none"}, "provider"),
        ({"name": "simulator"}, "name"),
        ({"name": "not a slug"}, "name"),
        ({"weight": 1001}, "weight"),
        ({"weight": -1}, "weight"),
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"tokens_per_minute": 10**12}, "tokens_per_minute"),
        ({"input_price": "1"}, "input_price"),
        ({"input_price": "-1", "cached_input_price": 0, "output_price": 0}, "input_price"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_stored(
    client: Client, second: Provider, fields: dict[str, Any], field: str
) -> None:
    refused = add(client, **fields)
    assert refused.status_code in (400, 422)
    assert field in str(refused.json()["errors"])
    assert not Deployment.objects.exists()


def test_a_name_is_taken_once_and_there_is_an_end_to_them(
    client: Client, second: Provider, model: LLMModel
) -> None:
    assert add(client).status_code == 201
    assert add(client).status_code in (409, 422)
    for number in range(MAX_DEPLOYMENTS - 1):
        Deployment.objects.create(model=model, name=f"n{number}", provider=second)
    refused = add(client, name="one-more")
    assert refused.status_code == 422
    assert f"at most {MAX_DEPLOYMENTS}" in str(refused.json())


def test_a_models_own_deployment_and_a_further_one_never_have_one_name(
    client: Client, second: Provider, model: LLMModel
) -> None:
    add(client, name="more")
    Provider.objects.create(name="more", base_url="http://127.0.0.1:9")
    path = f"/api/models/{model.name}"
    moved = client.patch(path, {"provider": "more"}, content_type="application/json")
    assert moved.status_code == 422
    assert "provider" in str(moved.json()["errors"])
    model.provider.name = "more"
    with pytest.raises(ValidationError):
        model.provider.clean()


def test_a_provider_of_a_deployment_stays(client: Client, second: Provider, staff: User) -> None:
    add(client)
    staff.user_permissions.add(Permission.objects.get(codename="delete_provider"))
    assert client.delete("/api/providers/second").status_code == 409


def test_a_models_own_limits_and_weight_are_its_fields(client: Client, model: LLMModel) -> None:
    path = f"/api/models/{model.name}"
    changed = client.patch(
        path,
        {"requests_per_minute": 60, "tokens_per_minute": 1000, "weight": 2},
        content_type="application/json",
    )
    shown = changed.json()
    assert (shown["requests_per_minute"], shown["tokens_per_minute"]) == (60, 1000)
    assert (shown["weight"], shown["own_paused_at"]) == (2, None)


@pytest.mark.parametrize("name", ["more", "simulator"])
def test_each_deployment_is_paused_by_itself(
    client: Client, second: Provider, model: LLMModel, name: str
) -> None:
    add(client)
    path = f"{PAUSES}/deployments/deepseek-flash@{name}"
    assert client.put(path).status_code == 204
    [pause] = client.get(PAUSES).json()["items"]
    assert (pause["kind"], pause["name"]) == ("deployment", f"deepseek-flash@{name}")
    assert (pause["cause"], pause["until"]) == ("staff", None)
    assert not LLMModel.objects.with_deployments().get().is_paused, "the other takes tasks"
    other = pauses.find_deployment(f"deepseek-flash@{'simulator' if name == 'more' else 'more'}")
    assert other is not None
    assert pauses.pause(other)
    assert LLMModel.objects.with_deployments().get().is_paused
    assert client.delete(path).status_code == 204
    assert [pause["name"] for pause in client.get(PAUSES).json()["items"]] == [str(other)]
    assert client.put(f"{PAUSES}/deployments/deepseek-flash@none").status_code == 404
    assert client.put(f"{PAUSES}/deployments/none@more").status_code == 404


def test_a_task_says_which_deployment_it_was_and_whether_that_makes_answers_up(
    alice: User, client_of: ClientOf, model: LLMModel, second: Provider
) -> None:
    Deployment.objects.create(model=model, name="more", provider=second)
    shown = []
    for deployment in ("", "simulator", "more"):
        task = Task.objects.create(owner=alice, model=model, messages=[], deployment=deployment)
        found = client_of(alice).get(f"/api/llmchat/tasks/{task.pk}").json()
        shown.append((found["deployment"], found["is_simulated"]))
    assert shown == [(None, True), ("simulator", True), ("more", False)]


def test_only_who_may_use_the_restricted_model_gives_others_a_way_to_it(
    client: Client, second: Provider, model: LLMModel
) -> None:
    LLMModel.objects.create(name="dear", provider=second, upstream_name="big-1", is_restricted=True)
    refused = add(client, upstream_name="big-1")
    assert refused.status_code == 403
    assert not Deployment.objects.exists()
    Deployment.objects.create(
        model=LLMModel.objects.get(name="dear"), name="again", provider=model.provider,
        upstream_name="big-2",
    )  # fmt: skip
    changed = client.patch(
        f"/api/models/{model.name}", {"upstream_name": "big-2"}, content_type="application/json"
    )
    assert changed.status_code == 403


# --- Fallbacks without a scene --------------------------------------------------------------------
def ask(client: Client, **fields: Any) -> Any:
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    return client.post("/api/llmchat/request", body, content_type="application/json")


def test_a_request_names_its_fallback_models(
    alice: User, client_of: ClientOf, model: LLMModel
) -> None:
    names = ["one", "two"]
    made = {name: LLMModel.objects.create(name=name, provider=model.provider).pk for name in names}
    LLMModel.objects.create(name="off", provider=model.provider, is_enabled=False)
    accepted = ask(client_of(alice), model="one", fallbacks=["two", "off", "one", "two"])
    assert accepted.status_code == 202, accepted.content
    task = Task.objects.get(pk=accepted.json()["task_id"])
    assert (task.model_id, task.fallbacks) == (made["one"], [made["two"]])


@pytest.mark.parametrize(
    ("fallbacks", "field"),
    [(["none"], "fallbacks"), (["dear"], "fallbacks"), ([""], "fallbacks"), ("one", "fallbacks"),
     (["deepseek-flash"] * 9, "fallbacks"), (["deepseek-flash", "vectors"], "fallbacks.1")],
)  # fmt: skip
def test_a_fallback_that_is_not_there_or_not_allowed_is_an_error(
    alice: User, client_of: ClientOf, model: LLMModel, fallbacks: Any, field: str
) -> None:
    LLMModel.objects.create(name="dear", provider=model.provider, is_restricted=True)
    LLMModel.objects.create(name="vectors", provider=model.provider, capability="embeddings")
    refused = ask(client_of(alice), fallbacks=fallbacks)
    assert refused.status_code in (400, 422)
    assert field in str(refused.json()["errors"])
    assert not Task.objects.exists()
