"""Conditional requests over REST: unchanged content is not sent again, nor overwritten unseen."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connections, transaction
from django.test import Client

from accounts.models import APIKey, MenuItem, Role, User
from chat.models import Budget, Conversation, LLMModel, Provider, Scene, WebhookEndpoint
from chat.services.scenes import create_version
from tests.conftest import ClientOf, grant
from tests.locks import wait_for_a_lock

JSON = "application/json"


def _scene(user: User) -> str:
    Scene.objects.create(slug="greet", title="Greet")
    return "/api/scenes/greet"


def _version(user: User) -> str:
    scene = Scene.objects.create(slug="greet", title="Greet")
    create_version(scene, None, {"user_template": "Hi"})
    return "/api/scenes/greet/versions/1"


def _provider(user: User) -> str:
    Provider.objects.create(name="p", base_url="https://p.example")
    return "/api/providers/p"


def _model(user: User) -> str:
    provider = Provider.objects.create(name="p", base_url="https://p.example")
    LLMModel.objects.create(provider=provider, name="m")
    return "/api/models/m"


def _webhook(user: User) -> str:
    endpoint = WebhookEndpoint.objects.create(owner=user, url="https://p.example", events=[])
    return f"/api/webhooks/{endpoint.pk}"


#: What there is to change, and how it is changed.
RESOURCES: dict[str, tuple[Callable[[User], str], dict[str, Any]]] = {
    "role": (lambda _: f"/api/roles/{Role.objects.create(name='r').pk}", {"name": "s"}),
    "menu item": (
        lambda _: f"/api/menus/items/{MenuItem.objects.create(label='a').pk}",
        {"label": "b"},
    ),
    "conversation": (
        lambda user: f"/api/conversations/{Conversation.objects.create(owner=user).pk}",
        {"title": "b"},
    ),
    "scene": (_scene, {"title": "b"}),
    "version": (_version, {"notes": "b"}),
    "provider": (_provider, {"api_key_env": "LLM_KEY_P"}),
    "model": (_model, {"max_concurrency": 7}),
    "budget": (
        lambda user: (
            f"/api/budgets/items/{Budget.objects.create(user=user, name='b', limit_calls=1).pk}"
        ),
        {"limit_calls": 7},
    ),
    "webhook": (_webhook, {"description": "b"}),
}


@pytest.fixture
def editor(staff: User) -> User:
    grant(staff, Permission.objects.all())
    return staff


@pytest.fixture(params=list(RESOURCES.values()), ids=list(RESOURCES))
def resource(request: pytest.FixtureRequest, editor: User) -> tuple[str, dict[str, Any]]:
    make, change = request.param
    return make(editor), change


def test_what_has_not_changed_is_not_sent_again_and_nobody_overwrites_unseen(
    resource: tuple[str, dict[str, Any]], editor: User, client_of: ClientOf
) -> None:
    (path, change), client = resource, client_of(editor)

    def patch(etag: str) -> int:
        headers = {"If-Match": etag}
        return client.patch(path, change, content_type=JSON, headers=headers).status_code

    first = client.get(path)["ETag"]
    again = client.get(path, headers={"If-None-Match": first})
    assert (again.status_code, again.content, again["ETag"]) == (304, b"", first)
    assert patch(first) == 200
    changed = client.get(path, headers={"If-None-Match": first})
    assert changed.status_code == 200
    assert changed["ETag"] != first

    refused = client.patch(path, change, content_type=JSON, headers={"If-Match": first})
    assert refused.status_code == 412
    assert refused.json()["code"] == "precondition_failed"
    assert client.delete(path, headers={"If-Match": first}).status_code == 412
    assert client.get(path)["ETag"] == changed["ETag"]
    # A proxy that compresses makes it weak.
    assert patch(f'"other", W/{changed["ETag"]}') == 200
    assert patch("*") == 200
    assert client.delete(path, headers={"If-Match": client.get(path)["ETag"]}).status_code == 204
    assert client.delete(path, headers={"If-Match": "*"}).status_code == 404


def test_a_key_is_revoked_as_it_was_read(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    path = f"/api/keys/{APIKey.create(alice, 'old')[0].pk}"
    etag = client.get(path)["ETag"]
    assert client.delete(path, headers={"If-Match": '"x"'}).status_code == 412
    assert client.delete(path, headers={"If-Match": etag}).status_code == 204


def test_a_list_has_an_etag_too(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    etag = client.get("/api/conversations")["ETag"]
    given = {"If-None-Match": etag}
    assert client.get("/api/conversations", headers=given).status_code == 304
    Conversation.objects.create(owner=alice)
    assert client.get("/api/conversations", headers=given).status_code == 200


def test_a_change_that_is_being_made_is_waited_for(editor: User, client_of: ClientOf) -> None:
    path, client = _scene(editor), client_of(editor)
    etag = client.get(path)["ETag"]
    answers: list[int] = []

    def patch(client: Client) -> None:
        headers = {"If-Match": etag}
        answer = client.patch(path, {"title": "mine"}, content_type=JSON, headers=headers)
        answers.append(answer.status_code)
        connections.close_all()

    waiting = threading.Thread(target=patch, args=[client])
    with transaction.atomic():
        Scene.objects.filter(slug="greet").update(title="theirs")
        waiting.start()
        wait_for_a_lock()
    waiting.join(20)
    assert answers == [412]
    assert Scene.objects.get().title == "theirs"
