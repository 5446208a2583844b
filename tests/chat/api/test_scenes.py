"""Scenes over REST: all users may read and use them, staff write them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from chat.models import Scene, SceneVersion
from chat.services.scenes import create_version, publish
from tests.conftest import ClientOf
from tests.subtests import subtested

JSON = "application/json"


@pytest.fixture
def greet(transactional_db: None) -> Scene:
    scene = Scene.objects.create(slug="greet", title="Greet somebody")
    publish(create_version(scene, None, {"user_template": "Hi {{ name }}", "notes": "secret"}))
    scene.refresh_from_db()
    return scene


@pytest.fixture
def hidden(transactional_db: None) -> list[Scene]:
    """A scene that is switched off and one with nothing but a draft."""
    off = Scene.objects.create(slug="off", title="Off", is_enabled=False)
    publish(create_version(off, None, {"user_template": "x"}))
    unpublished = Scene.objects.create(slug="unpublished", title="Unpublished")
    create_version(unpublished, None, {"user_template": "x"})
    return [off, unpublished]


def test_a_user_sees_what_can_be_used_and_how_but_no_prompts(
    alice: User, greet: Scene, hidden: list[Scene], client_of: ClientOf
) -> None:
    client = client_of(alice)
    page = client.get("/api/scenes")
    [item] = page.json()["items"]
    assert page.json()["count"] == 1
    assert (item["slug"], item["title"], item["live_version"]) == ("greet", "Greet somebody", 1)
    assert item["variables_schema"]["required"] == ["name"]
    assert client.get("/api/scenes/greet").json() == item
    assert "Hi " not in page.content.decode()
    assert "secret" not in page.content.decode()
    for scene in hidden:
        assert client.get(f"/api/scenes/{scene.slug}").status_code == 404


def test_staff_sees_every_scene(
    staff: User, greet: Scene, hidden: list[Scene], client_of: ClientOf
) -> None:
    client = client_of(staff)
    listed = {item["slug"]: item for item in client.get("/api/scenes").json()["items"]}
    assert listed.keys() == {"greet", "off", "unpublished"}
    assert listed["unpublished"]["live_version"] is None
    assert listed["unpublished"]["variables_schema"] is None
    found = client.get("/api/scenes?search=SOMEBODY").json()
    assert [item["slug"] for item in found["items"]] == ["greet"]


def test_a_page_of_scenes_costs_two_queries(
    alice: User,
    greet: Scene,
    client_of: ClientOf,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = client_of(alice)
    with django_assert_num_queries(2):
        client.get("/api/scenes")
    for number in range(10):
        scene = Scene.objects.create(slug=f"s{number}", title="S")
        publish(create_version(scene, None, {"user_template": "x"}))
    with django_assert_num_queries(2):
        assert client.get("/api/scenes").json()["count"] == 11


def test_staff_writes_publishes_and_rolls_back(staff: User, client_of: ClientOf) -> None:
    client = client_of(staff)
    made = client.post("/api/scenes", {"slug": "ask", "title": "Ask"}, content_type=JSON)
    assert made.status_code == 201
    assert made.json()["live_version"] is None
    for number, template in enumerate(["one {{ a }}", "two {{ a }}"], start=1):
        draft = client.post(
            "/api/scenes/ask/versions", {"user_template": template}, content_type=JSON
        )
        assert draft.status_code == 201
        assert (draft.json()["number"], draft.json()["created_by"]) == (number, "staff")
        assert (draft.json()["is_live"], draft.json()["published_at"]) == (False, None)
        published = client.post(f"/api/scenes/ask/versions/{number}/publish")
        assert published.status_code == 200
        assert published.json()["is_live"] is True
        assert published.json()["variables_schema"]["required"] == ["a"]
    back = client.post("/api/scenes/ask/live", {"version": 1}, content_type=JSON)
    assert back.json()["live_version"] == 1
    versions = client.get("/api/scenes/ask/versions").json()
    assert versions["count"] == 2
    assert [(v["number"], v["is_live"]) for v in versions["items"]] == [(2, False), (1, True)]


def test_a_draft_can_be_edited_and_dropped(staff: User, greet: Scene, client_of: ClientOf) -> None:
    client = client_of(staff)
    create_version(greet, None, {"user_template": "draft", "notes": "kept"})
    path = "/api/scenes/greet/versions/2"
    edited = client.patch(path, {"user_template": "Bye {{ who }}"}, content_type=JSON)
    assert edited.status_code == 200
    assert client.get(path).json() == edited.json()
    assert (edited.json()["user_template"], edited.json()["notes"]) == ("Bye {{ who }}", "kept")
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("patch", "versions/1", {"user_template": "other"}),
        ("patch", "versions/1", {"notes": "other"}),
        ("delete", "versions/1", None),
        ("post", "versions/1/publish", None),
        ("post", "live", {"version": 2}),
    ],
)
def test_what_is_published_stays_and_what_is_not_cannot_be_live(
    staff: User, greet: Scene, client_of: ClientOf, method: str, path: str, body: Any
) -> None:
    create_version(greet, None, {"user_template": "draft"})
    before = list(SceneVersion.objects.order_by("number").values())
    send = getattr(client_of(staff), method)
    refused = send(f"/api/scenes/greet/{path}", body, content_type=JSON)
    assert refused.status_code == 409
    assert refused.json()["code"] == "conflict"
    assert list(SceneVersion.objects.order_by("number").values()) == before
    assert Scene.objects.get().live_version_id == greet.live_version_id


@subtested(
    ("path", "body", "status", "field"),
    [
        ("", {"slug": "no spaces", "title": "x"}, 422, "slug"),
        ("", {"slug": "x" * 51, "title": "x"}, 422, "slug"),
        ("", {"slug": "x", "title": ""}, 422, "title"),
        ("", {"slug": "x", "title": "x", "live_version": 1}, 422, "live_version"),
        ("/greet/versions", {}, 422, "user_template"),
        ("/greet/versions", {"user_template": "{{"}, 422, "user_template"),
        ("/greet/versions", {"user_template": "x", "number": 9}, 422, "number"),
        ("/greet/versions", {"user_template": "x", "model": "no"}, 400, "model"),
        (
            "/greet/versions",
            {"user_template": "{{ a }}", "variables_schema": {"$ref": "http://x"}},
            422,
            "variables_schema",
        ),
        ("/greet/live", {"version": 7}, 400, "version"),
        ("/greet/live", {"version": "x"}, 422, "version"),
    ],
)
def test_a_wrong_field_is_named_and_stores_nothing(
    staff: User,
    greet: Scene,
    client_of: ClientOf,
    path: str,
    body: dict[str, Any],
    status: int,
    field: str,
) -> None:
    refused = client_of(staff).post(f"/api/scenes{path}", body, content_type=JSON)
    assert refused.status_code == status
    assert refused.json()["errors"][0]["field"] == field
    assert (Scene.objects.count(), SceneVersion.objects.count()) == (1, 1)


def test_a_slug_is_taken_once(staff: User, greet: Scene, client_of: ClientOf) -> None:
    body = {"slug": "greet", "title": "Another"}
    refused = client_of(staff).post("/api/scenes", body, content_type=JSON)
    assert refused.status_code == 409
    assert Scene.objects.get().title == "Greet somebody"


def test_a_scene_can_be_changed_and_deleted_with_its_versions(
    staff: User, greet: Scene, client_of: ClientOf
) -> None:
    client = client_of(staff)
    changed = client.patch("/api/scenes/greet", {"is_enabled": False}, content_type=JSON)
    assert (changed.json()["is_enabled"], changed.json()["title"]) == (False, "Greet somebody")
    wrong = client.patch("/api/scenes/greet", {"title": None}, content_type=JSON)
    assert wrong.json()["errors"][0]["field"] == "title"
    assert client.delete("/api/scenes/greet").status_code == 204
    assert not SceneVersion.objects.exists()


WRITES = [
    ("post", "", {"slug": "new", "title": "New"}),
    ("patch", "/greet", {"title": "Changed"}),
    ("delete", "/greet", None),
    ("post", "/greet/live", {"version": 1}),
    ("get", "/greet/versions", None),
    ("post", "/greet/versions", {"user_template": "x"}),
    ("get", "/greet/versions/1", None),
    ("patch", "/greet/versions/1", {"notes": "x"}),
    ("delete", "/greet/versions/1", None),
    ("post", "/greet/versions/1/publish", None),
]


@subtested(("method", "path", "body"), WRITES)
def test_only_staff_with_permission_writes_or_reads_prompts(
    alice: User, greet: Scene, client_of: ClientOf, method: str, path: str, body: Any
) -> None:
    def attempt(client: Client) -> Any:
        return getattr(client, method)(f"/api/scenes{path}", body, content_type=JSON)

    before = list(Scene.objects.values()), list(SceneVersion.objects.values())
    assert attempt(Client()).status_code == 401
    refused = attempt(client_of(alice))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    User.objects.filter(pk=alice.pk).update(is_staff=True)
    assert attempt(client_of(alice)).status_code == 403
    alice.user_permissions.set(Permission.objects.filter(content_type__app_label="chat"))
    User.objects.filter(pk=alice.pk).update(is_staff=False)
    assert attempt(client_of(alice)).status_code == 403
    alice.user_permissions.clear()
    assert (list(Scene.objects.values()), list(SceneVersion.objects.values())) == before


@pytest.mark.parametrize("path", ["", "/greet"])
def test_nobody_sees_no_scenes(greet: Scene, path: str) -> None:
    assert Client().get(f"/api/scenes{path}").status_code == 401


def test_a_page_of_versions_costs_a_constant_number_of_queries(
    staff: User,
    greet: Scene,
    client_of: ClientOf,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = client_of(staff)
    for _ in range(10):
        create_version(greet, staff, {"user_template": "x"})
    client.get("/api/scenes/greet/versions")
    # The scene, the count, the page; who asks, and what they may do, is cached.
    with django_assert_num_queries(3):
        assert client.get("/api/scenes/greet/versions").json()["count"] == 11


def test_whether_answers_are_shared_and_kept_is_part_of_a_version(
    staff: User, greet: Scene, client_of: ClientOf
) -> None:
    client = client_of(staff)
    path = "/api/scenes/greet/versions"
    plain = client.get(f"{path}/1").json()
    assert (plain["single_flight"], plain["cache_ttl_seconds"]) == (False, 0)
    fields = {"user_template": "Hi", "single_flight": True, "cache_ttl_seconds": 60}
    made = client.post(path, fields, JSON).json()
    assert (made["single_flight"], made["cache_ttl_seconds"]) == (True, 60)
    changed = client.patch(f"{path}/2", {"cache_ttl_seconds": 0}, JSON).json()
    assert (changed["single_flight"], changed["cache_ttl_seconds"]) == (True, 0)
    for seconds in (-1, 2_592_001):
        refused = client.post(path, {**fields, "cache_ttl_seconds": seconds}, JSON)
        assert refused.status_code == 422
        [error] = refused.json()["errors"]
        assert "cache_ttl_seconds" in error["field"]
