"""The scene's workshop over REST: previews, drafts that are tried, what two editors do to each
other, and schemas as their authors wrote them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from guardian.shortcuts import assign_perm

from accounts.models import User
from chat.models import LLMModel, Scene, SceneVersion, Task
from chat.services.scenes import create_version, publish
from tests.conftest import ClientOf

JSON = "application/json"
BIG = 2**63 + 1
#: In no order that a database would choose.
SCHEMA = {
    "type": "object",
    "properties": {
        "zebra_with_a_long_name": {"type": "integer", "title": "Z", "maximum": BIG},
        "b": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "aa": {"$ref": "#/$defs/Tone"},
    },
    "required": ["aa"],
    "$defs": {"Tone": {"enum": ["warm", "cool"], "title": "Tone"}},
}
TEMPLATE = "{{ zebra_with_a_long_name }} {{ b }} {{ aa }}"


@pytest.fixture
def greet(transactional_db: None, model: LLMModel) -> Scene:
    scene = Scene.objects.create(slug="greet", title="Greet")
    publish(create_version(scene, None, {"user_template": "Hi {{ name }}"}))
    create_version(scene, None, {"user_template": "Hello {{ name }}", "cache_ttl_seconds": 60})
    scene.refresh_from_db()
    return scene


@pytest.fixture
def editor(alice: User, greet: Scene) -> User:
    """May change and publish this scene, and is no staff."""
    assign_perm("chat.change_scene", alice, greet)
    assign_perm("chat.publish_scene", alice, greet)
    return alice


def _post(client: Client, path: str, body: Any = None, **headers: str) -> Any:
    return client.post(path, json.dumps(body or {}), content_type=JSON, headers=headers)


# --- Schemas as written -------------------------------------------------------------------------
def test_a_schema_keeps_its_order_from_the_draft_to_the_live_version(
    staff: User, greet: Scene, client_of: ClientOf
) -> None:
    client = client_of(staff)
    body = {"user_template": TEMPLATE, "variables_schema": SCHEMA}
    made = _post(client, "/api/scenes/greet/versions", body)
    assert made.status_code == 201, made.content
    path = f"/api/scenes/greet/versions/{made.json()['number']}"
    written = json.dumps(SCHEMA)
    assert json.dumps(client.get(path).json()["variables_schema"]) == written
    _post(client, f"{path}/publish")
    live = client.get("/api/scenes/greet").json()["variables_schema"]
    assert json.dumps(live) == written
    found = client.get("/api/scenes?search=greet").json()["items"][0]["variables_schema"]
    assert json.dumps(found) == written


def test_the_admin_shows_a_schema_in_order_and_in_lines(admin_client: Client, greet: Scene) -> None:
    fields = {"user_template": TEMPLATE, "variables_schema": SCHEMA}
    draft = create_version(greet, None, fields)
    page = admin_client.get(f"/admin/chat/sceneversion/{draft.pk}/change/")
    shown = page.context["adminform"].form["variables_schema"].value()
    assert shown == json.dumps(SCHEMA, indent=2)


# --- Previews -----------------------------------------------------------------------------------
def test_what_is_not_saved_is_rendered(editor: User, client_of: ClientOf) -> None:
    client = client_of(editor)
    body = {"system_template": "Be kind.", "user_template": "Dear {{ name }}"}
    answer = _post(client, "/api/scenes/greet/preview", {**body, "variables": {"name": "Bo"}})
    assert answer.status_code == 200, answer.content
    assert answer.json()["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Dear Bo"},
    ]
    assert answer.json()["variables_schema"]["required"] == ["name"]
    assert answer.json()["refusal"] is None
    refused = _post(client, "/api/scenes/greet/preview", body).json()
    assert (refused["messages"], refused["refusal"]["field"]) == (None, "variables.name")
    assert refused["variables_schema"]["required"] == ["name"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"user_template": "{{"}, "user_template"),
        ({"system_template": "{% x %}"}, "system_template"),
        ({"variables_schema": {"type": "array"}}, "variables_schema"),
        ({"variables_schema": {"properties": {"a": {"$ref": "#/nowhere"}}}}, "variables_schema"),
    ],
)
def test_a_preview_names_what_is_wrong(
    editor: User, client_of: ClientOf, changes: dict[str, Any], field: str
) -> None:
    body = {"user_template": "x", **changes}
    refused = _post(client_of(editor), "/api/scenes/greet/preview", body)
    assert refused.status_code == 422, refused.content
    assert refused.json()["errors"][0]["field"] == field


def test_only_editors_preview(bob: User, greet: Scene, client_of: ClientOf) -> None:
    refused = _post(client_of(bob), "/api/scenes/greet/preview", {"user_template": "x"})
    assert refused.status_code == 403


# --- Trying a version ---------------------------------------------------------------------------
def _submit(client: Client, **fields: Any) -> Any:
    return _post(client, "/api/llmchat/prompts/greet/api?sync=false", fields)


@pytest.mark.parametrize("path", ["prompts/greet/api?sync=false", "request?sync=false"])
def test_an_editor_tries_a_draft_as_it_is_now(
    editor: User, greet: Scene, client_of: ClientOf, path: str
) -> None:
    client = client_of(editor)
    body = {"version": 2, "variables": {"name": "Bo"}}
    if path.startswith("request"):
        body["scene"] = "greet"
    first = _post(client, f"/api/llmchat/{path}", body)
    assert first.status_code == 202, first.content
    draft = SceneVersion.objects.get(scene=greet, number=2)
    task = Task.objects.get(pk=first.json()["task_id"])
    assert (task.scene_version_id, task.messages[-1]["content"]) == (draft.pk, "Hello Bo")
    # Answers of a draft are neither kept nor shared: it may say something else next time.
    assert task.flight_key == ""
    SceneVersion.objects.filter(pk=draft.pk).update(user_template="Bye {{ name }}")
    second = _post(client, f"/api/llmchat/{path}", body)
    assert Task.objects.get(pk=second.json()["task_id"]).messages[-1]["content"] == "Bye Bo"


def test_a_scene_without_a_live_version_is_tried_and_so_is_a_disabled_one(
    staff: User, greet: Scene, client_of: ClientOf
) -> None:
    Scene.objects.filter(pk=greet.pk).update(live_version=None, is_enabled=False)
    tried = _submit(client_of(staff), version=2, variables={"name": "Bo"})
    assert tried.status_code == 202, tried.content
    assert _submit(client_of(staff), variables={"name": "Bo"}).status_code == 404


def test_those_who_may_not_change_the_scene_name_no_version(
    bob: User, greet: Scene, client_of: ClientOf
) -> None:
    client = client_of(bob)
    for slug in ("greet", "unknown"):
        body = {"scene": slug, "version": 1, "variables": {"name": "Bo"}}
        refused = _post(client, "/api/llmchat/request?sync=false", body)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (403, "version")
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ({"version": 9}, 404, "version"),
        ({"version": 0}, 422, "version"),
        ({"version": 2**31}, 422, "version"),
        ({"version": 2, "variables": {}}, 422, "variables.name"),
    ],
)
def test_a_wrong_version_is_refused(
    editor: User, client_of: ClientOf, fields: dict[str, Any], status: int, field: str
) -> None:
    body = {"variables": {"name": "Bo"}, **fields}
    refused = _submit(client_of(editor), **body)
    assert refused.status_code == status, refused.content
    assert refused.json()["errors"][0]["field"] == field
    assert not Task.objects.exists()


def test_a_version_needs_a_scene(editor: User, client_of: ClientOf) -> None:
    body = {"version": 1, "messages": [{"role": "user", "content": "x"}]}
    refused = _post(client_of(editor), "/api/llmchat/request?sync=false", body)
    assert refused.status_code == 422


def test_a_draft_lends_no_model_that_its_editor_may_not_use(
    editor: User, greet: Scene, model: LLMModel, client_of: ClientOf
) -> None:
    """Another editor, who may, has named it."""
    restricted = LLMModel.objects.create(
        name="restricted", provider=model.provider, is_restricted=True
    )
    draft = SceneVersion.objects.filter(scene=greet, number=2)
    draft.update(model=restricted)
    refused = _submit(client_of(editor), version=2, variables={"name": "Bo"})
    assert refused.status_code == 400, refused.content
    draft.update(model=None, fallback_models=["restricted"])
    accepted = _submit(client_of(editor), version=2, variables={"name": "Bo"})
    assert Task.objects.get(pk=accepted.json()["task_id"]).fallbacks == []


# --- Two editors --------------------------------------------------------------------------------
def test_the_second_of_two_editors_is_refused_and_loses_nothing_unseen(
    editor: User, staff: User, greet: Scene, client_of: ClientOf
) -> None:
    path = "/api/scenes/greet/versions/2"
    one, other = client_of(editor), client_of(staff)
    seen = one.get(path)["ETag"]
    assert other.get(path)["ETag"] == seen
    body = json.dumps({"user_template": "first {{ name }}"})
    saved = one.patch(path, body, content_type=JSON, headers={"If-Match": seen})
    assert saved.status_code == 200
    late = json.dumps({"user_template": "second {{ name }}"})
    refused = other.patch(path, late, content_type=JSON, headers={"If-Match": seen})
    assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
    # Nor is anything published that the publisher has not seen.
    unseen = _post(other, f"{path}/publish", **{"If-Match": seen})
    assert unseen.status_code == 412
    published = _post(other, f"{path}/publish", **{"If-Match": other.get(path)["ETag"]})
    assert published.json()["is_live"] is True


def test_rolling_back_is_refused_if_another_has_moved_the_scene(
    editor: User, greet: Scene, client_of: ClientOf
) -> None:
    client = client_of(editor)
    seen = client.get("/api/scenes/greet")["ETag"]
    _post(client, "/api/scenes/greet/versions/2/publish")
    late = _post(client, "/api/scenes/greet/live", {"version": 1}, **{"If-Match": seen})
    assert late.status_code == 412
    now = client.get("/api/scenes/greet")["ETag"]
    back = _post(client, "/api/scenes/greet/live", {"version": 1}, **{"If-Match": now})
    assert back.json()["live_version"] == 1


def test_the_page_says_which_scenes_a_user_may_change(
    editor: User, staff: User, bob: User, greet: Scene, client: Client
) -> None:
    expected: list[tuple[User, list[str] | None]] = [(editor, ["greet"]), (bob, [])]
    for user, slugs in expected:
        client.force_login(user)
        data = client.get("/").context["page_data"]
        assert (data["edited_scenes"], data["published_scenes"]) == (slugs, slugs)
