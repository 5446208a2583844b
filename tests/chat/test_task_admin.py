"""The admin's list and page of tasks, as staff reads them to find out what went wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from chat.models import (
    Delivery,
    LLMModel,
    Provider,
    Scene,
    Status,
    Task,
    TaskVectors,
    ToolCall,
    ToolStep,
    Worker,
)
from chat.models.ids import uuid7

AT = datetime.fromisoformat("2026-11-29T10:20:30.123Z")
MakeTask = Callable[..., Task]


@pytest.fixture
def admin(transactional_db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def make_task(alice: User, transactional_db: None) -> MakeTask:
    provider = Provider.objects.create(name="acme", base_url="https://api.acme.example")
    model = LLMModel.objects.create(name="acme-1", provider=provider, is_default=True)

    def make(**fields: Any) -> Task:
        given = {"messages": [{"role": "user", "content": "the prompt"}], **fields}
        return Task.objects.create(owner=alice, model=model, **given)

    return make


def _earlier(number: int, outcome: str, *after_ms: int | None) -> dict[str, Any]:
    names = ("started_at", "first_token_at", "ended_at")
    times = (
        None if after is None else (AT + timedelta(milliseconds=after)).isoformat()
        for after in after_ms
    )
    return {
        "attempt": number, "model": f"acme-{number}", "outcome": outcome,
        **dict(zip(names, times, strict=True)),
    }  # fmt: skip


def _listed(page: Any) -> list[Any]:
    return [row.pk for row in page.context["cl"].result_list]


def _failed(code: str) -> dict[str, Any]:
    return {"status": Status.FAILED, "error": {"code": code, "message": "No."}}


# --- List ---------------------------------------------------------------------------------------
def test_the_list_shows_error_codes_and_times_to_the_second(
    admin: Client, make_task: MakeTask
) -> None:
    task = make_task(**_failed("provider_timeout"))
    Task.objects.filter(pk=task.pk).update(created_at=AT)
    for language in ("en", "zh-hans"):
        text = admin.get(
            "/admin/chat/task/", headers={"Accept-Language": language}
        ).content.decode()
        assert '<td class="field-error_code">provider_timeout</td>' in text
        assert "2026-11-29 10:20:30" in text


def test_the_list_is_filtered_by_scene_and_by_error(admin: Client, make_task: MakeTask) -> None:
    scene = Scene.objects.create(slug="greet", title="Greet")
    of_scene = make_task(scene=scene)
    slow, refused = make_task(**_failed("provider_timeout")), make_task(**_failed("refused"))
    page = admin.get("/admin/chat/task/")
    assert "?error=provider_timeout" in page.content.decode()
    for query, expected in (
        ({"scene__id__exact": scene.pk}, [of_scene.pk]),
        ({"error": "provider_timeout"}, [slow.pk]),
        ({"error": "refused"}, [refused.pk]),
        ({"error": "never_seen"}, []),
    ):
        assert _listed(admin.get("/admin/chat/task/", query)) == expected, query


# --- Page ---------------------------------------------------------------------------------------
def test_the_page_has_a_time_line_in_milliseconds(admin: Client, make_task: MakeTask) -> None:
    worker = Worker.objects.create(hostname="w1", pid=7, lease_until=timezone.now())
    task = make_task(
        status=Status.SUCCEEDED, worker=worker, attempt=2, failures=1,
        started_at=AT + timedelta(milliseconds=250),
        first_token_at=AT + timedelta(milliseconds=700),
        finished_at=AT + timedelta(milliseconds=1900),
    )  # fmt: skip
    Task.objects.filter(pk=task.pk).update(created_at=AT)
    delivery = Delivery.objects.create(
        id=uuid7(), owner_id=task.owner_id, kind="email", task=task, event="task.completed",
        delivered_at=AT + timedelta(milliseconds=2500),
    )  # fmt: skip
    Delivery.objects.filter(pk=delivery.pk).update(created_at=AT + timedelta(milliseconds=2000))
    page = admin.get(f"/admin/chat/task/{task.pk}/change/")
    moments = [(moment.after_ms, moment.clock) for moment in page.context["page"].moments]
    assert moments == [
        (0, "10:20:30.123"), (250, "10:20:30.373"), (700, "10:20:30.823"), (1900, "10:20:32.023"),
        (2000, "10:20:32.123"), (2500, "10:20:32.623"),
    ]  # fmt: skip
    text = page.content.decode()
    for shown in ("Claimed and started", "First token", "w1:7", "+250 ms", "10:20:32.623"):
        assert shown in text, shown
    assert "icon-no.svg" not in text


def test_prompt_and_answer_are_blocks_and_their_html_is_text(
    admin: Client, make_task: MakeTask
) -> None:
    task = make_task(
        status=Status.SUCCEEDED, text="# Title\n\n<script>alert(1)</script>",
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "call-1"}]},
        ],
    )  # fmt: skip
    page = admin.get(f"/admin/chat/task/{task.pk}/change/")
    roles = [message.role for message in page.context["page"].messages]
    assert roles == ["system", "user", "assistant"]
    text = page.content.decode()
    assert "Be brief." in text
    assert "call-1" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    admin.cookies["django_language"] = "zh-hans"
    text = admin.get(f"/admin/chat/task/{task.pk}/change/").content.decode()
    assert re.findall("<h3>(系统|用户|助手)</h3>", text) == ["系统", "用户", "助手"]


def test_long_prompts_are_cut_with_a_word(admin: Client, make_task: MakeTask) -> None:
    many = [{"role": "user", "content": "x" * 100_500}, *({"role": "user", "content": "y"},) * 200]
    text = admin.get(
        f"/admin/chat/task/{make_task(messages=many, text='z' * 100_007).pk}/change/"
    ).content.decode()
    assert "1 older messages are not shown" in text
    assert "7 more characters are not shown" in text
    assert len(text) < 300_000


# --- Buttons ------------------------------------------------------------------------------------
def test_a_task_is_cancelled_and_retried_from_its_page(admin: Client, make_task: MakeTask) -> None:
    task = make_task()
    path = f"/admin/chat/task/{task.pk}"
    assert f'action="{path}/cancel/"' in admin.get(f"{path}/change/").content.decode()
    admin.post(f"{path}/cancel/")
    task.refresh_from_db()
    assert task.status == Status.CANCELLED

    assert f'action="{path}/retry/"' in admin.get(f"{path}/change/").content.decode()
    answer = admin.post(f"{path}/retry/")
    new = Task.objects.exclude(pk=task.pk).get()
    assert answer.headers["Location"] == f"/admin/chat/task/{new.pk}/change/"
    assert new.metadata == {"retry_of": str(task.pk)}


def test_what_cannot_be_done_says_so_and_changes_nothing(
    admin: Client, make_task: MakeTask
) -> None:
    ended, waiting = make_task(status=Status.SUCCEEDED), make_task()
    for task, act in ((ended, "cancel"), (waiting, "retry")):
        page = admin.post(f"/admin/chat/task/{task.pk}/{act}/", follow=True)
        [message] = page.context["messages"]
        assert message.level_tag == "warning"
    assert set(Task.objects.values_list("pk", "status")) == {
        (ended.pk, "succeeded"), (waiting.pk, "queued")
    }  # fmt: skip


def test_buttons_are_for_staff_that_may_and_by_post_with_a_token(
    admin: Client, make_task: MakeTask
) -> None:
    task = make_task()
    path = f"/admin/chat/task/{task.pk}"
    assert admin.get(f"{path}/cancel/").status_code == 405
    assert admin.post(f"/admin/chat/task/{uuid7()}/cancel/").status_code == 404
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_task"))
    client = Client(enforce_csrf_checks=True)
    client.force_login(viewer)
    assert "/cancel/" not in client.get(f"{path}/change/").content.decode()
    client.handler.enforce_csrf_checks = False
    assert client.post(f"{path}/cancel/").status_code == 403
    admin.handler.enforce_csrf_checks = True
    assert admin.post(f"{path}/cancel/").status_code == 403
    task.refresh_from_db()
    assert task.status == Status.QUEUED


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("one text", ["one text"]),
        (["first", "second"], ["first", "second"]),
        ([11, 12], ["11, 12"]),
        ([[11, 12], [13]], ["11, 12", "13"]),
    ],
)
def test_the_page_of_embeddings_has_an_input_and_vectors_in_place_of_an_answer(
    admin: Client, make_task: MakeTask, given: Any, shown: list[str]
) -> None:
    fields = {"kind": "embeddings", "messages": [], "params": {"input": given, "dimensions": 3}}
    task = make_task(status=Status.SUCCEEDED, **fields)
    TaskVectors.objects.create(task=task, count=len(shown), dimensions=3, floats=b"")
    page = admin.get(f"/admin/chat/task/{task.pk}/change/")
    text = page.content.decode()
    assert [item.text for item in page.context["page"].embeddings.inputs] == shown
    assert all(f">{item}</pre>" in text for item in shown)
    assert 'id="vectors-heading"' in text
    assert 'id="answer-heading"' not in text
    assert "of 3 numbers." in text
    TaskVectors.objects.all().delete()
    for language, words in (("en", "kept for a limited time"), ("zh-hans", "有限的时间")):
        headers = {"Accept-Language": language}
        text = admin.get(f"/admin/chat/task/{task.pk}/change/", headers=headers).content.decode()
        assert words in text


def test_of_many_inputs_the_page_shows_the_first(admin: Client, make_task: MakeTask) -> None:
    params = {"input": ["x" * 5_000] * 2_000}
    task = make_task(kind="embeddings", messages=[], params=params)
    page = admin.get(f"/admin/chat/task/{task.pk}/change/")
    assert len(page.content) < 300_000
    assert "1950 more inputs are not shown." in page.content.decode()


def test_tasks_are_filtered_by_kind(admin: Client, make_task: MakeTask) -> None:
    make_task()
    task = make_task(kind="embeddings", messages=[], params={"input": "a"})
    assert _listed(admin.get("/admin/chat/task/", {"kind__exact": "embeddings"})) == [task.pk]


def test_the_time_line_has_earlier_attempts(admin: Client, make_task: MakeTask) -> None:
    earlier = [
        _earlier(1, "provider_overloaded", 100, 200, 300),
        _earlier(2, "worker_lost", 400, None, 900),
    ]
    task = make_task(
        status=Status.SUCCEEDED, attempt=3, failures=1, crashes=1, earlier_attempts=earlier,
        started_at=AT + timedelta(milliseconds=1000), finished_at=AT + timedelta(seconds=2),
    )  # fmt: skip
    Task.objects.filter(pk=task.pk).update(created_at=AT)
    page = admin.get(f"/admin/chat/task/{task.pk}/change/").context["page"]
    assert [(moment.name, moment.after_ms, moment.detail) for moment in page.moments] == [
        ("Accepted and queued", 0, "Interactive"),
        ("Claimed and started", 100, "attempt 1, acme-1"),
        ("First token", 200, "attempt 1"),
        ("Attempt ended", 300, "attempt 1: provider_overloaded"),
        ("Claimed and started", 400, "attempt 2, acme-2"),
        ("Attempt ended", 900, "attempt 2: worker_lost"),
        ("Claimed and started", 1000, "attempt 3"),
        ("Ended", 2000, "Succeeded"),
    ]
    Task.objects.filter(pk=task.pk).update(earlier_attempts=earlier[1:], attempt=4)
    for language, words in (
        ("en", "The times of the first 2 attempts are not kept."),
        ("zh-hans", "前 2 次尝试的时间没有保留。"),
    ):
        headers = {"Accept-Language": language}
        text = admin.get(f"/admin/chat/task/{task.pk}/change/", headers=headers).content.decode()
        assert words in text


# --- Tool calls ---------------------------------------------------------------------------------
@pytest.fixture
def looped(make_task: MakeTask, alice: User) -> Task:
    """A task with a call that was approved with other arguments, and one that waits."""
    task = make_task(status=Status.REQUIRES_ACTION, attempt=1, tools={"ids": []}, started_at=AT)
    Task.objects.filter(pk=task.pk).update(created_at=AT)
    after = [AT + timedelta(milliseconds=number * 100) for number in range(6)]
    ToolStep.objects.create(task=task, number=1, attempt=1, model_seconds=0.1, created_at=after[1])
    own = {"task": task, "step": 1, "attempt": 1, "server": "shop", "is_idempotent": False}
    ToolCall.objects.create(
        **own, place=0, call_id="a", name="refund", arguments='{"sum": 7}',
        edited_arguments='{"sum": 5}', state="succeeded", text="<b>refunded</b>",
        expires_at=after[5], decided_at=after[2], decided_by=alice, started_at=after[3],
        finished_at=after[4],
    )  # fmt: skip
    ToolCall.objects.create(
        **own, place=1, call_id="b", name="notify", arguments="{}", state="requires_action",
        expires_at=after[5],
    )  # fmt: skip
    return task


def test_the_time_line_has_steps_and_tool_calls(admin: Client, looped: Task) -> None:
    page = admin.get(f"/admin/chat/task/{looped.pk}/change/")
    moments = [
        (moment.name, moment.detail, moment.after_ms) for moment in page.context["page"].moments
    ]
    assert moments[2:] == [
        ("Tools asked for", "step 1", 100),
        ("Tool call approved", "refund, shop: alice", 200),
        ("Tool called", "refund, shop", 300),
        ("Tool call ended", "refund, shop: Succeeded, 0.100 s", 400),
        ("Waits for its user until", "notify, shop", 500),
    ]
    text = page.content.decode()
    for shown in ("&quot;sum&quot;: 5", "&quot;sum&quot;: 7", "&lt;b&gt;refunded&lt;/b&gt;"):
        assert shown in text
    chinese = admin.get(
        f"/admin/chat/task/{looped.pk}/change/", headers={"Accept-Language": "zh-hans"}
    ).content.decode()
    assert "工具调用" in chinese
    assert "Tool called" not in chinese


def test_tasks_that_wait_for_their_users_are_filtered(
    admin: Client, make_task: MakeTask, looped: Task
) -> None:
    make_task(status=Status.CALLING_TOOLS, tools={"ids": []})
    query = {"status__exact": Status.REQUIRES_ACTION}
    assert _listed(admin.get("/admin/chat/task/", query)) == [looped.pk]
    assert "status__exact=requires_action" in admin.get("/admin/chat/task/").content.decode()
