"""The admin of chat, as staff uses it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission
from django.contrib.staticfiles import finders
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from aily.redis.clients import sync_redis
from chat.admin.readonly import MAX_INLINE_ROWS
from chat.models import (
    Conversation,
    Deployment,
    Lane,
    LLMModel,
    Message,
    Provider,
    Run,
    Scene,
    SceneVersion,
    Status,
    Task,
    Worker,
)
from chat.scheduler.keys import deployment_keys
from chat.services.scenes import create_version, publish
from tests.conftest import grant
from tests.subtests import subtested

#: The inline form of permissions of roles, left empty.
_ROLES = "guardian-groupobjectpermission-content_type-object_pk"
NO_ROLES = {f"{_ROLES}-TOTAL_FORMS": "0", f"{_ROLES}-INITIAL_FORMS": "0"}


@pytest.fixture
def admin(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root", password="uprooted-3"))
    return client


@pytest.fixture
def model(transactional_db: None) -> LLMModel:
    provider = Provider.objects.create(name="acme", base_url="https://api.acme.example")
    return LLMModel.objects.create(name="acme-1", provider=provider, is_default=True)


@pytest.fixture
def scene(transactional_db: None) -> Scene:
    return Scene.objects.create(slug="greet", title="Greet")


MakeTask = Callable[..., Task]


@pytest.fixture
def make_task(alice: User, model: LLMModel, scene: Scene) -> MakeTask:
    def make(owner: User = alice, **fields: Any) -> Task:
        prompt = [{"role": "user", "content": "the prompt"}]
        return Task.objects.create(owner=owner, model=model, scene=scene, messages=prompt, **fields)

    return make


def listed(page: Any) -> list[Any]:
    return [row.pk for row in page.context["cl"].result_list]


def act(admin: Client, table: str, action: str, *keys: Any) -> str:
    """Run an admin action on rows; returns the admin's message."""
    form = {"action": action, "_selected_action": [str(key) for key in keys]}
    page = admin.post(f"/admin/chat/{table}/", form, follow=True)
    return " ".join(str(message) for message in page.context["messages"])


@pytest.mark.parametrize("kept", ["accounts/user", "chat/llmmodel"])
def test_what_tasks_belong_to_is_kept_and_they_are_not_read(
    admin: Client, make_task: MakeTask, kept: str
) -> None:
    task = make_task()
    pk = task.owner_id if kept == "accounts/user" else task.model_id
    path = f"/admin/{kept}/{pk}/delete/"
    with CaptureQueriesContext(connection) as queries:
        page = admin.get(path)
    assert "task" in page.content.decode()
    assert "Are you sure" not in page.content.decode()
    assert not [query for query in queries if '"chat_task"."messages"' in query["sql"]]
    assert admin.post(path, {"post": "yes"}).status_code == 403


# --- Refusals in Chinese ------------------------------------------------------------------------
_BUDGET = {"name": "b", "period": "month", "currency": "USD", "is_active": "on"}


@subtested(
    ("table", "form", "sentence"),
    [
        ("budget", {**_BUDGET, "limit_tokens": "5"}, "请选择用户或 API 密钥，不能两者都选。"),
        ("budget", {**_BUDGET, "limit_money": "-1"}, "限额不能为负数。"),
        ("budget", _BUDGET, "请至少设置一项限额。"),
        ("modelprice", {"weekdays": "x"}, "第 1 项无效："),
        ("toolserver", {"openapi_document": "{bad"}, "文档不是 JSON。"),
        ("toolserver", {"openapi_document": "a: [1"}, "文档既不是 JSON，也不是 YAML："),
        ("toolserver", {"openapi_document": '{"openapi": "2.0"}'}, "这不是 3.0、3.1 或 3.2 版"),
        ("provider", {"api_key_env": "PATH"}, "LLM_KEY_... 或 DEEPSEEK_API_KEY。"),
        ("sceneversion", {"max_tool_steps": "999"}, "最多为 16：上限由 TOOL_MAX_STEPS 设定。"),
    ],
)
def test_refusals_are_in_the_language_of_the_page(
    admin: Client, scene: Scene, table: str, form: dict[str, str], sentence: str
) -> None:
    admin.cookies["django_language"] = "zh-hans"
    if table == "sceneversion":
        form = {**form, "scene": str(scene.pk), "user_template": "x", "params": "{}"}
    page = admin.post(f"/admin/chat/{table}/add/", {**NO_ROLES, **form}).content.decode()
    assert sentence in page


def test_a_run_that_cannot_be_resumed_is_named_in_the_language_of_the_page(
    admin: Client, alice: User
) -> None:
    run = Run.objects.create(owner=alice, kind="run", name="Nightly", state="done")
    admin.cookies["django_language"] = "zh-hans"
    said = act(admin, "run", "resume_runs", run.pk)
    assert "Nightly" in said
    assert not re.search("[a-z]{3,} [a-z]{2,}", said)


# --- Tasks --------------------------------------------------------------------------------------
def test_tasks_are_found_by_the_beginning_of_their_id_or_of_their_owners_name(
    admin: Client, bob: User, make_task: MakeTask
) -> None:
    hers, his = make_task(), make_task(owner=bob)
    for term, expected in (
        (str(hers.pk), [hers.pk]),
        (str(hers.pk).upper(), [hers.pk]),
        (hers.pk.hex[:30], [hers.pk]),
        (str(hers.pk)[:8], [his.pk, hers.pk]),
        ("ali", [hers.pk]),
        ("BOB", [his.pk]),
        ("bo", [his.pk]),
        ("nobody", []),
        ("ffffffff-ffff", []),
        ("", [his.pk, hers.pk]),
    ):
        page = admin.get("/admin/chat/task/", {"q": term})
        assert listed(page) == expected, term


def test_tasks_are_filtered(admin: Client, make_task: MakeTask) -> None:
    waiting = make_task(lane=Lane.BATCH)
    ended = make_task(status=Status.SUCCEEDED)
    old = make_task(status=Status.FAILED, id="01900000-0000-7000-8000-000000000000")
    for query, expected in (
        ({"status__exact": "succeeded"}, [ended.pk]),
        ({"lane__exact": Lane.BATCH.value}, [waiting.pk]),
        ({"created": "hour"}, [ended.pk, waiting.pk]),
        ({"created": "nonsense"}, [ended.pk, waiting.pk, Task.objects.get(pk=old.pk).pk]),
    ):
        assert listed(admin.get("/admin/chat/task/", query)) == expected, query


def test_a_list_of_tasks_costs_a_constant_number_of_queries_and_loads_no_texts(
    admin: Client,
    bob: User,
    make_task: MakeTask,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    now = timezone.now()
    times = {"started_at": now, "finished_at": now + timedelta(seconds=2.5)}
    for _ in range(20):
        make_task(text="the answer", status=Status.SUCCEEDED, **times)
        make_task(owner=bob)
    # Session, user, the filters of scene, model and error, count, page.
    with django_assert_max_num_queries(8) as captured:
        page = admin.get("/admin/chat/task/")
    assert len(listed(page)) == 40
    assert "2.50 s" in page.content.decode()
    assert not [query for query in captured if '"chat_task"."text"' in query["sql"]]
    counts = [query["sql"] for query in captured if "COUNT(" in query["sql"]]
    assert len(counts) == 1
    assert "LIMIT 10000" in counts[0]


def test_a_task_is_shown_whole_and_changed_by_nobody(
    admin: Client, make_task: MakeTask, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    task = make_task(text="the answer", status=Status.SUCCEEDED)
    path = f"/admin/chat/task/{task.pk}/change/"
    # Session, user, task, deliveries.
    with django_assert_max_num_queries(5):
        page = admin.get(path)
    assert "the answer" in page.content.decode()
    assert "the prompt" in page.content.decode()
    assert admin.post(path, {"text": "other"}).status_code == 403
    assert admin.get("/admin/chat/task/add/").status_code == 403
    assert admin.get(f"/admin/chat/task/{task.pk}/delete/").status_code == 403


def test_tasks_are_cancelled(admin: Client, make_task: MakeTask) -> None:
    waiting, other, ended = make_task(), make_task(), make_task(status=Status.SUCCEEDED)
    assert "Cancelled 1 task." in act(admin, "task", "cancel", waiting.pk, ended.pk)
    statuses = dict(Task.objects.values_list("pk", "status"))
    assert statuses == {
        waiting.pk: Status.CANCELLED,
        other.pk: Status.QUEUED,
        ended.pk: Status.SUCCEEDED,
    }


def test_tasks_are_retried_as_new_ones(admin: Client, make_task: MakeTask) -> None:
    failed, waiting = make_task(status=Status.FAILED), make_task()
    assert "Submitted 1 new task." in act(admin, "task", "retry", failed.pk, waiting.pk)
    new = Task.objects.exclude(pk__in=[failed.pk, waiting.pk]).get()
    assert (new.status, new.messages) == (Status.QUEUED, failed.messages)
    failed.refresh_from_db()
    assert failed.status == Status.FAILED


def test_who_may_only_view_tasks_cannot_cancel_them(staff: User, make_task: MakeTask) -> None:
    task = make_task()
    staff.user_permissions.set(Permission.objects.filter(codename="view_task"))
    client = Client()
    client.force_login(staff)
    assert listed(client.get("/admin/chat/task/")) == [task.pk]
    act(client, "task", "cancel", task.pk)
    task.refresh_from_db()
    assert task.status == Status.QUEUED


# --- Scenes -------------------------------------------------------------------------------------
def version_form(scene: Scene, **fields: str) -> dict[str, Any]:
    empty = {"variables_schema": "{}", "params": "{}", "notes": "", "system_template": ""}
    return {"scene": scene.pk, "model": "", **empty, **fields}


def test_a_version_is_written_published_and_rolled_back(admin: Client, scene: Scene) -> None:
    for template in ("one", "two"):
        form = version_form(scene, user_template=template)
        assert admin.post("/admin/chat/sceneversion/add/", form).status_code == 302
    second, first = SceneVersion.objects.order_by("-number")
    assert (first.number, second.number) == (1, 2)
    assert first.created_by is not None
    assert "live" in act(admin, "sceneversion", "publish", first.pk)
    assert "live" in act(admin, "sceneversion", "publish", second.pk)
    scene.refresh_from_db()
    assert scene.live_version == second
    act(admin, "sceneversion", "make_live", first.pk)
    scene.refresh_from_db()
    assert scene.live_version == first


def test_actions_on_versions_say_why_not(admin: Client, scene: Scene) -> None:
    versions = [create_version(scene, None, {"user_template": "x"}) for _ in range(2)]
    said = act(admin, "sceneversion", "publish", *(version.pk for version in versions))
    assert "Choose one" in said
    assert "Publish this version first" in act(admin, "sceneversion", "make_live", versions[0].pk)
    publish(versions[0])
    assert "published already" in act(admin, "sceneversion", "publish", versions[0].pk)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"user_template": "{{ x|shout }}"}, "第 1 行：没有名为 &#x27;shout&#x27; 的过滤器"),
        ({"user_template": "x", "variables_schema": '{"type": "array"}'}, "对象的 Schema"),
        ({"user_template": "x", "fallback_models": '["none"]'}, "没有模型 &#x27;none&#x27;"),
    ],
)
def test_a_version_is_refused_in_the_language_of_the_page(
    admin: Client, scene: Scene, fields: dict[str, str], sentence: str
) -> None:
    path = "/admin/chat/sceneversion/add/"
    page = admin.post(path, version_form(scene, **fields), headers={"Accept-Language": "zh-CN"})
    assert sentence in page.text


def test_what_is_not_so_has_no_red_cross() -> None:
    """Django's own icon for False is one, also where that is neither good nor bad."""
    icon = Path(str(finders.find("admin/img/icon-no.svg")))
    assert icon.is_relative_to(settings.BASE_DIR / "static")
    assert Path(str(finders.find("admin/img/icon-yes.svg"))).is_relative_to(settings.BASE_DIR)


def test_a_draft_is_edited_and_a_published_version_is_not(admin: Client, scene: Scene) -> None:
    draft = create_version(scene, None, {"user_template": "before"})
    path = f"/admin/chat/sceneversion/{draft.pk}/change/"
    assert admin.post(path, version_form(scene, user_template="after")).status_code == 302
    publish(draft)
    assert admin.get(path).status_code == 200
    assert admin.post(path, version_form(scene, user_template="later")).status_code == 403
    delete = f"/admin/chat/sceneversion/{draft.pk}/delete/"
    assert admin.post(delete, {"post": "yes"}).status_code == 403
    act(admin, "sceneversion", "delete_selected", draft.pk)
    draft.refresh_from_db()
    assert draft.user_template == "after"


@subtested(
    ("fields", "field"),
    [
        ({"user_template": "{{"}, "user_template"),
        ({"user_template": ""}, "user_template"),
        ({"user_template": "x", "system_template": "{% if %}"}, "system_template"),
        ({"user_template": "x", "variables_schema": '{"type": "array"}'}, "variables_schema"),
        ({"user_template": "x", "variables_schema": "{"}, "variables_schema"),
        ({"user_template": "x", "params": "[1]"}, "params"),
    ],
)
def test_a_version_that_cannot_be_used_is_refused_at_its_field(
    admin: Client, scene: Scene, fields: dict[str, str], field: str
) -> None:
    page = admin.post("/admin/chat/sceneversion/add/", version_form(scene, **fields))
    assert page.status_code == 200
    assert list(page.context["errors"])
    assert field in page.context["adminform"].form.errors
    assert not SceneVersion.objects.exists()


def test_a_scene_is_added_shows_its_versions_and_goes_with_them(
    admin: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    inline = {"versions-TOTAL_FORMS": "0", "versions-INITIAL_FORMS": "0", **NO_ROLES}
    form = {"slug": "ask", "title": "Ask", "description": "", "is_enabled": "on", **inline}
    assert admin.post("/admin/chat/scene/add/", form).status_code == 302
    scene = Scene.objects.get(slug="ask")
    for _ in range(5):
        publish(create_version(scene, None, {"user_template": "x"}))
    with django_assert_max_num_queries(10):
        page = admin.get(f"/admin/chat/scene/{scene.pk}/change/")
    assert "ask v5" in page.content.decode()
    admin.post(f"/admin/chat/scene/{scene.pk}/delete/", {"post": "yes"})
    assert not SceneVersion.objects.exists()


# --- The rest -----------------------------------------------------------------------------------
def test_every_list_opens_with_a_constant_number_of_queries(
    admin: Client,
    alice: User,
    model: LLMModel,
    scene: Scene,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    def fill(number: int) -> None:
        other = Provider.objects.create(name=f"p{number}", base_url="https://x.example")
        model = LLMModel.objects.create(name=f"m{number}", provider=other)
        Deployment.objects.create(model=model, name="more", provider=other)
        Conversation.objects.create(owner=alice)
        Worker.objects.create(hostname="h", pid=1, lease_until=timezone.now())
        filled = Scene.objects.create(slug=f"s{number}", title="S")
        publish(create_version(filled, alice, {"user_template": "x"}))

    for number in range(15):
        fill(number)
    for table in (
        "provider",
        "llmmodel",
        "deployment",
        "conversation",
        "worker",
        "scene",
        "sceneversion",
    ):
        with django_assert_max_num_queries(9):
            assert admin.get(f"/admin/chat/{table}/").status_code == 200, table


def test_a_conversation_is_shown_with_its_messages_and_changed_by_nobody(
    admin: Client, alice: User
) -> None:
    conversation = Conversation.objects.create(owner=alice, title="Hers")
    Message.objects.create(conversation=conversation, role="user", content="the question")
    path = f"/admin/chat/conversation/{conversation.pk}/change/"
    assert "the question" in admin.get(path).content.decode()
    assert admin.post(path, {"title": "His"}).status_code == 403
    more = [
        Message(conversation=conversation, role="user", content=f"number {number};")
        for number in range(MAX_INLINE_ROWS)
    ]
    Message.objects.bulk_create(more)
    page = admin.get(path).content.decode()
    assert "the question" not in page
    assert page.count("number ") == len(more)
    assert f"the newest {len(more)}" in page


def test_a_model_is_made_the_default_in_place_of_another(admin: Client, model: LLMModel) -> None:
    form = {
        "provider": model.provider_id, "name": "acme-2", "upstream_name": "",
        "max_concurrency": "5", "default_max_tokens": "100", "params": "{}", "input_price": "0",
        "cached_input_price": "0", "output_price": "0", "currency": "USD", "is_enabled": "on",
        "is_default": "on", **NO_ROLES,
    }  # fmt: skip
    assert admin.post("/admin/chat/llmmodel/add/", form).status_code == 302
    assert LLMModel.objects.get(is_default=True).name == "acme-2"


def test_who_is_not_staff_stays_outside(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    for table in ("task", "scene", "provider"):
        assert client.get(f"/admin/chat/{table}/").status_code == 302


# --- Pauses -------------------------------------------------------------------------------------
def test_a_paused_model_says_for_how_long_and_its_pause_is_lifted(
    admin: Client, model: LLMModel
) -> None:
    redis: Any = sync_redis()
    redis.hset(deployment_keys(model.own_key).limit, "paused_until", str(time.time() + 100))
    page = admin.get("/admin/chat/llmmodel/").content.decode()
    assert re.search(r'field-paused_for">(9\d|100) s<', page)
    assert act(admin, "llmmodel", "lift_pauses", model.pk) == "Called again: acme-1."
    assert not re.search(
        r'field-paused_for">\d', admin.get("/admin/chat/llmmodel/").content.decode()
    )
    none = "Called again: none of them was paused."
    assert act(admin, "llmmodel", "lift_pauses", model.pk) == none


def test_staff_pause_a_model_and_a_provider_and_resume_them(admin: Client, model: LLMModel) -> None:
    for table, row, lift in (
        ("llmmodel", model, "lift_pauses"),
        ("provider", model.provider, "close_breakers"),
    ):
        assert act(admin, table, "pause_rows", row.pk) == f"Paused: {row.name}."
        assert act(admin, table, "pause_rows", row.pk) == "Paused: all were paused already."
        page = admin.get(f"/admin/chat/{table}/").content.decode()
        assert 'field-paused_for">by staff<' in page
        assert act(admin, table, lift, row.pk) == f"Called again: {row.name}."
        row.refresh_from_db()
        assert row.paused_at is None


def test_a_provider_that_is_left_alone_says_so_and_is_called_again(
    admin: Client, model: LLMModel
) -> None:
    redis: Any = sync_redis()
    redis.hset(
        deployment_keys(model.own_key).breaker,
        mapping={"open_until": time.time() + 100, "opened": 2},
    )
    page = admin.get("/admin/chat/provider/").content.decode()
    assert re.search(r'field-paused_for">(9\d|100) s<', page)
    done = act(admin, "provider", "close_breakers", model.provider.pk)
    assert done == "Called again: acme."
    assert not redis.exists(deployment_keys(model.own_key).breaker)


def test_who_may_not_change_a_model_lifts_nothing(model: LLMModel, alice: User) -> None:
    redis: Any = sync_redis()
    redis.hset(deployment_keys(model.own_key).limit, "paused_until", str(time.time() + 100))
    alice.is_staff = True
    alice.save()
    grant(alice, Permission.objects.filter(codename="view_llmmodel"))
    client = Client()
    client.force_login(alice)
    form = {"action": "lift_pauses", "_selected_action": [str(model.pk)]}
    client.post("/admin/chat/llmmodel/", form)
    assert redis.hexists(deployment_keys(model.own_key).limit, "paused_until")


# --- Deployments ----------------------------------------------------------------------------------
def test_a_deployment_is_made_changed_paused_and_lifted(admin: Client, model: LLMModel) -> None:
    form = {
        "model": model.pk, "name": "more", "provider": model.provider_id, "upstream_name": "",
        "max_concurrency": "5", "requests_per_minute": "60", "tokens_per_minute": "",
        "weight": "", "input_price": "", "cached_input_price": "", "output_price": "",
    }  # fmt: skip
    assert admin.post("/admin/chat/deployment/add/", form).status_code == 302
    made = Deployment.objects.get()
    assert (made.weight, made.requests_per_minute) == (1, 60)
    page = f"/admin/chat/deployment/{made.pk}/change/"
    shown = admin.get(page).content.decode()
    assert 'name="weight"' in shown
    assert 'name="model"' not in shown
    label = "acme-1@more"
    assert act(admin, "deployment", "pause_rows", made.pk) == f"Paused: {label}."
    assert 'field-paused_for">by staff<' in admin.get("/admin/chat/deployment/").content.decode()
    assert act(admin, "deployment", "lift_deployments", made.pk) == f"Called again: {label}."


def test_the_admin_of_deployments_is_for_who_may_change_models(model: LLMModel) -> None:
    user = User.objects.create_user("sees", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_llmmodel"))
    client = Client()
    client.force_login(user)
    assert client.get("/admin/chat/deployment/").status_code == 200
    assert client.get("/admin/chat/deployment/add/").status_code == 403
