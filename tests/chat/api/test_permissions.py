"""Restricted scenes and models: over REST, in submits and on open sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from guardian.models import GroupObjectPermission, UserObjectPermission

from accounts.models import Role, User
from aily.database.threads import in_database
from aily.problems import InvalidRequest, NotFound
from chat.models import LLMModel, Scene, Status, Task
from chat.services.retry import retry_many
from chat.services.scenes import create_version, publish
from chat.services.submission import CompositeRequest
from chat.services.submit import Submission, submit
from tests.conftest import ClientOf
from tests.waiting import eventually, wait_until

JSON = "application/json"


@pytest.fixture
def greet(transactional_db: None, model: LLMModel) -> Scene:
    scene = Scene.objects.create(slug="greet", title="Greet", is_restricted=True)
    publish(create_version(scene, None, {"user_template": "Hi {{ name }}"}))
    return scene


@pytest.fixture
def role(alice: User) -> Role:
    """What Alice has, and Bob has not."""
    role = Role(name="greeters")
    role.save()
    alice.groups.add(role)
    return role


def grant(role: Role, codename: str, row: Scene | LLMModel) -> GroupObjectPermission:
    permission = Permission.objects.get(codename=codename)
    granted: GroupObjectPermission = GroupObjectPermission.objects.create(
        group=role, permission=permission, content_type=permission.content_type, object_pk=row.pk
    )
    return granted


async def submits(user: User, **fields: Any) -> bool:
    request = CompositeRequest.model_validate(fields)
    try:
        await submit(Submission(owner_id=user.pk, request=request))
    except (NotFound, InvalidRequest):
        return False
    return True


GREET = {"scene": "greet", "variables": {"name": "you"}}


# --- Using --------------------------------------------------------------------------------------
async def test_a_restricted_scene_is_for_those_with_permission(
    alice: User, bob: User, role: Role, greet: Scene, loop_services: None
) -> None:
    assert not await submits(alice, **GREET)
    await in_database(grant, role, "use_scene", greet)
    assert await submits(alice, **GREET)
    assert not await submits(bob, **GREET)


async def test_a_restricted_model_is_for_those_with_permission_and_for_scenes(
    alice: User, bob: User, role: Role, greet: Scene, model: LLMModel, loop_services: None
) -> None:
    def restrict() -> None:
        named = LLMModel.objects.create(provider=model.provider, name="dear", is_restricted=True)
        Scene.objects.update(is_restricted=False)
        publish(create_version(greet, None, {"user_template": "{{ name }}", "model": named}))
        grant(role, "use_llmmodel", named)

    await in_database(restrict)
    asked = {"messages": [{"role": "user", "content": "Hi"}], "model": "dear"}
    assert await submits(alice, **asked)
    assert not await submits(bob, **asked)
    assert await submits(bob, **GREET)  # the scene's author chose its model
    assert not await submits(bob, **GREET, model="dear")


async def test_a_permission_for_all_scenes_is_for_everybody_who_has_it(
    alice: User, bob: User, role: Role, greet: Scene, loop_services: None
) -> None:
    use = await in_database(Permission.objects.get, codename="use_scene")
    await in_database(role.permissions.add, use)
    assert await submits(alice, **GREET)
    assert not await submits(bob, **GREET)


def grant_to_alice(alice: User, greet: Scene) -> None:
    use = Permission.objects.get(codename="use_scene")
    UserObjectPermission.objects.create(
        user=alice, permission=use, content_type=use.content_type, object_pk=greet.pk
    )


def restrict(scene: Scene) -> None:
    scene.is_restricted = True
    scene.save()


#: How a permission to use the scene is given, and how it is taken away.
WAYS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "grant": (
        lambda alice, role, greet: grant(role, "use_scene", greet),
        lambda alice, role, greet: GroupObjectPermission.objects.get().delete(),
    ),
    "member": (
        lambda alice, role, greet: grant(role, "use_scene", greet),
        lambda alice, role, greet: alice.groups.remove(role),
    ),
    "role": (
        lambda alice, role, greet: grant(role, "use_scene", greet),
        lambda alice, role, greet: role.delete(),
    ),
    "scene": (
        lambda alice, role, greet: Scene.objects.update(is_restricted=False),
        lambda alice, role, greet: restrict(greet),
    ),
    "user": (
        lambda alice, role, greet: grant_to_alice(alice, greet),
        lambda alice, role, greet: UserObjectPermission.objects.get().delete(),
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_permission_taken_away_is_gone_within_a_second(
    alice: User, role: Role, greet: Scene, loop_services: None, way: str
) -> None:
    give, take = WAYS[way]
    await in_database(give, alice, role, greet)
    assert await submits(alice, **GREET)
    await in_database(take, alice, role, greet)

    async def is_refused() -> bool:
        return not await submits(alice, **GREET)

    await eventually(is_refused, "the refusal")


@pytest.mark.parametrize("way", WAYS)
def test_rest_shows_a_scene_for_less_than_a_second_after_its_permission_went(
    alice: User, role: Role, greet: Scene, client_of: ClientOf, way: str
) -> None:
    client = client_of(alice)
    give, take = WAYS[way]
    give(alice, role, greet)
    assert client.get("/api/scenes/greet").status_code == 200
    take(alice, role, greet)
    wait_until(lambda: client.get("/api/scenes/greet").status_code != 200, "the refusal")


async def test_a_warm_check_costs_no_query(
    alice: User, role: Role, greet: Scene, loop_services: None, queries: list[str]
) -> None:
    await in_database(grant, role, "use_scene", greet)
    assert await submits(alice, **GREET)
    queries.clear()
    assert await submits(alice, **GREET)
    assert not [sql for sql in queries if "permission" in sql or "auth_group" in sql]


def test_a_restricted_scene_is_shown_to_those_who_may_use_it(
    alice: User, bob: User, role: Role, greet: Scene, client_of: ClientOf
) -> None:
    grant(role, "use_scene", greet)
    for user, count in ((alice, 1), (bob, 0)):
        client = client_of(user)
        assert client.get("/api/scenes").json()["count"] == count
        assert client.get("/api/scenes/greet").status_code == (200 if count else 404)
    assert Client().get("/api/scenes/greet").status_code == 401


# --- Editing and publishing ---------------------------------------------------------------------
def test_who_may_edit_a_scene_edits_that_one_and_does_not_publish(
    alice: User, bob: User, role: Role, greet: Scene, client_of: ClientOf
) -> None:
    other = Scene.objects.create(slug="other", title="Other")
    create_version(other, None, {"user_template": "x"})
    grant(role, "change_scene", greet)

    def outcomes(client: Client, slug: str) -> list[int]:
        path = f"/api/scenes/{slug}"
        return [
            client.get(f"{path}/versions").status_code,
            client.post(f"{path}/versions", {"user_template": "y"}, content_type=JSON).status_code,
            client.patch(path, {"title": "New"}, content_type=JSON).status_code,
            client.patch(path, {"is_restricted": False}, content_type=JSON).status_code,
            client.post(f"{path}/versions/2/publish").status_code,
            client.post(f"{path}/live", {"version": 1}, content_type=JSON).status_code,
            client.delete(path).status_code,
        ]

    assert outcomes(client_of(alice), "greet") == [200, 201, 200, 403, 403, 403, 403]
    assert outcomes(client_of(alice), "other") == [403] * 7
    assert outcomes(client_of(bob), "greet") == [403] * 7
    assert outcomes(Client(), "greet") == [401] * 7
    greet.refresh_from_db()
    assert (greet.title, greet.is_restricted) == ("New", True)


def test_who_may_publish_a_scene_publishes_that_one(
    alice: User, bob: User, role: Role, greet: Scene, client_of: ClientOf
) -> None:
    create_version(greet, None, {"user_template": "y"})
    path = "/api/scenes/greet/versions/2/publish"
    assert client_of(alice).post(path).status_code == 403
    grant(role, "publish_scene", greet)
    assert client_of(bob).post(path).status_code == 403
    assert Client().post(path).status_code == 401
    assert client_of(alice).post(path).status_code == 200
    back = client_of(alice).post("/api/scenes/greet/live", {"version": 1}, content_type=JSON)
    assert back.json()["live_version"] == 1


# --- Models that a version names ----------------------------------------------------------------
@pytest.fixture
def dear(greet: Scene, model: LLMModel) -> LLMModel:
    Scene.objects.update(is_restricted=False)
    return LLMModel.objects.create(provider=model.provider, name="dear", is_restricted=True)


VERSIONS = "/api/scenes/greet/versions"


@pytest.mark.parametrize("field", ["model", "fallback_models"])
def test_a_version_names_only_models_that_its_author_may_use(
    alice: User, role: Role, greet: Scene, dear: LLMModel, client_of: ClientOf, field: str
) -> None:
    for codename in ("change_scene", "publish_scene"):
        grant(role, codename, greet)
    client = client_of(alice)
    naming = {field: "dear" if field == "model" else ["deepseek-flash", "dear"]}
    refused = client.post(VERSIONS, {"user_template": "x", **naming}, content_type=JSON)
    # What one may not use looks as if it were not there.
    unknown = {field: "none" if field == "model" else ["none"]}
    missing = client.post(VERSIONS, {"user_template": "x", **unknown}, content_type=JSON)
    assert refused.json()["errors"][0]["field"] == missing.json()["errors"][0]["field"] == field
    assert refused.json()["detail"].replace("dear", "none") == missing.json()["detail"]

    assert client.post(VERSIONS, {"user_template": "x"}, content_type=JSON).status_code == 201
    assert client.patch(f"{VERSIONS}/2", naming, content_type=JSON).status_code in {400, 422}
    grant(role, "use_llmmodel", dear)
    assert client.patch(f"{VERSIONS}/2", naming, content_type=JSON).status_code == 200
    assert client.post(f"{VERSIONS}/2/publish").status_code == 200


def test_a_draft_that_names_a_model_is_edited_and_made_live_by_those_who_may_use_it(
    alice: User, role: Role, greet: Scene, dear: LLMModel, client_of: ClientOf
) -> None:
    """Or its words could be changed into whatever one would like to ask that model."""
    for codename in ("change_scene", "publish_scene"):
        grant(role, codename, greet)
    create_version(greet, None, {"user_template": "x", "model": dear})
    client = client_of(alice)
    edited = client.patch(f"{VERSIONS}/2", {"user_template": "{{ mine }}"}, content_type=JSON)
    assert edited.json()["errors"][0]["field"] == "model"
    published = client.post(f"{VERSIONS}/2/publish")
    assert (published.status_code, published.json()["code"]) == (403, "forbidden")
    publish(greet.versions.get(number=2))
    publish(create_version(greet, None, {"user_template": "y"}))
    back = client.post("/api/scenes/greet/live", {"version": 2}, content_type=JSON)
    assert (back.status_code, back.json()["code"]) == (403, "forbidden")
    greet.refresh_from_db()
    assert greet.live_version is not None
    assert (greet.live_version.number, greet.versions.get(number=2).user_template) == (3, "x")


def test_the_admin_holds_versions_against_the_same_rule(
    staff: User, greet: Scene, dear: LLMModel, client: Client
) -> None:
    staff.user_permissions.remove(Permission.objects.get(codename="use_llmmodel"))
    client.force_login(staff)
    form = {
        "scene": greet.pk, "model": dear.pk, "user_template": "x", "variables_schema": "{}",
        "params": "{}",
    }  # fmt: skip
    page = client.post("/admin/chat/sceneversion/add/", form)
    assert page.context["adminform"].form.errors.keys() == {"model"}
    draft = create_version(greet, None, {"user_template": "x", "model": dear})
    action = {"action": "publish", "_selected_action": [draft.pk]}
    page = client.post("/admin/chat/sceneversion/", action, follow=True)
    assert "may not use: dear" in page.content.decode()
    draft.refresh_from_db()
    assert draft.published_at is None


# --- Asking again -------------------------------------------------------------------------------
def test_staff_asks_again_for_those_only_who_could_ask_themselves(
    alice: User, role: Role, greet: Scene, dear: LLMModel, model: LLMModel, loop_services: None
) -> None:
    version = publish(create_version(greet, None, {"user_template": "x", "model": dear}))

    def ended(**fields: Any) -> Task:
        failed: dict[str, Any] = {"owner": alice, "messages": [], "status": Status.FAILED}
        return Task.objects.create(**{"model": model, **failed, **fields})

    with_scene = ended(scene=greet, scene_version=version, model=dear)
    named = ended(model=dear)
    plain = ended()
    tasks = [with_scene.pk, named.pk, plain.pk]
    assert retry_many(tasks) == 2
    grant(role, "use_llmmodel", dear)
    assert retry_many(tasks) == 3
    restrict(greet)
    assert retry_many(tasks) == 2
    alice.is_active = False
    alice.save()
    assert retry_many(tasks) == 0


# --- The page -----------------------------------------------------------------------------------
def test_the_page_offers_the_models_one_may_use(
    alice: User, bob: User, role: Role, model: LLMModel, client: Client
) -> None:
    model.is_restricted = True
    model.save()
    grant(role, "use_llmmodel", model)
    for user, is_offered in ((alice, True), (bob, False)):
        client.force_login(user)
        page = client.get("/").content.decode()
        assert ('"name": "deepseek-flash"' in page) is is_offered
