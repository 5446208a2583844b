"""Every list over REST: its order is one of a few, and it costs the same however long it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import APIKey, MenuItem, Role, User
from chat.models import Budget, Conversation, LLMModel, Provider, Scene, WebhookEndpoint
from chat.services.scenes import create_version, publish
from tests.conftest import ClientOf, grant


def _version(user: User, number: int) -> None:
    scene, _ = Scene.objects.get_or_create(slug="one", title="One")
    create_version(scene, user, {"user_template": "x"})


def _model(user: User, number: int) -> None:
    provider = Provider.objects.create(name=f"p{number}", base_url="https://p.example")
    LLMModel.objects.create(provider=provider, name=f"m{number}")


def _user(user: User, number: int) -> None:
    made = User.objects.create_user(f"u{number}")
    made.groups.add(Role.objects.create(name=f"u{number}"))


def _role(user: User, number: int) -> None:
    role = Role.objects.create(name=f"r{number}")
    role.permissions.set(Permission.objects.all()[:3])


#: Makes one more, by the path of the list and a field that its items can be ordered by.
LISTS: dict[str, tuple[str, Callable[[User, int], object]]] = {
    "/api/keys": ("created_at", lambda user, n: APIKey.create(user, f"k{n}")),
    "/api/users": ("date_joined", _user),
    "/api/roles": ("name", _role),
    "/api/menus/items": ("", lambda user, n: MenuItem.objects.create(label=f"m{n}")),
    "/api/providers": ("name", _model),
    "/api/models": ("name", _model),
    "/api/budgets/items": (
        "name",
        lambda user, n: Budget.objects.create(user=user, name=f"b{n}", limit_calls=n),
    ),
    "/api/webhooks": (
        "created_at",
        lambda user, n: WebhookEndpoint.objects.create(owner=user, url=f"https://{n}.example"),
    ),
    "/api/conversations": ("created_at", lambda user, n: Conversation.objects.create(owner=user)),
    "/api/scenes": ("title", lambda user, n: Scene.objects.create(slug=f"s{n}", title=f"S{n}")),
    "/api/scenes/one/versions": ("number", _version),
}
#: Counting, the page, and what belongs to its items: a fixed number of queries for all of them.
MAX_QUERIES = 6


def _queries(client: Client, path: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_ordered_as_asked_and_costs_the_same_however_long_it_is(
    path: str, staff: User, client_of: ClientOf
) -> None:
    grant(staff, Permission.objects.all())
    field, make = LISTS[path]
    client = client_of(staff)
    make(staff, 1)
    client.get(path)
    few = _queries(client, path)
    for number in range(2, 8):
        make(staff, number)
    client.get(path)
    assert _queries(client, path) == few <= MAX_QUERIES
    if not field:
        return
    ascending = client.get(f"{path}?ordering={field}").json()["items"]
    assert len(ascending) >= 7
    assert [item[field] for item in ascending] == sorted(item[field] for item in ascending)
    assert client.get(f"{path}?ordering=-{field}").json()["items"] == ascending[::-1]
    refused = client.get(f"{path}?ordering=secret")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "query.ordering"


def test_a_list_is_narrowed_by_its_filters(staff: User, client_of: ClientOf) -> None:
    grant(staff, Permission.objects.all())
    for number, is_on in enumerate((True, False, False)):
        name = f"n{number}"
        Provider.objects.create(name=name, base_url="https://p.example", is_enabled=is_on)
        Scene.objects.create(slug=name, title=name, is_enabled=is_on)
        WebhookEndpoint.objects.create(owner=staff, url="https://p.example", is_active=is_on)
        Role.objects.create(name=name)
    create_version(Scene.objects.get(slug="n0"), None, {"user_template": "x"})
    publish(create_version(Scene.objects.get(slug="n0"), None, {"user_template": "x"}))
    top = MenuItem.objects.create(label="top")
    MenuItem.objects.create(label="below", parent=top, is_enabled=False)
    key, _ = APIKey.create(staff, "counted")
    Budget.objects.create(api_key=key, name="b", limit_calls=1)
    Budget.objects.create(user=staff, name="b", limit_calls=1)
    client = client_of(staff)
    for query, count in (
        ("providers?is_enabled=false", 2),
        ("scenes?is_enabled=true", 1),
        ("scenes/n0/versions?is_published=true", 1),
        ("scenes/n0/versions?is_published=false", 1),
        ("webhooks?is_active=false", 2),
        ("roles?search=N1", 1),
        (f"menus/items?parent={top.pk}", 1),
        ("menus/items?is_enabled=true", 1),
        (f"budgets/items?api_key={key.pk}", 1),
        ("keys?search=count", 1),
    ):
        assert client.get(f"/api/{query}").json()["count"] == count, query
